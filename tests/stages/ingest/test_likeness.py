from __future__ import annotations

from dataclasses import replace

import pytest

from stages.ingest.likeness import contradiction, geometry, geometry_of, geometry_text
from stages.ingest.slices import Slice
from stages.places import FileKind, Place

FULL = Slice(
    b"k",
    Place("a", 0, FileKind.DICOM),
    4,
    (1.0, 2.0, 3.0),
    (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    spacing_mm=(0.5, 0.5),
    frame_of_reference="1.2",
)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"position": (1.0, 2.0, 3.02)}, "Image Position (Patient)"),
        ({"orientation": (0.0, 1.0, 0.0, 1.0, 0.0, 0.0)}, "Image Orientation (Patient)"),
        ({"spacing_mm": (0.5, 0.501)}, "Pixel Spacing"),
        ({"frame_of_reference": "1.3"}, "Frame of Reference UID"),
        ({"position": (1.0, 2.0, 3.009), "spacing_mm": (0.5, 0.5004)}, ""),
        ({"position": None, "orientation": None, "spacing_mm": None, "frame_of_reference": ""}, ""),
    ],
)
def test_what_both_state_must_agree(change: dict[str, object], part: str) -> None:
    """Within rounding; what one does not state contradicts nothing."""
    other = replace(FULL, **change)  # type: ignore[arg-type]  # fields by name
    assert contradiction(geometry(FULL), geometry(other)) == part
    assert contradiction(geometry(other), geometry(FULL)) == part


def test_a_geometry_comes_back_from_text() -> None:
    """As the ledger keeps it; of a row without text nothing is known."""
    kept = geometry_of(geometry_text(FULL))
    assert kept is not None
    assert (contradiction(kept, geometry(FULL)), kept.stated) == ("", 4)
    assert geometry_of("") is None
