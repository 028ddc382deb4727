"""A list of files as a source."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.batches import Located, Refused
from stages.errors import OperatorError
from stages.ingest.options import IngestOptions
from stages.ingest.site import Site
from stages.ingest.sources.manifest import listed
from stages.ingest.sources.opening import absolute, location, open_sources
from tests.stages.ingest.maker import SERIES, dicom, ramp, save, set_uid, write_series

SITE, OPTIONS = Site(bytes(32)), IngestOptions()


def test_a_manifest_lists_paths_from_its_own_folder(tmp_path: Path) -> None:
    """Comments and blank lines are skipped; an absolute path stays as it is."""
    manifest = tmp_path / "list.txt"
    manifest.write_text("# two files\n\na.dcm\n  sub/b.dcm  \n/there/c.dcm\n")
    assert listed(manifest) == [tmp_path / "a.dcm", tmp_path / "sub/b.dcm", Path("/there/c.dcm")]


def test_only_what_is_listed_is_read(tmp_path: Path) -> None:
    """Files beside the listed ones are left alone; a missing one is refused by name."""
    save(dicom(ramp(8, 8)), tmp_path / "a.dcm")
    save(dicom(ramp(8, 8)), tmp_path / "b.dcm")
    manifest = tmp_path / "list.txt"
    manifest.write_text("a.dcm\ngone.dcm\n")
    found = [one for source in open_sources([f"manifest:{manifest}"], SITE, OPTIONS) for one in source]
    assert [Path(place.path).name for one in found if isinstance(one, Located) for place in one.places] == [
        "a.dcm"
    ]
    assert [Path(one.path).name for one in found if isinstance(one, Refused)] == ["gone.dcm"]


@pytest.mark.parametrize(("data", "message"), [(b"\xff\xfe", "is not UTF-8"), (b"# none\n", "lists no file")])
def test_what_is_no_manifest_is_an_error(tmp_path: Path, data: bytes, message: str) -> None:
    """One sentence that names the file."""
    manifest = tmp_path / "list.txt"
    manifest.write_bytes(data)
    with pytest.raises(OperatorError, match=message):
        listed(manifest)


def test_all_files_and_folders_are_one_source(tmp_path: Path) -> None:
    """A series may lie in a folder and, in part, in files that a manifest lists."""
    write_series(tmp_path / "study", [1.0, 3.0])
    write_series(tmp_path / "late", [2.0])
    set_uid(tmp_path / "late" / "0000.dcm", f"{SERIES}.99")
    (tmp_path / "list.txt").write_text("late/0000.dcm\n")
    (only,) = open_sources([str(tmp_path / "study"), f"manifest:{tmp_path / 'list.txt'}"], SITE, OPTIONS)
    (made,) = only
    assert isinstance(made, Located)
    names = [Path(place.path).parent.name for place in made.places]
    assert names == ["study", "late", "study"]


def test_a_source_is_the_same_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a replay reads must not depend on where it is started."""
    monkeypatch.chdir(tmp_path)
    assert absolute("manifest:list.txt") == f"manifest:{tmp_path.resolve() / 'list.txt'}"
    assert absolute("study") == str(tmp_path.resolve() / "study")
    assert location("manifest:list.txt") == Path("list.txt")
