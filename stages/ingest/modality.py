"""Which modality made an object: what it says of itself, else what its SOP class is for."""

from __future__ import annotations

import re
from typing import Final

from pydicom import Dataset
from pydicom import uid as uids
from pydicom.tag import BaseTag

from stages.ingest.elements import text

MALFORMED: Final = "malformed"  # in small letters: no modality of the standard
_MODALITY: Final = BaseTag(0x00080060)
_SOP_CLASS: Final = BaseTag(0x00080016)
_CODE_STRING: Final = re.compile(r"[A-Z0-9_ ]{1,16}")  # PS3.5 section 6.2
_OF_CLASS: Final[dict[str, str]] = {
    **dict.fromkeys((uids.MRImageStorage, uids.EnhancedMRImageStorage), "MR"),
    **dict.fromkeys((uids.EnhancedMRColorImageStorage, uids.LegacyConvertedEnhancedMRImageStorage), "MR"),
    **dict.fromkeys((uids.CTImageStorage, uids.EnhancedCTImageStorage), "CT"),
    uids.LegacyConvertedEnhancedCTImageStorage: "CT",
    **dict.fromkeys((uids.PositronEmissionTomographyImageStorage, uids.EnhancedPETImageStorage), "PT"),
    uids.LegacyConvertedEnhancedPETImageStorage: "PT",
    uids.NuclearMedicineImageStorage: "NM",
    **dict.fromkeys((uids.UltrasoundImageStorage, uids.UltrasoundMultiFrameImageStorage), "US"),
    uids.EnhancedUSVolumeStorage: "US",
    uids.ComputedRadiographyImageStorage: "CR",
    uids.DigitalXRayImageStorageForPresentation: "DX",
    uids.DigitalMammographyXRayImageStorageForPresentation: "MG",
    uids.XRayAngiographicImageStorage: "XA",
    uids.XRayRadiofluoroscopicImageStorage: "RF",
}


def modalities(dataset: Dataset) -> tuple[str, ...]:
    """All that the object names, in capitals and in order; none where it and its SOP class name none.

    What is no code string is left out where others stand beside it, else it is ``MALFORMED``: an object that
    names something is not one that names nothing. No text of the header is quoted.
    """
    stated = {part for one in text(dataset, _MODALITY).split("\\") if (part := one.strip(" \0").upper())}
    named = {one for one in stated if _CODE_STRING.fullmatch(one)}
    if not named and (known := _OF_CLASS.get(text(dataset, _SOP_CLASS))):
        return (known,)
    return tuple(sorted(named)) if named or not stated else (MALFORMED,)
