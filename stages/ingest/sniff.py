"""What a file is, from its first bytes and never from its suffix.

DICOM: PS3.10 section 7.1 (128 bytes, then ``DICM``), and the older streams without that preamble, which
open with a group 0002 or 0008 element. NIfTI-1 and NIfTI-2: the header size and magic of nifti1.h and
nifti2.h, plain or inside gzip (RFC 1952). What is recognised but not read here is named in the refusal.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

from stages.base import Reason
from stages.ingest.faults import BadData
from stages.ingest.metaimage import is_metaimage
from stages.ingest.nrrd import NRRD_MAGIC
from stages.places import FileKind

HEAD_BYTES: Final = 1 << 16  # enough for nearly every DICOM header
GZIP: Final = b"\x1f\x8b"
NIFTI2_BYTES: Final = 540  # the larger of the two headers

_RASTERS: Final = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|BM.{4}\0\0\0\0|P[56]\s|RIFF.{4}WEBP"
    rb"|II[*+]\0|MM\0[*+]"  # TIFF and BigTIFF
    rb"|\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",  # JPEG 2000, file and code stream
    re.DOTALL,
)
# A first element of group 0002 or 0008: with a VR of PS3.5 table 6.2-1, or implicit and short.
_PLAIN_DICOM: Final = re.compile(
    rb"(?:[\x02\x08]\0..|\0[\x02\x08]..)"
    rb"(?:AE|AS|AT|CS|DA|DS|DT|FL|FD|IS|LO|LT|OB|OW|PN|SH|SL|SQ|SS|ST|TM|UI|UL|UN|US|UT)"
    rb"|[\x02\x08]\0.[\0-\x2f]..\0\0",
    re.DOTALL,
)
# RFC 5652: ContentInfo of type envelopedData, the secure DICOM file of PS3.15 annex D.
_CMS_ENVELOPED: Final = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03"
_ENCRYPTED: Final = re.compile(
    rb"-----BEGIN (PGP MESSAGE|CMS|PKCS7)-----"
    rb"|age-encryption\.org/|Salted__"
    rb"|\x85[\1-\4].\x03|\x84.\x03[^\0]|\xc1[\xc0-\xdf].\x03"  # RFC 9580, 5.1: public-key packets
    rb"|[\x8c\xc3]\x0d\x04"  # RFC 9580, 5.3: a passphrase packet
    rb"|gAAAAA",  # Fernet
    re.DOTALL,
)
_OTHERS: Final = (
    (b"PK\x03\x04", "a zip archive; unpack it first"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"BZh", "a bzip2 file; unpack it first"),
    (b"\xfd7zXZ\0", "an xz file; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd file; unpack it first"),
    (b"%PDF", "a PDF document"),
    (b"{\\rtf", "a text document (RTF)"),
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "a Windows compound file, such as Thumbs.db or an old Office document",
    ),
    (b"\0\0\0\1Bud1", "a .DS_Store, which macOS leaves in folders"),
    (b"\0\5\x16\7", "an AppleDouble file, which macOS leaves beside others"),
    (b"L\0\0\0\1\x14\2\0", "a Windows shortcut"),
    (b"MZ", "a Windows program or library, such as a CD's viewer"),
    (b"\x7fELF", "a Linux program or library"),
    (b"\xcf\xfa\xed\xfe", "a macOS program or library"),
    (b"\xca\xfe\xba\xbe", "a Java class or a macOS program"),
    (b"\0\0\1\0", "a Windows icon"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"GIF8", "a GIF picture; convert it to PNG"),
    (b"\x89HDF", "an HDF5 file (MINC, MATLAB or other); convert it to NIfTI"),
    (b"CDF\1", "a netCDF file (MINC); convert it to NIfTI"),
    (b"MATLAB 5.0", "a MATLAB file; save its volume as NIfTI"),
    (b"\x93NUMPY", "a NumPy array; save it as NIfTI"),
    (b"\xff\x0a", "a JPEG XL picture; convert it to PNG"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture; convert it to PNG"),
    (b"RIFF", "a film or sound (RIFF)"),
    (b"\x1aE\xdf\xa3", "a film (Matroska or WebM)"),
    (b"\0\0\1\xba", "a film (MPEG)"),
)
_BRANDS: Final = (  # ISO/IEC 14496-12, 4.3: behind the first box's size and type
    (re.compile(rb"hei[cfmsx]|hev[cx]|mif1|msf1"), "a HEIC picture; convert it to PNG"),
    (re.compile(rb"avi[fs]"), "an AVIF picture; convert it to PNG"),
    (re.compile(rb"...."), "a film (MP4 or QuickTime)"),
)
_ANALYZE_BYTES: Final = (b"\x5c\1\0\0", b"\0\0\1\x5c")
_MARKUP: Final = re.compile(rb"\s*<(!doctype html|html|head|body|\?xml|svg|\w+[ >])", re.IGNORECASE)
_CONTROL: Final = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]")  # what no text has


def sniff(head: bytes) -> FileKind:
    """The file's kind from its first bytes."""
    if head[128:132] == b"DICM":
        return FileKind.DICOM
    if NRRD_MAGIC.match(head) or is_metaimage(head):
        return FileKind.NIFTI  # a volume as well: read, cut and delivered alike
    if _is_nifti(head) or (head.startswith(GZIP) and _is_nifti(inflate(head, NIFTI2_BYTES))):
        return FileKind.NIFTI
    if _RASTERS.match(head):
        return FileKind.RASTER
    if _PLAIN_DICOM.match(head):
        return FileKind.DICOM
    raise BadData(*_named(head))


def inflate(head: bytes, most: int) -> bytes:
    """Up to ``most`` bytes of what a gzip file holds, from its first bytes."""
    try:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(head, most)
    except zlib.error:
        return b""


def _is_nifti(head: bytes) -> bool:
    return (head[:4] in (b"\x5c\1\0\0", b"\0\0\1\x5c") and head[344:348] in (b"n+1\0", b"ni1\0")) or (
        head[:4] in (b"\x1c\2\0\0", b"\0\0\2\x1c") and head[4:12] in (b"n+2\0\r\n\x1a\n", b"ni2\0\r\n\x1a\n")
    )


def _named(head: bytes) -> tuple[Reason, str]:
    locked = any(flags & 1 for flags in head[6:7])  # of a zip's first entry, APPNOTE.TXT 4.4.4
    if locked and head.startswith(b"PK\x03\x04"):
        return Reason.ENCRYPTED, "The file is a password-protected zip archive."
    if _ENCRYPTED.match(head) or _CMS_ENVELOPED in head[:32]:
        return Reason.ENCRYPTED, "The file is an encrypted container (PGP, CMS, age or the like)."
    if head.startswith(GZIP):
        return Reason.NOT_AN_IMAGE, "The file is a gzip file that holds no NIfTI volume; unpack it first."
    for magic, name in _OTHERS:
        if head.startswith(magic):
            return Reason.NOT_AN_IMAGE, f"The file is {name}."
    name = _film_or_photograph(head) or _analyze(head) or _document(head)
    if name:
        return Reason.NOT_AN_IMAGE, f"The file is {name}."
    return Reason.NOT_AN_IMAGE, "The content is of no known image format."


def _film_or_photograph(head: bytes) -> str:
    if head[4:8] != b"ftyp":
        return ""
    return next((name for brand, name in _BRANDS if brand.match(head[8:12])), "")


def _analyze(head: bytes) -> str:
    """The older format of NIfTI's header, which says nothing of directions."""
    return "an Analyze 7.5 header; convert it to NIfTI" if head[:4] in _ANALYZE_BYTES else ""


def _document(head: bytes) -> str:
    """Text of any encoding that has no control characters, UTF-16 by its mark."""
    if not head or not (head.startswith((b"\xff\xfe", b"\xfe\xff")) or not _CONTROL.search(head)):
        return ""
    return "a web page or XML document" if _MARKUP.match(head.removeprefix(b"\xef\xbb\xbf")) else "a text"
