from __future__ import annotations

from pathlib import Path
from struct import pack, unpack_from

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless, RLELossless

from stages.base import Reason
from stages.batches import Frame, Refused
from stages.ingest import fragments
from stages.ingest.decode import read_frames
from stages.ingest.faults import Refusal
from stages.ingest.options import IngestOptions
from stages.places import FileKind, Place
from tests.stages.ingest.maker import account, compressed, dicom, ramp

FRAMES = np.stack([ramp(40, 33) + 11 * frame for frame in range(4)])
UNEQUAL = np.stack([np.zeros_like(FRAMES[0]), *FRAMES[1:]])  # the first code stream is short


def read(path: Path) -> list[Frame | Refusal]:
    return read_frames([Place(str(path), frame, FileKind.DICOM) for frame in range(4)], IngestOptions())


def reasons(found: list[Frame | Refusal]) -> list[Reason | None]:
    return [one.reason if isinstance(one, Refusal) else None for one in found]


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("table", [True, False])
def test_frames_before_the_cut_are_read(tmp_path: Path, syntax: UID, table: bool) -> None:
    """With and without an offset table; what the cut touches is truncated, not painted grey."""
    path = compressed(dicom(FRAMES), tmp_path / "a", syntax)
    dataset = dcmread(path)
    codes = list(generate_frames(dataset.PixelData, number_of_frames=4))
    dataset.PixelData = encapsulate(codes, has_bot=table)
    dataset.save_as(path)
    assert reasons(read(path)) == [None] * 4
    held = path.read_bytes()
    path.write_bytes(held[: held.index(codes[2]) + len(codes[2]) // 2])
    found = read(path)
    assert reasons(found) == [None, None, Reason.TRUNCATED, Reason.TRUNCATED]
    assert isinstance(found[1], Frame)
    np.testing.assert_array_equal(found[1].image, FRAMES[1])


def test_a_file_without_the_last_delimiter_is_whole(tmp_path: Path) -> None:
    """Some writers leave it out; the code stream's own end tells that nothing is missing."""
    path = compressed(dicom(FRAMES), tmp_path / "a", JPEGLSLossless)
    delimiter = pack("<HHL", 0xFFFE, 0xE0DD, 0)
    assert path.read_bytes().endswith(delimiter)
    path.write_bytes(path.read_bytes()[: -len(delimiter)])
    assert reasons(read(path)) == [None] * 4


def test_a_frame_in_several_fragments_is_joined(tmp_path: Path) -> None:
    """As writers of long frames make them."""
    path = compressed(dicom(FRAMES), tmp_path / "a", JPEG2000Lossless)
    dataset = dcmread(path)
    codes = list(generate_frames(dataset.PixelData, number_of_frames=4))
    dataset.PixelData = encapsulate(codes, fragments_per_frame=3, has_bot=False)
    dataset.save_as(path)
    found = read(path)
    for one, image in zip(found, FRAMES, strict=True):
        assert isinstance(one, Frame)
        np.testing.assert_array_equal(one.image, image)


@pytest.mark.parametrize(
    ("syntax", "size_at"), [(JPEGLSLossless, b"\xff\xf7"), (JPEG2000Lossless, b"\xff\x4f\xff\x51")]
)
def test_a_code_stream_that_claims_another_size_is_not_decoded(
    tmp_path: Path, syntax: UID, size_at: bytes
) -> None:
    """A decoder allocates what the code stream claims: 65,535 rows here, whatever the header says."""
    path = compressed(dicom(FRAMES), tmp_path / "a", syntax)
    held = bytearray(path.read_bytes())
    marker = held.index(size_at)
    if syntax == JPEGLSLossless:
        held[marker + 5 : marker + 7] = b"\xff\xff"
    else:
        held[marker + 12 : marker + 16] = b"\0\0\xff\xff"
    path.write_bytes(held)
    first = read(path)[0]
    assert isinstance(first, Refusal)
    assert first.reason is Reason.CORRUPT
    assert "(65535, 33)" in first.detail


@pytest.mark.parametrize(
    ("code", "shape"),
    [
        (b"\xff\x4f\xff\x51\0\x29\0\0" + pack(">4L", 43, 25, 10, 5), (20, 33)),  # less its offset
        (b"\xff\xd8\xff\xe0\0\x04ab\xff\xc0\0\x0b\x08\0\x14\0\x21\1", (20, 33)),
        (b"\xff\xd8\xff\xc4\0\x04ab\xff\xc3\0\x0b\x10\0\x14\0\x21\1", (20, 33)),
        (b"\xff\xd8\xff\xc0\0\x0b\x08\0\0\0\x21\1", None),  # its height comes behind the scan
        (b"\xff\xd8\xff\xc4\0\x04ab", None),
        (b"RLE", None),
    ],
    ids=["JPEG 2000", "JPEG", "lossless JPEG behind its table", "no height", "no start of frame", "RLE"],
)
def test_a_code_stream_says_its_size(code: bytes, shape: tuple[int, int] | None) -> None:
    """Height and width; nothing where it does not say."""
    assert fragments._claimed_shape(code) == shape


def test_a_frame_without_bytes_is_corrupt(tmp_path: Path) -> None:
    """An empty fragment is no image, and the frames beside it stay."""
    path = compressed(dicom(FRAMES), tmp_path / "a", RLELossless)
    dataset = dcmread(path)
    codes = list(generate_frames(dataset.PixelData, number_of_frames=4))
    items = b"".join(pack("<HHL", 0xFFFE, 0xE000, len(code)) + code for code in (codes[0], b"", *codes[2:]))
    dataset.PixelData = pack("<HHL", 0xFFFE, 0xE000, 0) + items + pack("<HHL", 0xFFFE, 0xE0DD, 0)
    dataset.save_as(path)
    assert reasons(read(path)) == [None, Reason.CORRUPT, None, None]


def test_fragments_that_cannot_be_walked_refuse_the_file(tmp_path: Path) -> None:
    """Garbage where an item should begin."""
    path = compressed(dicom(FRAMES), tmp_path / "a", RLELossless)
    held = bytearray(path.read_bytes())
    second = held.index(pack("<HH", 0xFFFE, 0xE000), held.index(pack("<HH", 0xFFFE, 0xE000)) + 4)
    held[second : second + 4] = b"\x11\x22\x33\x44"
    path.write_bytes(held)
    assert reasons(read(path)) == [Reason.CORRUPT] * 4


def with_table(path: Path, offsets: list[int], lengths: list[int], items: list[bytes]) -> Path:
    """Four JPEG-LS frames among these items, found by an extended offset table."""
    dataset = dcmread(compressed(dicom(UNEQUAL), path, JPEGLSLossless))
    held = b"".join(pack("<HHL", 0xFFFE, 0xE000, len(one)) + one for one in (b"", *items))
    dataset.PixelData = held + pack("<HHL", 0xFFFE, 0xE0DD, 0)
    dataset.ExtendedOffsetTable = pack(f"<{len(offsets)}Q", *offsets)
    dataset.ExtendedOffsetTableLengths = pack(f"<{len(lengths)}Q", *lengths)
    dataset.save_as(path)
    return path


@pytest.fixture
def codes(tmp_path: Path) -> list[bytes]:
    """The code streams of the four frames."""
    dataset = dcmread(compressed(dicom(UNEQUAL), tmp_path / "a", JPEGLSLossless))
    return list(generate_frames(dataset.PixelData, number_of_frames=4))


def starts(items: list[bytes]) -> list[int]:
    return [sum(8 + len(one) for one in items[:row]) for row in range(len(items))]


def test_an_extended_offset_table_tells_which_items_are_frames(tmp_path: Path, codes: list[bytes]) -> None:
    """An item that it does not name lies between them; the first frame is much shorter than the others."""
    items = [codes[0], codes[3], *codes[1:]]
    offsets = [at for row, at in enumerate(starts(items)) if row != 1]
    found = account(with_table(tmp_path / "a", offsets, [len(code) for code in codes], items))
    assert len(found) == 4
    for one, image in zip(found, UNEQUAL, strict=True):
        assert isinstance(one, Frame)
        np.testing.assert_array_equal(one.image, image)


@pytest.mark.parametrize(
    ("offset", "length", "rows"),
    [(0, 0, 4), (2, 0, 1), (0, 2, 1), (10**6, 0, 1)],
    ids=["right", "beside the item", "longer than the item", "outside the file"],
)
def test_an_extended_offset_table_that_is_wrong_refuses_the_file(
    tmp_path: Path, codes: list[bytes], offset: int, length: int, rows: int
) -> None:
    """As one, with its last frame moved or lengthened."""
    items = [codes[0], codes[3], *codes[1:]]
    offsets = [at for row, at in enumerate(starts(items)) if row != 1]
    lengths = [len(code) for code in codes]
    offsets[-1] += offset
    lengths[-1] += length
    assert len(account(with_table(tmp_path / "a", offsets, lengths, items))) == rows


def test_an_extended_offset_table_with_too_few_frames_refuses_the_file(
    tmp_path: Path, codes: list[bytes]
) -> None:
    """Four are claimed and three named, of five items."""
    items = [codes[0], codes[3], *codes[1:]]
    made = with_table(tmp_path / "a", starts(items)[:3], [len(code) for code in items[:3]], items)
    (one,) = account(made)
    assert isinstance(one, Refused)
    assert one.reason is Reason.CORRUPT


@pytest.mark.parametrize(
    ("row", "change", "rows"),
    [(0, 0, 4), (1, 2, 1), (2, -(10**6), 1), (3, 10**6, 1), (0, None, 1), (2, None, 1)],
    ids=["right", "beside an item", "not rising", "outside the file", "not from the first", "another item"],
)
def test_a_basic_offset_table_that_is_wrong_refuses_the_file(
    tmp_path: Path, codes: list[bytes], row: int, change: int | None, rows: int
) -> None:
    """As one; where each frame is one item the table is not needed, so each has two here."""
    path = compressed(dicom(UNEQUAL), tmp_path / "a", JPEGLSLossless)
    dataset = dcmread(path)
    dataset.PixelData = encapsulate(codes, fragments_per_frame=2, has_bot=True)
    table = list(unpack_from("<4L", dataset.PixelData, 8))
    if change is None:  # the second item of the frame, or the frame after
        change = 8 + unpack_from("<L", dataset.PixelData, 8 + 16 + 4)[0] if row == 0 else table[3] - table[2]
    table[row] = max(table[row] + change, 0)
    dataset.PixelData = dataset.PixelData[:8] + pack("<4L", *table) + dataset.PixelData[24:]
    dataset.save_as(path)
    assert len(account(path)) == rows


def test_frames_fewer_than_items_are_read_of_rle(tmp_path: Path) -> None:
    """Where each item is a frame, those that the header does not count are left."""
    dataset = dcmread(compressed(dicom(FRAMES), tmp_path / "a", RLELossless))
    dataset.NumberOfFrames = 3
    dataset.save_as(tmp_path / "a")
    found = account(tmp_path / "a")
    assert len(found) == 3
    for one, image in zip(found, FRAMES[:3], strict=True):
        assert isinstance(one, Frame)
        np.testing.assert_array_equal(one.image, image)


def test_an_item_of_undefined_length_is_corrupt(tmp_path: Path) -> None:
    """Only sequences may have that."""
    path = compressed(dicom(FRAMES), tmp_path / "a", RLELossless)
    held = bytearray(path.read_bytes())
    at = held.rindex(pack("<HH", 0xFFFE, 0xE000)) + 4
    held[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(held)
    (one,) = account(path)
    assert isinstance(one, Refused)
    assert one.reason is Reason.CORRUPT


def test_the_items_of_a_file_are_not_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of empty items would fill the memory with their places."""
    path = compressed(dicom(FRAMES), tmp_path / "a", JPEGLSLossless)
    assert len(account(path)) == 4
    monkeypatch.setattr(fragments, "_MOST_ITEMS", 4)
    assert len(account(path)) == 4
    monkeypatch.setattr(fragments, "_MOST_ITEMS", 3)
    (one,) = account(path)
    assert isinstance(one, Refused)
    assert one.reason is Reason.TOO_LARGE


def test_an_offset_table_is_not_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its offsets, unpacked, would take eight times their bytes."""
    path = compressed(dicom(FRAMES[0]), tmp_path / "a", JPEGLSLossless)
    dataset = dcmread(path)
    (code,) = generate_frames(dataset.PixelData, number_of_frames=1)
    table = pack("<HHL16x", 0xFFFE, 0xE000, 16)
    dataset.PixelData = table + encapsulate([code], has_bot=False)[8:]
    dataset.save_as(path)
    monkeypatch.setattr(fragments, "_MOST_ITEMS", 4)
    assert [type(one) for one in account(path)] == [Frame]
    monkeypatch.setattr(fragments, "_MOST_ITEMS", 3)
    assert [getattr(one, "reason", None) for one in account(path)] == [Reason.TOO_LARGE]
