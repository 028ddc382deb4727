"""Repeated places in passes, each of which runs through the places once. Pure functions.

Images that no mark separates, or only a mark that each of them has of its own, come in an order: that of
their numbers or of their times. A new pass begins at the latest where a place comes again. Where images are
missing it may have begun before: the first image of a pass may be one that the pass before it lacks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence

Block = Collection[int]  # the places of images that belong to one pass, each once


def passes(blocks: Sequence[Block]) -> tuple[list[int], bool]:
    """The number of each block's pass, from 0, and whether the order leaves no other division.

    No division has fewer passes than the one that begins a pass only where a place comes again. Of those that
    have as many, the best is one where each pass runs from one end of the body to the other, then one where
    all passes run as the fullest does.
    """
    plain = _numbered(blocks, lambda _: 0, strict=False)
    of_place = _order_of_the_fullest(blocks, plain)
    orders: tuple[Callable[[int], float], ...] = (
        float,
        lambda place: -float(place),
        lambda place: of_place.get(place, math.inf),
    )
    ordered = (_numbered(blocks, order, strict=True) for order in orders)
    found = [one for one in ordered if one[-1:] == plain[-1:]] + [plain]
    return found[0], all(one == found[0] for one in found)


def _numbered(blocks: Sequence[Block], order: Callable[[int], float], *, strict: bool) -> list[int]:
    """A pass ends where a place comes again; a strict one also where the order of places is broken."""
    numbers: list[int] = []
    taken: set[int] = set()
    number, last = 0, -math.inf
    for block in blocks:
        here = min(map(order, block))
        if taken.intersection(block) or (strict and here <= last):
            number += 1
            taken = set()
        taken.update(block)
        last = here
        numbers.append(number)
    return numbers


def _order_of_the_fullest(blocks: Sequence[Block], numbers: Sequence[int]) -> dict[int, float]:
    """When each place comes in the first of the passes that have the most places."""
    found: dict[int, dict[int, float]] = {}
    for turn, (block, number) in enumerate(zip(blocks, numbers, strict=True)):
        found.setdefault(number, {}).update(dict.fromkeys(block, float(turn)))
    return max(found.values(), key=len, default={})


def side_by_side(numbers: Sequence[int | None], places: Sequence[int], images: int) -> list[int] | None:
    """Which image of its place each is, from 0, where numbers run through the images of one place, then on.

    Numbers alone tell that also where some are missing: each run of ``images`` numbers is of one place.
    None where they do not run so.
    """
    known = [number for number in numbers if number is not None]
    if len(set(known)) < len(places):
        return None
    for base in range(min(known), min(known) - images, -1):
        rows = [(number - base) // images for number in known]
        pairs = len(set(zip(rows, places, strict=True)))
        if pairs == len(set(rows)) == len(set(places)):
            return [(number - base) % images for number in known]
    return None
