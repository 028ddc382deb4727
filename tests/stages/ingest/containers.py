"""One sound file of each kind of container, to be harmed."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import imagecodecs
import nibabel
import numpy as np
import tifffile
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.stages.ingest.maker import compressed, dicom, item, ramp, save

# The axis that a volume is cut along is the longest: a harmed affine may choose another, and none is longer.
VOXELS = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
STACK = np.stack([ramp(40, 33) + 9 * page for page in range(3)])


def fragmented(path: Path, table: bool) -> bytes:
    """Three frames of two items each, told apart by a basic offset table or by the ends of code streams."""
    dataset = dcmread(compressed(dicom(STACK), path, JPEG2000Lossless))
    codes = list(generate_frames(dataset.PixelData, number_of_frames=3))
    dataset.PixelData = encapsulate(codes, fragments_per_frame=2, has_bot=table)
    dataset.save_as(path)
    return path.read_bytes()


def extended(path: Path) -> bytes:
    """Three frames with an extended offset table."""
    dataset = dcmread(compressed(dicom(STACK), path, JPEGLSLossless))
    codes = list(generate_frames(dataset.PixelData, number_of_frames=3))
    dataset.PixelData, offsets, lengths = encapsulate_extended(codes)
    dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = offsets, lengths
    dataset.save_as(path)
    return path.read_bytes()


def jpegs(path: Path, syntax: UID, **how: object) -> bytes:
    """Three JPEG frames, one item each."""
    codes = [imagecodecs.jpeg8_encode(image, **how) for image in STACK.astype(np.uint16)]
    dataset = dicom(STACK, BitsStored=12, HighBit=11, PixelData=encapsulate(codes))
    dataset["PixelData"].is_undefined_length = True
    return save(dataset, path, syntax).read_bytes()


def tiff(**how: object) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, STACK, photometric="minisblack", **how)
    return out.getvalue()


def picture(kind: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(ramp(dtype="u1", most=255)).save(out, kind)
    return out.getvalue()


def sound_files(path: Path) -> dict[str, tuple[bytes, int]]:
    """By name: the file, written by way of this path, and how many frames it has."""
    groups = item(PixelMeasuresSequence=item(PixelSpacing=[1, 1]))
    volume = nibabel.Nifti1Image(VOXELS, np.eye(4)).to_bytes()
    return {
        "one frame": (save(dicom(ramp()), path).read_bytes(), 1),
        "native": (save(dicom(STACK, SharedFunctionalGroupsSequence=groups), path).read_bytes(), 3),
        "deflated": (save(dicom(STACK), path, DeflatedExplicitVRLittleEndian).read_bytes(), 3),
        "RLE": (compressed(dicom(STACK), path, RLELossless).read_bytes(), 3),
        "offset table": (fragmented(path, table=True), 3),
        "no offset table": (fragmented(path, table=False), 3),
        "extended offset table": (extended(path), 3),
        "lossless JPEG": (jpegs(path, JPEGLosslessSV1, lossless=True), 3),
        "JPEG of 12 bits": (jpegs(path, JPEGExtended12Bit, level=95, bitspersample=12), 3),
        "NIfTI-1": (volume, 6),
        "NIfTI-2": (nibabel.Nifti2Image(VOXELS, np.eye(4)).to_bytes(), 6),
        "gzip": (gzip.compress(volume, mtime=0), 6),
        "strips": (tiff(rowsperstrip=5), 3),
        "tiles": (tiff(tile=(16, 16), compression="zlib"), 3),
        "BigTIFF": (tiff(bigtiff=True, byteorder=">"), 3),
        "PNG": (picture("PNG"), 1),
        "JPEG": (picture("JPEG"), 1),
        "JPEG 2000": (picture("JPEG2000"), 1),
    }
