"""The committed list, and what no list may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.errors import OperatorError
from stages.segment.options import ModelConfig
from training.plan import PlanError, read_plan
from training.splits import read_splits

ONE = '[[trainings]]\nname = "one"\nattention = false\n'


def read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "queue.toml"
    path.write_text(text)
    read_plan(path).refuse_other_folds(3)


def test_committed_list_holds_both_arms_on_every_fold_and_a_final() -> None:
    """The final comes first and starts from the shipped weights; the arms differ in attention alone."""
    plan = read_plan()
    plan.refuse_other_folds(read_splits().folds)
    first = plan.trainings[0]
    assert first.fold is None
    assert first.warm
    arms = {
        attention: [one for one in plan.trainings if one.fold is not None and one.attention == attention]
        for attention in (True, False)
    }
    assert [one.fold for one in arms[True]] == [one.fold for one in arms[False]] == [0, 1, 2]
    assert {repr(one.options) for many in arms.values() for one in many} == {repr(arms[True][0].options)}


def test_recipe_holds_the_arm_and_the_start(tmp_path: Path) -> None:
    """The options of the list, and what the queue adds."""
    path = tmp_path / "queue.toml"
    path.write_text(
        ONE + 'options = { epochs = 7 }\n[[trainings]]\nname = "two"\nattention = true\nwarm = true'
    )
    one, two = (training.recipe(tmp_path / "shipped", 2) for training in read_plan(path).trainings)
    assert (one.epochs, one.threads, one.init, one.model) == (7, 2, None, ModelConfig(attention=False))
    assert (two.init, two.model) == (tmp_path / "shipped", ModelConfig())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (ONE + ONE, "two trainings have one name"),
        (ONE + "fold = 0\nwarm = true", "one: the shipped weights have learned from patients of every fold"),
        (ONE + "fold = 3", "one: fold 3 is none of the 3"),
        (ONE + "options = { minutes = 5 }", "one: the queue does not take minutes"),
        (ONE + 'options = { validation = "val" }', "one: the queue does not take validation"),
        (ONE + "options = { epoch = 5 }", "trainings.0.options.epoch"),
        (ONE.replace("one", "../one"), "trainings.0.name"),
        ("trainings = []", "trainings"),
    ],
)
def test_contradiction_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    """The sentence names the training, or the place in the file."""
    with pytest.raises(OperatorError, match=reason):
        read(tmp_path, text)


def test_unknown_training_is_an_error() -> None:
    """With the names that there are."""
    with pytest.raises(PlanError, match="no training is named x: final-attention, "):
        read_plan().named("x")
