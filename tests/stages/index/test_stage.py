"""The stage: a picklable recipe whose entries are durable when they come back."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.base import Stage
from stages.batches import Entries, Sealed
from stages.index.reader import open_reader
from stages.index.stage import Append
from stages.index.writer import IndexOptions

pytestmark = pytest.mark.usefixtures("fast_disk")
MakeBlock = Callable[..., Sealed]


def test_blocks_become_entries(tmp_path: Path, make_block: MakeBlock) -> None:
    """All kept, none rejected; in the log when the stage is closed, or a moment after."""
    stage: Stage[Sealed, Entries] = pickle.loads(pickle.dumps(Append(IndexOptions(), tmp_path / "index")))  # noqa: S301 - our own
    assert stage.name == "append"
    with stage.open() as append:
        split = append(make_block(1, 9))
        assert split.rejected == ()
        assert len(split.kept) == 9
    assert open_reader(tmp_path / "index").size == 9


def test_the_stage_can_be_opened_again(tmp_path: Path, make_block: MakeBlock) -> None:
    """A restarted worker goes on where the first one was."""
    stage = Append(IndexOptions(), tmp_path)
    for fresh in (True, False):
        with stage.open() as append:
            assert append(make_block(1, 9)).kept.fresh_N.tolist() == [fresh] * 9
