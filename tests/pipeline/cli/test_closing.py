"""A run whose index cannot be closed in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.index.options import IndexOptions
from stages.index.session import open_writer
from tests.pipeline.cli.conftest import Medsecure, Study, folders


@pytest.mark.slow
def test_a_sink_that_cannot_be_closed_fails_the_run(
    study: Study, keys: Path, medsecure: Medsecure, tmp_path: Path
) -> None:
    """Exit code 3 and the reason, as if an append had failed; what was acknowledged is in the index."""
    with open_writer(tmp_path / "index", IndexOptions()):
        pass
    in_the_way = tmp_path / "index" / "keys.tree"
    in_the_way.mkdir()  # where the key tree is to be written when the index closes
    source = ["--source", study.good[0].parent, "--keys", keys, "--engine", "local"]
    done = medsecure("run", *source, *folders(tmp_path), expect=3)
    assert "append: OSError: [Errno 22] not a regular file" in done.err
    assert not (tmp_path / "results" / "summary.json").exists()
    in_the_way.rmdir()
    report = medsecure("index", "verify", tmp_path / "index", "--json").json
    assert (report["ok"], report["size"]) == (True, 6)
