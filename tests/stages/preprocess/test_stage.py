"""The preprocess stage on batches: neighbours, rejects, switches."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import TypeAdapter, ValidationError

from stages.base import Reason, Split
from stages.batches import Frame, Frames, Prepared, Rows
from stages.preprocess.options import PreprocessOptions
from stages.preprocess.single import Slice, prepare
from stages.preprocess.stage import Preprocess

OPTIONS = PreprocessOptions(size=32)


def picture(seed: int, shape: tuple[int, int] = (40, 48)) -> Frame:
    """Noise with known spacing."""
    return Frame(np.random.default_rng(seed).integers(0, 4000, shape, np.uint16), (1.0, 1.0))


def batch(
    *frames: Frame, series: str = "", before: Frame | None = None, after: Frame | None = None
) -> Frames:
    """Frames with one letter of ``series`` each (all of one where empty)."""
    keys = tuple(bytes([i]) * 32 for i in range(len(frames)))
    names = tuple(letter.encode() * 32 for letter in series or "a" * len(frames))
    blank = (b"",) * len(frames)
    return Frames(Rows(keys, names, blank, blank), frames, before, after)


def run(frames: Frames, options: PreprocessOptions = OPTIONS) -> Split[Prepared]:
    """One batch through an opened stage."""
    with Preprocess(options).open() as work:
        return work(frames)


def seen(one: Slice) -> np.ndarray:
    """The slice as the network sees it."""
    return one.field_HW * np.float32(one.slope) + np.float32(one.intercept)


def own(frame: Frame) -> np.ndarray:
    """The slice itself, as it stands in any channel."""
    prepared = prepare(frame, OPTIONS)
    assert not isinstance(prepared, str)
    return seen(prepared)


def channels(split: Split[Prepared], row: int, *expected: Frame) -> bool:
    """Whether a row's channels are exactly these frames."""
    return np.array_equal(split.kept.x_NCHW[row], np.stack([own(frame) for frame in expected]))


def test_channels_are_the_neighbours_of_the_same_series() -> None:
    """Previous, self and next; a series' ends repeat themselves and never see another series."""
    a, b, c, d = (picture(i) for i in range(4))
    split = run(batch(a, b, c, d, series="xxxy"))
    assert channels(split, 0, a, a, b)
    assert channels(split, 1, a, b, c)
    assert channels(split, 2, b, c, c)
    assert channels(split, 3, d, d, d)


def test_a_cut_series_continues_into_its_context() -> None:
    """Before and after stand at the ends of a piece and are not rows themselves."""
    a, b, before, after = (picture(i) for i in range(4))
    split = run(batch(a, b, before=before, after=after))
    assert len(split.kept) == 2
    assert channels(split, 0, before, a, b)
    assert channels(split, 1, a, b, after)


def test_a_slice_stands_once_in_a_batch() -> None:
    """In bytes where contrast is equalised: three channels of float32 are twelve times as much."""
    frames = [picture(i) for i in range(5)]
    packed = run(batch(*frames[:3], before=frames[3], after=frames[4])).kept.packed
    assert (packed.field_MHW.shape, packed.field_MHW.dtype) == ((5, 32, 32), np.uint8)
    part = packed.take(slice(1, 3))
    assert len(part.field_MHW) == 4
    assert np.array_equal(part.unpacked(), packed.unpacked()[1:3])
    plain = run(batch(*frames[:3]), replace(OPTIONS, clahe_clip_limit=0)).kept.packed
    assert (plain.field_MHW.shape, plain.field_MHW.dtype) == ((3, 32, 32), np.float32)


def test_an_unusable_context_frame_is_left_out() -> None:
    """A constant neighbour is no neighbour."""
    a, blank = picture(0), Frame(np.zeros((40, 48)), (1.0, 1.0))
    assert channels(run(batch(a, before=blank, after=blank)), 0, a, a, a)


def test_a_rejected_row_is_stepped_over() -> None:
    """The nearest kept row of the series becomes the neighbour."""
    a, c, blank = picture(0), picture(2), Frame(np.zeros((40, 48)), (1.0, 1.0))
    split = run(batch(a, blank, c))
    assert [reject.key for reject in split.rejected] == [bytes([1]) * 32]
    assert split.kept.rows.keys == (bytes([0]) * 32, bytes([2]) * 32)
    assert channels(split, 0, a, a, c)
    assert channels(split, 1, a, c, c)


def test_context_reaches_past_a_rejected_end() -> None:
    """When the piece's first row falls out, its context serves the next row of that series only."""
    b, before, blank = picture(1), picture(2), Frame(np.zeros((40, 48)), (1.0, 1.0))
    assert channels(run(batch(blank, b, series="xx", before=before)), 0, before, b, b)
    assert channels(run(batch(blank, b, series="xy", before=before)), 0, b, b, b)


@pytest.mark.parametrize(
    "image_HW",
    [
        np.zeros((64, 64), np.uint16),
        np.full((64, 64), np.nan),
        np.full((64, 64), -np.inf, np.float32),
        np.random.default_rng(0).random((7, 64)),
        np.random.default_rng(0).random((64, 1)),
        np.random.default_rng(0).random((8, 4000)),
    ],
    ids=["constant", "nan", "infinite", "low", "thin", "strip"],
)
def test_an_image_with_nothing_to_see_is_rejected(image_HW: np.ndarray) -> None:
    """Constant, non-finite and tiny images become DEGENERATE rejects with a sentence."""
    split = run(batch(Frame(image_HW, None)))
    assert len(split.kept) == 0
    assert split.kept.x_NCHW.shape == (0, 3, 32, 32)
    (reject,) = split.rejected
    assert (reject.stage, reject.reason) == ("preprocess", Reason.DEGENERATE)
    assert reject.detail.endswith((".",))


@given(
    image_HW=hnp.arrays(
        st.sampled_from([np.uint8, np.int16, np.int64, np.float32, np.float64]),
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24),
    ),
    spacing_mm=st.none() | st.tuples(st.floats(), st.floats()),
    off=st.booleans(),
)
def test_any_pixels_and_any_spacing_give_finite_input_or_a_reject(
    image_HW: np.ndarray, spacing_mm: tuple[float, float] | None, off: bool
) -> None:
    """No array of numbers crashes the stage or leaves a number that is not finite, steps on or off."""
    bare = PreprocessOptions(
        size=32,
        remove_background=False,
        low_percentile=0,
        high_percentile=100,
        clahe_clip_limit=0,
        zscore=False,
    )
    split = run(batch(Frame(image_HW, spacing_mm)), bare if off else OPTIONS)
    assert len(split.kept) + len(split.rejected) == 1
    assert np.isfinite(split.kept.x_NCHW).all()


@pytest.mark.parametrize(
    "change",
    [
        {"remove_background": False},
        {"low_percentile": 5.0},
        {"high_percentile": 90.0},
        {"clahe_clip_limit": 0.0},
        {"zscore": False},
        {"spacing_mm": 0.5},
    ],
)
def test_every_option_changes_what_the_network_sees(change: dict[str, float]) -> None:
    """Each step is really switched by its option."""
    rows_HW, columns_HW = np.mgrid[:48, :48]
    shade_HW = np.exp(-((rows_HW - 24) ** 2 + (columns_HW - 20) ** 2) / 120) * 900
    frame = Frame(shade_HW + np.random.default_rng(0).random((48, 48)) * 20, (1.0, 1.0))
    usual = run(batch(frame)).kept.x_NCHW
    assert not np.allclose(run(batch(frame), replace(OPTIONS, **change)).kept.x_NCHW, usual)


def test_input_does_not_depend_on_the_modality_unit() -> None:
    """Scaling and shifting the stored values changes nothing."""
    image_HW = np.random.default_rng(0).integers(0, 200, (40, 40))
    plain, scaled = (own(Frame(values, (1.0, 1.0))) for values in (image_HW, image_HW * 70.0 - 1024))
    assert np.allclose(plain, scaled, atol=0.05)


def test_input_arrays_are_left_alone() -> None:
    """Read-only frames from the object store are enough."""
    frame = picture(0)
    frame.image.flags.writeable = False
    assert len(run(batch(frame)).kept) == 1


def test_the_stage_pickles_and_names_itself() -> None:
    """A stage travels to a worker as a recipe."""
    stage = pickle.loads(pickle.dumps(Preprocess(OPTIONS)))  # noqa: S301  our own bytes
    assert stage == Preprocess(OPTIONS)
    assert stage.name == "preprocess"


def test_options_go_through_json_and_refuse_what_they_do_not_know() -> None:
    """What training records is what a run reads back; unknown keys and bad ranges are errors."""
    adapter = TypeAdapter(PreprocessOptions)
    assert adapter.validate_json(adapter.dump_json(OPTIONS)) == OPTIONS
    for wrong in ({"sizes": 64}, {"size": 100}, {"spacing_mm": -1}, {"low_percentile": 60}):
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)


def padded(frame: Frame, padding_HW: np.ndarray) -> Frame:
    """The same frame with NaN for padding."""
    image_HW = frame.image.astype(np.float32)
    image_HW[padding_HW] = np.nan
    return replace(frame, image=image_HW)


SWITCHES = [
    PreprocessOptions(size=32),
    PreprocessOptions(size=32, remove_background=False),
    PreprocessOptions(size=32, remove_background=False, clahe_clip_limit=0, zscore=False, spacing_mm=2.5),
]


@pytest.mark.parametrize("options", SWITCHES)
@given(
    padding_HW=hnp.arrays(np.bool_, (40, 48)),
    spacing_mm=st.sampled_from([(1.0, 1.0), (0.4, 0.7), (3.0, 3.0), None]),
)
def test_padding_anywhere_leaves_no_nan_and_lies_outside_the_patient(
    padding_HW: np.ndarray, spacing_mm: tuple[float, float] | None, options: PreprocessOptions
) -> None:
    """Whatever part of the image it is."""
    prepared = prepare(replace(padded(picture(0), padding_HW), spacing_mm=spacing_mm), options)
    if not isinstance(prepared, str):
        assert np.isfinite(seen(prepared)).all()


@pytest.mark.parametrize("options", SWITCHES[:2])
def test_what_padding_would_have_been_does_not_matter(options: PreprocessOptions) -> None:
    """A border of padding gives what the same field without a border gives."""
    small = Frame(np.random.default_rng(3).integers(200, 4000, (40, 40)).astype(np.float32), (1.0, 1.0))
    large_HW = np.full((60, 60), np.nan, np.float32)
    large_HW[10:50, 10:50] = small.image
    results = [prepare(frame, options) for frame in (small, Frame(large_HW, (1.0, 1.0)))]
    x_HW, padded_HW = (seen(one) for one in results if not isinstance(one, str))
    np.testing.assert_allclose(x_HW, padded_HW, atol=1e-4)


def test_tissue_does_not_fade_towards_padding() -> None:
    """A field pixel at the edge is the mean of the tissue that it looks at."""
    image_HW = np.where(np.arange(64) < 33, 1000.0, np.nan) * np.ones((64, 1))
    image_HW[:8] = 0
    options = PreprocessOptions(
        size=32, spacing_mm=2, remove_background=False, clahe_clip_limit=0, low_percentile=0, zscore=False
    )
    prepared = prepare(Frame(image_HW, (1.0, 1.0)), options)
    assert not isinstance(prepared, str)
    assert seen(prepared)[8:31, 1:16] == pytest.approx(1, abs=1e-5)  # the image's own edges do fade
    assert (seen(prepared)[:, 18:] == 0).all()


def test_an_image_of_padding_alone_is_degenerate() -> None:
    """There is nothing to look at."""
    everywhere = np.ones((40, 48), bool)
    assert "none is finite" in prepare(padded(picture(0), everywhere), OPTIONS)
