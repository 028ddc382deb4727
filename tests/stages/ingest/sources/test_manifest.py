"""A list of files as a source."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.batches import Located
from stages.errors import OperatorError
from stages.ingest.options import IngestOptions
from stages.ingest.site import Site
from stages.ingest.sources.manifest import ManifestSource, listed
from stages.ingest.sources.opening import absolute, location, open_sources
from tests.stages.ingest.maker import dicom, ramp, save

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
    found = list(ManifestSource(manifest, SITE, OPTIONS))
    assert [Path(place.path).name for one in found if isinstance(one, Located) for place in one.places] == [
        "a.dcm"
    ]
    assert [Path(one.path).name for one in found if not isinstance(one, Located)] == ["gone.dcm"]


@pytest.mark.parametrize(("data", "message"), [(b"\xff\xfe", "is not UTF-8"), (b"# none\n", "lists no file")])
def test_what_is_no_manifest_is_an_error(tmp_path: Path, data: bytes, message: str) -> None:
    """One sentence that names the file."""
    manifest = tmp_path / "list.txt"
    manifest.write_bytes(data)
    with pytest.raises(OperatorError, match=message):
        listed(manifest)


def test_paths_are_one_source_and_each_manifest_is_another(tmp_path: Path) -> None:
    """Folders that overlap are read once, so they go together."""
    opened = open_sources([str(tmp_path), "manifest:one.txt", "file.dcm", "manifest:two.txt"], SITE, OPTIONS)
    assert [type(source).__name__ for source in opened] == [
        "FolderSource",
        "ManifestSource",
        "ManifestSource",
    ]
    assert open_sources(["manifest:one.txt"], SITE, OPTIONS) == [
        ManifestSource(Path("one.txt"), SITE, OPTIONS)
    ]


def test_a_source_is_the_same_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a replay reads must not depend on where it is started."""
    monkeypatch.chdir(tmp_path)
    assert absolute("manifest:list.txt") == f"manifest:{tmp_path.resolve() / 'list.txt'}"
    assert absolute("study") == str(tmp_path.resolve() / "study")
    assert location("manifest:list.txt") == Path("list.txt")
