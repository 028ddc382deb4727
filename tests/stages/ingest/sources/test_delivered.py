"""Files of a later run beside what was delivered: which come first, and which are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.base import Reason
from stages.batches import Located
from stages.ingest.likeness import geometry_text
from stages.ingest.options import IngestOptions
from stages.ingest.probe import probe
from stages.ingest.site import Site
from stages.ingest.sources.folder import FolderSource, nothing_earlier
from stages.places import Held
from tests.stages.ingest.maker import ramp, write_series
from tests.stages.ingest.sources.test_series import OPTIONS, Work, edit, letters, paths


def streamed(folder: Path, site: Site, held: dict[bytes, Held]) -> Work:
    return list(
        FolderSource(
            [folder], site, OPTIONS, nothing_earlier, delivered=lambda keys: {k: held[k] for k in keys}
        )
    )


def delivered(path: Path, site: Site) -> dict[bytes, Held]:
    (one,) = probe(path, site, IngestOptions()).slices
    return {one.key: Held(b"content", str(path), "2026-11-01", geometry_text(one))}


def test_a_delivered_file_comes_before_one_that_its_name_puts_first(tmp_path: Path, site: Site) -> None:
    """It is the reference: the other one is the conflict."""
    (old,) = write_series(tmp_path / "old", [0.0])
    (new,) = write_series(tmp_path / "new", [0.0])
    edit(new, PixelData=ramp()[::-1].tobytes())
    found = streamed(tmp_path, site, delivered(old, site))
    assert paths(found) == [old]
    assert [(one.path, one.reason) for one in letters(found)] == [(str(new), Reason.CONFLICT)]
    (only,) = (one for one in found if isinstance(one, Located))
    assert (only.held[0], only.stacks[0].conflicts) == (delivered(old, site)[only.keys[0]], 1)


@pytest.mark.parametrize("spacing", [[2.5, 2.5], None])
def test_another_geometry_than_the_delivered_is_refused(
    tmp_path: Path, site: Site, spacing: list[float] | None
) -> None:
    """By the header alone; so is a file that lacks what the delivered one stated."""
    (path,) = write_series(tmp_path, [0.0])
    edit(path, PixelSpacing=[1.0, 1.0])
    held = delivered(path, site)
    edit(path, PixelSpacing=spacing)
    found = streamed(tmp_path, site, held)
    (letter,) = letters(found)
    assert (paths(found), letter.reason) == ([], Reason.CONFLICT)
    assert f"{path} on 2026-11-01" in letter.detail


def test_the_delivered_image_in_another_place_is_used(tmp_path: Path, site: Site) -> None:
    """Its header agrees; the file that was overwritten meanwhile is the conflict."""
    (path,) = write_series(tmp_path / "a", [0.0])
    edit(path, PixelSpacing=[1.0, 1.0])
    held = delivered(path, site)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "moved.dcm").write_bytes(path.read_bytes())
    edit(path, PixelSpacing=[2.5, 2.5])
    found = streamed(tmp_path, site, held)
    assert paths(found) == [tmp_path / "b" / "moved.dcm"]
    assert [one.path for one in letters(found)] == [str(path)]
