"""What the text header of a MetaImage or NRRD file says of its volume, and of where the voxels are.

Parsed here and not by SimpleITK or pynrrd: these read all voxels at once, decide by the file's suffix, and
follow whatever path a header names. What is read by the latter is a name in the header's own folder, no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stages.base import Reason
from stages.ingest.affine import sound
from stages.ingest.faults import BadData
from stages.ingest.volume import DIMENSIONS, Volume, check_layout, padded_shape

HEADER_BYTES: Final = 1 << 16  # more is no header
RAS_OF_LPS: Final = np.diag([-1.0, -1.0, 1.0])
FROM_END: Final = -1  # the voxels are the file's last bytes


@dataclass(frozen=True, slots=True)
class Outline:
    """A header, read."""

    volume: Volume  # ``offset`` is within the unfolded stream
    start: int  # where the voxels' stream begins in its file; FROM_END
    folded: bool
    beside: str = ""  # the file of the voxels, in the same folder; empty: behind the header


def whole_numbers(text: str) -> tuple[int, ...]:
    """Those in a field. Raises BadData where there is something else."""
    return tuple(_parsed(int, part) for part in text.split())


def real_numbers(text: str) -> tuple[float, ...]:
    """Those in a field. Raises BadData where there is something else."""
    return tuple(_parsed(float, part) for part in text.split())


def required(fields: Mapping[str, str], name: str) -> str:
    """A field's text. Raises BadData where it is missing."""
    if not fields.get(name):
        raise BadData(Reason.CORRUPT, f"The header has no field {name}.")
    return fields[name]


def beside(name: str) -> str:
    """The name of a file in the header's own folder."""
    if "%" in name or name.upper().startswith("LIST") or len(name.split()) > 1:
        raise BadData(Reason.UNSUPPORTED, "The voxels are in several files; save them as one.")
    if PurePath(name).name != name or name in (".", ".."):
        raise BadData(
            Reason.UNSUPPORTED, "The header names voxels in another folder; put both files into one."
        )
    return name


def outlined(
    sizes: Sequence[int], dtype: np.dtype[Any], steps: NDArray[np.float64], known: Sequence[bool], **more: Any
) -> Volume:
    """A volume of these axes; ``steps`` [3, 3] leads along them, in RAS millimetres, one column each."""
    check_layout(sizes, dtype)
    affine = np.eye(4)
    affine[:3, :3] = steps
    affine[:3, 3] = more.pop("origin", (0.0, 0.0, 0.0))
    oriented = bool(more.pop("oriented", True))
    note = str(more.pop("note", ""))
    if not sound(affine):
        affine, known, oriented = np.full((4, 4), np.nan), (False,) * DIMENSIONS, False
        note = "The header's distances and directions span no volume."
    first, second, third = known
    return Volume(
        shape=padded_shape(sizes),
        dtype=dtype,
        slope=1.0,
        intercept=0.0,
        affine=affine,
        oriented=oriented,
        known=(first, second, third),
        geometry_note=note,
        offset=0,
        description=str(more.pop("description", "")),
    )


def _parsed(kind: type[Any], part: str) -> Any:
    try:
        return kind(part)
    except ValueError:
        raise BadData(Reason.CORRUPT, "The header has text where a number is required.") from None
