"""DICOM Segmentation objects (PS3.3 A.51) by highdicom: binary, one segment, referencing their source.

A stack's planes may come from single-frame files, from several multi-frame objects, or from some frames of
one. highdicom takes single-frame images or one whole multi-frame object; so each plane is described to it
by a plain single-frame header, and afterwards the references get their real instances and frame numbers.

The same result is the same object, to the byte: UIDs follow from source, model and masks, and content date
and time are those of the source, not of the making.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from copy import copy
from hashlib import sha256
from io import BytesIO
from typing import Any, Final

import highdicom
import numpy as np
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import MRImageStorage, generate_uid
from pydicom.valuerep import DA, DS, TM

from stages.deliver.dicom import is_multiframe, thickness_mm
from stages.deliver.extent import depths_mm, distance_mm, gaps_mm, usual_mm
from stages.deliver.planes import Plane, Stack
from stages.deliver.product import NOTICE, OUTLINE_RGB, PRODUCT, VERSION

# Attributes that every composite object has, if only empty (type 2): Patient and General Study modules.
TYPE_2: Final = ("PatientID", "PatientName", "AccessionNumber", "StudyID", "ReferringPhysicianName")
MOMENTS: Final[dict[str, type[DA | TM]]] = {"PatientBirthDate": DA, "StudyDate": DA, "StudyTime": TM}
# Where the source's content is dated, the first that is; each a date and a time of day.
DATED: Final = ("Content", "Acquisition", "Series", "Study")
UNDATED: Final = ("19700101", "000000")
SEXES: Final = ("M", "F", "O")
REFERENCED: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
UTF_8: Final = "ISO_IR 192"
MOST_BYTES: Final = 1 << 31  # of one stack's masks, a byte a pixel
GROUPS: Final = (0x52009229, 0x52009230)  # functional groups: shared, per frame
MARK: Final = "OUT OF DISTRIBUTION"
MARKED_NOTICE: Final = "OUT OF DISTRIBUTION, do not rely on it. Research use only."
LONGEST: Final = 64  # characters of a value of VR LO
EVEN: Final = 1e-2  # relative: distances that differ by less have one value


class CannotSegment(Exception):  # noqa: N818  (a caveat about the source, not an error of this program)
    """The source lacks what a SEG must copy from it; the message is one sentence without identity."""


def encode(stack: Stack, series_number: int, model: str, *, marked: bool = False) -> bytes:
    """The stack's masks as a SEG file; ``marked`` where its descriptions say that it is out of distribution.

    Planes without structure are referenced but hold no frame; a stack without any keeps one empty frame
    of its middle plane, which says that it was looked at.
    """
    first = stack.planes[0].header
    for keyword in REFERENCED:
        if any(not plane.header.get(keyword) for plane in stack.planes):
            raise CannotSegment(f"The source has no {keyword}, which a DICOM Segmentation must refer to.")
    planes = _with_structure(stack.planes)
    try:
        seg = highdicom.seg.Segmentation(
            source_images=_plain_headers(planes),
            pixel_array=np.stack([plane.result.mask.unpack() for plane in planes]),
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[_prostate(model)],
            series_instance_uid=_series_uid(first, model, marked),
            series_number=series_number,
            sop_instance_uid=_instance_uid(stack, model, marked),
            instance_number=stack.id.number,
            manufacturer=PRODUCT,
            manufacturer_model_name=PRODUCT,
            software_versions=VERSION,
            device_serial_number=model or VERSION,
            content_label="PROSTATE",
            content_description=MARKED_NOTICE if marked else NOTICE,
            series_description=f"Prostate segmentation, {PRODUCT}" + f", {MARK}" * marked,
            specific_character_set=UTF_8,
        )
        _refer(seg, stack, planes)
        _measure(seg, stack)
        _date(seg, first)
        stream = BytesIO()
        seg.save_as(stream)
    except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError, struct.error) as error:
        # highdicom meets headers of any quality; what it raises may quote them, so only its type goes on.
        lack = type(error).__name__
        raise CannotSegment(f"The source's header does not allow a DICOM Segmentation ({lack}).") from error
    return stream.getvalue()


def _with_structure(planes: tuple[Plane, ...]) -> tuple[Plane, ...]:
    """The planes that get a frame."""
    found = tuple(plane for plane in planes if plane.result.mask.bits.any()) or (planes[len(planes) // 2],)
    height, width = found[0].result.mask.shape
    if len(found) * height * width > MOST_BYTES:
        raise CannotSegment("The source is too large for one DICOM Segmentation.")
    return found


def _plain_headers(planes: Sequence[Plane]) -> list[Dataset]:
    """A single-frame header for each plane, named by its number; the first also says whose it is."""
    headers = []
    for number, plane in enumerate(planes):
        header = _completed(plane.header) if number == 0 else Dataset()
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Rows", "Columns"):
            setattr(header, keyword, plane.header.get(keyword))
        header.SOPClassUID = MRImageStorage
        header.SOPInstanceUID = f"2.25.{number}"
        header.ImagePositionPatient = _decimals(plane.position_mm)
        header.ImageOrientationPatient = _decimals(planes[0].orientation)  # one: they differ by noise only
        header.PixelSpacing = _decimals(planes[0].spacing_mm)
        header.SliceThickness = None
        headers.append(header)
    return headers


def _decimals(values: Any) -> list[Any]:
    return [DS(float(value), auto_format=True) for value in values]


def _completed(source: Dataset) -> Dataset:
    """A copy with what a conformant object would have, if only empty, and without functional groups."""
    header = Dataset()
    header.update({tag: copy(element) for tag, element in source.items() if tag not in GROUPS})
    for keyword in TYPE_2:
        if keyword not in header:
            setattr(header, keyword, "")
    for keyword, moment in MOMENTS.items():
        setattr(header, keyword, _valid(str(header.get(keyword) or ""), moment))
    if header.get("PatientSex") not in SEXES:
        header.PatientSex = ""
    if "Modality" not in header:
        header.Modality = "OT"
    return header


def _valid(value: str, moment: type[DA | TM]) -> str:
    """A date or time without the dots and colons of ACR-NEMA; empty where it is none."""
    value = value.replace(":", "").replace(".", "") if moment is DA else value.replace(":", "")
    try:
        moment(value)
    except ValueError:
        return ""
    return value


def _prostate(model: str) -> highdicom.seg.SegmentDescription:
    return highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label="Prostate",
        segmented_property_category=codes.cid7150.AnatomicalStructure,
        segmented_property_type=codes.SCT.Prostate,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=PRODUCT,
            family=codes.cid7162.ArtificialIntelligence,
            version=VERSION,
            parameters={"weights": model} if model else None,
        ),
        display_color=highdicom.color.CIELabColor.from_rgb(*OUTLINE_RGB),
    )


def _series_uid(source: Dataset, model: str, marked: bool) -> str:
    """One series for all stacks of a source series; marked ones apart, since a series has one description."""
    whose = [str(source.get(name) or "") for name in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID")]
    return generate_uid(entropy_srcs=[PRODUCT, VERSION, model, *whose, MARK * marked])


def _instance_uid(stack: Stack, model: str, marked: bool) -> str:
    digest = sha256()
    for plane in stack.planes:
        digest.update(plane.result.key + plane.result.mask.bits.tobytes())
    return generate_uid(
        entropy_srcs=[PRODUCT, VERSION, model, str(stack.id.number), digest.hexdigest(), MARK * marked]
    )


def _refer(seg: highdicom.seg.Segmentation, stack: Stack, planes: Sequence[Plane]) -> None:
    """Name the real source of every frame, and each instance of the stack once, also those found empty."""
    for frame in seg.PerFrameFunctionalGroupsSequence:
        (source,) = frame.DerivationImageSequence[0].SourceImageSequence
        plane = planes[int(source.ReferencedSOPInstanceUID.rpartition(".")[2])]
        source.ReferencedSOPClassUID = plane.header.SOPClassUID
        source.ReferencedSOPInstanceUID = plane.header.SOPInstanceUID
        if is_multiframe(plane.header):
            source.ReferencedFrameNumber = plane.result.place.frame + 1
    references = []
    for plane in {str(plane.header.SOPInstanceUID): plane for plane in stack.planes}.values():
        reference = Dataset()
        reference.ReferencedSOPClassUID = plane.header.SOPClassUID
        reference.ReferencedSOPInstanceUID = plane.header.SOPInstanceUID
        references.append(reference)
    seg.SourceImageSequence = references
    seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence = references
    organisation = generate_uid(entropy_srcs=[str(seg.SOPInstanceUID), "dimensions"])
    for item in (*seg.DimensionOrganizationSequence, *seg.DimensionIndexSequence):
        item.DimensionOrganizationUID = organisation


def _measure(seg: highdicom.seg.Segmentation, stack: Stack) -> None:
    """Distance and thickness of slices, from positions and source; absent where these say nothing."""
    (measures,) = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    even = _even_distance_mm(stack)
    for keyword, value in (("SpacingBetweenSlices", even), ("SliceThickness", _thickness_mm(stack) or even)):
        if keyword in measures:
            delattr(measures, keyword)
        if value is not None:
            setattr(measures, keyword, DS(value, auto_format=True))


def _thickness_mm(stack: Stack) -> float | None:
    """What most slices state, the smallest of equals."""
    stated = Counter(value for plane in stack.planes if (value := thickness_mm(plane)) is not None)
    return max(stated, key=lambda value: (stated[value], -value)) if stated else None


def _even_distance_mm(stack: Stack) -> float | None:
    """The distance between slices where there is one."""
    depths = depths_mm(stack)
    if depths is None or len(depths) == 1:
        return None
    gaps = gaps_mm(depths)
    even = bool((abs(gaps - usual_mm(gaps)) <= EVEN * usual_mm(gaps)).all())
    return distance_mm(stack) if even else None


def _date(seg: highdicom.seg.Segmentation, source: Dataset) -> None:
    """The moment of the source's content; the moment of making would make another object each time."""
    for name in ("InstanceCreationDate", "InstanceCreationTime"):
        if name in seg:
            delattr(seg, name)
    for equipment in seg.get("ContributingEquipmentSequence", ()):
        if "ContributionDateTime" in equipment:
            del equipment.ContributionDateTime
    moments = (
        (_valid(str(source.get(f"{name}Date") or ""), DA), _valid(str(source.get(f"{name}Time") or ""), TM))
        for name in DATED
    )
    day, moment = next(((day, moment or UNDATED[1]) for day, moment in moments if day), UNDATED)
    seg.ContentDate, seg.ContentTime = DA(day), TM(moment)
