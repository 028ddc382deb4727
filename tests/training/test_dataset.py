from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from evaluation.pairs import CaseError
from stages.preprocess.options import PreprocessOptions
from training.dataset import Slices, read_slices

RECIPE = PreprocessOptions(size=32, spacing_mm=2.0)


def numbered(shows: list[int]) -> Slices:
    """Slices whose pixels are their number; those with 1 show the structure."""
    number = torch.arange(float(len(shows))).view(-1, 1, 1, 1)
    truth = torch.tensor(shows, dtype=torch.float32).view(-1, 1, 1, 1)
    return Slices(number.expand(-1, 3, 4, 4), truth.expand(-1, 1, 4, 4), torch.zeros(len(shows)), "")


def test_slices_are_what_the_stream_feeds_the_model(cases: Path) -> None:
    """Twelve slices with neighbours on the recipe's field, the reference on the bright ellipsoid."""
    slices = read_slices(cases, RECIPE)
    assert slices.x_NCHW.shape == (12, 3, 32, 32)
    assert slices.truth_N1HW.shape == (12, 1, 32, 32)
    assert slices.cases == 2
    assert set(slices.truth_N1HW.unique().tolist()) == {0.0, 1.0}
    inside = slices.truth_N1HW > 0
    centre = slices.x_NCHW[:, 1:2]
    assert centre[inside].mean() > centre[~inside].mean() + 1
    assert torch.equal(slices.x_NCHW[1, 0], slices.x_NCHW[0, 1])


def test_digest_tells_data_apart(cases: Path) -> None:
    """The same files give the same digest, one changed file another."""
    first, again = read_slices(cases, RECIPE).digest, read_slices(cases, RECIPE).digest
    truth = cases / "CaseB_segmentation.nii.gz"
    (cases / "CaseA_segmentation.nii.gz").write_bytes(truth.read_bytes())
    assert first == again
    assert read_slices(cases, RECIPE).digest != first


def test_epoch_has_the_wanted_share_and_as_many_slices() -> None:
    """Ten slices, eight of them empty; 70 % of the draws show the structure, none is starved."""
    slices = numbered([1, 1, 0, 0, 0, 0, 0, 0, 0, 0])
    drawn = slices.order(5, 0.7, torch.Generator().manual_seed(0))
    assert len(drawn) == 10
    counts = torch.bincount(drawn, minlength=10).tolist()
    assert sorted(counts[:2]) == [3, 4]
    assert sorted(counts[2:]) == [0, 0, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(("count", "size", "lengths"), [(10, 4, [4, 4]), (10, 5, [5, 5]), (3, 8, [3])])
def test_no_batch_of_an_epoch_is_short(count: int, size: int, lengths: list[int]) -> None:
    """What does not fill a batch is left to another epoch; fewer slices than a batch are all of one."""
    slices = numbered([1] * count)
    order = slices.order(size, 0.5, torch.Generator().manual_seed(0))
    assert [len(rows) for rows in torch.split(order, size)] == lengths
    assert slices.steps(size) == len(lengths)


def test_data_without_empty_slices_is_drawn_whole() -> None:
    """Where every slice shows the structure, an epoch is a permutation."""
    order = numbered([1] * 6).order(2, 0.5, torch.Generator().manual_seed(0))
    assert sorted(order.tolist()) == list(range(6))


def test_rows_are_those_asked_for() -> None:
    """Image and truth of the same slices, in the order of the rows."""
    x, truth = numbered([1, 0, 1, 0]).at(torch.tensor([3, 2]))
    assert x[:, 0, 0, 0].tolist() == [3, 2]
    assert truth[:, 0, 0, 0].tolist() == [0, 1]


def test_cases_without_structure_are_an_error(cases: Path) -> None:
    """There is nothing to learn from references that mark nothing."""
    for path in cases.glob("*_segmentation.nii.gz"):
        volume = nibabel.load(path)
        nibabel.Nifti1Image(np.zeros(volume.shape, np.uint8), volume.affine).to_filename(path)
    with pytest.raises(CaseError, match="nothing to learn"):
        read_slices(cases, RECIPE)
