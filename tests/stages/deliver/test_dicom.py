"""The planes of a stack, read again from their DICOM files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stages.deliver.dicom import read_stack, stated_gap_mm, thickness_mm
from stages.deliver.masks import MaskMaker
from stages.deliver.options import DeliverOptions
from stages.deliver.planes import SegmentedFrame, by_series
from stages.ingest.options import IngestOptions
from stages.ingest.site import Site
from tests.stages.deliver.conftest import SECRET

if TYPE_CHECKING:
    from tests.stages.deliver.conftest import Clinic


def rows_of(clinic: Clinic, count: int) -> list[SegmentedFrame]:
    (rows,) = by_series(clinic.batch(clinic.dicom(count), clinic.balls(count)), Site(SECRET)).values()
    return rows


def test_planes_have_their_places_and_the_thickness_that_is_stated(clinic: Clinic) -> None:
    """In the order of the rows; where no distance to the next slice is stated, the thickness is taken."""
    stack, failed = read_stack(rows_of(clinic, 3))
    assert failed == {}
    assert [plane.depth_mm for plane in stack.planes] == [0.0, 3.0, 6.0]
    assert [thickness_mm(plane) for plane in stack.planes] == [2.5, 2.5, 2.5]
    assert stated_gap_mm(stack.planes[0]) == 2.5


def test_a_plane_whose_source_is_gone_is_told_to_whoever_asked(clinic: Clinic) -> None:
    """The mask is made of the others, and the row that failed has its sentence."""
    rows = rows_of(clinic, 4)
    Path(rows[1].place.path).unlink()
    failed: dict[bytes, str] = {}
    (mask,) = MaskMaker(DeliverOptions(), IngestOptions(), "", list).of(rows, failed)
    assert len(mask.stack.planes) == 3
    assert list(failed) == [rows[1].key]
    assert failed[rows[1].key].startswith("The source cannot be read again.")
