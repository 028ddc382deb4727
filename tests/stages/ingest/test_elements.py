from __future__ import annotations

import io
from pathlib import Path
from struct import pack

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    RTPlanStorage,
)

from stages.base import Reason
from stages.batches import Located, Refused
from stages.ingest.elements import Parsed, integer, numbers, parse, text
from stages.ingest.faults import BadData, reading, silence
from stages.ingest.options import IngestOptions
from stages.ingest.site import Site
from stages.ingest.sources.folder import scan
from tests.stages.ingest.maker import dicom, item, ramp, save

ROWS, UID_TAG, SPACING = BaseTag(0x00280010), BaseTag(0x00080018), BaseTag(0x00280030)


def parsed(held: bytes) -> Parsed:
    return parse(io.BytesIO(held), len(held), [ROWS, UID_TAG, SPACING])


def refused(held: bytes) -> Reason:
    silence()
    with pytest.raises(BadData) as caught, reading():
        parsed(held)
    return caught.value.refusal.reason


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
def test_elements_and_the_place_of_the_pixels_are_found(tmp_path: Path, syntax: UID) -> None:
    """In every encoding; the offset counts in the stream that comes with it."""
    big = syntax == ExplicitVRBigEndian
    stored = dicom(ramp().astype(">u2") if big else ramp())
    stored.set_original_encoding(syntax == ImplicitVRLittleEndian, not big)
    found = parsed(save(stored, tmp_path / "a", syntax).read_bytes())
    found.stream.seek(found.pixels.offset)
    assert found.stream.read(ramp().nbytes) == stored.PixelData
    assert (found.pixels.keyword, found.pixels.length) == ("PixelData", ramp().nbytes)
    assert integer(found.dataset, ROWS) == 12
    assert text(found.dataset, UID_TAG) == stored.SOPInstanceUID
    assert found.syntax == syntax


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_stream_without_preamble_and_meta_is_parsed(tmp_path: Path, syntax: UID) -> None:
    """Its encoding is guessed from the first element; its pixels' syntax stays unknown."""
    stored = dicom(ramp().astype(">u2") if syntax == ExplicitVRBigEndian else ramp())
    stored.set_original_encoding(syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian)
    held = save(stored, tmp_path / "a", syntax).read_bytes()
    first = pack(">HH" if syntax == ExplicitVRBigEndian else "<HH", 0x0008, 0x0016)
    found = parsed(held[held.index(first) :])
    assert found.syntax == ""
    assert integer(found.dataset, ROWS) == 12


def test_a_header_longer_than_the_first_look_is_read_from_the_file(tmp_path: Path) -> None:
    """A private element of 200 kB before the pixels, as some scanners write."""
    long = dicom(ramp())
    long.add_new((0x0019, 0x0010), "LO", "ACME")
    long.add_new((0x0019, 0x1001), "OB", bytes(200_000))
    path = save(long, tmp_path / "a")
    (found,) = scan([path], Site(bytes(32)), IngestOptions())
    assert isinstance(found, Located)
    assert found.keys == (Site(bytes(32)).key(long.SOPInstanceUID, 0),)


def test_a_deflated_object_longer_than_the_first_look_keeps_its_frames(tmp_path: Path) -> None:
    """What unfolds from the first bytes alone would promise fewer."""
    noise = np.random.default_rng(0).integers(0, 4096, (6, 200, 200)).astype(np.uint16)
    path = save(dicom(noise), tmp_path / "a", DeflatedExplicitVRLittleEndian)
    assert path.stat().st_size > 1 << 17
    (found,) = scan([path], Site(bytes(32)), IngestOptions())
    assert len(found) == 6 if isinstance(found, Located) else False


def bare(**attributes: object) -> Dataset:
    dataset = dicom(ramp(), **attributes)
    del dataset.PixelData
    return dataset


@pytest.mark.parametrize(
    ("dataset", "reason", "word"),
    [
        (bare(), Reason.NO_PIXELS, "MR Image Storage"),
        (bare(SOPClassUID=RTPlanStorage), Reason.NOT_TO_SEGMENT, "RT Plan Storage"),
        (bare(SOPClassUID="1.2.3.4"), Reason.NOT_TO_SEGMENT, "private"),
        (bare(EncryptedAttributesSequence=item(PatientID="7")), Reason.ENCRYPTED, "encrypted"),
    ],
)
def test_an_object_without_pixels_says_what_it_is(
    tmp_path: Path, dataset: Dataset, reason: Reason, word: str
) -> None:
    """By the registered name of its class, never by a value of the file."""
    (found,) = scan([save(dataset, tmp_path / "a")], Site(bytes(32)), IngestOptions())
    assert isinstance(found, Refused)
    assert (found.reason, word in found.detail) == (reason, True)


def test_a_medium_s_directory_is_named(tmp_path: Path) -> None:
    """DICOMDIR is no failed image."""
    held = save(bare(), tmp_path / "a").read_bytes()
    directory = MediaStorageDirectoryStorage.encode() + b"\0" * (len(MediaStorageDirectoryStorage) % 2)
    start = held.index(b"\x02\0\x02\0UI")
    length = int.from_bytes(held[start + 6 : start + 8], "little")
    made = held[: start + 6] + pack("<H", len(directory)) + directory + held[start + 8 + length :]
    (tmp_path / "a").write_bytes(made)
    (found,) = scan([tmp_path / "a"], Site(bytes(32)), IngestOptions())
    assert isinstance(found, Refused)
    assert found.reason is Reason.NOT_TO_SEGMENT
    assert "DICOMDIR" in found.detail


def test_a_clear_image_with_encrypted_attributes_is_an_image(tmp_path: Path) -> None:
    """PS3.15 annex E keeps the original identity encrypted beside clear pixels."""
    path = save(dicom(ramp(), EncryptedAttributesSequence=item(PatientID="7")), tmp_path / "a")
    (found,) = scan([path], Site(bytes(32)), IngestOptions())
    assert isinstance(found, Located)


def test_a_header_cut_anywhere_is_truncated(tmp_path: Path) -> None:
    """Inside a value or a tag, meta included; between two elements the file is one without pixels."""
    held = save(dicom(ramp()), tmp_path / "a").read_bytes()
    start = held.index(pack("<HH", 0x7FE0, 0x0010))
    ends = [element.value_tell + len(element.value) for element in parsed(held).dataset.elements()]
    whole = [at for at in range(140, start) if refused(held[:at]) is Reason.NO_PIXELS]
    assert set(ends) - {start} <= set(whole)
    assert len(whole) < 40  # as many as there are elements; the other thousand are cuts
    assert {refused(held[:at]) for at in range(140, start) if at not in whole} == {Reason.TRUNCATED}


def test_sequences_nested_without_end_are_corrupt(tmp_path: Path) -> None:
    """Three thousand levels: the parser's recursion ends in a refusal, not in a crash."""
    nest = pack("<HH2sHL", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    held = save(bare(), tmp_path / "a").read_bytes() + nest * 3000
    assert refused(held) in (Reason.CORRUPT, Reason.TRUNCATED)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("0.5\\0.75", (0.5, 0.75)),
        (" 5e-1 \\.75", (0.5, 0.75)),
        ("0.5", None),
        ("0.5\\x", None),
        ("nan\\1", None),
        ("inf\\1", None),
        ("", None),
    ],
)
def test_decimal_strings_are_numbers_or_unknown(
    tmp_path: Path, value: str, found: tuple[float, ...] | None
) -> None:
    """Whatever a writer put there, nothing is raised."""
    held = save(dicom(ramp(), PixelSpacing=[0.12345, 0.12345]), tmp_path / "a").read_bytes()
    held = held.replace(b"0.12345\\0.12345 ", value.encode().ljust(16))
    assert numbers(parsed(held).dataset, SPACING, 2) == found


def test_an_integer_of_another_size_is_unknown(tmp_path: Path) -> None:
    """Rows written with four bytes, or none."""
    held = save(dicom(ramp()), tmp_path / "a").read_bytes()
    rows = b"\x28\0\x10\0US\x02\0\x0c\0"
    for odd in (b"\x28\0\x10\0US\x04\0\x0c\0\0\0", b"\x28\0\x10\0US\0\0"):
        assert integer(parsed(held.replace(rows, odd)).dataset, ROWS) is None
