"""What was measured, as JSON for people and programs on the clinic's side.

An area or a volume is a number of millimetres only where the source states its spacing; elsewhere it is
null and ``spacing_known`` is false. A volume is the sum of areas times the distance between slices.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.deliver.planes import Plane, Stack
from stages.deliver.product import NOTICE, PRODUCT, VERSION

MM3_PER_ML = 1000


@dataclass(frozen=True, slots=True)
class Listed:
    """A mask file as it is listed: its name, its planes, and why it is not what the source asks for."""

    name: str
    stack: Stack
    why: str = ""


def pixels(plane: Plane) -> int:
    """The size of the mask."""
    return int(np.bitwise_count(plane.result.mask.bits).sum())


def out_of_distribution(plane: Plane) -> bool | None:
    """Whether the slice is out of the training images' distribution; None where that is unknown."""
    return None if math.isnan(plane.result.novelty) else plane.result.novelty > 1


def area_mm2(plane: Plane) -> float | None:
    """The size of the mask in the patient."""
    if plane.spacing_mm is None or not plane.result.spacing_known:
        return None
    return round(pixels(plane) * plane.spacing_mm[0] * plane.spacing_mm[1], 2)


def volume_ml(stack: Stack) -> float | None:
    """The volume of the structure in one stack."""
    areas = [area_mm2(plane) for plane in stack.planes]
    known = [area for area in areas if area is not None]
    if stack.gap_mm is None or len(known) < len(areas):
        return None
    return round(sum(known) * stack.gap_mm / MM3_PER_ML, 3)


def document(series: str, masks: Sequence[Listed], undelivered: int, model: str) -> bytes:
    """``measurements.json``; with several mask files the series has no single volume."""
    planes = [plane for mask in masks for plane in mask.stack.planes]
    content: dict[str, Any] = {
        "product": PRODUCT,
        "version": VERSION,
        "notice": NOTICE,
        "model": model or None,
        "series": series,
        "slices": len(planes),
        "gland_slices": sum(pixels(plane) > 0 for plane in planes),
        "undelivered": undelivered,
        "out_of_distribution_slices": sum(out_of_distribution(plane) is True for plane in planes),
        "spacing_known": all(area_mm2(plane) is not None for plane in planes),
        "volume_ml": volume_ml(masks[0].stack) if len(masks) == 1 else None,
        "masks": [_mask(mask) for mask in masks],
    }
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()


def _mask(mask: Listed) -> dict[str, Any]:
    content = {
        "file": mask.name,
        "volume_ml": volume_ml(mask.stack),
        "slice_distance_mm": mask.stack.gap_mm,
        "spacing_mm": mask.stack.planes[0].spacing_mm,
        "slices": [_slice(number, plane) for number, plane in enumerate(mask.stack.planes, 1)],
    }
    return content | ({"why": mask.why} if mask.why else {})


def _slice(number: int, plane: Plane) -> dict[str, Any]:
    content = {
        "slice": number,
        "frame": plane.result.place.frame + 1,
        "pixels": pixels(plane),
        "area_mm2": area_mm2(plane),
        "confidence": round(plane.result.confidence, 4),
        "out_of_distribution": out_of_distribution(plane),
    }
    uid = plane.header.get("SOPInstanceUID")
    return content | ({"sop_instance_uid": str(uid)} if uid else {})
