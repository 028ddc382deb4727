from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from stages.base import Reason
from stages.batches import Frame
from stages.ingest.decode import read_frames
from stages.ingest.directories import count_pages
from stages.ingest.faults import Refusal
from stages.ingest.options import IngestOptions
from stages.places import FileKind, Place
from tests.stages.ingest.maker import ramp

GREY = "minisblack"


def read(path: Path, page: int = 0) -> Frame | Refusal:
    (found,) = read_frames([Place(str(path), page, FileKind.RASTER)], IngestOptions())
    return found


def seen(path: Path, page: int = 0) -> NDArray:
    found = read(path, page)
    assert isinstance(found, Frame), found
    return found.image


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_samples_of_every_type_come_as_stored(tmp_path: Path, dtype: str, byteorder: str) -> None:
    """In the machine's byte order, whichever the file has."""
    image = ramp(dtype=dtype, most=100)
    tifffile.imwrite(tmp_path / "a", image, byteorder=byteorder, photometric=GREY)
    np.testing.assert_array_equal(seen(tmp_path / "a"), image)
    assert seen(tmp_path / "a").dtype.isnative


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_compressed_and_tiled_pages_are_read(
    tmp_path: Path, compression: str | None, tile: tuple[int, int] | None
) -> None:
    """Those that tifffile decodes by itself."""
    tifffile.imwrite(tmp_path / "a", ramp(), compression=compression, tile=tile, photometric=GREY)
    np.testing.assert_array_equal(seen(tmp_path / "a"), ramp())


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_pages_as_pillow_writes_them_are_read(tmp_path: Path, compression: str) -> None:
    """LZW is the commonest; Pillow's libtiff decodes it."""
    Image.fromarray(ramp()).save(tmp_path / "a", "TIFF", compression=compression)
    np.testing.assert_array_equal(seen(tmp_path / "a"), ramp())


@pytest.mark.parametrize(
    ("bigtiff", "byteorder", "imagej"),
    [(False, "<", False), (False, ">", False), (True, "<", False), (True, ">", False), (False, ">", True)],
)
def test_pages_are_counted_and_read_by_number(
    tmp_path: Path, bigtiff: bool, byteorder: str, imagej: bool
) -> None:
    """TIFF and BigTIFF in both byte orders, and ImageJ's."""
    pages = np.stack([ramp() + 5 * page for page in range(6)]).astype(np.uint16)
    tifffile.imwrite(
        tmp_path / "a", pages, bigtiff=bigtiff, byteorder=byteorder, imagej=imagej, photometric=GREY
    )
    with (tmp_path / "a").open("rb") as stream:
        assert count_pages(stream, 100) == 6
        assert count_pages(stream, 3) == 4  # enough to know that it is over
    for page in (5, 0, 2):
        np.testing.assert_array_equal(seen(tmp_path / "a", page), pages[page])


def test_pages_of_different_shapes_and_types_are_read(tmp_path: Path) -> None:
    """A page is described by its own directory."""
    images = [ramp(), ramp(7, 9, "u1", 200), ramp(5, 5, "f4", 1)]
    with tifffile.TiffWriter(tmp_path / "a") as writer:
        for image in images:
            writer.write(image, photometric=GREY)
    for page, image in enumerate(images):
        np.testing.assert_array_equal(seen(tmp_path / "a", page), image)


def test_lzw_pages_are_read_by_number(tmp_path: Path) -> None:
    """Pillow's pages are tifffile's."""
    pages = [Image.fromarray(ramp() + shift) for shift in (0, 9)]
    pages[0].save(tmp_path / "a", "TIFF", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    np.testing.assert_array_equal(seen(tmp_path / "a", 1), ramp() + 9)


def test_white_is_zero_is_inverted(tmp_path: Path) -> None:
    """Bright must mean bright."""
    image = ramp(dtype="u1", most=255)
    tifffile.imwrite(tmp_path / "a", image, photometric="miniswhite")
    np.testing.assert_array_equal(seen(tmp_path / "a"), 255 - image)


@pytest.mark.parametrize("compression", [None, "zlib", "packbits", "lzw", "zstd", "lzma"])
@pytest.mark.parametrize("how", [{}, {"tile": (16, 16)}, {"rowsperstrip": 5}, {"byteorder": ">"}])
@pytest.mark.parametrize("photometric", ["miniswhite", GREY])
def test_every_depth_is_read_right_way_round(
    tmp_path: Path, compression: str | None, how: dict[str, object], photometric: str
) -> None:
    """From 1 to 32 bits, packed or not: bright means bright, to the last bit."""
    for bits in (1, 2, 4, 7, 8, 10, 12, 14, 16, 24, 32):
        packed = bits not in (8, 16, 32)
        if packed and (compression or "byteorder" in how):
            continue  # tifffile writes packed samples plainly only
        dtype = "u1" if bits <= 8 else "u2" if bits <= 16 else "u4"
        image = (np.arange(32 * 48, dtype="u8") * ((1 << bits) - 1) // (32 * 48 - 1)).reshape(32, 48)
        written = image.astype(bool if bits == 1 else dtype)
        depth = {"bitspersample": bits} if packed and bits > 1 else {}
        tifffile.imwrite(
            tmp_path / "a", written, photometric=photometric, compression=compression, **depth, **how
        )
        expected = (1 << bits) - 1 - image if photometric == "miniswhite" else image
        np.testing.assert_array_equal(seen(tmp_path / "a"), expected, err_msg=f"{bits} bits")


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt", "tiff_lzw", "packbits", None])
@pytest.mark.parametrize("white", [0, 1])
def test_two_values_are_read_right_way_round(tmp_path: Path, compression: str | None, white: int) -> None:
    """Fax compressions, which Pillow reads, among them; as scanners write them, white is zero."""
    bits = ramp(40, 33) > 2000
    Image.fromarray(bits).save(tmp_path / "a", "TIFF", compression=compression, tiffinfo={262: white})
    with tifffile.TiffFile(tmp_path / "a") as tiff:
        stored = tiff.pages[0].asarray().astype(bool)
        least = tiff.pages[0].photometric == tifffile.PHOTOMETRIC.MINISWHITE
    np.testing.assert_array_equal(seen(tmp_path / "a"), ~stored if least else stored)


@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_white_is_zero_in_jpeg(tmp_path: Path, tile: tuple[int, int] | None) -> None:
    """Lossy, through Pillow: within a few values."""
    image = ramp(40, 33, "u1", 255)
    tifffile.imwrite(tmp_path / "a", image, photometric="miniswhite", compression="jpeg", tile=tile)
    assert np.abs(seen(tmp_path / "a").astype(int) - (255 - image.astype(int))).max() < 8


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_white_is_zero_beside_alpha(tmp_path: Path, planar: str, dtype: str) -> None:
    """The first sample is grey and inverted, the second is ignored."""
    image = np.stack([ramp(dtype=dtype, most=200), np.full((12, 10), 7, dtype)])
    stored = image if planar == "separate" else np.moveaxis(image, 0, -1)
    tifffile.imwrite(
        tmp_path / "a", stored, photometric="miniswhite", planarconfig=planar, extrasamples=["unassalpha"]
    )
    np.testing.assert_array_equal(seen(tmp_path / "a"), np.iinfo(dtype).max - image[0])


@pytest.mark.parametrize("compression", ["jpeg2000", "lerc", "png"])
def test_a_compression_that_no_reader_takes_is_unsupported(tmp_path: Path, compression: str) -> None:
    """And the sentence says what to do."""
    tifffile.imwrite(tmp_path / "a", ramp(40, 33, "u1", 255), photometric=GREY, compression=compression)
    found = read(tmp_path / "a")
    assert isinstance(found, Refusal)
    assert found.reason is Reason.UNSUPPORTED
    assert "save it with LZW" in found.detail


@pytest.mark.parametrize("dtype", ["i2", "f4"])
def test_white_is_zero_of_signed_samples_stays_as_stored(tmp_path: Path, dtype: str) -> None:
    """Nobody defines what their white is."""
    tifffile.imwrite(tmp_path / "a", ramp(dtype=dtype, most=255), photometric="miniswhite")
    np.testing.assert_array_equal(seen(tmp_path / "a"), ramp(dtype=dtype, most=255))


@pytest.mark.parametrize(("side", "reason"), [(160, None), (176, Reason.TOO_LARGE)])
def test_a_tile_over_the_limit_is_not_unfolded(tmp_path: Path, side: int, reason: Reason | None) -> None:
    """Though its page is under it."""
    tifffile.imwrite(tmp_path / "a", ramp(), tile=(side, 160), photometric=GREY, compression="zlib")
    place = Place(str(tmp_path / "a"), 0, FileKind.RASTER)
    (found,) = read_frames([place], IngestOptions(max_pixels=160 * 160))
    assert getattr(found, "reason", None) is reason


@pytest.mark.parametrize(("samples", "reason"), [(64, None), (65, Reason.TOO_LARGE)])
def test_a_page_of_very_many_samples_is_not_decoded(
    tmp_path: Path, samples: int, reason: Reason | None
) -> None:
    """The limit on pixels would not see them."""
    many = np.zeros((10, 10, samples), np.uint8)
    tifffile.imwrite(tmp_path / "a", many, photometric=GREY, planarconfig="contig")
    place = Place(str(tmp_path / "a"), 0, FileKind.RASTER)
    (found,) = read_frames([place], IngestOptions(max_pixels=100))
    assert getattr(found, "reason", None) is reason


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_colour_becomes_luminance(tmp_path: Path, planar: str, dtype: str) -> None:
    """Interleaved or plane by plane, 8 or 16 bits."""
    full = np.iinfo(dtype).max
    image = np.array([[[full, 0, 0], [0, full, 0]], [[0, 0, full], [full, full, full]]], dtype)
    stored = np.moveaxis(image, -1, 0) if planar == "separate" else image
    tifffile.imwrite(tmp_path / "a", stored, photometric="rgb", planarconfig=planar)
    np.testing.assert_array_equal(
        seen(tmp_path / "a"), np.rint(np.array([[0.299, 0.587], [0.114, 1.0]]) * full)
    )


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    """Sixteen-bit entries, as TIFF has them."""
    table = np.zeros((3, 256), np.uint16)
    table[:, 1] = 1000
    tifffile.imwrite(tmp_path / "a", np.array([[0, 1]], np.uint8), photometric="palette", colormap=table)
    np.testing.assert_array_equal(seen(tmp_path / "a"), [[0, 1000]])


@pytest.mark.parametrize("writer", ["tifffile", "ImageJ"])
def test_a_stack_behind_one_page_is_unsupported(tmp_path: Path, writer: str) -> None:
    """Its other planes would be lost without a word."""
    if writer == "ImageJ":
        description = "ImageJ=1.54f\nimages=6\nslices=6\n"
        tifffile.imwrite(tmp_path / "a", ramp(), photometric=GREY, metadata=None, description=description)
    else:
        tifffile.imwrite(tmp_path / "a", np.stack([ramp()] * 6), truncate=True, photometric=GREY)
    found = read(tmp_path / "a")
    assert isinstance(found, Refusal)
    assert found.reason is Reason.UNSUPPORTED


def test_a_cut_page_is_truncated_and_those_before_it_are_read(tmp_path: Path) -> None:
    """Directories first, so that the pages are still found."""
    tifffile.imwrite(tmp_path / "a", ramp(), photometric=GREY, metadata=None)
    held = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(held[:-10])
    found = read(tmp_path / "a")
    assert isinstance(found, Refusal)
    assert found.reason is Reason.TRUNCATED
