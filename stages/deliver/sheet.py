"""What the overlay of a series shows: the slices, what was measured on them, and what a reader must know."""

from __future__ import annotations

from collections.abc import Sequence

from stages.batches import Frame
from stages.deliver import overlay
from stages.deliver.caveats import Flag, has
from stages.deliver.extent import area_mm2, pixels
from stages.deliver.measure import Listed, Measurements
from stages.deliver.planes import Plane
from stages.deliver.sources import decoded
from stages.ingest.options import IngestOptions
from stages.places import FileKind

MM2_PER_CM2 = 100


def picture(measured: Measurements, most: int, limits: IngestOptions) -> bytes | None:
    """The contact sheet; None where there is nothing to show: rasters, or sources that are gone."""
    shown = [
        (plane, title)
        for mask in measured.masks
        for plane, title in _titled(mask, len(measured.masks))
        if plane.result.place.kind is not FileKind.RASTER
    ]
    if not shown or most == 0:
        return None
    chosen = [shown[i] for i in overlay.chosen([pixels(plane) for plane, _ in shown], most)]
    frames = decoded([plane for plane, _ in chosen], limits)
    tiles = [
        tile(plane, frames[plane.result.key], title) for plane, title in chosen if plane.result.key in frames
    ]
    return (
        overlay.contact_sheet(tiles, heading(measured), notes(measured), banner(measured)) if tiles else None
    )


def _titled(mask: Listed, of: int) -> list[tuple[Plane, str]]:
    planes = mask.stack.planes
    stack = f"stack {mask.stack.id.number}, " if of > 1 else ""
    return [(plane, f"{stack}slice {i} of {len(planes)}") for i, plane in enumerate(planes, 1)]


def tile(plane: Plane, frame: Frame, title: str) -> overlay.Picture:
    """One slice with what was measured on it."""
    count, area = pixels(plane), area_mm2(plane)
    size = f"{count} pixels" if area is None else f"{area / MM2_PER_CM2:.1f} sq cm"
    mask_HW = plane.result.mask.unpack()
    return overlay.Picture(frame, mask_HW, title, size if count else "no prostate", plane.result.stack.number)


def heading(measured: Measurements) -> str:
    """One line about the series."""
    planes = measured.planes
    found = sum(pixels(plane) > 0 for plane in planes)
    return f"Series {measured.series}: prostate on {found} of {len(planes)} slices, {_volumes(measured)}"


def _volumes(measured: Measurements) -> str:
    """The volume, or those of the stacks that have one; none of what is out of scope."""
    if measured.volume_ml is not None:
        return f"volume {measured.volume_ml:.1f} ml"
    known = [
        (mask.stack.id.number, mask.volume_ml)
        for mask in measured.masks
        if mask.in_scope and mask.volume_ml is not None
    ]
    if not known:
        return "volume unknown"
    return "volumes " + ", ".join(f"{volume:.1f} ml (stack {number})" for number, volume in known)


def notes(measured: Measurements) -> list[str]:
    """What was found, each text once, with the stack where there are several."""
    several = len({mask.stack.id.number for mask in measured.masks}) > 1
    stacks: dict[str, list[str]] = {caveat.text: [] for caveat in measured.caveats}
    for mask in measured.masks:
        for caveat in mask.caveats:
            stacks.setdefault(caveat.text, []).append(str(mask.stack.id.number))
    return [_prefix(numbers if several else ()) + text for text, numbers in stacks.items()]


def _prefix(numbers: Sequence[str]) -> str:
    if not numbers:
        return ""
    return f"Stack{'s' * (len(numbers) > 1)} {', '.join(numbers)}: "


def banner(measured: Measurements) -> str:
    """What must not be missed, in capitals."""
    if measured.out_of_scope:
        return "OUT OF SCOPE: DO NOT USE"
    return "OUT OF DISTRIBUTION" if has(measured.all_caveats, Flag.OUT_OF_DISTRIBUTION) else ""
