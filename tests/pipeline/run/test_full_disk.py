"""The books and the headers of a run on a disk that is full: one sentence, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline.engine.accounting import Finished
from pipeline.run.dead_letters import DeadLetters, Letter, read
from pipeline.run.ledger import Done, Ledger
from stages.errors import UnwritableError
from stages.ingest.slices import Slice
from stages.ingest.sources.catalogue import Catalogue
from stages.places import FileKind, Place
from tests.conftest import SmallDisk
from tests.pipeline.toys import key_of, piece

MANY = Finished((piece(range(2000)),), 2000, 0, 0.5)
FEW = Finished((piece(range(4)),), 3, 1, 0.5)


def letters(count: int) -> list[Letter]:
    return [
        Letter(f"file-{n}", 0, key_of(n).hex(), "read", "corrupt", "bad", True, 0.0) for n in range(count)
    ]


def test_a_unit_is_not_entered_on_a_full_disk_and_those_before_are_kept(small_disk: SmallDisk) -> None:
    """The ledger says so in one sentence; with room it goes on."""
    with Ledger(small_disk.path) as ledger:
        ledger.enter(FEW)
        small_disk.fill_up()
        with pytest.raises(
            UnwritableError, match=r"ledger\.sqlite cannot be written: database or disk is full"
        ):
            ledger.enter(Finished((piece(range(4, 8)),), 4, 0, 0.5))
        assert (ledger.find(FEW.pieces), ledger.find(MANY.pieces)) == (Done(3, 1), None)
        small_disk.make_room()
        ledger.enter(MANY)
        assert ledger.find(MANY.pieces) == Done(2000, 0)


@pytest.mark.parametrize(
    "write", [lambda one: one.add(letters(2000)), lambda one: one.settle(MANY, letters(2000))]
)
def test_letters_on_a_full_disk_are_refused_whole(
    small_disk: SmallDisk, write: Callable[[DeadLetters], None]
) -> None:
    """Those that were durable stay, also where they were to be replaced."""
    with DeadLetters(small_disk.path) as store:
        store.add(letters(3))
        small_disk.fill_up()
        with pytest.raises(UnwritableError, match=r"dead-letters\.sqlite cannot be written: .* is full"):
            write(store)
        small_disk.make_room()
    assert [letter.path for letter in read(small_disk.path)] == ["file-0", "file-1", "file-2"]


def test_headers_that_find_no_room_end_the_scan_in_one_sentence(
    small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever in the scan that happens; the temporary folder goes."""
    monkeypatch.setattr("tempfile.tempdir", str(small_disk.path))
    small_disk.fill_up()
    long = "/" + "long" * 1000
    headers = [Slice(key_of(n), Place(f"{long}-{n}", 0, FileKind.DICOM), 1) for n in range(6000)]
    with pytest.raises(
        UnwritableError, match=r"headers\.sqlite cannot be written: .* is full|cannot be kept"
    ):
        scanned(headers)
    small_disk.make_room()
    with pytest.raises(UnwritableError, match=r"headers\.sqlite cannot be written: database or disk is full"):
        scanned(headers)
    assert list(small_disk.path.iterdir()) == []


def scanned(headers: list[Slice]) -> None:
    with Catalogue() as catalogue:
        for start in range(0, len(headers), 1000):
            catalogue.add(bytes(32), headers[start : start + 1000])
        catalogue.waiting()
