"""Which model's features an index holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.lineage import OtherModelError, check_model, note_model


def test_the_first_note_stands(tmp_path: Path) -> None:
    """A later model does not rewrite whose features are there."""
    note_model(tmp_path, "a" * 64)
    note_model(tmp_path, "b" * 64)
    check_model(tmp_path, "a" * 64)
    with pytest.raises(OtherModelError, match="aaaaaaaa"):
        check_model(tmp_path, "b" * 64)


def test_without_a_note_nothing_is_refused(tmp_path: Path) -> None:
    """An index that says nothing is believed to fit."""
    check_model(tmp_path, "a" * 64)


@pytest.mark.parametrize("content", ["", "[]", "{}", "null"])
def test_a_damaged_note_is_refused(tmp_path: Path, content: str) -> None:
    """Guessing would bring wrong answers back."""
    (tmp_path / "model.json").write_text(content)
    with pytest.raises(OtherModelError, match="is damaged"):
        check_model(tmp_path, "a" * 64)
