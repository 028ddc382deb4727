"""``medsecure demo``: a run on a synthetic study and on the test images that pydicom bundles."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from pipeline.cli.console import emit, show_summary
from pipeline.cli.search import show_hits
from pipeline.run.job import Job, JobError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.config import Settings
    from pipeline.run.summary import Summary

_PATIENTS, _SLICES = 4, 24


def run(out: Path, settings: Settings, stream: Callable[[Job], Summary], *, as_json: bool) -> None:
    """Make a study and keys, stream them, verify the index, search it. Raises JobError on findings."""
    from pipeline.queries.search import search
    from pipeline.queries.vector import describe_image
    from stages.encrypt.keys.folder import load_owner, new_keys
    from stages.encrypt.keys.opening import open_sealed
    from stages.index.check.verify import verify
    from stages.index.reader import open_reader

    say = Console(highlight=False, soft_wrap=True, stderr=as_json).print
    if out.exists() and any(out.iterdir()):
        raise JobError(f"{out} is not empty: choose another folder with --out, or remove it")
    say(f"[bold]1.[/] {_PATIENTS} synthetic patients in {out / 'study'}, keys in {out / 'keys'}")
    files = _write_study(out / "study")
    new_keys(out / "keys", None)
    say("[bold]2.[/] Streaming them and pydicom's test images, damaged ones included")
    bundled = Path(str(resources.files("pydicom") / "data" / "test_files"))
    job = Job((str(out / "study"), str(bundled)), out / "index", out / "results", out / "keys", settings)
    summary = stream(job)
    if not as_json:
        show_summary(summary, job.results, job.index)
    report = verify(job.index)
    if not report.ok:
        raise JobError(f"the index of the demo does not verify: {report.errors[0].reason}")
    say(f"[bold]3.[/] All {report.size:,} records of the index hashed again: no damage")
    asked = files[len(files) // 2]
    say(f"[bold]4.[/] Searching for {asked}: scores computed on ciphertexts, decrypted with the owner's key")
    owner = load_owner(out / "keys", None)
    reader = open_reader(job.index)
    hits = search(reader, {owner.key_id: owner}, describe_image(asked, None, settings), top=5).hits
    if not as_json:
        show_hits(hits)
    first = json.loads(
        open_sealed(owner, reader.record(hits[0].index).sealed, aad=bytes.fromhex(hits[0].key))
    )
    say(f"The best match is {first['PatientName']}, {first['FileName']}: its owner opened the sealed name")
    if as_json:
        emit({"summary": summary.as_json(), "hits": [hit.as_json() for hit in hits]})


def _write_study(folder: Path) -> list[Path]:
    from evaluation.phantom import Phantom, write_series

    return [
        file
        for number in range(_PATIENTS)
        for file in write_series(folder / f"patient-{number}", Phantom(seed=number), _SLICES, f"DEMO{number}")
    ]
