"""Pictures that say how to be turned: the network sees them upright, masks go back to the stored grid."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from stages.batches import Display, Frame
from stages.ingest.decode import read_frames
from stages.ingest.options import IngestOptions
from stages.ingest.orientation import ORIENTATION, upright
from stages.places import FileKind, Place
from stages.preprocess.grid import displayed, grid_of, stored, to_field, to_original
from tests.stages.ingest.maker import ramp

STORED = ramp(24, 17, "u1", 255)
EIGHT = range(1, 9)


def read(path: Path, page: int = 0) -> Frame:
    (found,) = read_frames([Place(str(path), page, FileKind.RASTER)], IngestOptions())
    assert isinstance(found, Frame), found
    return found


def exif(orientation: object) -> Image.Exif:
    made = Image.Exif()
    made[ORIENTATION] = orientation
    return made


def as_pillow_turns(orientation: int) -> np.ndarray:
    """Pillow is the reference: it turns what its ``ImageOps.exif_transpose`` is given."""
    picture = Image.fromarray(STORED)
    picture.getexif()[ORIENTATION] = orientation
    return np.asarray(ImageOps.exif_transpose(picture))


@pytest.mark.parametrize("orientation", EIGHT)
def test_each_of_the_eight_turns_as_pillow_does(orientation: int) -> None:
    """And the way back gives the stored picture."""
    turned = upright(orientation)
    np.testing.assert_array_equal(displayed(STORED, turned), as_pillow_turns(orientation))
    np.testing.assert_array_equal(stored(displayed(STORED, turned), turned), STORED)


@pytest.mark.parametrize("orientation", [0, 9, -1, None, "6", b"6", 6.5, (6, 6)])
def test_any_other_value_leaves_the_picture_as_stored(orientation: object) -> None:
    """A reader that guesses turns sound pictures."""
    assert upright(orientation) == Display()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", EIGHT)
def test_exif_is_heeded_in_every_kind_of_picture(tmp_path: Path, kind: str, orientation: int) -> None:
    """The stored grid stays as it is."""
    how = {"WEBP": {"lossless": True}, "JPEG": {"quality": 98}}.get(kind, {})
    Image.fromarray(STORED).save(tmp_path / "a", kind, exif=exif(orientation), **how)
    found = read(tmp_path / "a")
    assert np.abs(found.image.astype(int) - STORED).max() <= (6 if kind == "JPEG" else 0)
    assert found.display == upright(orientation)


@pytest.mark.parametrize("orientation", EIGHT)
@pytest.mark.parametrize(
    ("dtype", "how"),
    [
        *(("u1", {}), ("u2", {}), ("u1", {"tile": (16, 16)}), ("u2", {"compression": "lzw"})),
        ("u1", {"compression": "jpeg"}),
    ],
)
def test_tiff_orientation_is_heeded_by_both_readers(
    tmp_path: Path, orientation: int, dtype: str, how: dict[str, object]
) -> None:
    """Pillow turns pages, tifffile leaves them as they are stored; later pages as well."""
    with tifffile.TiffWriter(tmp_path / "a") as writer:
        for image in (STORED[:9], STORED):
            tag = (ORIENTATION, 3, 1, orientation, False)
            writer.write(image.astype(dtype), photometric="minisblack", extratags=[tag], metadata=None, **how)
    found = read(tmp_path / "a", 1)
    assert np.abs(found.image.astype(int) - STORED).max() <= (6 if "jpeg" in how.values() else 0)
    assert found.image.flags.c_contiguous
    assert found.display == upright(orientation)


@pytest.mark.parametrize("orientation", EIGHT)
def test_fax_pages_are_turned_too(tmp_path: Path, orientation: int) -> None:
    """CCITT, which only Pillow reads."""
    bits = STORED > 100
    Image.fromarray(bits).save(
        tmp_path / "a", "TIFF", compression="group4", tiffinfo={ORIENTATION: orientation}
    )
    found = read(tmp_path / "a")
    np.testing.assert_array_equal(found.image, bits)
    assert found.display == upright(orientation)


@pytest.mark.parametrize("orientation", EIGHT)
def test_a_mask_of_the_upright_picture_lies_on_the_stored_grid(tmp_path: Path, orientation: int) -> None:
    """Through the field and back: the structure is where it was."""
    square = np.zeros((48, 32), np.uint8)
    square[6:20, 4:12] = 255
    Image.fromarray(square).save(tmp_path / "a", "PNG", exif=exif(orientation))
    frame = read(tmp_path / "a")
    grid = grid_of(frame, 64, 1.0)
    mask = to_original(to_field(frame.image > 0, grid, 64), grid) > 0.5
    assert (mask == (square > 0)).mean() > 0.99


@pytest.mark.parametrize(
    "body", [b"", b"garbage", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff" + bytes(9)]
)
def test_damaged_exif_data_does_not_refuse_a_sound_picture(tmp_path: Path, body: bytes) -> None:
    """It stays as stored."""
    Image.fromarray(STORED).save(tmp_path / "a", "PNG")
    held = (tmp_path / "a").read_bytes()
    chunk = b"eXIf" + body
    made = struct.pack(">L", len(body)) + chunk + struct.pack(">L", zlib.crc32(chunk))
    (tmp_path / "a").write_bytes(held[:33] + made + held[33:])
    found = read(tmp_path / "a")
    np.testing.assert_array_equal(found.image, STORED)
    assert found.display == Display()
