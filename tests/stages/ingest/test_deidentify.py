from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.datadict import keyword_for_tag
from pydicom.tag import Tag

from stages.ingest.deidentify import TABLE, identity, markdown, of_dataset
from stages.ingest.faults import silence
from stages.places import FileKind, Place
from tests.stages.ingest.maker import BORN, NAME, PATIENT_ID, dicom, ramp, save

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "deidentification.md"
PLACE = Place("/scans/ward 3/IM0001.dcm", 4, FileKind.DICOM)


def kept(dataset: Dataset, tmp_path: Path) -> dict[str, str]:
    return of_dataset(dcmread(save(dataset, tmp_path / "a.dcm"), stop_before_pixels=True))


def test_the_document_shows_the_table() -> None:
    """What operators read is what the code does."""
    shown = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("|")]
    assert shown == markdown().splitlines()


def test_every_tag_has_its_standard_keyword() -> None:
    """A wrong digit would seal another attribute under this name."""
    for one in TABLE:
        assert one.tag is None or keyword_for_tag(Tag(one.tag)) == one.name


def test_what_identifies_is_kept_for_the_owner(tmp_path: Path) -> None:
    """Values as the object has them."""
    found = kept(dicom(ramp()), tmp_path)
    assert (found["PatientName"], found["PatientID"], found["PatientBirthDate"]) == (NAME, PATIENT_ID, BORN)


def test_what_the_table_does_not_name_is_left_behind(tmp_path: Path) -> None:
    """Comments, addresses and private elements reach neither the open nor the sealed record."""
    told = dicom(ramp(), PatientAddress="Hauptstr. 1", PatientComments="VIP", OtherPatientIDs="X-1")
    told.add_new((0x0019, 0x0010), "LO", "ACME")
    told.add_new((0x0019, 0x1001), "LO", "secret")
    found = json.dumps(kept(told, tmp_path))
    assert not any(word in found for word in ("Hauptstr", "VIP", "X-1", "ACME", "secret"))


def test_names_are_decoded_by_their_character_set(tmp_path: Path) -> None:
    """PS3.5 annex H, example 1: a Japanese name in three representations."""
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    told = dicom(ramp(), SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName=name)
    assert kept(told, tmp_path)["PatientName"] == name


def test_a_name_that_cannot_be_decoded_is_kept_as_far_as_it_can(tmp_path: Path) -> None:
    """An undecodable name is no reason to lose the image."""
    told = save(dicom(ramp(), SpecificCharacterSet="ISO_IR 192", PatientName="Mueller"), tmp_path / "a")
    told.write_bytes(told.read_bytes().replace(b"Mueller", b"M\xfcller "))
    silence()
    assert of_dataset(dcmread(told, stop_before_pixels=True))["PatientName"] == "M\ufffdller"


def test_the_sealed_record_names_the_file_without_its_folder() -> None:
    """The folder is the site's business; the frame number is the row's."""
    record = json.loads(identity({"PatientID": "7"}, PLACE))
    assert record == {"PatientID": "7", "FileName": "IM0001.dcm", "Frame": 4}


def test_an_attribute_outside_the_table_is_a_bug() -> None:
    """The allow-list holds for our own readers too."""
    with pytest.raises(ValueError, match="PatientAddress"):
        identity({"PatientAddress": "Hauptstr. 1"}, PLACE)
