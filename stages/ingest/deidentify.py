"""De-identification by allow-list: what a frame is sealed with; everything else of a file is left behind.

In the open travel pixel values, spacing and orientation, nothing else: ``Frame`` has no field for more.
The attributes of ``TABLE`` are written into a small JSON document, sealed to the index's owner and bound
to the frame's key. What the table does not name (private elements, comments, overlays, EXIF) reaches
neither. The actions are those of DICOM PS3.15 table E.1-1, Basic Profile, for a copy that left the site.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from pydicom import Dataset
from pydicom.charset import decode_bytes
from pydicom.tag import BaseTag

from stages.places import Place


@dataclass(frozen=True, slots=True)
class Kept:
    """One attribute that is sealed, and why the owner needs it."""

    name: str  # DICOM keyword, or this product's own name where there is no tag
    tag: int | None
    action: str  # of the Basic Profile: D, X, Z, U or a choice of them; "kept" where it lists none
    why: str

    @property
    def shown(self) -> str:
        """The tag as the standard prints it."""
        return "" if self.tag is None else f"({self.tag >> 16:04X},{self.tag & 0xFFFF:04X})"


TABLE: Final = (
    Kept("PatientID", 0x00100020, "Z", "whose image it is"),
    Kept("IssuerOfPatientID", 0x00100021, "X", "which register the patient ID is of"),
    Kept("PatientName", 0x00100010, "Z", "second identifier, against mix-ups"),
    Kept("PatientBirthDate", 0x00100030, "Z", "third identifier, against mix-ups"),
    Kept("PatientSex", 0x00100040, "Z", "plausibility of the anatomy"),
    Kept("StudyInstanceUID", 0x0020000D, "U", "finding the study in the archive"),
    Kept("SeriesInstanceUID", 0x0020000E, "U", "finding the series in the archive"),
    Kept("SOPInstanceUID", 0x00080018, "U", "finding the image in the archive"),
    Kept("FrameOfReferenceUID", 0x00200052, "U", "which series share one coordinate system"),
    Kept("AccessionNumber", 0x00080050, "Z", "finding the order"),
    Kept("StudyDate", 0x00080020, "Z", "course over time"),
    Kept("StudyTime", 0x00080030, "Z", "course over time"),
    Kept("AcquisitionDate", 0x00080022, "X/Z", "course over time"),
    Kept("StudyDescription", 0x00081030, "X", "the requested study"),
    Kept("SeriesDescription", 0x0008103E, "X", "which sequence or reconstruction it is"),
    Kept("InstitutionName", 0x00080080, "X/Z/D", "where it was acquired"),
    Kept("SOPClassUID", 0x00080016, "kept", "what kind of object it is"),
    Kept("Modality", 0x00080060, "kept", "what kind of image it is"),
    Kept("Manufacturer", 0x00080070, "kept", "differences between devices"),
    Kept("ManufacturerModelName", 0x00081090, "kept", "differences between devices"),
    Kept("BodyPartExamined", 0x00180015, "kept", "plausibility of the anatomy"),
    Kept("SeriesNumber", 0x00200011, "kept", "the series' place in the study"),
    Kept("InstanceNumber", 0x00200013, "kept", "the image's place in the series"),
    Kept("BurnedInAnnotation", 0x00280301, "kept", "YES: the pixels themselves may identify"),
    Kept("FileName", None, "n/a", "the name without its folder, often the only origin of a research file"),
    Kept("Frame", None, "n/a", "the frame's number in its file, from 0"),
    Kept("Description", None, "n/a", "a NIfTI header's own description"),
)
DICOM_TAGS: Final = tuple(BaseTag(kept.tag) for kept in TABLE if kept.tag is not None)
_NAMES: Final = frozenset(kept.name for kept in TABLE)
_DELIMITERS: Final = frozenset(b"^=\\\r\n\t\f")  # where code extensions reset, PS3.5 section 6.1.2.5.3


def of_dataset(dataset: Dataset) -> dict[str, str]:
    """The table's attributes as far as the object has them, decoded by its character set."""
    encodings = dataset.original_character_set
    if isinstance(encodings, str):
        encodings = [encodings]
    found: dict[str, str] = {}
    for kept in TABLE:
        element = None if kept.tag is None else dataset.get_item(BaseTag(kept.tag))
        if element is None or not element.value:
            continue
        value = element.value
        shown = decode_bytes(value, encodings, set(_DELIMITERS)) if isinstance(value, bytes) else str(value)
        if shown := shown.strip(" \0"):
            found[kept.name] = shown
    return found


def identity(attributes: Mapping[str, str], place: Place) -> bytes:
    """What is sealed with a frame: the table's attributes, the file's name and the frame's number."""
    unknown = attributes.keys() - _NAMES
    if unknown:
        raise ValueError(f"not in the de-identification table: {', '.join(sorted(unknown))}")
    record = {**attributes, "FileName": PurePath(place.path).name, "Frame": place.frame}
    return json.dumps(record, separators=(",", ":"), sort_keys=True).encode()


def markdown() -> str:
    """The table as the documentation shows it."""
    rows = [f"| {kept.name} | {kept.shown} | {kept.action} | {kept.why} |" for kept in TABLE]
    return "\n".join(
        ["| Attribute | Tag | Basic Profile | Why the owner gets it |", "|---|---|---|---|", *rows]
    )
