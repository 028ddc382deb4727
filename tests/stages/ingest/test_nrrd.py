"""NRRD headers, read from their text alone; whole files are in test_volumes.py."""

from __future__ import annotations

import numpy as np
import pytest

from stages.ingest.nrrd import nrrd
from stages.ingest.outline import FROM_END

HEAD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 6 5 4\nendian: little\nencoding: raw\n"
DIRECTIONS = "space directions: (0.5,0,0) (0,0.6,0) (0,0,3)\nspace origin: (1,2,3)\n"


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("left-posterior-superior", (-1, -1, 1)),
        ("LPS", (-1, -1, 1)),
        ("right-anterior-superior", (1, 1, 1)),
        ("left-anterior-superior", (-1, 1, 1)),
        ("las", (-1, 1, 1)),
    ],
)
def test_a_space_turns_axes_and_stretches_none(space: str, signs: tuple[int, int, int]) -> None:
    """Steps and origin are those of the header, each with the sign that its axis has in RAS."""
    volume = nrrd(f"{HEAD}space: {space}\n{DIRECTIONS}\n".encode()).volume
    turned = np.diag(signs) @ np.diag([0.5, 0.6, 3.0])
    np.testing.assert_allclose(volume.affine[:3, :3], turned)
    np.testing.assert_allclose(volume.affine[:3, 3], np.array(signs) * [1, 2, 3])


@pytest.mark.parametrize(
    ("fields", "first"),
    [("", None), ("byte skip: 3\n", 3), ("byte skip: -1\n", FROM_END)],
    ids=["at once", "after a gap", "at the end"],
)
@pytest.mark.parametrize("detached", [True, False])
def test_voxels_begin_behind_the_header_or_in_a_file_of_their_own(
    fields: str, first: int | None, *, detached: bool
) -> None:
    """A gap counts from the blank line, or from the beginning of the file that is named."""
    head = f"{HEAD}{fields}{'data file: a.raw' + chr(10) if detached else ''}\n"
    found = nrrd(head.encode() + bytes(240))
    begin = 0 if detached else len(head)
    assert found.start == (first if first == FROM_END else begin + (first or 0))
    assert found.beside == ("a.raw" if detached else "")
