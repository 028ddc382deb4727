"""What one file holds, from its header: its frames' record ids and places, and what they are sorted by.

A header's claim of several frames is believed only where the file holds them all; where it does not, the
file is refused as one, never frame by frame. What that costs beside a parse of the header: one pass
through a gzip (its checksum is the only proof that its header is whole), nothing for plain volumes and
native pixels, two short reads an item of compressed pixels, the directories of a TIFF. A file of one frame
is not verified: reading it is the verification.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import partial
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Final

from pydicom import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from stages.base import Reason
from stages.ingest import raster, volumes
from stages.ingest.acquisition import ACQUISITION_TAGS, acquisition
from stages.ingest.dicom import count_verified
from stages.ingest.elements import Parsed, integer, parse, text
from stages.ingest.faults import BadData, reading
from stages.ingest.files import open_regular, sha256_of
from stages.ingest.functional import FUNCTIONAL_TAGS, orientation, position, spacing_mm
from stages.ingest.modality import modalities
from stages.ingest.options import IngestOptions
from stages.ingest.purpose import why_beside
from stages.ingest.site import Site
from stages.ingest.slices import Slice
from stages.ingest.sniff import HEAD_BYTES, sniff
from stages.places import FileKind, Place

_PIXELS_A_BYTE: Final = 8  # of a compressed picture, roughly and rather too many
_SOP_INSTANCE: Final = BaseTag(0x00080018)
_SERIES_INSTANCE: Final = BaseTag(0x0020000E)
_INSTANCE_NUMBER: Final = BaseTag(0x00200013)
_STUDY_INSTANCE: Final = BaseTag(0x0020000D)
_PATIENT_NAME: Final = BaseTag(0x00100010)
_PATIENT_ID: Final = BaseTag(0x00100020)
_BIRTH_DATE: Final = BaseTag(0x00100030)
_NUMBER_OF_FRAMES: Final = BaseTag(0x00280008)
_MODALITY: Final = BaseTag(0x00080060)
_FRAME_OF_REFERENCE: Final = BaseTag(0x00200052)
_FRAME_SIZE: Final = (BaseTag(0x00280010), BaseTag(0x00280011))
_ONE_FRAME: Final = ("", "0", "1")  # as pydicom takes them
_TAGS: Final = (
    *(_SOP_INSTANCE, _SERIES_INSTANCE, _STUDY_INSTANCE, _PATIENT_NAME, _PATIENT_ID, _BIRTH_DATE),
    *(
        _MODALITY,
        _FRAME_OF_REFERENCE,
        _INSTANCE_NUMBER,
        _NUMBER_OF_FRAMES,
        *_FRAME_SIZE,
        *FUNCTIONAL_TAGS,
        *ACQUISITION_TAGS,
    ),
)


@dataclass(frozen=True, slots=True)
class Probed:
    """The frames of one file. ``whole``: it is a series by itself; else other files may belong to it."""

    series: bytes  # the pseudonym
    slices: tuple[Slice, ...]
    whole: bool


def probe(path: Path, site: Site, options: IngestOptions) -> Probed:
    """The file's frames. Raises BadData, or whatever a reader raises over hostile bytes."""
    name = str(path)
    why = why_beside(path)
    if why:
        raise BadData(Reason.NOT_TO_SEGMENT, why)
    with open_regular(name, options.max_file_bytes) as (file, size):
        head = file.read(HEAD_BYTES)
        kind = sniff(head)
        if kind is FileKind.DICOM:
            return _dicom(name, file, size, _header(file, head, size), site, options)
        file.seek(0)
        if kind is FileKind.NIFTI:
            volume, digest = volumes.read_verified(name, file, size, options)
            count, pixels = volume.frames, math.prod(volume.shape) // volume.frames
        else:
            count = raster.count_frames(file, options.max_frames)
            pixels = size * _PIXELS_A_BYTE // max(count, 1)
            digest = b""
        _check_count(count, options)
        digest = digest or sha256_of(file)
    slices = (
        Slice(site.content_key(digest, k), Place(name, k, kind), pixels, frames=count) for k in range(count)
    )
    return Probed(site.series(digest.hex()), tuple(slices), True)


def _header(file: BufferedReader, head: bytes, size: int) -> Parsed:
    """The header from the first bytes, where the parser is quick; from the file where they do not do."""
    try:
        with reading():
            parsed = parse(BytesIO(head), size, _TAGS)
        if size <= len(head) or parsed.syntax != DeflatedExplicitVRLittleEndian:
            return parsed
    except BadData:
        if size <= len(head):
            raise
    return parse(file, size, _TAGS)


def _dicom(
    path: str, file: BufferedReader, size: int, parsed: Parsed, site: Site, options: IngestOptions
) -> Probed:
    dataset = parsed.dataset
    rows, columns = (integer(dataset, tag) or 0 for tag in _FRAME_SIZE)
    single = text(dataset, _NUMBER_OF_FRAMES) in _ONE_FRAME
    count = 1 if single else count_verified(file, size, options)
    _check_count(count, options)
    uid = text(dataset, _SOP_INSTANCE)
    digest = b"" if uid else sha256_of(file)
    key = partial(site.key, uid) if uid else partial(site.content_key, digest)
    instance = re.fullmatch(r"[+-]?\d{1,12}", text(dataset, _INSTANCE_NUMBER))
    made_by = "\\".join(modalities(dataset))
    slices = (
        Slice(
            key(k),
            Place(path, k, FileKind.DICOM),
            rows * columns,
            position(dataset, k),
            orientation(dataset, k),
            int(instance[0]) if instance else None,
            (rows, columns),
            spacing_mm(dataset, k),
            count,
            acquisition(dataset, k),
            made_by,
            text(dataset, _FRAME_OF_REFERENCE),
        )
        for k in range(count)
    )
    return Probed(_series(dataset, uid or digest.hex(), site), tuple(slices), False)


def _series(dataset: Dataset, instance: str, site: Site) -> bytes:
    """The pseudonym, from patient, study and series: writers have used one UID for series of two patients.

    An object that names no series is one by itself.
    """
    uid = text(dataset, _SERIES_INSTANCE)
    if not uid:
        return site.series(instance)
    name = text(dataset, _PATIENT_NAME).rstrip("^= ").casefold()
    patient = (text(dataset, _PATIENT_ID), name, text(dataset, _BIRTH_DATE))
    return site.series(*patient, text(dataset, _STUDY_INSTANCE), uid)


def _check_count(count: int, options: IngestOptions) -> None:
    if count == 0:
        raise BadData(Reason.CORRUPT, "The file has no first page.")
    if count > options.max_frames:
        detail = f"The file has more than {options.max_frames} frames (ingest.max_frames)."
        raise BadData(Reason.TOO_LARGE, detail)
