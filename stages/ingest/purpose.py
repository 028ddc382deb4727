"""What is no image to segment: results, doses, maps, reports, directories, and what is no image at all.

What an object states of itself decides, never what its pixels look like. Sound objects of this kind are set
aside with a word and fail no run; a plain secondary capture of a scanned film is still an image.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

from pydicom.config import IGNORE
from pydicom.uid import (
    UID,
    EnhancedUSVolumeStorage,
    MediaStorageDirectoryStorage,
    SecondaryCaptureImageStorage,
)

from stages.base import Reason
from stages.product import PRODUCT

# Where PS3.6 puts results, reports, documents, states and waveforms; classes to come will stand there too.
_FAMILIES: Final = {
    "66": "segmentation, registration or other result",
    "88": "structured report",
    "104": "encapsulated document",
    "11": "presentation state",
    "9": "waveform",
}
_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."
# PS3.3 section C.7.3.1.1.1: modalities that are no way of imaging.
_NO_MODALITY: Final = frozenset(
    {
        *(
            "AU",
            "DOC",
            "ECG",
            "FID",
            "HD",
            "KO",
            "M3D",
            "PLAN",
            "PR",
            "REG",
            "RESP",
            "RWV",
            "SEG",
            "SMR",
            "SR",
        ),
        *("RTDOSE", "RTINTENT", "RTPLAN", "RTRAD", "RTRECORD", "RTSEGANN", "RTSTRUCT", "STAIN", "TEXTUREMAP"),
    }
)
_CAPTURED_PAGE: Final = {"SD": "a scanned document", "DRW": "a drawing"}  # Conversion Type, C.8.6.1
# In Image Type of secondary captures, as the makers of scanners and workstations write it.
_CAPTURED_RESULT: Final = re.compile(
    r"\b(SCREEN ?(SAVE|SHOT|CAPTURE)|DOSE|REPORT|RESULTS?|PROT|PROTOCOL|TABLE)\b"
)
_VOLUME_SUFFIXES: Final = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr")
_MASK_STEM: Final = re.compile(r"(.+?)[_\-. ](segmentation|seg|mask|label)s?(_\d+)?", re.IGNORECASE)
_VOXELS: Final = re.compile(r"(.+?)(\.z?raw|\.raw\.(gz|bz2))", re.IGNORECASE)
# Archives count as images, which they may hold.
_CLAIMS: Final = re.compile(
    r".*\.(dcm|dicom|dic|ima|nii|nii\.gz|hdr|img|mha|mhd|nrrd|nhdr|png|jpe?g|jpe|jp2|j2[kc]|jpx|tiff?|bmp|webp|p[gpn]m"
    r"|zip|7z|rar|tar|tgz|gz|bz2|xz|zst)",
    re.IGNORECASE | re.DOTALL,
)

_NUMBERED: Final = re.compile(r"[A-Za-z]{0,5}[_-]?\d+(\.\d+)*")


@dataclass(frozen=True, slots=True)
class Declared:
    """What a DICOM object says of itself; empty where it does not."""

    sop_class: str = ""
    image_type: str = ""
    modality: str = ""
    manufacturer: str = ""
    conversion: str = ""
    pixels: bool = True


def why_no_source(stated: Declared) -> str:
    """One sentence on why a DICOM object is no image to segment; empty where it may be one."""
    name = _class_without_image(stated)
    if name:
        return f"The DICOM object is of the class {name}, no image to segment."
    if stated.manufacturer == PRODUCT:
        return f"The DICOM object is a result of {PRODUCT}."
    modality = stated.modality.upper()
    if modality in _NO_MODALITY:
        return f"The DICOM object has the modality {modality}, no image to segment."
    captured = stated.sop_class == SecondaryCaptureImageStorage or stated.sop_class.startswith(
        SecondaryCaptureImageStorage + "."
    )
    if captured and stated.conversion in _CAPTURED_PAGE:
        return f"The secondary capture is {_CAPTURED_PAGE[stated.conversion]}, no image to segment."
    marked = _CAPTURED_RESULT.search(stated.image_type.replace("_", " ").upper()) if captured else None
    if marked:
        return f"The secondary capture is of a result ({marked[1]})."
    return ""


def why_no_slice(stated: Declared) -> str:
    """One sentence on why an image is not of one slice at its place; empty where it may be."""
    if "MOSAIC" in stated.image_type.upper().split("\\"):
        return "The picture is a mosaic of many slices (Image Type); convert it to one slice a frame."
    return ""


def _class_without_image(stated: Declared) -> str:
    """The registered name of a class that is none of images, never a value of the file."""
    uid = UID(stated.sop_class, IGNORE)  # it may be any text
    if stated.sop_class in (EnhancedUSVolumeStorage, ""):  # its frames are images, though it is not named one
        return ""
    if stated.sop_class == MediaStorageDirectoryStorage:
        return "DICOMDIR, the directory of a medium"
    if uid.type:
        return "" if "Image" in uid.name or "Storage" not in uid.name else uid.name
    family = stated.sop_class.removeprefix(_STORAGE).partition(".")[0]
    if stated.sop_class.startswith(_STORAGE) and family in _FAMILIES:
        return _FAMILIES[family]
    return "" if stated.pixels or stated.sop_class.startswith("1.2.840.10008.") else "private, without pixels"


def is_ours(maker: str) -> bool:
    """Whether the field that names a file's software, or describes it, begins with this product's name."""
    return maker.startswith(PRODUCT)


def why_beside(path: Path) -> str:
    """One sentence on why a file only belongs to a volume beside it; empty where it does not.

    ``NAME_mask`` and its like are no volumes where ``NAME`` is one, nor is ``NAME.raw`` of ``NAME.mhd``.
    """
    suffix = next((one for one in _VOLUME_SUFFIXES if path.name.lower().endswith(one)), "")
    mask = _MASK_STEM.fullmatch(path.name[: -len(suffix)]) if suffix else None
    if mask and any((path.parent / (mask[1] + one)).is_file() for one in _VOLUME_SUFFIXES):
        return "The file is named as the mask of a volume beside it."
    voxels = _VOXELS.fullmatch(path.name)
    if voxels and any((path.parent / (voxels[1] + one)).is_file() for one in (".mhd", ".nhdr")):
        return "The file holds the voxels of a header beside it."
    return ""


def counts_against_the_run(reason: Reason, path: str) -> bool:
    """Whether a refused file is one that was to be segmented: a claim that its name makes, or its content.

    A name without suffix makes it where it is a number or a UID, as images on a CD have (IM000001); README,
    md5sums and libviewer.so.6 do not.
    """
    if reason is Reason.NOT_TO_SEGMENT:
        return False
    if reason not in (Reason.NOT_AN_IMAGE, Reason.EMPTY):
        return True
    name = PurePath(path).name
    if _CLAIMS.fullmatch(name):
        return True
    return _NUMBERED.fullmatch(name) is not None
