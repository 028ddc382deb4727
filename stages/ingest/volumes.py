"""Volumes of every format: NIfTI, MetaImage and NRRD, recognised by their first bytes, sliced in one way."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import Final

from stages.base import Reason
from stages.ingest import nifti
from stages.ingest.faults import BadData
from stages.ingest.files import open_regular, sha256_of
from stages.ingest.metaimage import is_metaimage, metaimage
from stages.ingest.nrrd import NRRD_MAGIC, nrrd
from stages.ingest.opened import OpenedFile
from stages.ingest.options import IngestOptions
from stages.ingest.outline import FROM_END, HEADER_BYTES, Outline
from stages.ingest.unfolding import unfolding
from stages.ingest.volume import Volume, check_size, slices

_PIECE_BYTES: Final = 1 << 18
_DEFLATE_MOST: Final = 1032  # bytes that one byte of deflate can unfold to (zlib, technical details)


@contextmanager
def open_volume(path: str, wanted: Sequence[int], options: IngestOptions) -> Iterator[OpenedFile]:
    """The volume; the wanted slices are read, and unfolded, once."""
    with open_regular(path, options.max_file_bytes) as (file, size):
        outline = _outline(file)
        if outline is None:
            with nifti.open_nifti(path, wanted, options) as opened:
                yield opened
            return
        with _voxels(path, outline, file, size, options) as (volume, stream, _):
            identity = {"Description": volume.description} if volume.description else {}
            yield OpenedFile(identity, slices(volume, stream, wanted))


def read_verified(path: str, file: BufferedReader, size: int, options: IngestOptions) -> tuple[Volume, bytes]:
    """The header, where the voxels are all there, and the digest of header and voxels.

    What is folded is unfolded once for that, in pieces.
    """
    outline = _outline(file)
    if outline is None:
        volume = nifti.read_verified(file, size, options)
        return volume, sha256_of(file)
    with _voxels(path, outline, file, size, options) as (volume, stream, held):
        if outline.folded:
            unfolded = 0
            while piece := stream.read(_PIECE_BYTES):  # raises where the stream is cut or damaged
                unfolded += len(piece)
                if unfolded > options.max_file_bytes:
                    most = options.max_file_bytes
                    detail = f"The volume unfolds to more than {most} bytes (ingest.max_file_bytes)."
                    raise BadData(Reason.TOO_LARGE, detail)
            check_size(volume, unfolded, options)
        digest = sha256_of(file)
        return volume, hashlib.sha256(digest + sha256_of(held)).digest() if outline.beside else digest


def read_header(path: str, options: IngestOptions) -> Volume | None:
    """The header of a MetaImage or NRRD file; None where the file is neither."""
    with open_regular(path, options.max_file_bytes) as (file, _):
        outline = _outline(file)
        return None if outline is None else outline.volume


def _outline(file: BufferedReader) -> Outline | None:
    """What the header says; None where the volume is NIfTI. The file stands at its start again."""
    file.seek(0)
    head = file.read(HEADER_BYTES)
    file.seek(0)
    if NRRD_MAGIC.match(head):
        return nrrd(head)
    return metaimage(head) if is_metaimage(head) else None


@contextmanager
def _voxels(
    path: str, outline: Outline, file: BufferedReader, size: int, options: IngestOptions
) -> Iterator[tuple[Volume, BufferedReader, BufferedReader]]:
    """The volume with its offset in a stream, that stream, and the file that it lies in."""
    if outline.beside:
        where = str(Path(path).parent / outline.beside)
        if not Path(where).is_file():
            raise BadData(
                Reason.TRUNCATED, "The file of the voxels, which the header names, is not beside it."
            )
        with open_regular(where, options.max_file_bytes) as (other, other_size):
            yield *_placed(outline, other, other_size, options), other
    else:
        yield *_placed(outline, file, size, options), file


def _placed(
    outline: Outline, file: BufferedReader, size: int, options: IngestOptions
) -> tuple[Volume, BufferedReader]:
    voxels = prod(outline.volume.shape) * outline.volume.dtype.itemsize
    start = size - voxels if outline.start == FROM_END else outline.start
    if outline.folded:
        if outline.start == FROM_END:
            raise BadData(Reason.CORRUPT, "The header does not say where the compressed voxels begin.")
        check_size(outline.volume, max(size - start, 0) * _DEFLATE_MOST, options)
        return outline.volume, unfolding(file, start)
    volume = replace(outline.volume, offset=start)
    check_size(volume, size, options)
    return volume, file
