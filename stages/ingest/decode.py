"""Places to frames: every file is opened once for all its frames of a batch, whatever its kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np

from stages.batches import Frame
from stages.ingest.dicom import open_dicom
from stages.ingest.faults import BadData, Refusal, reading, silence
from stages.ingest.opened import OpenedFile
from stages.ingest.options import IngestOptions
from stages.ingest.raster import open_raster
from stages.ingest.volumes import open_volume
from stages.places import FileKind, Place


@dataclass(frozen=True, slots=True)
class Decoded:
    """A frame and what identifies it."""

    frame: Frame
    identity: Mapping[str, str]


def read_frames(places: Sequence[Place], options: IngestOptions) -> list[Frame | Refusal]:
    """The frames at these places, in their order; a refusal where there is none to be had."""
    found = decode(places, options)
    return [one.frame if isinstance(one, Decoded) else one for one in found]


def decode(places: Sequence[Place], options: IngestOptions) -> list[Decoded | Refusal]:
    """As ``read_frames``, with what identifies each frame."""
    silence()
    rows: dict[tuple[str, FileKind], list[int]] = {}
    for row, place in enumerate(places):
        rows.setdefault((place.path, place.kind), []).append(row)
    found: dict[int, Decoded | Refusal] = {}
    for (path, kind), mine in rows.items():
        indices = [places[row].frame for row in mine]
        found.update(zip(mine, _of_file(path, kind, indices, options), strict=True))
    return [found[row] for row in range(len(places))]


def _of_file(
    path: str, kind: FileKind, indices: list[int], options: IngestOptions
) -> list[Decoded | Refusal]:
    try:
        with reading(), np.errstate(all="ignore"), _open(path, kind, indices, options) as source:
            return [_of_frame(source, index) for index in indices]
    except BadData as bad:
        return [bad.refusal] * len(indices)


def _of_frame(source: OpenedFile, index: int) -> Decoded | Refusal:
    try:
        with reading():
            return Decoded(source.frame(index), source.identity)
    except BadData as bad:
        return bad.refusal


def _open(
    path: str, kind: FileKind, indices: list[int], options: IngestOptions
) -> AbstractContextManager[OpenedFile]:
    match kind:
        case FileKind.DICOM:
            return open_dicom(path, options)
        case FileKind.NIFTI:
            return open_volume(path, indices, options)
        case FileKind.RASTER:
            return open_raster(path, options)
