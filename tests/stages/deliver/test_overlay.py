"""The contact sheet: which slices, and what is drawn where."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stages.batches import Frame
from stages.deliver.overlay import (
    FOOTER,
    GAP,
    HEADER,
    TILE_BY_COLUMNS,
    Picture,
    chosen,
    contact_sheet,
)
from stages.deliver.product import OUTLINE_RGB
from stages.grid import Display


@given(areas=st.lists(st.integers(0, 50), min_size=1, max_size=80), most=st.integers(1, 12))
def test_slices_with_structure_are_shown_in_order(areas: list[int], most: int) -> None:
    """At most as many as asked, rising, none empty while others are not, and the largest among them."""
    shown = chosen(areas, most)
    some = [i for i, area in enumerate(areas) if area > 0] or list(range(len(areas)))
    assert shown == sorted(set(shown))
    assert len(shown) == min(most, len(some))
    assert set(shown) <= set(some)
    assert max(areas[i] for i in shown) == max(areas)


def test_the_choice_is_spread_over_the_structure() -> None:
    """Equal areas: evenly spaced slices."""
    gaps = np.diff(chosen([0] * 10 + [5] * 48 + [0] * 10, 12))
    assert set(gaps.tolist()) == {4}


def drawn(*tiles: Picture) -> np.ndarray:
    """The sheet as RGB."""
    with Image.open(BytesIO(contact_sheet(tiles, "a heading"))) as sheet:
        return np.asarray(sheet.convert("RGB")).astype(int)


def tile(image_HW: np.ndarray, mask_HW: np.ndarray, display: Display = Display()) -> Picture:
    """A slice of 1 mm pixels."""
    return Picture(Frame(image_HW, (1.0, 1.0), display), mask_HW.astype(np.uint8), "slice 1 of 1", "1 sq cm")


def amber(sheet_HW3: np.ndarray) -> np.ndarray:
    """Where the outline's colour stands."""
    return np.abs(sheet_HW3 - np.array(OUTLINE_RGB)).sum(axis=-1) < 40


def test_the_outline_is_where_the_mask_ends() -> None:
    """A square mask in a 100 mm image is outlined at its place in the tile, and nowhere else."""
    mask_HW = np.zeros((100, 100))
    mask_HW[30:70, 40:80] = 1
    image_HW = np.random.default_rng(0).integers(0, 500, (100, 100))
    rows, columns = np.nonzero(amber(drawn(tile(image_HW, mask_HW))))
    side = TILE_BY_COLUMNS[1]
    # The window is 2.4 times the mask, 96 mm, around the mask's middle: it begins at (2, 12) and is 97 by 88.
    scale = side / 97
    assert rows.min() == pytest.approx(HEADER + (30 - 2) * scale, abs=4)
    assert rows.max() == pytest.approx(HEADER + (70 - 2) * scale, abs=4)
    left = GAP + (side - 88 * scale) / 2
    assert columns.min() == pytest.approx(left + (40 - 12) * scale, abs=4)
    assert columns.max() == pytest.approx(left + (80 - 12) * scale, abs=4)


def test_slices_are_shown_in_display_orientation() -> None:
    """A stored slice that is upside down is turned, image and outline together."""
    image_HW = np.zeros((100, 100))
    image_HW[:50] = np.linspace(500, 600, 50)[:, None]
    mask_HW = np.zeros((100, 100))
    mask_HW[10:20, 45:55] = 1
    upright = drawn(tile(image_HW, mask_HW))
    turned = drawn(
        tile(image_HW[::-1, ::-1], mask_HW[::-1, ::-1], Display(flip_rows=True, flip_columns=True))
    )
    assert np.array_equal(upright, turned)


def test_aspect_is_that_of_the_patient() -> None:
    """Pixels twice as wide as high are shown twice as wide."""
    mask_HW = np.zeros((100, 100))
    mask_HW[40:60, 45:55] = 1
    frame = Frame(np.random.default_rng(0).random((100, 100)), (1.0, 2.0))
    rows, columns = np.nonzero(amber(drawn(Picture(frame, mask_HW.astype(np.uint8), "", ""))))
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=3)


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (2, 1, 2), (5, 2, 4), (12, 3, 4)])
def test_tiles_fill_rows_of_four(count: int, rows: int, columns: int) -> None:
    """The sheet grows with its slices, those of different sizes included, constant ones too."""
    tiles = [tile(np.full((20 + i, 30), 7), np.eye(20 + i, 30)) for i in range(count)]
    side = TILE_BY_COLUMNS[columns]
    height, width, _ = drawn(*tiles).shape
    assert (height, width) == (HEADER + rows * (side + GAP) + FOOTER, GAP + columns * (side + GAP))


def test_slices_of_one_stack_share_a_window() -> None:
    """One that names no stack is of the first; those of another are cut around their own structure."""
    masks = np.zeros((2, 100, 100))
    masks[0, 20:40, 20:40] = masks[1, 60:80, 60:80] = 1
    image_HW = np.random.default_rng(0).integers(0, 500, (100, 100))
    one, other = (tile(image_HW, mask_HW) for mask_HW in masks)
    together = drawn(one, other)
    assert np.array_equal(drawn(one, replace(other, stack=1)), together)
    assert not np.array_equal(drawn(one, replace(other, stack=2)), together)


def test_the_heading_stands_above_the_slices() -> None:
    """Two series with equal pictures are told apart, and their slices are drawn alike."""
    slices = [tile(np.arange(900).reshape(30, 30), np.eye(30))]
    sheets = []
    for heading in ("Series 1: volume 31.4 ml", "Series 2: volume 64.0 ml"):
        with Image.open(BytesIO(contact_sheet(slices, heading))) as sheet:
            sheets.append(np.asarray(sheet.convert("L")))
    rows = np.flatnonzero((sheets[0] != sheets[1]).any(axis=1))
    assert 0 < rows.min() <= rows.max() < HEADER


def test_a_banner_stands_between_the_heading_and_the_slices() -> None:
    """Across the sheet, in the colour of warnings, and the slices move down by it."""
    slices = [tile(np.arange(900).reshape(30, 30), np.eye(30))]
    with Image.open(BytesIO(contact_sheet(slices, "a heading", banner="OUT OF SCOPE"))) as sheet:
        marked_HW3 = np.asarray(sheet.convert("RGB")).astype(int)
    plain_HW3 = drawn(*slices)
    taller = len(marked_HW3) - len(plain_HW3)
    assert taller > 0
    assert amber(marked_HW3)[HEADER + 2 : HEADER + taller - GAP - 2, 1].all()
    assert np.array_equal(marked_HW3[HEADER + taller :], plain_HW3[HEADER:])
