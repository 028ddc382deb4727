"""What was measured, as JSON for people and programs on the clinic's side.

An area or a volume is a number of millimetres only where the source states its geometry; elsewhere it is
null and ``spacing_known`` is false. How areas make a volume: extent.py. What the flags mean: caveats.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from stages.deliver.caveats import Caveat, Flag, has, out_of_distribution, to_review
from stages.deliver.extent import area_mm2, distance_mm, pixels, volume_ml
from stages.deliver.planes import Plane, Stack
from stages.deliver.product import NOTICE, PRODUCT, VERSION


@dataclass(frozen=True, slots=True)
class Listed:
    """A mask file as it is listed: its name, its planes, what was found, and why it is no other format."""

    name: str
    stack: Stack
    caveats: tuple[Caveat, ...] = ()
    why: str = ""

    @property
    def volume_ml(self) -> float | None:
        """See ``extent.volume_ml``."""
        return volume_ml(self.stack)

    @property
    def is_volume(self) -> bool:
        """Whether it is of several axial slices."""
        return not (has(self.caveats, Flag.ONE_SLICE) or has(self.caveats, Flag.NOT_AXIAL))

    @property
    def in_scope(self) -> bool:
        """Whether the number may be used at all."""
        return not has(self.caveats, Flag.OUT_OF_SCOPE)


@dataclass(frozen=True, slots=True)
class Measurements:
    """A delivery of one series: its masks, and what was found of it as a whole."""

    series: str
    masks: tuple[Listed, ...]
    caveats: tuple[Caveat, ...] = ()
    undelivered: int = 0

    @property
    def planes(self) -> tuple[Plane, ...]:
        """Of all masks, in their order."""
        return tuple(plane for mask in self.masks for plane in mask.stack.planes)

    @property
    def all_caveats(self) -> tuple[Caveat, ...]:
        """Those of the whole, then those of each mask."""
        return (*self.caveats, *(caveat for mask in self.masks for caveat in mask.caveats))

    @property
    def review(self) -> bool:
        """Whether a person should look."""
        return to_review(self.caveats) or any(to_review(mask.caveats) for mask in self.masks)

    @property
    def out_of_scope(self) -> bool:
        """Whether nothing of it is to be used."""
        return bool(self.masks) and not any(mask.in_scope for mask in self.masks)

    @property
    def volume_ml(self) -> float | None:
        """That of the only stack with a prostate; None where several have one, or none has a volume.

        A localiser's planes do not count beside the volume that they planned.
        """
        inside = [one for one in self.masks if one.in_scope]
        volumes = [one for one in inside if one.is_volume] or inside
        found = [one for one in volumes if any(map(pixels, one.stack.planes))] or volumes
        return found[0].volume_ml if len(found) == 1 else None


def document(measured: Measurements, version: int, model: str) -> bytes:
    """``measurements.json`` of one version of a series' result."""
    planes = measured.planes
    content: dict[str, Any] = {
        "product": PRODUCT,
        "product_version": VERSION,
        "notice": NOTICE,
        "model": model or None,
        "series": measured.series,
        "version": version,
        "slices": len(planes),
        "gland_slices": sum(pixels(plane) > 0 for plane in planes),
        "undelivered": measured.undelivered,
        "out_of_distribution_slices": sum(out_of_distribution(plane) is True for plane in planes),
        "spacing_known": all(area_mm2(plane) is not None for plane in planes),
        "volume_ml": measured.volume_ml,
        "out_of_scope": measured.out_of_scope,
        "review": measured.review,
        "flags": [
            *(caveat.as_json() for caveat in measured.caveats),
            *(
                one.as_json() | {"stack": mask.stack.id.number}
                for mask in measured.masks
                for one in mask.caveats
            ),
        ],
        "masks": [_mask(mask) for mask in measured.masks],
    }
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()


def _mask(mask: Listed) -> dict[str, Any]:
    content = {
        "file": mask.name,
        "stack": mask.stack.id.number,
        "volume_ml": mask.volume_ml,
        "slice_distance_mm": distance_mm(mask.stack),
        "spacing_mm": mask.stack.planes[0].spacing_mm,
        "flags": [caveat.as_json() for caveat in mask.caveats],
        "slices": [_slice(number, plane) for number, plane in enumerate(mask.stack.planes, 1)],
    }
    return content | ({"why": mask.why} if mask.why else {})


def _slice(number: int, plane: Plane) -> dict[str, Any]:
    area, depth = area_mm2(plane), plane.depth_mm
    content = {
        "slice": number,
        "frame": plane.result.place.frame + 1,
        "record_id": plane.result.key.hex(),
        "pixels": pixels(plane),
        "area_mm2": None if area is None else round(area, 2),
        "position_mm": None if depth is None else round(depth, 3) + 0.0,
        "confidence": None,  # until it is calibrated
        "out_of_distribution": out_of_distribution(plane),
    }
    uid = plane.header.get("SOPInstanceUID")
    return content | ({"sop_instance_uid": str(uid)} if uid else {})
