"""What made an object, however its header spells it."""

from __future__ import annotations

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, EnhancedMRImageStorage, SecondaryCaptureImageStorage

from stages.ingest.modality import modalities


@pytest.mark.parametrize(
    ("stated", "kind", "expected"),
    [
        ("MR", SecondaryCaptureImageStorage, ("MR",)),
        ("ct", SecondaryCaptureImageStorage, ("CT",)),
        ("PT\\CT", SecondaryCaptureImageStorage, ("CT", "PT")),
        ("", CTImageStorage, ("CT",)),
        ("", EnhancedMRImageStorage, ("MR",)),
        ("C/T", CTImageStorage, ("CT",)),
        ("C/T", SecondaryCaptureImageStorage, ("malformed",)),
        ("C/T\\MR", SecondaryCaptureImageStorage, ("MR",)),
        ("", SecondaryCaptureImageStorage, ()),
        (None, "", ()),
    ],
)
def test_the_modality_is_found_however_it_is_spelt(
    stated: str | None, kind: str, expected: tuple[str, ...]
) -> None:
    """In any letters, several at a time, else by the SOP class; what is malformed is not nothing."""
    made = Dataset()
    made.SOPClassUID = kind
    if stated is not None:
        made.add_new(0x00080060, "LO", stated)
    assert modalities(made) == expected
