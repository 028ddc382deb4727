from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from stages.base import Reason
from stages.batches import Frame
from stages.ingest.decode import read_frames
from stages.ingest.faults import Refusal
from stages.ingest.options import IngestOptions
from stages.places import FileKind, Place
from tests.stages.ingest.maker import ramp

BYTES = ramp(dtype="u1", most=255)
COLOURS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [90, 90, 90]]], np.uint8)
GREYS = np.array([[76, 150], [29, 90]], np.uint8)


def read(path: Path, options: IngestOptions | None = None) -> Frame | Refusal:
    (found,) = read_frames([Place(str(path), 0, FileKind.RASTER)], options or IngestOptions())
    return found


def seen(path: Path) -> NDArray:
    found = read(path)
    assert isinstance(found, Frame), found
    assert found.spacing_mm is None
    return found.image


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF", "JPEG2000"])
def test_lossless_pictures_come_as_stored(tmp_path: Path, kind: str) -> None:
    """Eight bits, one channel."""
    Image.fromarray(BYTES).save(tmp_path / "a", kind)
    np.testing.assert_array_equal(seen(tmp_path / "a"), BYTES)


@pytest.mark.parametrize("kind", ["PNG", "PPM", "TIFF"])
def test_sixteen_bits_stay_sixteen(tmp_path: Path, kind: str) -> None:
    """Medical PNG and TIFF have them; eight would lose tissue."""
    Image.fromarray(ramp(most=65535)).save(tmp_path / "a", kind)
    np.testing.assert_array_equal(seen(tmp_path / "a"), ramp(most=65535))


def test_a_webp_is_read(tmp_path: Path) -> None:
    """Its colours become luminance."""
    Image.fromarray(COLOURS).save(tmp_path / "a", "WEBP", lossless=True)
    np.testing.assert_array_equal(seen(tmp_path / "a"), GREYS)


def test_a_jpeg_is_read(tmp_path: Path) -> None:
    """Lossy: within a few grey values."""
    Image.fromarray(BYTES).save(tmp_path / "a", "JPEG", quality=95)
    assert np.abs(seen(tmp_path / "a").astype(int) - BYTES).max() < 8


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colour_becomes_luminance(tmp_path: Path, mode: str) -> None:
    """Alpha is ignored, a palette looked up."""
    Image.fromarray(COLOURS).convert(mode, palette=Image.Palette.ADAPTIVE).save(tmp_path / "a", "PNG")
    np.testing.assert_array_equal(seen(tmp_path / "a"), GREYS)


def test_two_values_are_zero_and_one(tmp_path: Path) -> None:
    """As TIFF has them too."""
    Image.fromarray(BYTES > 100).save(tmp_path / "a", "PNG")
    np.testing.assert_array_equal(seen(tmp_path / "a"), BYTES > 100)
    assert seen(tmp_path / "a").dtype == np.uint8


def test_transparency_is_ignored(tmp_path: Path) -> None:
    """Grey with an alpha channel that differs from it."""
    Image.merge("LA", [Image.fromarray(BYTES), Image.fromarray(255 - BYTES)]).save(tmp_path / "a", "PNG")
    np.testing.assert_array_equal(seen(tmp_path / "a"), BYTES)


def test_print_colours_have_one_channel_too(tmp_path: Path) -> None:
    """Grey through cyan, magenta, yellow and black: lossy, within a few values."""
    Image.fromarray(BYTES).convert("CMYK").save(tmp_path / "a", "JPEG", quality=95)
    assert np.abs(seen(tmp_path / "a").astype(int) - BYTES).max() < 8


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "PPM", "JPEG2000"])
def test_a_cut_picture_is_refused(tmp_path: Path, kind: str) -> None:
    """Never padded with grey."""
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(tmp_path / "a", kind)
    held = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(held[: len(held) // 2])
    found = read(tmp_path / "a")
    assert isinstance(found, Refusal)
    assert found.reason in (Reason.TRUNCATED, Reason.CORRUPT)


def test_a_picture_over_the_limit_is_not_decoded(tmp_path: Path) -> None:
    """The header tells its size."""
    Image.fromarray(BYTES).save(tmp_path / "a", "PNG")
    found = read(tmp_path / "a", IngestOptions(max_pixels=100))
    assert isinstance(found, Refusal)
    assert found.reason is Reason.TOO_LARGE


def test_a_decompression_bomb_is_too_large(tmp_path: Path) -> None:
    """Pillow's own guard answers before ours when the limit is set higher than it allows."""
    Image.fromarray(np.zeros((1, 1), np.uint8)).save(tmp_path / "a", "PNG")
    held = bytearray((tmp_path / "a").read_bytes())
    held[16:24] = (40_000).to_bytes(4, "big") * 2
    held[29:33] = __import__("zlib").crc32(held[12:29]).to_bytes(4, "big")
    (tmp_path / "a").write_bytes(held)
    found = read(tmp_path / "a", IngestOptions(max_pixels=2**31))
    assert isinstance(found, Refusal)
    assert found.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animation_is_unsupported(tmp_path: Path, kind: str) -> None:
    """Its later pictures would be lost without a word."""
    pictures = [Image.fromarray(BYTES), Image.fromarray(BYTES[::-1].copy())]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pictures[0].save(tmp_path / "a", kind, save_all=True, append_images=pictures[1:])
    found = read(tmp_path / "a")
    assert isinstance(found, Refusal)
    assert found.reason is Reason.UNSUPPORTED
