"""The marks that tell acquisitions apart, at the top of an object and in functional groups."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag

from stages.ingest.acquisition import Acquisition, acquisition
from stages.ingest.options import IngestOptions
from stages.ingest.probe import probe
from stages.ingest.site import Site
from tests.stages.ingest.maker import dicom, item, ramp, save


def marks(dataset: Dataset, path: Path) -> Acquisition:
    """Of the first frame, as the scan finds them."""
    return probe(save(dataset, path), Site(bytes(32)), IngestOptions()).slices[0].acquisition


@pytest.mark.parametrize(
    ("attributes", "mark", "value"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M"]}, "image_type", "ORIGINAL\\PRIMARY\\M"),
        ({"ComplexImageComponent": "PHASE"}, "image_type", "PHASE"),
        ({"DiffusionBValue": 800.0}, "b_value", "800"),
        ({"DiffusionGradientOrientation": [0.0, 1.0, 0.0]}, "gradient", "0.0\\1.0\\0.0"),
        ({"EchoNumbers": 2}, "echo", "2"),
        ({"EchoTime": "13.8"}, "echo_time", "13.8"),
        ({"InversionTime": "250"}, "inversion_time", "250"),
        ({"TemporalPositionIdentifier": 4}, "temporal_position", "4"),
        ({"TriggerTime": "312.5"}, "phase", "312.5"),
        ({"AcquisitionNumber": 3}, "number", "3"),
        ({"AcquisitionTime": "120001.5"}, "time", "120001.5"),
        ({"ContentTime": "120002"}, "content_time", "120002"),
    ],
)
def test_a_mark_at_the_top(tmp_path: Path, attributes: dict[str, object], mark: str, value: str) -> None:
    """As text, one attribute each; all others stay empty."""
    assert marks(dicom(ramp(), **attributes), tmp_path / "a") == Acquisition(**{mark: value})


@pytest.mark.parametrize("group", ["PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"])
def test_marks_in_functional_groups(tmp_path: Path, group: str) -> None:
    """The frame's own or the shared ones, of an object with one frame as well."""
    groups = item(
        FrameContentSequence=item(
            StackID="A", FrameAcquisitionNumber=7, TemporalPositionIndex=2, FrameAcquisitionDateTime="2026"
        ),
        MREchoSequence=item(EffectiveEchoTime=4.5),
        MRDiffusionSequence=item(
            DiffusionBValue=50.0,
            DiffusionGradientDirectionSequence=item(DiffusionGradientOrientation=[1.0, 0.0, 0.0]),
        ),
        MRImageFrameTypeSequence=item(FrameType=["ORIGINAL", "PRIMARY"], ComplexImageComponent="REAL"),
        CardiacSynchronizationSequence=item(NominalCardiacTriggerDelayTime=33.0),
    )
    found = marks(dicom(ramp(), ImageType=["X"], **{group: groups}), tmp_path / "a")
    assert found == Acquisition(
        image_type="ORIGINAL\\PRIMARY\\REAL",
        stack="A",
        b_value="50",
        gradient="1.0\\0.0\\0.0",
        echo_time="4.5",
        temporal_position="2",
        phase="33",
        number="7",
        time="2026",
    )


def test_dimensions_that_are_no_place_are_marks(tmp_path: Path) -> None:
    """Whatever a vendor indexes its frames by; the position in the stack is no mark."""
    made = dicom(
        ramp(),
        DimensionIndexSequence=[
            item(DimensionIndexPointer=0x00209057)[0],
            item(DimensionIndexPointer=0x00181060)[0],
        ],
        PerFrameFunctionalGroupsSequence=item(FrameContentSequence=item(DimensionIndexValues=[9, 4])),
    )
    assert marks(made, tmp_path / "a") == Acquisition(dimensions="4")


@pytest.mark.filterwarnings("ignore")
@given(
    vr=st.sampled_from(["CS", "DA", "TM", "DS"]),
    value=st.text("09.+-eA \\\\\0", max_size=12)
    | st.text(max_size=6)
    | st.floats(0, 1e6).map("{:.6g} ".format),
)
def test_a_raw_value_is_the_mark_that_the_converted_one_is(vr: str, value: str) -> None:
    """The commonest are not converted, for the scan's sake."""
    raw = value.encode("latin-1", "ignore")
    tag = BaseTag(0x00180081 if vr == "DS" else 0x00080033)
    plain, converted = (
        Dataset({tag: RawDataElement(tag, vr, len(raw), raw, 0, False, True)}) for _ in range(2)
    )
    with suppress(Exception):
        _ = converted[tag]
    assert acquisition(plain, 0) == acquisition(converted, 0)


def test_a_damaged_value_is_no_mark() -> None:
    """An FD of a length that no number has; the frame keeps its other marks."""
    made = dicom(ramp(), EchoNumbers=2)
    made[0x00189087] = RawDataElement(BaseTag(0x00189087), "FD", 3, b"1.5", 0, False, True)
    assert acquisition(made, 0) == Acquisition(echo="2")
