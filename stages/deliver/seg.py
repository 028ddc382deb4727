"""DICOM Segmentation objects (PS3.3 A.51) by highdicom: binary, one segment, referencing their source."""

from __future__ import annotations

import math
import struct
from hashlib import sha256
from io import BytesIO
from typing import Final

import highdicom
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid
from pydicom.valuerep import DA, DS, TM

from stages.deliver.dicom import is_multiframe, number_of_frames
from stages.deliver.planes import Plane, Stack
from stages.deliver.product import NOTICE, PRODUCT, VERSION

# Attributes that every composite object has, if only empty (type 2): Patient and General Study modules.
TYPE_2: Final = ("PatientID", "PatientName", "AccessionNumber", "StudyID", "ReferringPhysicianName")
MOMENTS: Final[dict[str, type[DA | TM]]] = {"PatientBirthDate": DA, "StudyDate": DA, "StudyTime": TM}
SEXES: Final = ("M", "F", "O")
REFERENCED: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
UTF_8: Final = "ISO_IR 192"
MOST_BYTES: Final = 1 << 31  # of one multi-frame object's masks, a byte a pixel
SHARED: Final = ("PixelMeasuresSequence", "PlaneOrientationSequence")
AMBER: Final = (83.0, 12.0, 82.0)  # CIELab, as the outline of the overlay


class CannotSegment(Exception):  # noqa: N818  (a finding about the source, not an error of this program)
    """The source lacks what a SEG must copy from it; the message is one sentence without identity."""


def encode(stack: Stack, series_number: int, instance_number: int, model: str) -> bytes:
    """The stack's masks as a SEG file.

    Planes without structure are referenced but hold no frame; a stack without any keeps one empty frame
    of its middle plane, which says that it was looked at. UIDs follow from source, model and mask: the
    same result is the same object.
    """
    first = stack.planes[0].header
    for keyword in REFERENCED:
        if not first.get(keyword):
            raise CannotSegment(f"The source has no {keyword}, which a DICOM Segmentation must refer to.")
    planes = _with_structure(stack.planes)
    try:
        headers, frames_NHW = _frames(planes)
        for header in headers:
            _complete(header, stack.gap_mm)
        seg = highdicom.seg.Segmentation(
            source_images=headers,
            pixel_array=frames_NHW,
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[_prostate(model)],
            series_instance_uid=generate_uid(entropy_srcs=[PRODUCT, VERSION, model, first.SeriesInstanceUID]),
            series_number=series_number,
            sop_instance_uid=_instance_uid(stack, model),
            instance_number=instance_number,
            manufacturer=PRODUCT,
            manufacturer_model_name=PRODUCT,
            software_versions=VERSION,
            device_serial_number=model or VERSION,
            content_label="PROSTATE",
            content_description=NOTICE,
            series_description=f"Prostate segmentation, {PRODUCT}",
            specific_character_set=UTF_8,
        )
        _reference_the_rest(seg, stack, planes)
        stream = BytesIO()
        seg.save_as(stream)
    except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError, struct.error) as error:
        # highdicom meets headers of any quality; what it raises may quote them, so only its type goes on.
        lack = (
            "it names no frame of reference" if not first.get("FrameOfReferenceUID") else type(error).__name__
        )
        raise CannotSegment(f"The source's header does not allow a DICOM Segmentation ({lack}).") from error
    return stream.getvalue()


def _with_structure(planes: tuple[Plane, ...]) -> tuple[Plane, ...]:
    """The planes that get a frame."""
    return tuple(plane for plane in planes if plane.result.mask.bits.any()) or (planes[len(planes) // 2],)


def _frames(planes: tuple[Plane, ...]) -> tuple[list[Dataset], NDArray[np.uint8]]:
    """Source instances and one mask for each of their frames, as highdicom pairs them."""
    first = planes[0].header
    if not is_multiframe(first):
        return [plane.header for plane in planes], np.stack([plane.result.mask.unpack() for plane in planes])
    shape = (number_of_frames(first), *planes[0].result.mask.shape)
    if math.prod(shape) > MOST_BYTES:
        raise CannotSegment(f"The source is too large for one DICOM Segmentation: {shape} pixels.")
    frames_NHW = np.zeros(shape, np.uint8)
    for plane in planes:
        frames_NHW[plane.result.place.frame] = plane.result.mask.unpack()
    return [first], frames_NHW


def _complete(header: Dataset, gap_mm: float | None) -> None:
    """Fill in what a conformant object would have, empty, and hoist what all frames of it share."""
    for keyword in TYPE_2:
        if keyword not in header:
            setattr(header, keyword, "")
    for keyword, moment in MOMENTS.items():
        setattr(header, keyword, _valid(str(header.get(keyword) or ""), moment))
    if header.get("PatientSex") not in SEXES:
        header.PatientSex = ""
    if "Modality" not in header:
        header.Modality = "OT"
    if not header.get("SliceThickness"):
        # Readers ask for a thickness; the distance to the next slice is what a volume is made of.
        header.SliceThickness = None if gap_mm is None else DS(gap_mm, auto_format=True)
    per_frame = header.get("PerFrameFunctionalGroupsSequence")
    shared = header.get("SharedFunctionalGroupsSequence")
    for keyword in SHARED:
        if per_frame and shared and keyword not in shared[0]:
            values = [item[keyword].value for item in per_frame]
            if all(value == values[0] for value in values):
                setattr(shared[0], keyword, values[0])


def _valid(value: str, moment: type[DA | TM]) -> str:
    """A date or time without the colons of ACR-NEMA; empty where it is none."""
    value = value.replace(":", "")
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
        display_color=highdicom.color.CIELabColor(*AMBER),
    )


def _instance_uid(stack: Stack, model: str) -> str:
    digest = sha256()
    for plane in stack.planes:
        digest.update(plane.result.key + plane.result.mask.bits.tobytes())
    return generate_uid(entropy_srcs=[PRODUCT, VERSION, model, digest.hexdigest()])


def _reference_the_rest(seg: highdicom.seg.Segmentation, stack: Stack, planes: tuple[Plane, ...]) -> None:
    """Add to the references the instances that were segmented and found empty."""
    known = {id(plane.header) for plane in planes}
    others = [plane.header for plane in stack.planes if id(plane.header) not in known]
    references = []
    for header in {id(other): other for other in others}.values():
        reference = Dataset()
        reference.ReferencedSOPClassUID = header.SOPClassUID
        reference.ReferencedSOPInstanceUID = header.SOPInstanceUID
        references.append(reference)
    seg.SourceImageSequence.extend(references)
    seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence.extend(references)
