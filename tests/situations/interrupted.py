"""Situations in which the gland's slices do not follow one another at the same pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.situations.maker import BRIGHT, DARK, DEPTHS_MM, GAP_MM, PIXEL_MM, SIDE, Study, ball, volume_ml

WIDE = 120  # pixels a side
MOVED = 45  # pixels, more than the ball is wide
FULL_ML = 2 * GAP_MM * (WIDE * PIXEL_MM) ** 2 / 1000  # of two slices that are bright all over
INTERRUPTED_ML = volume_ml() - GAP_MM * int((ball(0.0) == BRIGHT).sum()) * PIXEL_MM**2 / 1000


def recentred(moves: Callable[[int], bool]) -> Callable[[Study], None]:
    """The field of view of some slices begins elsewhere; positions tell, the ball stays where it is."""

    def make(study: Study) -> None:
        for number, depth in enumerate(DEPTHS_MM, 1):
            lead = MOVED * moves(number)
            corner = [-lead * PIXEL_MM, -lead * PIXEL_MM, depth]
            image = np.pad(ball(depth), (lead, WIDE - SIDE - lead), constant_values=DARK)
            study.slice(depth, number, image=image, ImagePositionPatient=corner)

    return make


def empty_slice(study: Study) -> None:
    """The ball is not seen on its largest slice."""
    for number, depth in enumerate(DEPTHS_MM, 1):
        study.slice(depth, number, image=ball(depth) if depth else np.full_like(ball(depth), DARK))


def noise_at_the_end(study: Study) -> None:
    """The last two slices, apart from the ball, are bright all over, and so larger than it."""
    for number, depth in enumerate(DEPTHS_MM, 1):
        image = np.pad(ball(depth), (0, WIDE - SIDE), constant_values=DARK)
        study.slice(depth, number, image=np.full_like(image, BRIGHT) if depth in DEPTHS_MM[-2:] else image)
