"""NIfTI sources: the mask as a volume on the input's own grid, its header's geometry untouched."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from typing import Any, Final

import nibabel as nib
import numpy as np

from stages.base import Reason
from stages.deliver.planes import Plane, SegmentedFrame, Stack
from stages.deliver.product import PRODUCT, VERSION
from stages.ingest.faults import BadData
from stages.ingest.files import open_regular
from stages.ingest.nifti import read_header
from stages.ingest.options import IngestOptions
from stages.ingest.sniff import GZIP, NIFTI2_BYTES

GZIP_LEVEL: Final = 4  # masks are almost empty: more gains nothing


def encode(path: str, results: Sequence[SegmentedFrame], limits: IngestOptions) -> tuple[Stack, bytes]:
    """The planes of one file and its gzipped mask: same shape, sform and qform; other slices are empty."""
    with open_regular(path, limits.max_file_bytes) as (file, size):
        stream = gzip.GzipFile(fileobj=file) if file.peek(2)[:2] == GZIP else file
        volume = read_header(stream, size, limits)
        stream.seek(0)
        raw = stream.read(NIFTI2_BYTES)
    second = NIFTI2_BYTES in {int.from_bytes(raw[:4], "little"), int.from_bytes(raw[:4], "big")}
    kind: Any = nib.Nifti2Image if second else nib.Nifti1Image  # nibabel has types for neither
    header = kind.header_class(raw[: kind.header_class.sizeof_hdr], check=False)
    mask_DHW = np.zeros(volume.shape, np.uint8)
    by_frame_NHW = np.moveaxis(mask_DHW, volume.axis, 0)
    for result in results:
        if result.mask.shape != by_frame_NHW.shape[1:] or result.place.frame >= volume.frames:
            raise BadData(Reason.CORRUPT, "The volume has another shape than when it was segmented.")
        by_frame_NHW[result.place.frame] = result.mask.unpack()
    header.set_data_dtype(np.uint8)
    header["descrip"] = f"{PRODUCT} {VERSION} prostate mask".encode()
    header["cal_max"], header["cal_min"] = 1, 0
    # Without an affine of our own nibabel keeps both transforms and their codes as the header has them.
    image = kind(mask_DHW.reshape(header.get_data_shape()), None, header)
    planes = tuple(Plane(result, volume.spacing_mm) for result in results)
    return Stack(planes, volume.slice_distance_mm), gzip.compress(image.to_bytes(), GZIP_LEVEL, mtime=0)
