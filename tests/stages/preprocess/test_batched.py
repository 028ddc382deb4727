"""Many frames at once, on the tensors of the CPU, against the reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evaluation.phantom import Phantom
from stages.batches import Frame, Frames, Rows
from stages.grid import Display
from stages.preprocess.batched import clip_percentiles, prepare_together
from stages.preprocess.intensity import clip_percentiles as clip_one
from stages.preprocess.options import PreprocessOptions
from stages.preprocess.single import Slice, prepare
from stages.preprocess.stage import Preprocess

RECIPES = {
    "default": PreprocessOptions(),
    "no background removed": PreprocessOptions(size=64, spacing_mm=2, remove_background=False),
    "tiles that do not fit": PreprocessOptions(size=64, spacing_mm=2, clahe_tiles=7, zscore=False),
    "nothing clipped": PreprocessOptions(size=64, low_percentile=0, high_percentile=100),
    "no levels": PreprocessOptions(size=64, clahe_clip_limit=0),
}
CUDA = pytest.param(
    "cuda",
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")],
)
DEVICES = ["cpu", CUDA]
DISPLAY = Display(transpose=True, flip_rows=True)


def frames() -> list[Frame]:
    """Slices of two spacings and orientations, of signed and unsigned pixels, in turn."""
    found = []
    for seed, (spacing_mm, display) in enumerate([((0.7, 0.7), Display()), ((0.5, 0.9), DISPLAY)]):
        images = Phantom(size=192, seed=seed).slices(3)
        found += [Frame(image, spacing_mm, display) for image in (images[0], images[1], images[2])]
    found[1] = replace(found[1], image=found[1].image.astype(np.int16) - 500)
    return found[::2] + found[1::2]


def odd() -> list[Frame]:
    """What only the reference prepares, or rejects."""
    image = Phantom(size=64).slices(1)[0]
    padded = image.astype(np.float32)
    padded[:20] = np.nan
    return [
        Frame(np.full((64, 64), 7, np.uint16), (1.0, 1.0)),
        Frame(padded, (1.0, 1.0)),
        Frame(image.astype(np.int32) * 70_000, (1.0, 1.0)),
        Frame(image[:5], None),
        Frame(np.random.default_rng(0).integers(0, 9, (8, 4000), np.uint16), None),
    ]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("options", RECIPES.values(), ids=RECIPES.keys())
def test_frames_are_prepared_together_as_one_by_one(options: PreprocessOptions, device: str) -> None:
    """Levels, slope and intercept are equal but for rounding; each frame keeps its place and its grid."""
    given_frames = frames()
    for one, wanted in zip(
        prepare_together(given_frames, options, device),
        (prepare(frame, options) for frame in given_frames),
        strict=True,
    ):
        assert isinstance(one, Slice)
        assert isinstance(wanted, Slice)
        assert (one.grid, one.field_HW.dtype) == (wanted.grid, wanted.field_HW.dtype)
        apart_HW = np.abs(one.field_HW.astype(float) - wanted.field_HW)
        assert apart_HW.max() <= 3
        assert (apart_HW > 0).mean() < 0.01
        assert (one.slope, one.intercept) == pytest.approx((wanted.slope, wanted.intercept), rel=1e-4)


def test_what_is_odd_is_left_to_the_reference() -> None:
    """Rejects keep their sentence, floats and wide integers their values, wherever they stand in a batch."""
    options = PreprocessOptions(size=64)
    given_frames = [frames()[0], *odd(), frames()[1]]
    found = prepare_together(given_frames, options, "cpu")
    for one, frame in zip(found[1:-1], odd(), strict=True):
        wanted = prepare(frame, options)
        if isinstance(wanted, str):
            assert one == wanted
        else:
            assert isinstance(one, Slice)
            assert np.array_equal(one.field_HW, wanted.field_HW)
    assert isinstance(found[0], Slice)
    assert isinstance(found[-1], Slice)
    assert prepare_together([], options, "cpu") == []


@given(
    field_NHW=hnp.arrays(np.float32, (3, 5, 7), elements=st.floats(0, 1, width=32)),
    of_NHW=hnp.arrays(np.bool_, (3, 5, 7)),
    percents=st.tuples(st.floats(0, 49), st.floats(51, 100)),
)
def test_each_field_is_clipped_at_its_own_percentiles(
    field_NHW: np.ndarray, of_NHW: np.ndarray, percents: tuple[float, float]
) -> None:
    """Of its own pixels, however many these are."""
    of_NHW[:, 0, 0] = True
    found = clip_percentiles(torch.from_numpy(field_NHW), torch.from_numpy(of_NHW), percents)
    for one_HW, field_HW, of_HW in zip(found.numpy(), field_NHW, of_NHW, strict=True):
        low, high = np.percentile(field_HW[of_HW].astype(np.float64), percents)
        if high - low > 1e-3 or high == low:
            np.testing.assert_allclose(one_HW, clip_one(field_HW, of_HW, *percents), atol=1e-3)


def test_the_stage_prepares_on_its_device() -> None:
    """A device that is not there is an error of torch, so the frames do go there."""
    rows = Rows((bytes(32),), (bytes(32),), (b"",), (b"",))
    with (
        Preprocess(PreprocessOptions(size=64), device="meta").open() as work,
        pytest.raises(NotImplementedError),
    ):
        work(Frames(rows, (frames()[0],)))
