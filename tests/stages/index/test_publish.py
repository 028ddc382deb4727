"""The thread that publishes, and its end."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from stages.index import publish
from stages.index.options import IndexOptions
from stages.index.session import open_writer
from tests.stages.index.conftest import MakeBlock

pytestmark = pytest.mark.usefixtures("fast_disk")


def test_a_closed_writer_publishes_nothing_in_the_background(
    tmp_path: Path, make_block: MakeBlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread has ended, though it was busy when it was told to: the next writer may be another's."""
    began = threading.Event()
    whole = publish.Publisher.publish

    def slow(self: publish.Publisher) -> None:
        whole(self)
        if threading.current_thread().name == "publisher":
            began.set()
            time.sleep(0.5)

    monkeypatch.setattr(publish, "PUBLISH_S", 0.0)
    monkeypatch.setattr(publish.Publisher, "publish", slow)
    with open_writer(tmp_path, IndexOptions()) as writer:
        writer.append(make_block(1, 4))
        assert began.wait(10)
    assert "publisher" not in {thread.name for thread in threading.enumerate()}
