"""The picture of a series for a human eye: a contact sheet of slices with the outline of the mask.

Slices stand in display orientation with their true aspect, around the structure, in reading order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from stages.batches import Frame
from stages.deliver.product import MADE_BY, NOTICE, OUTLINE_RGB, PRODUCT, VERSION
from stages.preprocess.grid import displayed
from stages.preprocess.intensity import clip_percentiles, unit_range

COLUMNS: Final = 4
TILE_BY_COLUMNS: Final = {1: 560, 2: 440, 3: 340, 4: 288}  # pixels a side
GAP: Final = 6
HEADER: Final = 60
FOOTER: Final = 30
LINE: Final = 20  # of a note
BANNER: Final = 34
CONTEXT: Final = 2.4  # sides of the window, in sides of the structure
LEAST_WINDOW_MM: Final = 90.0
# The sheet is a palette image, a third of RGB to compress: grey levels, then shades of the outline.
GREYS: Final = 224
SHADES: Final = 32
AMBER: Final = GREYS + SHADES - 1
BACKGROUND: Final = 16
BRIGHT: Final = GREYS - 1
DIM: Final = 140
PNG_LEVEL: Final = 2  # of zlib: larger by a tenth than the best, several times faster


@dataclass(frozen=True, slots=True)
class Picture:
    """One slice to show."""

    frame: Frame
    mask_HW: NDArray[np.uint8]
    title: str
    area: str
    stack: int = 1  # slices of one stack are shown through one window


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of displayed pixels: first and last+1 row and column."""

    top: int
    bottom: int
    left: int
    right: int


def chosen(areas: Sequence[int], most: int) -> list[int]:
    """Which slices to show: spread evenly over those with structure, the largest of each share of them.

    Where no slice has any, spread over all.
    """
    some = [i for i, area in enumerate(areas) if area > 0] or list(range(len(areas)))
    shares = np.array_split(np.array(some), min(most, len(some)))
    return [
        max(map(int, share), key=lambda i: (areas[i], -abs(i - int(share[len(share) // 2]))))
        for share in shares
    ]


def contact_sheet(
    tiles: Sequence[Picture], heading: str, notes: Sequence[str] = (), banner: str = ""
) -> bytes:
    """The overlay as PNG; notes stand below the heading, a banner above the slices."""
    columns = min(COLUMNS, len(tiles))
    side = TILE_BY_COLUMNS[columns]
    rows = -(-len(tiles) // columns)
    width = GAP + columns * (side + GAP)
    large, small = ImageFont.load_default(20), ImageFont.load_default(14)
    lines = [line for note in notes for line in _wrapped(note, width - 4 * GAP, small)]
    top = HEADER + LINE * len(lines) + BANNER * bool(banner)
    shape = (top + rows * (side + GAP) + FOOTER, width)
    corners = [
        (top + i // columns * (side + GAP), GAP + i % columns * (side + GAP)) for i in range(len(tiles))
    ]
    windows = {
        stack: _window([tile for tile in tiles if tile.stack == stack])
        for stack in {tile.stack for tile in tiles}
    }
    sheet_HW = np.full(shape, BACKGROUND, np.uint8)
    for tile, (row, column) in zip(tiles, corners, strict=True):
        sheet_HW[row : row + side, column : column + side] = _picture(tile, windows[tile.stack], side)
    sheet = Image.fromarray(sheet_HW)
    draw = ImageDraw.Draw(sheet)
    draw.text((2 * GAP, 8), PRODUCT, BRIGHT, large)
    draw.text((2 * GAP, 36), heading, DIM, small)
    for number, line in enumerate(lines):
        draw.text((2 * GAP, HEADER - 4 + number * LINE), line, BRIGHT, small)
    if banner:
        draw.rectangle((0, top - BANNER, width, top - GAP), AMBER)
        draw.text((2 * GAP, top - BANNER + 2), banner, 0, large)
    draw.text((2 * GAP, shape[0] - FOOTER + 6), f"{NOTICE} Version {VERSION}.", DIM, small)
    for tile, (row, column) in zip(tiles, corners, strict=True):
        _caption(draw, tile, (column + 8, row + 6), (row + side - 8), small)
    sheet.putpalette(_palette())
    stream = BytesIO()
    made_by = PngInfo()
    made_by.add_text("Software", MADE_BY)
    sheet.save(stream, "PNG", compress_level=PNG_LEVEL, pnginfo=made_by)
    return stream.getvalue()


def _wrapped(text: str, width: int, font: Any) -> list[str]:
    """The text in lines that are no wider than ``width`` pixels, but for a single long word."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _palette() -> bytes:
    """Red, green and blue of each index."""
    greys = [(round(i * 255 / (GREYS - 1)),) * 3 for i in range(GREYS)]
    shades = [tuple(round(part * (i + 1) / SHADES) for part in OUTLINE_RGB) for i in range(SHADES)]
    return bytes(part for colour in (*greys, *shades) for part in colour)


def _caption(
    draw: ImageDraw.ImageDraw, tile: Picture, first: tuple[int, int], bottom: int, font: Any
) -> None:
    """Slice and area in the corners, with a dark edge: legible on any ground."""
    edge: dict[str, Any] = {"font": font, "stroke_width": 2, "stroke_fill": 0}
    draw.text(first, tile.title, BRIGHT, **edge)
    draw.text((first[0], bottom), tile.area, BRIGHT, anchor="ls", **edge)


def _picture(tile: Picture, window: Window | None, side: int) -> NDArray[np.uint8]:
    """The window of one slice with the outline of its mask, as palette indices, ``side`` by ``side``."""
    mask_HW = displayed(tile.mask_HW, tile.frame.display)
    window = window or Window(0, mask_HW.shape[0], 0, mask_HW.shape[1])
    row_mm, column_mm = _pixel_mm(tile.frame)
    height, width = (window.bottom - window.top) * row_mm, (window.right - window.left) * column_mm
    scale = side / max(height, width)
    shape = (max(1, round(height * scale)), max(1, round(width * scale)))
    grey_HW = np.clip(_resized(_windowed_grey(tile, window), shape), 0, 1)
    picture_HW = (grey_HW * (GREYS - 1) + 0.5).astype(np.uint8)
    cover_HW = _resized(_cut(mask_HW, window).astype(np.float32), shape)
    inside_HW = (cover_HW > 0.5).astype(np.uint8)  # noqa: PLR2004  half of 0..1
    contours, _ = cv2.findContours(inside_HW, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.polylines(picture_HW, contours, True, 0, 4, cv2.LINE_AA)  # a dark edge sets the outline off
    line_HW = np.zeros(shape, np.uint8)
    cv2.polylines(line_HW, contours, True, SHADES - 1, 2, cv2.LINE_AA)
    picture_HW = np.where(line_HW > SHADES // 4, GREYS + line_HW, picture_HW)
    framed_HW = np.zeros((side, side), np.uint8)
    top, left = (side - shape[0]) // 2, (side - shape[1]) // 2
    framed_HW[top : top + shape[0], left : left + shape[1]] = picture_HW
    return framed_HW


def _windowed_grey(tile: Picture, window: Window) -> NDArray[np.float32]:
    """Values in 0..1 between the 1st and the 98th percentile of what is shown; black where constant."""
    image_HW = _cut(displayed(tile.frame.image, tile.frame.display), window)
    unit_HW = unit_range(image_HW)
    if unit_HW is None:
        return np.zeros(image_HW.shape, np.float32)
    return clip_percentiles(unit_HW.astype(np.float32), np.ones(image_HW.shape, bool), 1, 98)


def _resized(image_HW: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    shrinks = shape[0] < image_HW.shape[0]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(np.ascontiguousarray(image_HW), shape[::-1], interpolation=how), np.float32)


def _cut(image_HW: NDArray[Any], window: Window) -> NDArray[Any]:
    return image_HW[window.top : window.bottom, window.left : window.right]


def _pixel_mm(frame: Frame) -> tuple[float, float]:
    """Displayed row and column spacing; square where unknown."""
    row_mm, column_mm = frame.spacing_mm or (1.0, 1.0)
    return (column_mm, row_mm) if frame.display.transpose else (row_mm, column_mm)


def _window(tiles: Sequence[Picture]) -> Window | None:
    """The square around the structure of all tiles; None where there is none, or shapes differ."""
    masks = [displayed(tile.mask_HW, tile.frame.display) for tile in tiles]
    if len({mask.shape for mask in masks}) > 1:
        return None
    union_HW = np.any(masks, axis=0)
    if not union_HW.any():
        return None
    pixel_mm = _pixel_mm(tiles[0].frame)
    spans = [np.flatnonzero(union_HW.any(axis=axis)) for axis in (1, 0)]
    middles_mm = [
        (int(span[0]) + int(span[-1]) + 1) / 2 * mm for span, mm in zip(spans, pixel_mm, strict=True)
    ]
    extents_mm = [(int(span[-1]) - int(span[0]) + 1) * mm for span, mm in zip(spans, pixel_mm, strict=True)]
    half_mm = max(LEAST_WINDOW_MM, CONTEXT * max(extents_mm)) / 2
    (top, bottom), (left, right) = (
        (max(0, int((middle - half_mm) / mm)), min(length, int((middle + half_mm) / mm) + 1))
        for middle, mm, length in zip(middles_mm, pixel_mm, union_HW.shape, strict=True)
    )
    return Window(top, bottom, left, right)
