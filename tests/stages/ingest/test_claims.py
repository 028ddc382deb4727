"""What a header claims is believed as far as the file's content goes: a broken file is one letter."""

from __future__ import annotations

import gzip
import io
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from struct import pack, pack_into

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydicom import dcmread

from stages.base import Reason
from stages.batches import Frame
from tests.stages.ingest.containers import sound_files
from tests.stages.ingest.maker import account


@pytest.fixture(scope="session")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, int]]:
    return sound_files(tmp_path_factory.mktemp("seeds") / "a")


KINDS = [
    *("one frame", "native", "deflated", "RLE", "offset table", "no offset table", "extended offset table"),
    *("lossless JPEG", "JPEG of 12 bits"),
    *("NIfTI-1", "NIfTI-2", "gzip", "strips", "tiles", "BigTIFF", "PNG", "JPEG", "JPEG 2000"),
]
HARM = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
WHERE = st.integers(0, 1200) | st.integers(0, 9000)  # the header in half of the draws


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_file_is_all_its_frames(
    seeds: dict[str, tuple[bytes, int]], tmp_path: Path, kind: str
) -> None:
    """Verification refuses none of them."""
    sound, frames = seeds[kind]
    (tmp_path / "a").write_bytes(sound)
    assert [type(row) for row in account(tmp_path / "a")] == [Frame] * frames


@pytest.mark.parametrize("kind", KINDS)
@HARM
@given(where=WHERE, bits=st.integers(1, 255))
@example(where=21, bits=8)  # of the gzip: 68 letters, when its dimensions were believed unverified
@example(where=23, bits=1)  # 516 letters
@example(where=22, bits=128)  # 1,028 letters
@example(where=153, bits=64)  # of the tiles: one of a billion pixels, for which there was no memory
def test_a_changed_byte_makes_no_more_letters_than_the_file_has_frames(
    seeds: dict[str, tuple[bytes, int]], tmp_path: Path, kind: str, where: int, bits: int
) -> None:
    """Anywhere in a file of any kind."""
    sound, frames = seeds[kind]
    harmed = bytearray(sound)
    harmed[where % len(sound)] ^= bits
    (tmp_path / "a").write_bytes(harmed)
    assert 1 <= len(account(tmp_path / "a")) <= frames


@pytest.mark.parametrize("kind", KINDS)
@HARM
@given(where=WHERE, more=st.binary(min_size=1, max_size=9))
@example(where=0, more=b"\0")
@example(where=9000, more=b"\0")
def test_added_bytes_make_no_more_letters_than_the_file_has_frames(
    seeds: dict[str, tuple[bytes, int]], tmp_path: Path, kind: str, where: int, more: bytes
) -> None:
    """Anywhere, and at the end."""
    sound, frames = seeds[kind]
    at = min(where, len(sound))
    (tmp_path / "a").write_bytes(sound[:at] + more + sound[at:])
    assert 1 <= len(account(tmp_path / "a")) <= frames


@pytest.mark.parametrize("kind", KINDS)
@HARM
@given(kept=WHERE)
@example(kept=0)
@example(kept=1323)  # of the offset table: as many items are left as there are frames
@example(kept=1309)  # the same without a table
@example(kept=1764)  # one item is missing, and the table is right
def test_a_cut_file_is_whole_or_one_letter(
    seeds: dict[str, tuple[bytes, int]], tmp_path: Path, kind: str, kept: int
) -> None:
    """Where the cut takes nothing that is needed all its frames come; else none does, and one letter."""
    sound, frames = seeds[kind]
    (tmp_path / "a").write_bytes(sound[: kept % len(sound)])
    rows = account(tmp_path / "a")
    letters = sum(not isinstance(row, Frame) for row in rows)
    assert (len(rows), letters) in {(frames, 0), (1, 1)}


def patched(held: bytes, old: bytes, new: bytes, nth: int = 0) -> bytes:
    """The file with other bytes in the same place."""
    at = -1
    for _ in range(nth + 1):
        at = held.index(old, at + 1)
    return held[:at] + new.ljust(len(old)) + held[at + len(old) :]


def field(held: bytes, tag: int, value: int) -> bytes:
    """A classic little-endian TIFF with another single value of this tag in its first directory."""
    made = bytearray(held)
    first = (
        held.index(pack("<HH", 256, 3)) if pack("<HH", 256, 3) in held else held.index(pack("<HH", 256, 4))
    )
    at = held.index(pack("<H", tag), first)
    pack_into("<HLL", made, at + 2, 4, 1, value)
    return bytes(made)


def frames(number: bytes) -> Callable[[bytes], bytes]:
    """The DICOM file with this Number of Frames."""
    return lambda held: patched(held, b"\x28\0\x08\0IS\x02\x003 ", b"\x28\0\x08\0IS\x02\0" + number)


def rewritten(held: bytes) -> bytes:
    """The DICOM file written anew, with four frames in its header."""
    dataset, out = dcmread(io.BytesIO(held)), io.BytesIO()
    dataset.NumberOfFrames = 4
    dataset.save_as(out)
    return out.getvalue()


def longer(at: int, count: int) -> Callable[[bytes], bytes]:
    """The volume with so many slices in its header."""
    return lambda held: held[:at] + pack("<H", count) + held[at + 2 :]


def folded(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """The same of a gzip whose checksum is right."""
    return lambda held: gzip.compress(change(gzip.decompress(held)), mtime=0)


@dataclass(frozen=True)
class Lie:
    kind: str
    change: Callable[[bytes], bytes]
    reason: Reason


LIES = {
    "native, more frames": Lie("native", frames(b"4"), Reason.TRUNCATED),
    "native, many more frames": Lie("native", frames(b"99"), Reason.TRUNCATED),
    "native, frames below zero": Lie("native", frames(b"-3"), Reason.CORRUPT),
    "native, frames that are no number": Lie("native", frames(b"3A"), Reason.CORRUPT),
    "native, more rows": Lie(
        "native",
        lambda held: patched(held, b"\x10\0US\x02\0\x28\0", b"\x10\0US\x02\0\x29\0"),
        Reason.TRUNCATED,
    ),
    "native, a pixel short": Lie("native", lambda held: held[:-2], Reason.TRUNCATED),
    "native, too many pixels": Lie(
        "native",
        lambda held: patched(
            patched(held, b"\x10\0US\x02\0\x28\0", b"\x10\0US\x02\0\xff\xff"),
            b"\x11\0US\x02\0\x21\0",
            b"\x11\0US\x02\0\xff\xff",
        ),
        Reason.TOO_LARGE,
    ),
    "no rows": Lie(
        "native", lambda held: patched(held, b"\x10\0US\x02\0\x28\0", b"\x10\0US\x02\0\0\0"), Reason.CORRUPT
    ),
    "deflated, more frames": Lie("deflated", rewritten, Reason.TRUNCATED),
    "RLE, more frames": Lie("RLE", frames(b"4"), Reason.CORRUPT),
    "RLE, cut in the last item": Lie("RLE", lambda held: held[:-20], Reason.TRUNCATED),
    "RLE, cut between its items": Lie(
        "RLE", lambda held: held[: held.rindex(b"\xfe\xff\x00\xe0")], Reason.TRUNCATED
    ),
    "native, a damaged functional group": Lie(
        "native", lambda held: patched(held, b"\x10\x91SQ", b"\x10\x91SR"), Reason.UNSUPPORTED
    ),
    "fragments, a frame more than the offset table": Lie("offset table", frames(b"4"), Reason.CORRUPT),
    "fragments, a frame fewer than the offset table": Lie("offset table", frames(b"2"), Reason.CORRUPT),
    "fragments, a frame for each item": Lie("offset table", frames(b"6"), Reason.CORRUPT),
    "fragments, a frame for each item, no table": Lie("no offset table", frames(b"6"), Reason.CORRUPT),
    "fragments, more frames than code streams": Lie("no offset table", frames(b"4"), Reason.CORRUPT),
    "fragments, more frames than items": Lie("no offset table", frames(b"7"), Reason.CORRUPT),
    "NIfTI-1, a slice more": Lie("NIfTI-1", longer(46, 7), Reason.TRUNCATED),
    "NIfTI-1, voxels before the file": Lie(
        "NIfTI-1", lambda held: held[:108] + pack("<f", -96) + held[112:], Reason.TRUNCATED
    ),
    "NIfTI-2, a slice more": Lie("NIfTI-2", longer(40, 7), Reason.TRUNCATED),
    "NIfTI-1, all slices that a header can claim": Lie("NIfTI-1", longer(46, 32767), Reason.TRUNCATED),
    "gzip, a slice more": Lie("gzip", folded(longer(46, 7)), Reason.TRUNCATED),
    "gzip, many more slices": Lie("gzip", folded(longer(46, 500)), Reason.TRUNCATED),
    "gzip, without its trailer": Lie("gzip", lambda held: held[:-8], Reason.TRUNCATED),
    "gzip, another checksum": Lie("gzip", lambda held: held[:-8] + b"\0\0\0\0" + held[-4:], Reason.CORRUPT),
    "gzip, another length": Lie("gzip", lambda held: held[:-4] + b"\0\0\0\0", Reason.CORRUPT),
    "gzip, something behind": Lie("gzip", lambda held: held + b"something", Reason.CORRUPT),
    "TIFF, taller": Lie("strips", lambda held: field(held, 257, 41), Reason.CORRUPT),
    "TIFF, wider": Lie("strips", lambda held: field(held, 256, 34), Reason.CORRUPT),
    "TIFF, fewer rows a strip": Lie("strips", lambda held: field(held, 278, 4), Reason.CORRUPT),
    "TIFF, no rows a strip": Lie("strips", lambda held: field(held, 278, 0), Reason.CORRUPT),
    "TIFF, a directory that leads out": Lie(
        "strips", lambda held: held[:4] + pack("<L", len(held)) + held[8:], Reason.TRUNCATED
    ),
    "tiles, taller": Lie("tiles", lambda held: field(held, 257, 49), Reason.CORRUPT),
    "tiles, wider": Lie("tiles", lambda held: field(held, 256, 49), Reason.CORRUPT),
    "tiles, one too large for its bytes": Lie(
        "tiles", lambda held: field(held, 322, 1 << 24), Reason.CORRUPT
    ),
    "tiles, no width": Lie("tiles", lambda held: field(held, 322, 0), Reason.CORRUPT),
}


@pytest.mark.parametrize("name", LIES)
def test_a_claim_over_the_content_is_one_letter(
    seeds: dict[str, tuple[bytes, int]], tmp_path: Path, name: str
) -> None:
    """None of its frames is believed, and nothing large is allocated for what is claimed."""
    lie = LIES[name]
    (tmp_path / "a").write_bytes(lie.change(seeds[lie.kind][0]))
    tracemalloc.start()
    (row,) = account(tmp_path / "a")
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not isinstance(row, Frame)
    assert row.reason is lie.reason
    assert peak_bytes < 4 * 2**20
