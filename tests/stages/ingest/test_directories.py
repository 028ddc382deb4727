from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from struct import pack, pack_into, unpack_from

import numpy as np
import pytest
import tifffile

from stages.base import Reason
from stages.ingest.directories import count_pages
from stages.ingest.faults import BadData
from tests.stages.ingest.maker import ramp

Entry = tuple[int, int, int, int]  # tag, type, count, value or offset
SHORT, LONG = 3, 4
IMAGE: tuple[Entry, ...] = (
    (256, SHORT, 1, 2),  # two by two bytes
    (257, SHORT, 1, 2),
    (258, SHORT, 1, 8),
    (259, SHORT, 1, 1),  # not compressed
    (273, LONG, 1, 0),
    (279, LONG, 1, 4),
)


def chain(pages: int, after: int, change: Callable[[int, Entry], Entry] = lambda _, entry: entry) -> bytes:
    """Pages whose directories follow one another; behind the last comes the directory ``after``."""
    bytes_a_page = 2 + 12 * len(IMAGE) + 4
    held = b"II*\0" + pack("<L", 8)
    for page in range(pages):
        following = 8 + bytes_a_page * (page + 1 if page < pages - 1 else after)
        held += pack("<H", len(IMAGE))
        held += b"".join(pack("<HHLL", *change(page, entry)) for entry in IMAGE)
        held += pack("<L", 0 if after < 0 and page == pages - 1 else following)
    return held


def verdict(tmp_path: Path, held: bytes, most: int = 10**6) -> int | Reason:
    """How many pages, or why none."""
    (tmp_path / "a").write_bytes(held)
    try:
        with (tmp_path / "a").open("rb") as stream:
            return count_pages(stream, most)
    except BadData as bad:
        return bad.refusal.reason


def test_pages_are_counted_up_to_the_limit_and_one(tmp_path: Path) -> None:
    """Enough to know that it is over."""
    assert [verdict(tmp_path, chain(6, -1), most) for most in (4, 5, 6, 7)] == [5, 6, 6, 6]


def test_a_file_without_a_directory_has_no_page(tmp_path: Path) -> None:
    """An offset of zero ends the chain."""
    assert verdict(tmp_path, b"II*\0" + pack("<L", 0)) == 0


@pytest.mark.timeout(20)
@pytest.mark.parametrize("after", [0, 150, 299])
def test_a_chain_that_bites_its_tail_is_corrupt(tmp_path: Path, after: int) -> None:
    """300 directories in a circle: tifffile 2026.3 would follow them without end."""
    assert verdict(tmp_path, chain(300, after)) is Reason.CORRUPT


def test_a_chain_that_leaves_the_file_is_truncated(tmp_path: Path) -> None:
    """At once, or behind pages that are there."""
    assert verdict(tmp_path, b"II*\0" + pack("<L", 10**6)) is Reason.TRUNCATED
    assert verdict(tmp_path, chain(3, 3)) is Reason.TRUNCATED


@pytest.mark.parametrize(
    ("tag", "entry", "reason"),
    [
        (256, (256, SHORT, 1, 3), Reason.CORRUPT),  # wider than the strip is long
        (257, (257, SHORT, 1, 3), Reason.CORRUPT),
        (256, (256, SHORT, 0, 2), Reason.CORRUPT),  # no value
        (256, (256, 12, 1, 2), Reason.CORRUPT),  # a real number
        (256, (999, SHORT, 1, 2), Reason.CORRUPT),
        (258, (258, SHORT, 1, 16), Reason.CORRUPT),
        (258, (277, SHORT, 1, 33), Reason.CORRUPT),  # so many samples, of one bit each
        (273, (999, LONG, 1, 8), Reason.CORRUPT),
        (279, (999, LONG, 1, 4), Reason.CORRUPT),
        (273, (273, LONG, 2, 8), Reason.CORRUPT),  # two strips and one length
        (279, (279, LONG, 1, 0), Reason.CORRUPT),  # left out, as sparse files do
        (279, (279, LONG, 1, 3), Reason.CORRUPT),
        (279, (279, LONG, 1, 10**6), Reason.TRUNCATED),
        (273, (273, LONG, 1, 10**6), Reason.TRUNCATED),
        (279, (279, LONG, 2**30, 8), Reason.TRUNCATED),  # a table of four gigabytes
    ],
)
def test_a_page_that_is_not_there_refuses_the_file(
    tmp_path: Path, tag: int, entry: Entry, reason: Reason
) -> None:
    """The second of three, so that the others cannot make up for it."""
    sound = chain(3, -1)
    assert verdict(tmp_path, sound) == 3
    harmed = chain(3, -1, lambda page, old: entry if page == 1 and old[0] == tag else old)
    assert verdict(tmp_path, harmed) is reason


@pytest.mark.parametrize(("before_end", "expected"), [(4, 1), (3, Reason.TRUNCATED)])
def test_a_strip_may_end_with_the_file_and_no_later(
    tmp_path: Path, before_end: int, expected: int | Reason
) -> None:
    """Four bytes from here."""
    start = len(chain(1, -1)) - before_end
    made = chain(1, -1, lambda _, old: (273, LONG, 1, start) if old[0] == 273 else old)
    assert verdict(tmp_path, made) == expected


def test_pages_that_share_their_tables_are_corrupt(tmp_path: Path) -> None:
    """A table as large as the file for each of many pages would be read over and over."""
    table = b"".join(pack("<L", 8) for _ in range(4000))
    pages = 3
    at = 8 + (2 + 12 * len(IMAGE) + 4) * pages

    def change(_: int, old: Entry) -> Entry:
        return (old[0], LONG, 4000, at) if old[0] in (273, 279) else old

    assert verdict(tmp_path, chain(pages, -1, change) + table) is Reason.CORRUPT


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize(
    ("how", "tags"),
    [
        ({"rowsperstrip": 5}, (273, 279)),
        ({"tile": (16, 16)}, (324, 325)),
        ({"tile": (16, 16), "compression": "zlib"}, (324, 325)),
    ],
)
def test_strips_and_tiles_of_each_plane_are_wanted(
    tmp_path: Path, planar: str, how: dict[str, object], tags: tuple[int, int]
) -> None:
    """One fewer, and the file is corrupt."""
    colour = np.stack([ramp(40, 33)] * 3, 0 if planar == "separate" else -1)
    out = io.BytesIO()
    tifffile.imwrite(out, colour, photometric="rgb", planarconfig=planar, metadata=None, **how)
    held = bytearray(out.getvalue())
    assert verdict(tmp_path, held) == 1
    for tag in tags:
        at = next(m.start() for m in re.finditer(pack("<H", tag) + rb"[\3\4\x10]\0", held)) + 4
        pack_into("<L", held, at, unpack_from("<L", held, at)[0] - 1)
    assert verdict(tmp_path, held) is Reason.CORRUPT


@pytest.mark.parametrize(("width", "expected"), [(4 * 1032 // 2, 1), (4 * 1032 // 2 + 1, Reason.CORRUPT)])
def test_a_deflated_strip_holds_no_more_than_it_can_unfold_to(
    tmp_path: Path, width: int, expected: int | Reason
) -> None:
    """Four bytes hold two rows of bytes of this width at most."""
    change: dict[int, Entry] = {256: (256, SHORT, 1, width), 259: (259, SHORT, 1, 8)}
    made = chain(1, -1, lambda _, old: change.get(old[0], old))
    assert verdict(tmp_path, made) == expected


def changed(change: dict[int, Entry]) -> bytes:
    return chain(1, -1, lambda _, old: change.get(old[0], old))


def test_a_strip_of_no_bytes_is_missing(tmp_path: Path) -> None:
    """Under any compression: readers would paint it."""
    assert verdict(tmp_path, changed({259: (259, SHORT, 1, 5), 279: (279, LONG, 1, 1)})) == 1
    assert verdict(tmp_path, changed({259: (259, SHORT, 1, 5), 279: (279, LONG, 1, 0)})) is Reason.CORRUPT


@pytest.mark.parametrize(("photometric", "expected"), [(1, Reason.CORRUPT), (6, 1)])
def test_subsampled_colour_may_take_fewer_bytes(
    tmp_path: Path, photometric: int, expected: int | Reason
) -> None:
    """YCbCr, TIFF 6.0 section 21: how many is for its decoder to know."""
    made = changed({259: (262, SHORT, 1, photometric), 279: (279, LONG, 1, 3)})
    assert verdict(tmp_path, made) == expected
