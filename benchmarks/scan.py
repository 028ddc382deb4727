"""Scanning a source of many DICOM files: files a second against pydicom's own header reader, and memory.

    python -m benchmarks.scan [--files 100000] [--json]

Series of 24 slices are dealt out to folders in turns, so that no folder holds one whole. The peer reads every
header by ``dcmread(stop_before_pixels=True)`` and keeps nothing. It runs before and after, so that neither
has the warmer cache.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

from pydicom import dcmread

from benchmarks.report import at_least, at_most, emit
from evaluation.phantom import Phantom, write_series
from stages.batches import Located
from stages.ingest.options import IngestOptions
from stages.ingest.site import Site
from stages.ingest.sources.folder import FolderSource

_SLICES = 24
_FOLDERS = 100
_UID = b"1.2.826.0.1.3680043.10.1%d.1%08d"


def make(folder: Path, count: int) -> None:
    """Files with headers of usual length and small pixels, each of its own instance and series."""
    (folder / "one").mkdir()
    write_series(folder / "one", Phantom(), 1, "0")
    dataset = dcmread(next((folder / "one").iterdir()))
    dataset.Rows = dataset.Columns = 16
    dataset.PixelData = bytes(512)
    marks = {name: _UID % (0, number) for number, name in enumerate(("SOPInstanceUID", "SeriesInstanceUID"))}
    for name, uid in marks.items():
        setattr(dataset, name, uid.decode())
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(folder / "one.dcm", enforce_file_format=True)
    template = (folder / "one.dcm").read_bytes()
    for name in range(_FOLDERS):
        (folder / "source" / f"{name:03d}").mkdir(parents=True)
    for number in range(count):
        made = template.replace(marks["SOPInstanceUID"], _UID % (1, number))
        made = made.replace(marks["SeriesInstanceUID"], _UID % (2, number // _SLICES))
        (folder / "source" / f"{number % _FOLDERS:03d}" / f"{number:08d}.dcm").write_bytes(made)


def peer(files: list[Path]) -> float:
    """Seconds that pydicom takes for the headers."""
    began = time.perf_counter()
    for file in files:
        dcmread(file, stop_before_pixels=True)
    return time.perf_counter() - began


def ours(source: Path) -> tuple[float, float, int]:
    """Seconds of the scan and until the first batch, and how many frames it found."""
    began = time.perf_counter()
    frames, first = 0, 0.0
    for item in FolderSource([source], Site(bytes(32)), IngestOptions()):
        first = first or time.perf_counter() - began
        frames += len(item) if isinstance(item, Located) else 0
    return time.perf_counter() - began, first, frames


def main() -> None:
    """Make the files, read them by both, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), arguments.files)
        files = sorted(Path(folder, "source").rglob("*.dcm"))
        before = peer(files)
        held_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds, first, frames = ours(Path(folder, "source"))
        grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held_kib) / 1024
        after = peer(files)
    if frames != arguments.files:
        raise SystemExit(f"{arguments.files} files were made and {frames} frames found")
    results = {
        "files": arguments.files,
        "scan_files_per_second": arguments.files / seconds,
        "pydicom_files_per_second": 2 * arguments.files / (before + after),
        "first_batch_seconds": first,
        "memory_growth_mib": grown_mib,
    }
    goals = [
        at_least("files a second, ours to pydicom's", (before + after) / 2 / seconds, "times", 1.0),
        at_most("memory growth", grown_mib, "MiB", 200),
    ]
    emit("scan", results, goals, ("pydicom",), as_json=arguments.json)


if __name__ == "__main__":
    main()
