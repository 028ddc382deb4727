"""What the walk over a log says about missing records, and which records a wrong hash is of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stages.index import erase as erasing
from stages.index.check.verify import verify
from stages.index.erase import erase
from stages.index.log.erasure import Cause
from stages.index.options import IndexOptions
from stages.index.reader import open_reader
from stages.index.session import open_writer
from stages.index.store.manifest import ROW_BYTES
from tests.stages.index.conftest import MakeIndex

pytestmark = pytest.mark.usefixtures("fast_disk")
OPTIONS = IndexOptions(segment_bytes=1 << 14)


@pytest.fixture(scope="module")
def erased(tmp_path_factory: pytest.TempPathFactory, make_index: MakeIndex) -> Path:
    """550 entries, of which number 549 erases record 3."""
    path = tmp_path_factory.mktemp("walk") / "index"
    make_index(path, [300, 249], segment_bytes=1 << 14)
    key = dict(open_reader(path).listed())[3]
    with open_writer(path, OPTIONS) as writer:
        erase(writer, {3: key}, Cause.REQUEST)
    return path


@pytest.mark.parametrize(
    "eraser", [2, 9, 10, 549, 550], ids=["before", "itself", "record", "other", "beyond"]
)
def test_a_record_is_missing_rightly_only_where_its_own_erasure_follows(
    erased: Path, tmp_path: Path, eraser: int
) -> None:
    """An earlier entry, another record, another's erasure or an entry that is not there excuses nothing."""
    path = shutil.copytree(erased, tmp_path / "index")
    with open_writer(path, OPTIONS) as writer:
        erasing._move(writer, {9: eraser})
    (finding,) = verify(path).errors
    assert (finding.index, finding.reason) == (9, "the record is missing, and no entry erases it")


def test_damage_of_an_erasure_is_not_blamed_on_the_record_that_it_erases(
    erased: Path, tmp_path: Path
) -> None:
    """The missing bundle that held the erasure is named; record 3 is not called missing without one."""
    path = shutil.copytree(erased, tmp_path / "index")
    (path / "tile" / "entries" / "002.p" / "38").unlink()
    assert {finding.file for finding in verify(path).errors} == {"tile/entries/002.p/38"}


def test_a_wrong_hash_above_the_leaves_is_named_with_its_records(erased: Path, tmp_path: Path) -> None:
    """The second hash of the second level is that of the second 256 records."""
    path = shutil.copytree(erased, tmp_path / "index")
    file = path / "tile" / "1" / "000.p" / "2"
    data = bytearray(file.read_bytes())
    data[32] ^= 1
    file.write_bytes(data)
    (finding,) = verify(path).errors
    assert (finding.file, finding.reason) == (
        "tile/1/000.p/2",
        "hash 1 is not that of records 256 to 511",
    )


@pytest.mark.parametrize("row", ["torn", "again"])
def test_a_row_that_leads_nowhere_costs_only_its_own_records(erased: Path, tmp_path: Path, row: str) -> None:
    """A manifest row that is damaged, or leads to records that were there before, is a gap of its block."""
    path = shutil.copytree(erased, tmp_path / "index")
    file = path / "segments" / "manifest"
    data = file.read_bytes()
    other = bytes(ROW_BYTES) if row == "torn" else data[:ROW_BYTES]
    file.write_bytes(data[:ROW_BYTES] + other + data[2 * ROW_BYTES :])
    lost = [(found.index, found.file) for found in verify(path).errors]
    assert lost == [(index, "segments/manifest") for index in range(300, 549)]
