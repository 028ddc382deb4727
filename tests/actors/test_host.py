from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from actors.host import Hop, Host, StageContractError, nbytes
from stages.base import Reason, Reject, Split
from stages.batches import Entries, Features, Rows, Uncounted
from stages.places import FileKind, Place


@dataclass(frozen=True)
class Word(Uncounted):
    """Letters, one a row."""

    keys: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.keys)

    def cut(self, lo: int, hi: int) -> Word:
        return Word(self.keys[lo:hi])

    @classmethod
    def join(cls, many: Sequence[Word]) -> Word:
        return cls(tuple(key for one in many for key in one.keys))


def word(text: str) -> Word:
    return Word(tuple(bytes([letter]) for letter in text.encode()))


@dataclass(frozen=True)
class Without:
    """Rejects the letters in ``bad``; ``loses`` drops one more row without a word, ``invents`` adds one."""

    bad: str = ""
    name: str = "without"
    loses: bool = False
    invents: bool = False
    diary: list[str] = field(default_factory=list)

    @contextmanager
    def open(self) -> Iterator[Callable[[Word], Split[Word]]]:
        self.diary.append(f"open {self.name}")
        try:
            yield self._run
        finally:
            self.diary.append(f"close {self.name}")

    def _run(self, batch: Word) -> Split[Word]:
        self.diary.append(f"run {self.name}")
        kept = [key for key in batch.keys if key not in self.bad.encode()]
        rejected = tuple(
            Reject(key, self.name, Reason.CORRUPT) for key in batch.keys if key in self.bad.encode()
        )
        return Split(Word(tuple(kept[self.loses :] + kept[:1] * self.invents)), rejected)


class Broken(Without):
    """Cannot be opened."""

    def open(self) -> AbstractContextManager[Callable[[Word], Split[Word]]]:
        raise OSError("no weights")


def test_stages_follow_one_another() -> None:
    """The output of one is the input of the next; every reject and every lap is told, in order."""
    host = Host(Hop((Without("b"), Without("c", name="second"))))
    output, narrowed, receipt = host.run(range(4), word("abcd"))
    assert output == word("ad")
    assert narrowed is None
    assert [(lap.stage, lap.rows, lap.kept) for lap in receipt.laps] == [("without", 4, 3), ("second", 3, 2)]
    assert [(reject.key, reject.stage) for reject in receipt.rejects] == [(b"b", "without"), (b"c", "second")]
    assert all(lap.seconds >= 0 for lap in receipt.laps)


@pytest.mark.parametrize(
    ("stage", "answered"), [(Without("b", loses=True), 2), (Without("b", invents=True), 4)]
)
def test_a_stage_that_loses_or_invents_a_row_is_a_bug(stage: Without, answered: int) -> None:
    """The contract is checked for every batch, and the stage is named."""
    with pytest.raises(
        StageContractError, match=f"stage without was given 3 rows and answered for {answered}"
    ):
        Host(Hop((stage,))).run(range(3), word("abc"))


def test_the_contract_is_checked_after_every_stage() -> None:
    """A loss in the second stage is not excused by an invention in the third."""
    stages = (Without(), Without(name="loses", loses=True), Without(name="invents", invents=True))
    with pytest.raises(StageContractError, match="stage loses"):
        Host(Hop(stages)).run(range(2), word("ab"))


def test_an_empty_answer_is_also_checked() -> None:
    """A stage that loses everything does not end the batch quietly."""
    with pytest.raises(StageContractError, match="given 1 rows and answered for 0"):
        Host(Hop((Without(loses=True),))).run(range(1), word("a"))


def test_a_batch_without_rows_goes_no_further() -> None:
    """What is left of it is None, and later stages are not called."""
    second = Without(name="second")
    host = Host(Hop((Without("ab"), second), narrow=len, last=True, report=True))
    output, narrowed, receipt = host.run(range(2), word("ab"))
    assert (output, narrowed, receipt.keys, receipt.nbytes, receipt.result) == (None, None, (), 0, None)
    assert len(receipt.rejects) == 2
    assert [lap.stage for lap in receipt.laps] == ["without"]
    assert "run second" not in second.diary


@pytest.mark.parametrize("batches", [(), (None,), (None, None)])
def test_nothing_passes_through_as_nothing(batches: tuple[None, ...]) -> None:
    """A None that arrives leaves as None, with a receipt of no laps."""
    host = Host(Hop((Without(),), join=Word.join, narrow=len, last=True, report=True))
    output, narrowed, receipt = host.run(None, *batches)
    assert (output, narrowed, receipt.laps, receipt.rejects, receipt.keys) == (None, None, (), (), ())


def test_loads_are_joined_in_order_and_nones_left_out() -> None:
    """What an earlier flight has rejected whole is no load."""
    host = Host(Hop((Without(),), join=Word.join))
    assert host.run(None, word("ab"), None, word("c"), None)[0] == word("abc")


@pytest.mark.parametrize(
    ("rows", "letters"),
    [(None, "abcde"), (range(5), "abcde"), (range(1, 4), "bcd"), (range(1), "a"), (range(4, 5), "e")],
)
def test_rows_are_cut_after_joining(rows: range | None, letters: str) -> None:
    """The rows are those of the joined batches; None means all."""
    host = Host(Hop((Without(),), join=Word.join))
    assert host.run(rows, word("abc"), word("de"))[0] == word(letters)


def test_keys_come_from_the_last_hop_only() -> None:
    """They are those of the rows that came out."""
    assert Host(Hop((Without("b"),))).run(range(3), word("abc"))[2].keys == ()
    assert Host(Hop((Without("b"),), last=True)).run(range(3), word("abc"))[2].keys == (b"a", b"c")


def test_the_output_is_in_the_receipt_where_asked() -> None:
    """And nowhere else: receipts are small."""
    assert Host(Hop((Without("b"),))).run(range(3), word("abc"))[2].result is None
    assert Host(Hop((Without("b"),), report=True)).run(range(3), word("abc"))[2].result == word("ac")


@dataclass(frozen=True)
class ToRows:
    """Makes a batch whose keys stand in ``rows``."""

    name: str = "to-rows"

    @contextmanager
    def open(self) -> Iterator[Callable[[Word], Split[Features]]]:
        yield self._run

    def _run(self, batch: Word) -> Split[Features]:
        rows = Rows(batch.keys, batch.keys, batch.keys, batch.keys)
        return Split(Features(rows, np.zeros((len(batch), 4), np.float32)))


def test_keys_are_found_in_the_rows_of_a_batch() -> None:
    """Most batches carry their keys in ``rows``."""
    assert Host(Hop((ToRows(),), last=True)).run(range(2), word("ab"))[2].keys == (b"a", b"b")


def test_what_is_narrowed_travels_beside_the_output() -> None:
    """The next hop pulls the narrow part alone."""
    output, narrowed, _ = Host(Hop((Without(),), narrow=lambda batch: batch.keys[0])).run(
        range(2), word("ab")
    )
    assert (output, narrowed) == (word("ab"), b"a")


def test_a_receipt_says_where_and_when() -> None:
    """This process, now, and its resident memory."""
    receipt = Host(Hop((Without(),))).run(range(1), word("a"))[2]
    assert receipt.pid == os.getpid()
    assert receipt.ended_s == pytest.approx(time.time(), abs=5)
    assert receipt.rss_bytes > 1_000_000


def test_close_releases_the_stages_in_reverse() -> None:
    """Opened once, whatever the number of batches, and closed once."""
    diary: list[str] = []
    host = Host(Hop((Without(diary=diary), Without(name="second", diary=diary))))
    host.run(range(1), word("a"))
    host.close()
    assert diary == [
        "open without", "open second", "run without", "run second", "close second", "close without"
    ]  # fmt: skip


def test_a_stage_that_cannot_be_opened_releases_those_before_it() -> None:
    """Nothing stays open behind a host that never was."""
    first = Without()
    with pytest.raises(OSError, match="no weights"):
        Host(Hop((first, Broken(name="second"))))
    assert first.diary == ["open without", "close without"]


def test_a_hop_is_called_by_its_stages() -> None:
    """The name in metrics and rejects."""
    assert Hop((Without(), Without(name="second"))).name == "without+second"


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (None, 0),
        (7, 0),
        ("text", 0),
        (b"four", 4),
        (np.zeros((3, 5), np.float32), 60),
        ((b"ab", [np.zeros(2), None], "text"), 18),
        (Place("a path", 1, FileKind.DICOM), 0),
        (Entries((b"k" * 32,) * 2, np.zeros(2, np.int64), (b"h" * 32,) * 2, np.zeros(2, np.bool_)), 146),
        (Features(Rows((b"k",), (b"s",), (b"id",), (b"tik",)), np.zeros((1, 256), np.float32)), 1031),
    ],
)
def test_bytes_are_counted_wherever_they_are(value: Any, size: int) -> None:
    """Arrays and byte strings in dataclasses, tuples and lists; everything else is small."""
    assert nbytes(value) == size
