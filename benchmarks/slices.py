"""Real slices for benchmarks, by the stream's own stages: PROMISE12 cases and DICOM series."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evaluation.cases import read_case
from evaluation.pairs import find_pairs
from stages.batches import Frame, Frames, Located, Rows
from stages.ingest.decode import read_frames
from stages.ingest.options import IngestOptions
from stages.ingest.site import Site
from stages.ingest.sources.folder import scan
from stages.preprocess.stage import Preprocess
from training.dataset import truth_on_field

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from stages.base import Split
    from stages.batches import Prepared
    from stages.preprocess.options import PreprocessOptions


@dataclass(frozen=True)
class Slices:
    """What the model sees of every slice, whose it is and where its gland is (P pixels of the field)."""

    x_NCHW: NDArray[np.float32]
    patient_N: NDArray[np.str_]
    truth_NP: NDArray[np.bool_]  # nothing set where there is no reference

    def __len__(self) -> int:
        return len(self.x_NCHW)

    @classmethod
    def join(cls, many: Sequence[Slices]) -> Slices:
        """All rows, in order."""
        return cls(
            np.concatenate([one.x_NCHW for one in many]),
            np.concatenate([one.patient_N for one in many]),
            np.concatenate([one.truth_NP for one in many]),
        )


def read(data: Path, recipe: PreprocessOptions) -> tuple[Slices, Slices]:
    """The slices that training saw, and those that it did not: validation cases and DICOM series."""
    with Preprocess(recipe).open() as prepare:
        train = _labelled(data / "promise12" / "train", prepare)
        unseen = [_labelled(data / "promise12" / "val", prepare)]
        unseen += [_series(folder, prepare) for folder in sorted((data / "prostate3t").iterdir())]
    return train, Slices.join(unseen)


def _labelled(folder: Path, prepare: Callable[[Frames], Split[Prepared]]) -> Slices:
    found = []
    for pair in find_pairs(folder):
        case = read_case(pair)
        prepared = prepare(case.frames).kept
        truth_N1HW = truth_on_field(case, prepared, prepared.x_NCHW.shape[-1])
        truth_NP = truth_N1HW.reshape(len(prepared), -1) > 0
        found.append(Slices(prepared.x_NCHW, np.full(len(prepared), case.name), truth_NP))
    return Slices.join(found)


def _series(folder: Path, prepare: Callable[[Frames], Split[Prepared]]) -> Slices:
    """One patient's DICOM files, found and read as ``run`` does; no reference is known."""
    options = IngestOptions()
    found = scan([folder], Site(secrets.token_bytes(32)), options)
    pieces = [piece for piece in found if isinstance(piece, Located)]
    x_NCHW = np.concatenate([prepare(_decoded(piece, options)).kept.x_NCHW for piece in pieces])
    blank_NP = np.zeros((len(x_NCHW), x_NCHW[0, 0].size), np.bool_)
    return Slices(x_NCHW, np.full(len(x_NCHW), folder.name), blank_NP)


def _decoded(piece: Located, options: IngestOptions) -> Frames:
    """The frames of a piece; a context slice of a cut series is read too."""
    wanted = [*piece.places, *(place for place in (piece.before, piece.after) if place)]
    frames = dict(zip(wanted, read_frames(wanted, options), strict=True))
    rows = [row for row, place in enumerate(piece.places) if isinstance(frames[place], Frame)]
    blank = (b"",) * len(piece)
    before, after = (frames.get(place) if place else None for place in (piece.before, piece.after))
    return Frames(
        Rows(piece.keys, piece.series, blank, blank).take(rows),
        tuple(frames[piece.places[row]] for row in rows),
        before if isinstance(before, Frame) else None,
        after if isinstance(after, Frame) else None,
    )
