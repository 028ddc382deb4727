from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.receipts import Lap, Receipt
from pipeline.cli.run import verdict
from pipeline.engine.accounting import Finished, Rejected
from pipeline.engine.pump import Admitted, Event, Measured
from pipeline.run import summary
from pipeline.run.ledger import Done
from pipeline.run.summary import LostRowsError, Skipped, Tally
from stages.base import Reason, Reject
from stages.batches import Copied, Located, Refused
from stages.deliver.stage import Delivered
from stages.places import FileKind, Place
from tests.pipeline.toys import key_of, piece

CHECKPOINT = {"size": 9, "root": "00"}


def rejected(number: int, reason: Reason = Reason.CORRUPT, *, counted: bool = True) -> Rejected:
    place = Place(f"file-{number}", 0, FileKind.RASTER)
    return Rejected(Reject(key_of(number), "read", reason), place, counted)


def refused(number: int = 99) -> Refused:
    return Refused(f"file-{number}", key_of(number), Reason.EMPTY, "zero bytes")


def measured(*milliseconds: float, rss: int = 1, hop: str = "read") -> list[Measured]:
    return [
        Measured("front", hop, Receipt((Lap("read", 4, 3, ms / 1000),), (), (), 0, 0.0, 1, rss))
        for ms in milliseconds
    ]


def tally_of(*events: Event) -> Tally:
    tally = Tally()
    for event in events:
        tally.observe(event)
    return tally


def test_the_sum_comes_out() -> None:
    """Frames = indexed + already indexed + rejected, and each reject has its reason."""
    done = tally_of(
        Admitted(piece(range(4))), Admitted(piece(range(4, 8))), refused(),
        rejected(0), rejected(1), rejected(4, Reason.POISON), rejected(5, counted=False),
        Finished((piece(range(4)),), 2, 2, 0.1), Finished((piece(range(4, 8)),), 3, 1, 0.1),
    ).summary(4, CHECKPOINT, complete=True)  # fmt: skip
    assert (done.inputs, done.frames) == (9, 9)
    assert (done.indexed, done.already_indexed, done.rejected) == (4, 1, 4)
    assert done.rejects_by_reason == {"corrupt": 2, "empty": 1, "poison": 1}
    assert done.undelivered == 1
    assert done.checkpoint == CHECKPOINT
    assert json.loads(json.dumps(done.as_json()))["frames"] == 9


def delivered(series: str, review: str = "", outside: str = "") -> Measured:
    """A delivery of series of one letter each."""
    result = Delivered((), (), tuple(series), frozenset(review), frozenset(outside))
    return Measured("side", "deliver", Receipt((), (), (), 0, 0.0, 1, 1, result))


def test_a_series_to_review_counts_once_as_it_was_delivered_last() -> None:
    """So does one out of scope."""
    events = [delivered("ab", "ab"), delivered("cd", "c", "d"), delivered("a"), delivered("c", "c", "c")]
    done = tally_of(*events).summary(0, CHECKPOINT, complete=True)
    assert (done.series_to_review, done.out_of_scope) == (2, 2)
    assert done.as_json()["series_to_review"] == 2


@pytest.mark.parametrize(("kept", "lost", "indexed"), [(3, 0, 3), (4, 1, 4), (4, 0, 5), (2, 1, 2), (5, 0, 4)])
def test_a_sum_that_does_not_come_out_is_an_error(kept: int, lost: int, indexed: int) -> None:
    """A row too few, a row too many, or an index that grew by more than was kept."""
    tally = tally_of(Admitted(piece(range(4))), Finished((piece(range(4)),), kept, lost, 0.1))
    with pytest.raises(
        LostRowsError, match=f"4 frames came in, {kept} were kept, 0 were copies and {lost} rejected"
    ):
        tally.summary(indexed, CHECKPOINT, complete=True)


def test_an_unfinished_unit_is_lost_rows() -> None:
    """What was admitted has to be finished, also in a run that was stopped."""
    with pytest.raises(LostRowsError):
        tally_of(Admitted(piece(range(4)))).summary(0, CHECKPOINT, complete=False)


@given(
    units=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=20),
    skipped=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=20),
    share=st.floats(0, 1),
)
def test_frames_are_always_the_sum(
    units: list[tuple[int, int]], skipped: list[tuple[int, int]], share: float
) -> None:
    """Whatever an earlier run has finished and however much the index held already."""
    tally = Tally()
    for kept, lost in units:
        tally.observe(Admitted(piece(range(kept + lost))))
        tally.observe(Finished((piece(range(kept + lost)),), kept, lost, 0.1))
    before = Skipped()
    for kept, lost in skipped:
        before.add([piece(range(kept + lost))], Done(kept, lost))
    done = tally.summary(int(sum(kept for kept, _ in units) * share), CHECKPOINT, before, complete=True)
    assert done.frames == done.indexed + done.already_indexed + done.rejected
    assert done.frames == done.inputs == sum(map(sum, [*units, *skipped]))


def test_a_file_is_one_input_whatever_its_frames() -> None:
    """Frames are counted one by one, files once, also where a cut parts one."""
    places = tuple(Place("volume", frame, FileKind.NIFTI) for frame in range(6))
    keys = tuple(map(key_of, range(6)))
    cut = [Located(keys[lo:hi], keys[lo:hi], places[lo:hi], group=key_of(9), parts=2)
           for lo, hi in ((0, 3), (3, 6))]  # fmt: skip
    done = tally_of(*map(Admitted, cut), Finished(tuple(cut), 6, 0, 0.1)).summary(6, {}, complete=True)
    assert (done.inputs, done.frames) == (1, 6)


def test_copies_are_counted_and_go_no_further() -> None:
    """They were in the index with the frames that they are copies of; the sum holds."""
    tally = tally_of(Admitted(piece(range(4))), Copied("a", 3), Finished((piece(range(4)),), 4, 0, 0.1))
    summary = tally.summary(4, CHECKPOINT, complete=True)
    assert (summary.frames, summary.indexed, summary.already_indexed, summary.copies) == (7, 4, 3, 3)
    assert summary.inputs == 5


def test_skipped_pieces_count_as_indexed_before() -> None:
    """A resumed run accounts for all of its input."""
    tally = tally_of(Admitted(piece(range(2))), Finished((piece(range(2)),), 2, 0, 0.1))
    skipped = Skipped()
    skipped.add([piece(range(4)), piece(range(4, 8))], Done(kept=7, rejected=1))
    done = tally.summary(2, CHECKPOINT, skipped, complete=True)
    assert (done.inputs, done.frames) == (10, 10)
    assert (done.indexed, done.already_indexed, done.rejected) == (2, 7, 1)


def test_the_rate_is_of_this_runs_frames() -> None:
    """What an earlier run has done makes this one no faster."""
    tally = tally_of(Admitted(piece(range(4))), Finished((piece(range(4)),), 4, 0, 0.1))
    tally.began_s = time.monotonic() - 2
    done = tally.summary(4, CHECKPOINT, Skipped(inputs=96, kept=96), complete=True)
    assert done.seconds == pytest.approx(2, abs=0.5)
    assert done.frames_per_second == pytest.approx(4 / done.seconds)


def test_the_clock_starts_when_the_stages_are_open() -> None:
    """Starting the engine is not streaming."""
    tally = Tally()
    tally.began_s -= 60
    tally.start()
    assert tally.summary(0, {}, complete=True).seconds < 5


def test_stages_have_frames_seconds_and_percentiles() -> None:
    """Milliseconds of a batch: the median, and what one in a hundred exceeds."""
    done = tally_of(*measured(*range(1, 102))).summary(0, {}, complete=True)
    stage = done.stages["read"]
    assert stage.frames == 404
    assert stage.seconds == pytest.approx(sum(range(1, 102)) / 1000)
    assert [stage.p50_ms, stage.p99_ms] == pytest.approx([51, 100])


def test_one_batch_is_its_own_percentile() -> None:
    """A short run has a summary too."""
    stage = tally_of(*measured(7.0)).summary(0, {}, complete=True).stages["read"]
    assert (stage.p50_ms, stage.p99_ms) == (7, 7)


def test_memory_does_not_grow_with_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Percentiles are of the newest batches; sums are of all."""
    monkeypatch.setattr(summary, "_BATCHES", 10)
    tally = tally_of(*measured(*[1000] * 50, *[1] * 10))
    assert [len(laps) for laps in tally._laps.values()] == [10]
    stage = tally.summary(0, {}, complete=True).stages["read"]
    assert (stage.p99_ms, stage.frames) == (1, 240)
    assert stage.seconds == pytest.approx(50.01)


def test_resident_memory_is_the_high_water_of_each_host() -> None:
    """Not the last value, and not the sum."""
    events = [*measured(1, rss=5), *measured(1, rss=9), *measured(1, rss=7), *measured(1, rss=2, hop="log")]
    assert tally_of(*events).summary(0, {}, complete=True).resident_bytes == {"read": 9, "log": 2}


def test_an_empty_run_has_a_summary() -> None:
    """Nothing came in, nothing was lost."""
    done = Tally().summary(0, {"size": 0, "root": None}, complete=True)
    assert (done.frames, done.frames_per_second, done.stages) == (0, 0, {})


def test_what_is_no_image_to_segment_is_counted_apart() -> None:
    """It is rejected, so that the sum comes out, and fails no run."""
    events = [
        Refused("cd/README", key_of(1), Reason.NOT_AN_IMAGE, "a text"),
        Refused("cd/DICOMDIR", key_of(2), Reason.NOT_TO_SEGMENT, "a directory"),
        Refused("cd/a.dcm", key_of(3), Reason.NOT_AN_IMAGE, "zeros"),
    ]
    done = tally_of(*events).summary(0, CHECKPOINT, complete=True)
    assert (done.frames, done.rejected, done.set_aside) == (3, 3, 2)
    assert not done.found_no_image
    assert verdict(done, 1) == 0
    assert verdict(done, 0.99) == 1
    nothing = tally_of(*events[:2]).summary(0, CHECKPOINT, complete=True)
    assert nothing.found_no_image
    assert verdict(nothing, 0) == 0
    assert not tally_of().summary(0, CHECKPOINT, complete=True).found_no_image
