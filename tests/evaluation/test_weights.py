from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.cases import Case, read_case
from evaluation.pairs import find_pairs
from evaluation.scoring import evaluate_cases
from stages.batches import Prepared
from stages.grid import Display
from stages.preprocess.options import PreprocessOptions
from stages.preprocess.stage import Preprocess
from stages.segment import checkpoint
from stages.segment.options import SegmentOptions
from stages.segment.stage import Segment

ROOT = Path(__file__).resolve().parents[2]
CARD = (checkpoint.SHIPPED.parent / "README.md").read_text(encoding="utf-8")
DATA = ROOT / ".." / "shared" / "data" / "promise12" / "val"
EXACT = SegmentOptions(runtime="openvino")  # whether or not an int8 artefact lies ready
COLUMNS = ("dice_volume", "dice_slices", "hd95_mm", "asd_mm", "volume_ml", "volume_true_ml")


def table() -> dict[str, list[float]]:
    """The card's validation table: name to figures."""
    rows = re.findall(r"^\| (Case\d+|mean) \|(.*)\|$", CARD, re.MULTILINE)
    return {name: [float(cell) for cell in cells.split("|")] for name, cells in rows}


def stated(pattern: str) -> str:
    """The one place of the card that matches."""
    found = re.findall(pattern, CARD)
    assert len(found) == 1
    return str(found[0])


def test_card_states_what_the_weights_say() -> None:
    """Every figure of the table is the one measured on these very weights after training."""
    metrics = checkpoint.describe().metrics
    cases = {case["name"]: case for case in metrics["cases"]} | {"mean": metrics["mean"]}
    assert set(table()) == set(cases)
    for name, figures in table().items():
        for column, figure in zip(COLUMNS, figures, strict=True):
            digits = 3 if column.startswith("dice") else 1
            assert figure == pytest.approx(cases[name][column], abs=0.51 * 10**-digits), (name, column)
    assert float(stated(r"pooled Dice ([\d.]+)")) == pytest.approx(metrics["pooled_dice"], abs=0.00051)
    assert metrics["mean"]["dice_volume"] >= 0.75


def test_card_names_the_weights_and_their_training() -> None:
    """Digests, recipe and effort are those in the file."""
    info = checkpoint.describe()
    training = info.training
    assert stated(r"SHA-256 `([0-9a-f]{64})`") == info.digest
    assert stated(r"training data digest `([0-9a-f]{64})`") == training["data_digest"]
    assert stated(r"(\d+) patients") == str(training["cases"])
    assert stated(r"(\d+) slices") == str(training["slices"])
    assert stated(r"(\d+) epochs") == str(training["epochs"])
    assert int(stated(r"(\d+) minutes on one core")) == pytest.approx(training["seconds"] / 60, abs=1)


def test_shipped_recipe_is_the_default_preprocessing() -> None:
    """A run without configuration prepares slices as the weights were trained on them."""
    assert checkpoint.describe().recipe == PreprocessOptions()


def test_shipped_file_is_small() -> None:
    """Below 20 MB, so that it may live in the repository."""
    assert checkpoint.SHIPPED.stat().st_size < 20_000_000


def test_shipped_features_of_meaningless_input_are_sound() -> None:
    """Blank and noisy slices have finite unit features, different ones."""
    segmenter, info = checkpoint.load()
    x = torch.cat((torch.zeros(1, 3, 128, 128), torch.randn(2, 3, 128, 128)))
    with torch.inference_mode():
        feature = segmenter.frozen()(x)[1]
    assert feature.shape == (3, info.feature_dim)
    torch.testing.assert_close(feature.norm(dim=1), torch.ones(3))
    assert (feature @ feature.T - torch.eye(3)).max() < 0.9


def turned(case: Case) -> Case:
    """The case upside down, as its file showed it before the axes were corrected."""
    down = Display(transpose=True, flip_rows=False, flip_columns=True)
    frames = tuple(replace(frame, display=down) for frame in case.frames.frames)
    return replace(case, frames=replace(case.frames, frames=frames))


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="the PROMISE12 validation cases are not here")
def test_cases_upside_down_reach_what_the_card_states() -> None:
    """The model does not depend on the orientation that the files state."""
    cases = [turned(read_case(pair)) for pair in find_pairs(DATA)]
    with Preprocess().open() as prepare, Segment(EXACT).open() as infer:
        found = evaluate_cases(cases, prepare, infer).mean["dice_volume"]
    assert found == pytest.approx(float(stated(r"before, they reach (0\.\d+)")), abs=0.005)


def alone_in(batch: Prepared) -> Prepared:
    """Each slice as its own neighbours."""
    channels_NC = batch.packed.channels_NC[:, [1, 1, 1]]
    return replace(batch, packed=batch.packed._replace(channels_NC=channels_NC))


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="the PROMISE12 validation cases are not here")
@pytest.mark.parametrize("alone", [False, True])
def test_an_indexed_slice_is_found_first(alone: bool) -> None:
    """Queried with its series every slice is its own nearest; alone, at least the stated share is."""
    with Preprocess().open() as prepare, Segment(EXACT).open() as infer:
        prepared = [prepare(read_case(pair).frames).kept for pair in find_pairs(DATA)]
        stored = np.concatenate([infer(one).kept.feature_ND for one in prepared])
        if alone:
            prepared = [alone_in(one) for one in prepared]
        query = np.concatenate([infer(one).kept.feature_ND for one in prepared])
    first = ((query @ stored.T).argmax(1) == np.arange(len(stored))).mean()
    wanted = float(stated(r"queried alone, ([\d.]+) % of them")) / 100 if alone else 1.0
    assert first >= wanted - 0.0005
