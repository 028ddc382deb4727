"""A list of files as a source."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.batches import Copied, Located, Refused
from stages.errors import OperatorError
from stages.ingest.options import IngestOptions
from stages.ingest.site import Site
from stages.ingest.sources.manifest import Line, check, listed
from stages.ingest.sources.opening import absolute, location, open_sources
from tests.stages.ingest.maker import SERIES, dicom, ramp, save, set_uid, write_series

SITE, OPTIONS = Site(bytes(32)), IngestOptions()


def test_a_manifest_lists_paths_from_its_own_folder(tmp_path: Path) -> None:
    """Comments and blank lines are skipped; an absolute path stays as it is."""
    manifest = tmp_path / "list.txt"
    manifest.write_text("# two files\n\na.dcm\n  sub/b.dcm  \n/there/c.dcm\n")
    paths = [line.path for line in listed(manifest)]
    assert paths == [tmp_path / "a.dcm", tmp_path / "sub/b.dcm", Path("/there/c.dcm")]


def test_a_line_may_name_the_series_of_its_file(tmp_path: Path) -> None:
    """Behind a tab, in any words; a byte order mark, as some editors write it, is no part of a path."""
    manifest = tmp_path / "list.txt"
    manifest.write_text("\ufeffa.dcm\tT2 axial\nb 1.dcm \t T2 axial\nc.dcm\t\nd.dcm\n")
    assert list(listed(manifest)) == [
        Line(tmp_path / "a.dcm", "T2 axial"),
        Line(tmp_path / "b 1.dcm", "T2 axial"),
        Line(tmp_path / "c.dcm"),
        Line(tmp_path / "d.dcm"),
    ]


def test_a_series_starts_when_its_lines_are_read(tmp_path: Path) -> None:
    """Before files of later lines are; one of lines without a name waits for the end, and so do folders."""
    for series in "1234":
        write_series(tmp_path / series, [0.0, 3.0], f"{SERIES}.{series}")
    lines = [
        *("1/0000.dcm", "4"),
        *(f"{series}/000{row}.dcm\tseries {series}" for series in "23" for row in (0, 1)),
        "1/0001.dcm",
    ]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    (source,) = open_sources([f"manifest:{tmp_path / 'list.txt'}"], SITE, IngestOptions(batch=2))
    stream = iter(source)
    assert folders(next(stream)) == ["2", "2"]
    assert source.scanned < 6
    assert [folders(one) for one in stream] == [["3", "3"], ["1", "1"], ["4", "4"]]


def test_a_slice_behind_the_lines_of_its_series_gives_it_once_more(tmp_path: Path) -> None:
    """As after a DICOMDIR: nothing is lost where a manifest is wrong."""
    write_series(tmp_path / "a", [0.0, 3.0, 6.0])
    (tmp_path / "list.txt").write_text("a/0000.dcm\tx\na/0001.dcm\tx\na/0002.dcm\ty\n")
    (source,) = open_sources([f"manifest:{tmp_path / 'list.txt'}"], SITE, OPTIONS)
    assert [len(one) for one in source if isinstance(one, Located)] == [2, 3]


def folders(found: Located | Refused | Copied) -> list[str]:
    assert isinstance(found, Located)
    return [Path(place.path).parent.name for place in found.places]


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
        check(manifest)


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
