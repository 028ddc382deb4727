"""The feature vector of an image that is searched for, on a tiny untrained model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from evaluation.phantom import Phantom, write_series
from pipeline.config import Settings, load
from pipeline.queries.vector import describe_image
from stages.batches import Frame, Frames, Located, Rows, Segmented
from stages.ingest.decode import read_frames
from stages.ingest.site import Site
from stages.ingest.sources.folder import scan
from stages.preprocess.stage import Preprocess
from stages.segment import checkpoint
from stages.segment.features import Segmenter
from stages.segment.stage import Segment
from tests.stages.segment.conftest import RECIPE, TINY


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    torch.manual_seed(0)
    weights = tmp_path / "tiny.safetensors"
    checkpoint.save(Segmenter(TINY).eval(), weights, RECIPE, {}, {})
    segment = {"weights": weights, "runtime": "torch"}
    return load(None, {"preprocess": vars(RECIPE), "segment": segment, "run": {"device": "cpu"}})


def features(files: list[Path], settings: Settings) -> dict[Path, NDArray[np.float32]]:
    """What a run over these files of one series computes, by file."""
    (found,) = scan(files, Site(bytes(32)), settings.ingest)
    assert isinstance(found, Located)
    frames = [one for one in read_frames(found.places, settings.ingest) if isinstance(one, Frame)]
    nothing = (b"",) * len(found)
    rows = Rows(found.keys, found.series, nothing, nothing, found.stacks)
    with Preprocess(settings.preprocess).open() as prepare, Segment(settings.segment).open() as segment:
        segmented = segment(prepare(Frames(rows, tuple(frames))).kept).kept
    assert isinstance(segmented, Segmented)
    paths = [Path(place.path) for place in found.places]
    return dict(zip(paths, segmented.feature_ND, strict=True))


def test_a_slice_has_the_features_that_the_run_over_its_series_gave_it(
    settings: Settings, tmp_path: Path
) -> None:
    """The rest of its series lies beside it, so the network sees its neighbours as it did in the run."""
    series = write_series(tmp_path / "series", Phantom(size=64, spacing_mm=1.4), 5, "X")
    of_run = features(series, settings)
    for file in (series[0], series[2], series[4]):
        np.testing.assert_allclose(describe_image(file, None, settings), of_run[file], atol=1e-5)
    alone = features([series[2]], settings)[series[2]]
    assert np.abs(alone - of_run[series[2]]).max() > 1e-3
