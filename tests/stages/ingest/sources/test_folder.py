from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from stages.base import Reason
from stages.batches import Copied, Located, Refused
from stages.ingest.options import IngestOptions
from stages.ingest.site import Site
from stages.ingest.sources.catalogue import Catalogue
from stages.ingest.sources.folder import scan
from stages.places import FileKind
from tests.stages.ingest.maker import SERIES, dicom, pseudonym, ramp, save, write_series


def located(found: list[Located | Refused | Copied]) -> list[Located]:
    assert [one for one in found if isinstance(one, Refused)] == []
    return [one for one in found if isinstance(one, Located)]


def refused(found: list[Located | Refused | Copied]) -> dict[str, Reason]:
    return {Path(one.path).name: one.reason for one in found if isinstance(one, Refused)}


def test_a_folder_is_walked_and_its_series_sorted(tmp_path: Path, site: Site, options: IngestOptions) -> None:
    """Two series mixed by name come whole, each by position."""
    write_series(tmp_path / "a", [9.0, 3.0, 6.0], f"{SERIES}.1")
    write_series(tmp_path / "a" / "b", [1.0, 2.0], f"{SERIES}.2")
    (only,) = located(list(scan([tmp_path], site, options)))
    names = [str(Path(place.path).relative_to(tmp_path)) for place in only.places]
    assert names == ["a/0001.dcm", "a/0002.dcm", "a/0000.dcm", "a/b/0000.dcm", "a/b/0001.dcm"]
    assert only.series == (pseudonym(site, f"{SERIES}.1"),) * 3 + (pseudonym(site, f"{SERIES}.2"),) * 2
    assert only.keys[0] == site.key(f"{SERIES}.1.2", 0)


def test_the_kind_is_found_from_content(tmp_path: Path, site: Site, options: IngestOptions) -> None:
    """Suffixes that lie, or are missing, do not matter."""
    save(dicom(ramp()), tmp_path / "0.png")
    Image.fromarray(ramp(dtype="u1", most=255)).save(tmp_path / "1", "PNG")
    Image.fromarray(ramp(dtype="u1", most=255)).save(tmp_path / "2.dcm", "JPEG")
    (only,) = located(list(scan([tmp_path], site, options)))
    kinds = {Path(place.path).name: place.kind for place in only.places}
    assert kinds == {"0.png": FileKind.DICOM, "1": FileKind.RASTER, "2.dcm": FileKind.RASTER}


def test_every_file_is_accounted_for(tmp_path: Path, site: Site, options: IngestOptions) -> None:
    """What is no image, or cannot be opened, is refused with its path, a reason and a sentence."""
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    no_pixels = dicom(ramp())
    del no_pixels.PixelData
    save(no_pixels, tmp_path / "report.dcm")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        found = list(scan([tmp_path], site, options))
    assert refused(found) == {
        "empty.dcm": Reason.EMPTY,
        "notes.txt": Reason.NOT_AN_IMAGE,
        ".DS_Store": Reason.NOT_AN_IMAGE,
        "nowhere": Reason.UNREADABLE,
        "loop": Reason.UNREADABLE,
        "pipe": Reason.UNREADABLE,
        "null": Reason.UNREADABLE,
        "socket": Reason.UNREADABLE,
        "report.dcm": Reason.NO_PIXELS,
    }
    assert all(one.key == site.path_key(one.path) for one in found if isinstance(one, Refused))
    assert all(str(tmp_path) not in one.detail for one in found if isinstance(one, Refused))


AS_NOBODY = """
import os, sys
from pathlib import Path
from stages.ingest.options import IngestOptions
from stages.ingest.sources.catalogue import Catalogue
from stages.ingest.sources.folder import scan
from stages.ingest.site import Site
if os.geteuid() == 0:  # root may read everything
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
for one in scan([Path(sys.argv[1])], Site(bytes(32)), IngestOptions()):
    paths = [place.path for place in one.places] if hasattr(one, "places") else [one.path]
    print(*(Path(path).name for path in paths), getattr(one, "reason", "found"))
"""


def test_what_may_not_be_read_is_refused() -> None:
    """A file and a folder without permission: each is named, the rest goes on."""
    with tempfile.TemporaryDirectory() as made:  # pytest's own folders are closed to other users
        top = Path(made)
        top.chmod(0o755)
        save(dicom(ramp()), top / "locked.dcm").chmod(0)
        save(dicom(ramp()), top / "open.dcm").chmod(0o644)
        (top / "sealed").mkdir(mode=0)
        ran = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, made], capture_output=True, text=True, check=True
        )
    assert sorted(ran.stdout.splitlines()) == [
        "locked.dcm unreadable",
        "open.dcm found",
        "sealed unreadable",
    ]


def test_a_folder_that_vanishes_is_refused(tmp_path: Path, site: Site) -> None:
    """Between being seen and being listed; the rest of the source goes on."""
    for name, most in (("a.png", 100), ("b.png", 200), ("gone/c.png", 255), ("here/d.png", 255)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(ramp(dtype="u1", most=most)).save(tmp_path / name)
    stream = scan([tmp_path], site, IngestOptions(batch=1))
    first = next(stream)
    shutil.rmtree(tmp_path / "gone")
    found = [first, *stream]
    assert refused(found) == {"gone": Reason.UNREADABLE}
    assert sum(len(one) for one in found if isinstance(one, Located)) == 3


def test_links_that_lead_back_are_followed_once(tmp_path: Path, site: Site, options: IngestOptions) -> None:
    """A folder reachable by three names is read once, and a circle ends."""
    write_series(tmp_path / "a", [1.0])
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert sum(map(len, located(list(scan([tmp_path, tmp_path / "a"], site, options))))) == 1


def test_listed_files_form_one_folder(tmp_path: Path, site: Site, options: IngestOptions) -> None:
    """A series given file by file is sorted like one found in a folder."""
    first, second = write_series(tmp_path, [5.0, 4.0])
    (only,) = located(list(scan([first, second], site, options)))
    assert [place.path for place in only.places] == [str(second), str(first)]


def test_relative_sources_become_absolute(
    tmp_path: Path, site: Site, options: IngestOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers read the places from another working directory."""
    write_series(tmp_path / "a", [5.0])
    monkeypatch.chdir(tmp_path)
    (only,) = located(list(scan([Path("a")], site, options)))
    assert only.places[0].path == str(tmp_path / "a" / "0000.dcm")


def test_a_missing_source_is_refused(tmp_path: Path, site: Site, options: IngestOptions) -> None:
    """As a dead letter's file that is gone when it is replayed."""
    assert refused(list(scan([tmp_path / "gone.dcm"], site, options))) == {"gone.dcm": Reason.UNREADABLE}


def test_a_path_that_the_system_refuses_to_look_at_is_refused(
    tmp_path: Path, site: Site, options: IngestOptions
) -> None:
    """A name too long, or a folder that may be listed but not entered."""
    path = tmp_path / ("a" * 300)
    assert refused(list(scan([path], site, options))) == {path.name: Reason.UNREADABLE}


def test_a_multi_frame_object_is_a_series_of_its_frames(
    tmp_path: Path, site: Site, options: IngestOptions
) -> None:
    """Beside another object of the same Series Instance UID, which stays another series."""
    for name in "12":
        save(dicom(np.stack([ramp()] * 3), f"{SERIES}.{name}"), tmp_path / name)
    (only,) = located(list(scan([tmp_path], site, options)))
    assert [place.frame for place in only.places] == [0, 1, 2, 0, 1, 2]
    assert only.keys[:3] == tuple(site.key(f"{SERIES}.1", frame) for frame in range(3))
    assert [stack.number for stack in only.stacks] == [1, 1, 1, 2, 2, 2]


def test_a_long_series_is_cut(tmp_path: Path, site: Site) -> None:
    """Five slices with room for two: three pieces of one group, with context across the cuts."""
    write_series(tmp_path, [1.0, 2.0, 3.0, 4.0, 5.0])
    made = located(list(scan([tmp_path], site, IngestOptions(batch=2))))
    assert [(len(one), one.parts) for one in made] == [(1, 3), (2, 3), (2, 3)]
    assert made[1].before == made[0].places[0]
    assert made[1].after == made[2].places[0]


def test_without_uids_the_content_is_the_key(tmp_path: Path, site: Site, options: IngestOptions) -> None:
    """The same bytes under another name are the same frame; one bit more and they are not."""
    plain = dicom(ramp())
    del plain.SOPInstanceUID, plain.SeriesInstanceUID
    save(plain, tmp_path / "a.dcm")
    (tmp_path / "b.dcm").write_bytes((tmp_path / "a.dcm").read_bytes())
    (tmp_path / "c.dcm").write_bytes((tmp_path / "a.dcm").read_bytes() + b"\0")
    found = list(scan([tmp_path], site, options))
    assert [one.path for one in found if isinstance(one, Copied)] == [str(tmp_path / "b.dcm")]
    assert len({key for one in located(found) for key in one.keys}) == 2


def test_tiff_pages_are_frames(tmp_path: Path, site: Site, options: IngestOptions) -> None:
    """A picture of three pages is a series of three."""
    tifffile.imwrite(tmp_path / "a.tif", np.stack([ramp()] * 3), photometric="minisblack")
    (only,) = located(list(scan([tmp_path], site, options)))
    assert [place.frame for place in only.places] == [0, 1, 2]
    assert len(set(only.keys)) == 3


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        (IngestOptions(max_frames=2), Reason.TOO_LARGE),
        (IngestOptions(max_file_bytes=100), Reason.TOO_LARGE),
    ],
)
def test_files_over_a_limit_are_refused(
    tmp_path: Path, site: Site, limit: IngestOptions, reason: Reason
) -> None:
    """As one, before anything is read of them."""
    save(dicom(np.stack([ramp()] * 3)), tmp_path / "a.dcm")
    tifffile.imwrite(tmp_path / "b.tif", np.stack([ramp()] * 3), photometric="minisblack")
    assert refused(list(scan([tmp_path], site, limit))) == {"a.dcm": reason, "b.tif": reason}


@pytest.mark.parametrize("claimed", ["1000000000", "-5", "1A", "9999999999"])
def test_a_false_claim_of_frames_is_one_refusal(
    tmp_path: Path, site: Site, options: IngestOptions, claimed: str
) -> None:
    """Whatever a tiny file claims."""
    path = save(dicom(ramp(), NumberOfFrames="4000000000"), tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes().replace(b"4000000000", claimed.ljust(10).encode(), 1))
    (found,) = scan([tmp_path], site, options)
    assert isinstance(found, Refused)


@pytest.mark.parametrize("claimed", ["", "0", "1"])
def test_no_number_of_frames_is_one_frame(
    tmp_path: Path, site: Site, options: IngestOptions, claimed: str
) -> None:
    """Written as zero by some; the object stays part of its series."""
    path = save(dicom(ramp(), NumberOfFrames="4000000000"), tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes().replace(b"4000000000", claimed.ljust(10).encode(), 1))
    (only,) = located(list(scan([tmp_path], site, options)))
    assert only.series == (pseudonym(site, SERIES),)


def test_a_volume_streams_before_the_whole_source_is_read(tmp_path: Path, site: Site) -> None:
    """A file that is a series by itself waits for nothing."""
    for name in "ab":
        tifffile.imwrite(tmp_path / f"{name}.tif", np.stack([ramp()] * 3), photometric="minisblack")
    stream = scan([tmp_path], site, IngestOptions(batch=2))
    assert isinstance(next(stream), Located)
    (tmp_path / "b.tif").unlink()
    assert refused(list(stream)) == {"b.tif": Reason.UNREADABLE}


def test_names_of_a_large_folder_are_not_held_in_memory(tmp_path: Path) -> None:
    """They come by name whatever their number is: a page of them at a time, from the temporary file."""
    names = [f"{n * 7919 % 3000:04d}-{'x' * 200}" for n in range(3000)]
    folder = tmp_path / "flat"
    folder.mkdir()
    (folder / names[0]).touch()
    for name in names[1:]:
        os.link(folder / names[0], folder / name)
    with Catalogue() as catalogue:
        tracemalloc.start()
        try:
            assert catalogue.list_folder(folder)
            assert all(
                path.name == name
                for path, name in zip(catalogue.inside(folder, below=False), sorted(names), strict=True)
            )
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert list(catalogue.inside(folder, below=False)) == []
        assert not catalogue.list_folder(folder)
    assert most < sum(map(len, names)) / 2
