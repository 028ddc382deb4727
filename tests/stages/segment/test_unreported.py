"""Modules that would report their use over the network are imported without their reporter."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from stages.segment.unreported import REPORTER, unreported

ASKS = f"""
try:
    import {REPORTER}
    reports = True
except ImportError:
    reports = False
"""


@pytest.mark.parametrize("known", [True, False])
def test_a_reporter_is_missing_during_the_import_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, known: bool
) -> None:
    """Afterwards it is there for others as it was before, or can be imported where it was not yet."""
    (tmp_path / "talkative.py").write_text(ASKS)
    (tmp_path / f"{REPORTER}.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "talkative", raising=False)
    monkeypatch.delitem(sys.modules, REPORTER, raising=False)
    before = ModuleType(REPORTER)
    if known:
        monkeypatch.setitem(sys.modules, REPORTER, before)
    assert unreported("talkative").reports is False
    assert sys.modules.get(REPORTER) is (before if known else None)
    assert (REPORTER in sys.modules) is known
