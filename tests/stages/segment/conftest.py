"""A tiny model, and cases in which the structure is a bright ellipsoid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stages.batches import Prepared, Rows
from stages.grid import Display, Grid
from stages.packed import Packed
from stages.preprocess.options import PreprocessOptions
from stages.segment import checkpoint
from stages.segment.features import Segmenter
from stages.segment.options import ModelConfig

TINY = ModelConfig(channels=(8, 16), blocks=(1, 1), feature_dim=16)
SIZE = 32
RECIPE = PreprocessOptions(size=SIZE, spacing_mm=2.0)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Small tensors gain nothing from more."""
    torch.set_num_threads(1)


@pytest.fixture
def tiny() -> Segmenter:
    """An untrained model with settled batch statistics."""
    torch.manual_seed(0)
    segmenter = Segmenter(TINY)
    with torch.no_grad():
        for _ in range(20):
            segmenter.net.train()(torch.randn(8, 3, SIZE, SIZE))
    return segmenter.eval()


@pytest.fixture
def tiny_weights(tiny: Segmenter, tmp_path: Path) -> Path:
    """Its weights file."""
    path = tmp_path / "tiny.safetensors"
    checkpoint.save(tiny, path, RECIPE, {"seed": 0}, {})
    return path


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """A folder of two labelled cases of six slices."""
    write_cases(tmp_path / "cases")
    return tmp_path / "cases"


def write_cases(folder: Path) -> None:
    """CaseA and CaseB, the same every time."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    x, y, z = np.meshgrid(np.arange(40), np.arange(36), np.arange(6), indexing="ij")
    for name, centre in (("CaseA", (18, 16)), ("CaseB", (23, 20))):
        inside = ((x - centre[0]) / 9) ** 2 + ((y - centre[1]) / 7) ** 2 + ((z - 2.5) / 2.2) ** 2 < 1
        image = rng.normal(400, 30, inside.shape) + 400 * inside
        affine = np.diag([1.5, 1.5, 3.0, 1.0])
        nibabel.Nifti1Image(image.astype(np.int16), affine).to_filename(folder / f"{name}.nii.gz")
        truth = nibabel.Nifti1Image(inside.astype(np.uint8), affine)
        truth.to_filename(folder / f"{name}_segmentation.nii.gz")


BatchOf = Callable[..., Prepared]


@pytest.fixture
def batch_of() -> BatchOf:
    """Makes a batch of model input whose grids lay the field over images of the given shape."""

    def make(
        x_NCHW: NDArray[np.floating], shape: tuple[int, int] = (SIZE, SIZE), series: Sequence[int] = ()
    ) -> Prepared:
        count = len(x_NCHW)
        numbers = series or [0] * count
        keys = tuple(i.to_bytes(32, "big") for i in range(count))
        rows = Rows(keys, tuple(n.to_bytes(32, "big") for n in numbers), (b"",) * count, (b"",) * count)
        scale = (shape[0] / SIZE, shape[1] / SIZE)
        offset = ((scale[0] - 1) / 2, (scale[1] - 1) / 2)
        grid = Grid(shape, Display(), scale, offset, spacing_known=True)
        return Prepared(rows, Packed.of(x_NCHW.astype(np.float32)), (grid,) * count)

    return make
