"""When a writer signs the root of the key tree anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.index.options import IndexOptions
from stages.index.session import open_writer
from stages.index.store.identity import CHECKPOINT
from tests.stages.index.conftest import MakeBlock, MakeIndex

pytestmark = pytest.mark.usefixtures("fast_disk")


def test_a_writer_without_new_records_signs_nothing(
    tmp_path: Path, make_index: MakeIndex, make_block: MakeBlock
) -> None:
    """The tree that is signed already is of all records, so the file of the checkpoint is not replaced."""
    make_index(tmp_path, [20])
    before = (tmp_path / CHECKPOINT).stat().st_ino
    for again in (True, False):
        with open_writer(tmp_path, IndexOptions()) as writer:
            writer.append(make_block(0 if again else 1, 20))
        assert ((tmp_path / CHECKPOINT).stat().st_ino == before) == again
