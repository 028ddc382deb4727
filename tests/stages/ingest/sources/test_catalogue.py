"""The headers of a source on disk."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from stages.ingest.sources.catalogue import Catalogue


def test_a_catalogue_goes_with_its_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers are patients' data: no file of them stays, however long the process lives."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Catalogue() as held:
        assert list(tmp_path.rglob("headers.sqlite"))
        assert held.list_file(Path("a"))
    assert not list(tmp_path.iterdir())


def test_only_files_that_were_named_are_listed() -> None:
    """One that was named makes no other so; before the first none is."""
    with Catalogue() as catalogue:
        assert not catalogue.is_listed(Path("a"))
        assert [catalogue.list_file(Path(name)) for name in ("a", "a")] == [True, False]
        assert [catalogue.is_listed(Path(name)) for name in ("a", "b")] == [True, False]
