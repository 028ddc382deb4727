"""Geometry: a stored image to the model's square field and back, in pixel-centre coordinates.

Both directions are separable linear maps, ``rows_OI @ image @ columns_OI.T``. Hence they are exact to
float32 (a linear ramp keeps its coordinates), differentiable, and undone by the same ``Grid``. A row of these
matrices holds a few values beside each other, so they are multiplied as sparse matrices.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from stages.batches import Frame
from stages.grid import PLAUSIBLE_SPACING_MM, Display, Grid

LEAST_EXTENT = 8  # field pixels; spacing that makes an image smaller is no spacing of a pelvis

Pixel = TypeVar("Pixel", bound=np.generic)


def grid_of(frame: Frame, size: int, spacing_mm: float) -> Grid:
    """A field of ``size`` by ``size`` pixels centred on the image, at ``spacing_mm`` where spacing is known.

    Prostate MRI is acquired centred on the gland, so the image's centre is the steadiest anchor there is.
    Where spacing is missing or absurd the whole image is fitted into the field, its aspect kept.
    """
    shape = (frame.image.shape[0], frame.image.shape[1])
    height, width = shape[::-1] if frame.display.transpose else shape
    row_mm, column_mm = frame.spacing_mm or (math.nan, math.nan)
    if frame.display.transpose:
        row_mm, column_mm = column_mm, row_mm
    low, high = PLAUSIBLE_SPACING_MM
    known = low <= row_mm <= high and low <= column_mm <= high  # False for NaN
    known = known and min(height * row_mm, width * column_mm) >= LEAST_EXTENT * spacing_mm
    fit = max(height, width) / size
    scale = (spacing_mm / row_mm, spacing_mm / column_mm) if known else (fit, fit)
    offset = (_offset(height, size, scale[0]), _offset(width, size, scale[1]))
    return Grid(shape, frame.display, scale, offset, known)


def _offset(length: int, size: int, scale: float) -> float:
    """The displayed coordinate of field pixel 0, so that the two centres coincide."""
    offset = (length - 1) / 2 - (size - 1) / 2 * scale
    # At unit scale half a pixel of centring would blur every pixel for nothing.
    return float(math.floor(offset)) if scale == 1 else offset


def to_field(image_HW: NDArray[Any], grid: Grid, size: int) -> NDArray[np.float32]:
    """The stored image resampled to the field, smoothed where that shrinks it; zero outside the image.

    Labels come through too: resample them as 0 and 1 and cut at one half.
    """
    return resampled(within_view(image_HW, grid, size), grid, size)


def within_view(image_HW: NDArray[Pixel], grid: Grid, size: int) -> NDArray[Pixel]:
    """The pixels of the stored image that the field looks at, in display orientation; a view."""
    (top, bottom), (left, right) = _windows(grid, size)
    return displayed(image_HW, grid.display)[top:bottom, left:right]


def resampled(view_HW: NDArray[Any], grid: Grid, size: int) -> NDArray[np.float32]:
    """The field of an image of which ``view_HW`` is what ``within_view`` gives."""
    rows, columns = _axes(grid, size)
    return _apply(_sparse(*rows), view_HW, _sparse(*columns))


def view_weights(grid: Grid, size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """``rows_OI`` and ``columns_OI`` of ``resampled``, dense."""
    rows, columns = _axes(grid, size)
    return weights(*rows), weights(*columns)


def to_original(field_HW: NDArray[Any], grid: Grid) -> NDArray[np.float32]:
    """Values on the field (a probability, a mask) linearly interpolated on the stored grid; zero beyond it.

    Cut at one half for a mask.
    """
    rows_OI, columns_OI = (
        _sparse(length, seen, 1 / scale, -offset / scale, smooth=False)
        for length, seen, scale, offset in zip(
            _shown_shape(grid), field_HW.shape, grid.scale, grid.offset, strict=True
        )
    )
    return stored(_apply(rows_OI, field_HW, columns_OI), grid.display)


def mask_to_original(field_HW: NDArray[np.float32], grid: Grid, threshold: float) -> NDArray[np.bool_]:
    """``to_original(field_HW, grid) >= threshold``, for a threshold above 0.

    What is interpolated is no larger than its neighbours on the field, so only the surroundings of those that
    reach the threshold are computed.
    """
    shown_HW = np.zeros(_shown_shape(grid), np.bool_)
    left, top, width, height = cv2.boundingRect((field_HW >= threshold).view(np.uint8))
    if width:
        box = [(top, top + height), (left, left + width)]
        parts = [
            _surroundings(lo, hi, seen, length, scale, offset)
            for (lo, hi), seen, length, scale, offset in zip(
                box, field_HW.shape, shown_HW.shape, grid.scale, grid.offset, strict=True
            )
        ]
        (rows, from_rows, rows_OI), (columns, from_columns, columns_OI) = parts
        shown_HW[rows, columns] = rows_OI @ field_HW[from_rows, from_columns] @ columns_OI.T >= threshold
    return np.ascontiguousarray(stored(shown_HW, grid.display))


def _surroundings(
    lo: int, hi: int, seen: int, length: int, scale: float, offset: float
) -> tuple[slice, slice, NDArray[np.float32]]:
    """Along one axis: the stored pixels less than one field pixel away from field pixels lo to hi - 1.

    Also the field pixels that they are interpolated from, and the weights of these.
    """
    first = min(max(math.ceil((lo - 1) * scale + offset), 0), length)
    stop = min(max(math.floor(hi * scale + offset) + 1, first), length)
    used = slice(max(lo - 2, 0), min(hi + 2, seen))
    weight_OI = weights(length, seen, 1 / scale, -offset / scale, smooth=False)
    return slice(first, stop), used, weight_OI[first:stop, used]


@lru_cache(maxsize=16)
def inside(grid: Grid, size: int) -> NDArray[np.bool_]:
    """Which field pixels look at the image rather than past its edge, [size, size]."""
    rows_O, columns_O = (
        np.abs(np.arange(size) * scale + offset - (length - 1) / 2) < length / 2
        for length, scale, offset in zip(_shown_shape(grid), grid.scale, grid.offset, strict=True)
    )
    seen_OO: NDArray[np.bool_] = np.logical_and.outer(rows_O, columns_O)
    seen_OO.flags.writeable = False  # shared by all frames of one geometry
    return seen_OO


def _shown_shape(grid: Grid) -> tuple[int, int]:
    height, width = grid.shape
    return (width, height) if grid.display.transpose else (height, width)


def displayed(image_HW: NDArray[Pixel], display: Display) -> NDArray[Pixel]:
    """A view of the stored image in display orientation: transpose first, then the flips."""
    shown = image_HW.T if display.transpose else image_HW
    return shown[:: -1 if display.flip_rows else 1, :: -1 if display.flip_columns else 1]


def stored(shown_HW: NDArray[Pixel], display: Display) -> NDArray[Pixel]:
    """The inverse of ``displayed``."""
    image = shown_HW[:: -1 if display.flip_rows else 1, :: -1 if display.flip_columns else 1]
    return image.T if display.transpose else image


@lru_cache(maxsize=16)
def weights(
    size: int, length: int, scale: float, offset: float, *, smooth: bool = True
) -> NDArray[np.float32]:
    """``W[o, i]``: what input pixel i gives to output pixel o, which looks at ``o * scale + offset``.

    The kernel is the linear-interpolation hat, convolved with a box of width sqrt(scale² - 1) where the
    output is coarser (``smooth``): the identity at scale 1, and the variance of pixel-area averaging
    beyond. A row sums to one and reproduces linear functions, except where it reaches past the edge.
    """
    distance_OI = (np.arange(size) * scale + offset)[:, None] - np.arange(length)
    box = math.sqrt(max(scale * scale - 1, 0)) if smooth else 0.0
    if box > 0:
        exact_OI = (_hat_integral(distance_OI + box / 2) - _hat_integral(distance_OI - box / 2)) / box
    else:
        exact_OI = np.maximum(1 - np.abs(distance_OI), 0)
    weight_OI = exact_OI.astype(np.float32)
    weight_OI.flags.writeable = False  # shared by all frames of one geometry
    return weight_OI


def _hat_integral(distance: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """The integral of the hat, max(1 - abs(t), 0), from minus infinity to t."""
    t = np.clip(distance, -1, 1)
    integral: NDArray[np.floating[Any]] = 0.5 + t - 0.5 * t * np.abs(t)
    return integral


@lru_cache(maxsize=32)
def _sparse(size: int, length: int, scale: float, offset: float, *, smooth: bool = True) -> csr_array:
    return csr_array(weights(size, length, scale, offset, smooth=smooth))


def _axes(grid: Grid, size: int) -> list[tuple[int, int, float, float]]:
    """What ``weights`` needs for the rows and for the columns of the view."""
    return [
        (size, stop - start, scale, offset - start)
        for (start, stop), scale, offset in zip(_windows(grid, size), grid.scale, grid.offset, strict=True)
    ]


def _windows(grid: Grid, size: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The displayed rows and columns that the field can see, at least one of each."""
    rows, columns = (
        _window(length, size, scale, offset)
        for length, scale, offset in zip(_shown_shape(grid), grid.scale, grid.offset, strict=True)
    )
    return rows, columns


def _window(length: int, size: int, scale: float, offset: float) -> tuple[int, int]:
    reach = 1 + scale / 2
    first = min(max(math.floor(offset - reach), 0), length - 1)
    last = min(max(math.ceil((size - 1) * scale + offset + reach), first), length - 1)
    return first, last + 1


def _apply(rows_OI: csr_array, image_HW: NDArray[Any], columns_OI: csr_array) -> NDArray[np.float32]:
    """``rows_OI @ image_HW @ columns_OI.T``; a sparse matrix must stand on the left to be fast."""
    across_WO: NDArray[np.float32] = columns_OI @ np.asarray(image_HW.T, np.float32, order="C")
    result: NDArray[np.float32] = rows_OI @ np.ascontiguousarray(across_WO.T)
    return result
