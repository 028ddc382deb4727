"""Useless images through ingest, preprocess and segment: a result or a clear reject, never a crash."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from stages.base import Reject
from stages.batches import Copied, Located, Refused, Segmented
from stages.encrypt.keys.folder import new_keys
from stages.encrypt.keys.site import load_site_secret
from stages.ingest.options import IngestOptions
from stages.ingest.site import Site
from stages.ingest.sources.folder import scan
from stages.ingest.stage import Ingest
from stages.preprocess.options import PreprocessOptions
from stages.preprocess.stage import Preprocess
from stages.segment import checkpoint
from stages.segment.features import Segmenter
from stages.segment.options import ModelConfig, SegmentOptions
from stages.segment.stage import Segment

Through = Callable[[Path], tuple[list[Segmented], list[Reject | Refused], int]]


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Through]:
    """A folder's images through the three stages: what came out, what was rejected, and how many went in."""
    folder = tmp_path_factory.mktemp("stages")
    keys = folder / "keys"
    new_keys(keys, None)
    torch.manual_seed(0)
    segmenter = Segmenter(ModelConfig(channels=(8, 16), blocks=(1, 1), feature_dim=16)).eval()
    recipe = PreprocessOptions(size=32, spacing_mm=2.0)
    checkpoint.save(segmenter, folder / "w.safetensors", recipe, {}, {})
    site, options = Site(load_site_secret(keys / "site")), IngestOptions()
    model = SegmentOptions(weights=folder / "w.safetensors", runtime="torch")
    with ExitStack() as stack:
        stages = (Ingest(options, keys / "site"), Preprocess(recipe), Segment(model))
        functions: list[Any] = [stack.enter_context(stage.open()) for stage in stages]

        def run(source: Path) -> tuple[list[Segmented], list[Reject | Refused], int]:
            kept: list[Segmented] = []
            rejected: list[Reject | Refused] = []
            count = 0
            for found in scan((source,), site, options):
                if isinstance(found, Copied):
                    continue
                count += len(found) if isinstance(found, Located) else 1
                if isinstance(found, Refused):
                    rejected.append(found)
                    continue
                batch: Any = found
                for function in functions:
                    split = function(batch)
                    assert len(split.kept) + len(split.rejected) == len(batch)
                    rejected += split.rejected
                    batch = split.kept
                kept.append(batch)
            return kept, rejected, count

        yield run


def pixels(kind: str, shape: tuple[int, int], seed: int) -> NDArray[Any]:
    """An image of this kind."""
    rng = np.random.default_rng(seed)
    smooth = np.add.outer(np.arange(shape[0]), np.arange(shape[1])) % 251
    match kind:
        case "constant":
            return np.full(shape, rng.integers(0, 255), np.uint8)
        case "colour":
            return np.stack((smooth, smooth[::-1], np.full(shape, 9)), axis=-1).astype(np.uint8)
        case "inverted":
            return (250 - smooth).astype(np.uint8)
        case "holes":
            image = smooth.astype(np.float32)
            image[rng.random(shape) < rng.choice([0.01, 0.5, 1.0])] = rng.choice([np.nan, np.inf, -np.inf])
            return image
        case "extreme":
            return (smooth * rng.choice([1e-38, 1e30, -1e37])).astype(np.float32)
        case _:
            return rng.integers(0, 65535, shape).astype(np.uint16)


def write(path: Path, image: NDArray[Any], how: str) -> None:
    """Saved so that the format holds it: floats are no PNG, colour is no NIfTI."""
    if how == "nifti" and image.ndim == 2:
        nibabel.Nifti1Image(image[..., None], np.diag([0.6, 0.6, 3, 1])).to_filename(
            path.with_suffix(".nii.gz")
        )
    elif image.dtype == np.float32 or how == "tiff":
        tifffile.imwrite(path.with_suffix(".tif"), image)
    else:
        Image.fromarray(image).save(path.with_suffix(".png"))


SIDES = st.one_of(st.integers(1, 12), st.integers(13, 300), st.sampled_from([1, 2, 1500, 3000]))
KINDS = st.sampled_from(["constant", "colour", "inverted", "holes", "extreme", "noise"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy's, while the images are made
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    images=st.lists(st.tuples(KINDS, SIDES, SIDES), min_size=1, max_size=3),
    how=st.sampled_from(["png", "tiff", "nifti"]),
    seed=st.integers(0, 9),
)
@example(images=[("noise", 3000, 3000), ("noise", 1, 3000), ("constant", 1, 1)], how="nifti", seed=0)
@example(images=[("holes", 40, 50), ("extreme", 40, 50), ("colour", 40, 50)], how="tiff", seed=0)
@example(images=[("inverted", 300, 8), ("colour", 8, 8), ("noise", 7, 200)], how="png", seed=0)
def test_every_image_gives_a_result_or_a_clear_reject(
    through: Through, images: list[tuple[str, int, int]], how: str, seed: int
) -> None:
    """The sum comes out; results are finite and on the image's grid; a reject says why in a sentence."""
    with tempfile.TemporaryDirectory() as folder:
        for number, (kind, height, width) in enumerate(images):
            write(Path(folder) / f"i{number}", pixels(kind, (height, width), seed), how)
        kept, rejected, count = through(Path(folder))
    assert sum(map(len, kept)) + len(rejected) == count >= 1
    shapes = {(height, width) for _, height, width in images}
    for batch in kept:
        assert np.isfinite(batch.feature_ND).all()
        assert ((batch.confidence_N >= 0) & (batch.confidence_N <= 1)).all()
        # NIfTI stores columns first, and is cut along its thinnest axis
        assert all(mask.shape in shapes or how == "nifti" for mask in batch.masks)
    assert all(len(one.detail) > 10 and "\n" not in one.detail for one in rejected)
