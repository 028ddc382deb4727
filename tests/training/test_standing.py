from __future__ import annotations

from pathlib import Path

import pytest

from training.options import TrainOptions
from training.plan import Training
from training.standing import FILE, HEADS, Standing, read_standing, table

TRAINING = Training("one", attention=True, options=TrainOptions(epochs=8))


def test_standing_is_read_as_written(tmp_path: Path) -> None:
    """All figures survive; the length of the schedule is the list's."""
    written = Standing("one", 4, "training", 2, 0.5, 3600, 1800, 0.25, 0.875)
    written.write(tmp_path)
    found = read_standing(TRAINING, tmp_path)
    assert found.epochs == 8
    found.epochs = 4
    assert found == written


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"name": "one", "epochs": "x"}'])
def test_training_without_a_standing_waits(tmp_path: Path, content: bytes | None) -> None:
    """Also where its file is damaged: the state knows better as soon as it goes on."""
    if content is not None:
        (tmp_path / FILE).write_bytes(content)
    assert read_standing(TRAINING, tmp_path) == Standing("one", 8)


def test_time_to_go_follows_the_pace_so_far() -> None:
    """A quarter in an hour leaves three; nothing is foretold before the first step or after the last."""
    assert Standing("one", 8, "training", 2, 0.25, 3600).eta_s == 3 * 3600
    assert Standing("one", 8).eta_s is None
    assert Standing("one", 8, "finished", 8, 1.0, 3600).eta_s is None


def test_table_states_every_figure_in_its_column() -> None:
    """Measured Dice comes before that on the field; what is unknown is empty."""
    lines = table(
        [
            Standing("one", 8, "finished", 8, 1.0, 3600, 1800, 0.25, 0.8, 0.875, 20.0).row(),
            Standing("two", 8).row(),
        ]
    ).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["one", "finished", "8/8", "1.00", "0.50", "0.2500", "0.8750", "20.0"],
        ["two", "waiting", "0/8", "0.00", "0.00"],
    ]
    assert all(head in lines[0] for head in HEADS)
