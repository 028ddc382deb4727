"""What is searched for: the feature vector of an image, by the stages of the stream, or one from a file."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.devices import devices, gpus_for
from stages.batches import Frame, Frames, Located, Refused, Rows, Segmented
from stages.errors import OperatorError
from stages.ingest.decode import read_frames
from stages.ingest.site import Site
from stages.ingest.sources.folder import scan
from stages.places import FileKind
from stages.preprocess.stage import Preprocess
from stages.segment.stage import Segment

if TYPE_CHECKING:
    from pipeline.config import Settings


class VectorError(OperatorError):
    """The query cannot be made; the message is one sentence."""


def describe_image(image: Path, frame: int | None, settings: Settings) -> NDArray[np.float32]:
    """The feature vector of one frame of a file, [D], by the stages of the stream.

    ``frame`` None takes the middle one. A DICOM slice is seen with its neighbours where the rest of its
    series lies in the same folder. One image is not worth the seconds that a GPU takes to get ready: it is
    used where the configuration names it. Raises VectorError where there is no such frame, and DeviceError.
    """
    device = devices(settings, gpus_for(settings)).segment if settings.run.device == "cuda" else "cpu"
    piece = _piece(image, frame, settings)
    wanted = [piece.places[0], *(place for place in (piece.before, piece.after) if place)]
    found = dict(zip(wanted, read_frames(wanted, settings.ingest), strict=True))
    centre = found[piece.places[0]]
    if not isinstance(centre, Frame):
        raise VectorError(f"{image}: {centre.detail}")
    neighbours = [found.get(place) if place else None for place in (piece.before, piece.after)]
    before, after = (one if isinstance(one, Frame) else None for one in neighbours)
    frames = Frames(Rows(piece.keys, piece.series, (b"",), (b"",)), (centre,), before, after)
    with (
        Preprocess(settings.preprocess).open() as prepare,
        Segment(settings.segment, device).open() as segment,
    ):
        prepared = prepare(frames)
        segmented = segment(prepared.kept) if len(prepared.kept) else prepared
    if segmented.rejected or not isinstance(segmented.kept, Segmented):
        raise VectorError(f"{image}: {segmented.rejected[0].detail}")
    feature_D: NDArray[np.float32] = segmented.kept.feature_ND[0]
    return feature_D


def read_vector(file: Path) -> NDArray[np.float32]:
    """A feature vector from a JSON list or a .npy file, [D]. Raises VectorError."""
    try:
        raw = np.load(file, allow_pickle=False) if file.suffix == ".npy" else json.loads(file.read_text())
        vector_D = np.asarray(raw, np.float32)
    except (OSError, ValueError) as error:
        raise VectorError(f"{file} is no vector: give a JSON list of numbers, or a .npy file") from error
    if vector_D.ndim != 1 or not np.isfinite(vector_D).all() or not vector_D.any():
        raise VectorError(f"{file} is no vector: it must be one row of finite numbers, not all zero")
    return vector_D


def _piece(image: Path, frame: int | None, settings: Settings) -> Located:
    """One row with the places of its neighbours."""
    site = Site(secrets.token_bytes(32))
    rows = [item for item in scan([image], site, settings.ingest) if isinstance(item, Located)]
    if not rows:
        refused = next(scan([image], site, settings.ingest))
        raise VectorError(
            f"{image}: {refused.detail}" if isinstance(refused, Refused) else f"{image} is empty"
        )
    count = sum(len(item) for item in rows)
    wanted = count // 2 if frame is None else frame
    if wanted >= count:
        raise VectorError(f"{image} has {count} frames, numbered from 0: there is no frame {wanted}")
    if count == 1 and rows[0].places[0].kind is FileKind.DICOM:
        beside = [file for file in sorted(image.parent.iterdir()) if file.is_file()]
        rows = [item for item in scan(beside, site, settings.ingest) if isinstance(item, Located)]
    for piece in rows:
        for row, place in enumerate(piece.places):
            if Path(place.path).resolve() == image.resolve() and place.frame == wanted:
                return piece.cut(row, row + 1)
    raise VectorError(f"{image} has no frame {wanted}")
