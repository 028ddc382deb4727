"""``medsecure compare`` on scores that lack figures; the rest is in test_model.py."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.cli.validate import COMPARED
from tests.pipeline.cli.conftest import Medsecure


def test_a_figure_that_a_patient_lacks_is_compared_over_the_others(
    medsecure: Medsecure, tmp_path: Path
) -> None:
    """No distance where a model found nothing: that patient counts for the other figures only."""
    for file, dice in (("first", 0.5), ("second", 0.75)):
        figures: dict[str, float | None] = dict.fromkeys(COMPARED, dice)
        cases: list[dict[str, object]] = [{"name": name, **figures} for name in ("a", "c")]
        cases.append({"name": "b", **figures, "hd95_mm": None})
        (tmp_path / file).write_text(json.dumps({"cases": cases}))
    found = medsecure("compare", tmp_path / "first", tmp_path / "second", "--json").json
    assert (found["dice_volume"]["patients"], found["dice_volume"]["mean"]) == (3, 0.25)
    assert (found["hd95_mm"]["patients"], found["hd95_mm"]["mean"]) == (2, 0.25)
