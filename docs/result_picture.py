"""Makes ``docs/overlay.png``, the README's picture of a result: ``python -m docs.result_picture``.

It is the overlay that ``medsecure run`` delivers of a synthetic patient of ``medsecure demo``, cut to four
slices. Its series' name differs from one making to the next, since the keys are new each time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from evaluation.phantom import Phantom, write_series
from stages.encrypt.keys.folder import new_keys

PICTURE: Final = Path(__file__).with_name("overlay.png")
PATIENT: Final = 2  # the one that the demo searches for
SLICES: Final = 24


def make(picture: Path) -> None:
    """Stream one patient in a temporary folder and keep the overlay."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_series(folder / "study", Phantom(seed=PATIENT), SLICES, f"DEMO{PATIENT}")
        new_keys(folder / "keys", None)
        places = [word for one in ("index", "results", "keys") for word in (f"--{one}", str(folder / one))]
        subprocess.run(  # noqa: S603 (our own command)
            [
                sys.executable,
                *["-m", "pipeline.cli", "run", "--engine", "local", "--source"],
                name + "/study",
                *places,
            ],
            env={**os.environ, "MEDSECURE__DELIVER__OVERLAY_SLICES": "4"},
            check=True,
        )
        (made,) = (folder / "results").glob("*/overlay.png")
        shutil.copy(made, picture)


if __name__ == "__main__":
    make(PICTURE)
