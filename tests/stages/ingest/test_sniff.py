from __future__ import annotations

import gzip
import io
import zipfile

import nibabel
import numpy as np
import pytest
from PIL import Image

from stages.base import Reason
from stages.ingest.faults import BadData
from stages.ingest.sniff import sniff
from stages.places import FileKind

VOLUME = np.zeros((2, 3, 4), np.int16)


def picture(kind: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "PPM", "JPEG2000", "WEBP"])
def test_pictures_are_known_by_their_first_bytes(kind: str) -> None:
    """As Pillow writes them."""
    assert sniff(picture(kind)) is FileKind.RASTER


@pytest.mark.parametrize("image", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_volumes_are_known_plain_and_gzipped(image: type[nibabel.Nifti1Image]) -> None:
    """Both versions of the header, and both byte orders of the first."""
    plain = image(VOLUME, np.eye(4)).to_bytes()
    assert sniff(plain) is FileKind.NIFTI
    assert sniff(gzip.compress(plain)) is FileKind.NIFTI


def test_a_big_endian_volume_is_known() -> None:
    """The header size is read in both byte orders."""
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_shape((2, 2, 2))
    assert sniff(header.binaryblock + bytes(100)) is FileKind.NIFTI


@pytest.mark.parametrize(
    "head",
    [
        bytes(128) + b"DICM",
        b"MZ" + bytes(126) + b"DICM",  # whatever the preamble holds
        b"\x08\0\x05\0CS\x0a\0ISO_IR 100",
        b"\0\x08\0\x05CS\0\x0aISO_IR 100",
        b"\x08\0\x05\0\x0a\0\0\0ISO_IR 100",
        b"\x02\0\x10\0UI\x16\x001.2.840.10008.1.2.1\0",
    ],
    ids=["part 10", "any preamble", "explicit", "big endian", "implicit", "meta first"],
)
def test_dicom_is_known_with_and_without_preamble(head: bytes) -> None:
    """PS3.10 files, and the bare streams of older writers."""
    assert sniff(head) is FileKind.DICOM


def zipped(locked: bool) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.dcm", b"a")
    made = bytearray(out.getvalue())
    made[6] |= locked  # APPNOTE.TXT 4.4.4: bit 0 of the first entry's flags
    return bytes(made)


@pytest.mark.parametrize(
    "head",
    [
        zipped(locked=True),
        b"-----BEGIN PGP MESSAGE-----\n\nhQ",
        bytes.fromhex("85020c03"),  # RFC 9580: public-key encrypted session key, version 3
        bytes.fromhex("8c0d0409"),  # symmetric-key encrypted session key
        b"age-encryption.org/v1\n",
        b"Salted__12345678",
        bytes.fromhex("308006092a864886f70d010703"),  # CMS EnvelopedData, PS3.15 annex D
    ],
)
def test_encrypted_containers_are_named_so(head: bytes) -> None:
    """The operator must decrypt them first; they are not merely unknown."""
    with pytest.raises(BadData) as caught:
        sniff(head)
    assert caught.value.refusal.reason is Reason.ENCRYPTED


@pytest.mark.parametrize(
    ("head", "word"),
    [
        (zipped(locked=False), "zip"),
        (b"%PDF-1.7", "PDF"),
        (gzip.compress(b"hello", mtime=0), "gzip"),
        (b"GIF89a", "GIF"),
        (b"hello\r\n", "a text"),
        ("Käse".encode("latin-1"), "a text"),
        ("text".encode("utf-16"), "a text"),
        (b"[autorun]\r\nopen=viewer.exe\r\n", "a text"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>", "web page or XML"),
        (b"MZ\x90\0\3\0", "Windows program"),
        (bytes.fromhex("d0cf11e0a1b11ae1"), "Thumbs.db"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC picture; convert"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF picture; convert"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "a film"),
        (b"RIFF\0\0\0\0AVI ", "a film"),
        (b"\x89HDF\r\n\x1a\n", "HDF5 file"),
        (b"\x5c\1\0\0" + bytes(344), "Analyze"),
        (b"", "no known image format"),
        (bytes(4096), "no known image format"),
    ],
)
def test_what_is_no_image_is_told_by_name(head: bytes, word: str) -> None:
    """One sentence that says what the file is, where that is known."""
    with pytest.raises(BadData, match=word) as caught:
        sniff(head)
    assert caught.value.refusal.reason is Reason.NOT_AN_IMAGE


def test_a_gzip_bomb_is_unfolded_no_further_than_a_header() -> None:
    """A hundred megabytes of zeros are told from a volume by their first 540 bytes."""
    with pytest.raises(BadData, match="gzip"):
        sniff(gzip.compress(bytes(10**7))[: 1 << 16])
