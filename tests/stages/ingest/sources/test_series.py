"""Series over a whole source: in several folders, as copies, under clashing identifiers, on media."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage, RLELossless

from stages.base import Reason
from stages.batches import Copied, Located, Refused
from stages.ingest.options import IngestOptions, Layout
from stages.ingest.site import Site
from stages.ingest.sources.folder import FolderSource, scan
from tests.stages.ingest.maker import SERIES, compressed, dicom, pseudonym, ramp, save, write_series

OPTIONS = IngestOptions()
Work = list[Located | Refused | Copied]


def paths(found: Work) -> list[Path]:
    """The files of all rows, in stream order."""
    return [Path(place.path) for one in found if isinstance(one, Located) for place in one.places]


def names(found: Work) -> list[str]:
    return [path.name for path in paths(found)]


def copies(found: Work) -> list[str]:
    return [Path(one.path).name for one in found if isinstance(one, Copied)]


def letters(found: Work) -> list[Refused]:
    return [one for one in found if isinstance(one, Refused)]


def edit(path: Path, **values: object) -> Path:
    """Change attributes of a file."""
    dataset = dcmread(path)
    for name, value in values.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_a_series_may_lie_in_several_folders(tmp_path: Path, site: Site) -> None:
    """Its slices are one stack, by position."""
    made = write_series(tmp_path / "a", [0.0, 6.0, 12.0, 3.0, 9.0])
    (tmp_path / "b" / "c").mkdir(parents=True)
    made[3].rename(tmp_path / "b" / "3.dcm")
    made[4].rename(tmp_path / "b" / "c" / "4.dcm")
    found = list(scan([tmp_path], site, OPTIONS))
    assert names(found) == ["0000.dcm", "3.dcm", "0001.dcm", "4.dcm", "0002.dcm"]
    assert {stack.slices for one in found if isinstance(one, Located) for stack in one.stacks} == {5}


def test_copies_are_dropped_before_ordering(tmp_path: Path, site: Site) -> None:
    """Of files in other folders, in the same folder, and of compressed ones; each is counted."""
    write_series(tmp_path / "a", [0.0, 3.0, 6.0])
    (tmp_path / "key images").mkdir()
    shutil.copy(tmp_path / "a" / "0001.dcm", tmp_path / "key images" / "1.dcm")
    shutil.copy(tmp_path / "a" / "0002.dcm", tmp_path / "a" / "again.dcm")
    compressed(dcmread(tmp_path / "a" / "0000.dcm"), tmp_path / "key images" / "rle.dcm", RLELossless)
    found = list(scan([tmp_path], site, OPTIONS))
    assert names(found) == ["0000.dcm", "0001.dcm", "0002.dcm"]
    assert sorted(copies(found)) == ["1.dcm", "again.dcm", "rle.dcm"]
    assert letters(found) == []


def test_other_pixels_under_one_uid_are_a_conflict(tmp_path: Path, site: Site) -> None:
    """The letter names both files; the first one found is used."""
    (first, *_) = write_series(tmp_path / "a", [0.0, 3.0])
    other = save(dicom(ramp()[::-1], f"{SERIES}.1"), tmp_path / "other.dcm")
    edit(other, InstanceNumber=1, ImagePositionPatient=[0, 0, 0], ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    other.rename(tmp_path / "a" / "z.dcm")
    found = list(scan([tmp_path], site, OPTIONS))
    (letter,) = letters(found)
    assert (letter.path, letter.reason) == (str(tmp_path / "a" / "z.dcm"), Reason.CONFLICT)
    assert str(first) in letter.detail
    assert names(found) == ["0000.dcm", "0001.dcm"]


def test_a_conflict_of_two_series_is_found_as_well(tmp_path: Path, site: Site) -> None:
    """The index knows an image by its UID alone; a true copy serves both series."""
    write_series(tmp_path / "a", [0.0, 3.0], f"{SERIES}.7")
    write_series(tmp_path / "b", [0.0, 3.0], f"{SERIES}.8")
    edit(tmp_path / "b" / "0000.dcm", SOPInstanceUID=f"{SERIES}.7.1")  # the same pixels
    edit(tmp_path / "b" / "0001.dcm", SOPInstanceUID=f"{SERIES}.7.2", PixelData=ramp()[::-1].tobytes())
    found = list(scan([tmp_path], site, OPTIONS))
    assert [(Path(one.path).parts[-2:], one.reason) for one in letters(found)] == [
        (("b", "0001.dcm"), Reason.CONFLICT)
    ]
    assert names(found) == ["0000.dcm", "0001.dcm", "0000.dcm"]


def test_one_image_with_two_geometries_is_a_conflict(tmp_path: Path, site: Site) -> None:
    """Pixels alone are no copy; the stack counts the slices of which there are two images."""
    write_series(tmp_path / "a", [0.0, 3.0])
    (other, _) = write_series(tmp_path / "b", [0.0, 3.0])
    edit(other, ImagePositionPatient=[0, 0, 1])
    found = list(scan([tmp_path], site, OPTIONS))
    assert [(one.path, one.reason) for one in letters(found)] == [(str(other), Reason.CONFLICT)]
    assert [stack.conflicts for one in found if isinstance(one, Located) for stack in one.stacks] == [1, 1]


@pytest.mark.parametrize("layout", Layout)
def test_the_copy_that_states_more_is_used(tmp_path: Path, site: Site, layout: Layout) -> None:
    """Also where the other one was given before; the image is counted once and its copy as one."""
    for path in write_series(tmp_path / "a", [0.0, 3.0]):
        edit(path, ImagePositionPatient=None)
    fuller = write_series(tmp_path / "b", [0.0, 3.0])
    found = list(scan([tmp_path], site, IngestOptions(layout=layout)))
    assert (paths(found)[-2:], letters(found)) == (fuller, [])
    assert copies(found) == ["0000.dcm", "0001.dcm"]
    rows = [again for one in found if isinstance(one, Located) for again in one.again]
    assert rows.count(False) == 2


def test_a_conflict_with_slices_on_their_way_gives_them_again(tmp_path: Path, site: Site) -> None:
    """Marked, so that the result says so though nothing was added."""
    write_series(tmp_path / "a", [0.0, 3.0])
    (other, _) = write_series(tmp_path / "b", [0.0, 3.0])
    edit(other, PixelData=ramp()[::-1].tobytes())
    found = list(scan([tmp_path], site, IngestOptions(layout=Layout.SERIES_PER_FOLDER)))
    rows = [
        (stack.conflicts, again)
        for one in found
        if isinstance(one, Located)
        for stack, again in zip(one.stacks, one.again, strict=True)
    ]
    assert rows == [(0, False)] * 2 + [(1, True)] * 2


@pytest.mark.parametrize("broken", ["first", "second"])
def test_a_damaged_copy_does_not_replace_a_sound_one(tmp_path: Path, site: Site, broken: str) -> None:
    """Whichever is found first; the damaged one is refused for what is wrong with it."""
    (path,) = write_series(tmp_path, [0.0])
    held = path.read_bytes()
    whole, cut = ("b.dcm", "a.dcm") if broken == "first" else ("a.dcm", "b.dcm")
    path.unlink()
    (tmp_path / whole).write_bytes(held)
    (tmp_path / cut).write_bytes(held[:-50])
    found = list(scan([tmp_path], site, OPTIONS))
    assert names(found) == [whole]
    assert [(Path(one.path).name, one.reason) for one in letters(found)] == [(cut, Reason.TRUNCATED)]


def test_two_damaged_copies_are_two_frames(tmp_path: Path, site: Site) -> None:
    """One stays to be rejected where it is read, the other is a letter: neither is lost."""
    (path,) = write_series(tmp_path, [0.0])
    path.write_bytes(path.read_bytes()[:-50])
    (tmp_path / "b.dcm").write_bytes(path.read_bytes()[:-10])
    found = list(scan([tmp_path], site, OPTIONS))
    assert (names(found), [one.reason for one in letters(found)]) == (["0000.dcm"], [Reason.TRUNCATED])


def test_the_same_damaged_file_twice_is_one_frame(tmp_path: Path, site: Site) -> None:
    """Equal bytes are a copy, though nobody can compare the pixels."""
    (path,) = write_series(tmp_path, [0.0])
    path.write_bytes(path.read_bytes()[:-50])
    shutil.copy(path, tmp_path / "b.dcm")
    found = list(scan([tmp_path], site, OPTIONS))
    assert (names(found), copies(found), letters(found)) == (["0000.dcm"], ["b.dcm"], [])


@pytest.mark.parametrize(
    "identity",
    [
        {"PatientID": "other"},
        {"PatientName": "Other^Name"},
        {"PatientBirthDate": "19000101"},
        {"StudyInstanceUID": f"{SERIES}.5"},
    ],
)
def test_two_patients_under_one_series_uid_are_two_series(
    tmp_path: Path, site: Site, identity: dict[str, str]
) -> None:
    """The pseudonym comes of patient, study and series."""
    write_series(tmp_path / "a", [0.0, 3.0])
    for number, path in enumerate(write_series(tmp_path / "b", [0.0, 3.0]), 7):
        edit(path, SOPInstanceUID=f"{SERIES}.{number}", **identity)
    (only,) = scan([tmp_path], site, OPTIONS)
    assert isinstance(only, Located)
    assert only.series[0] == only.series[1] == pseudonym(site)
    assert only.series[2] == only.series[3] != pseudonym(site)


def test_a_name_in_capitals_is_the_same_patient(tmp_path: Path, site: Site) -> None:
    """Systems write names in their own way; the parts that are empty do not count."""
    paths = write_series(tmp_path, [0.0, 3.0])
    edit(paths[0], PatientName="MUSTERMANN^ERIKA^^")
    (only,) = scan([tmp_path], site, OPTIONS)
    assert isinstance(only, Located)
    assert set(only.series) == {pseudonym(site)}


def test_objects_of_a_concatenation_are_one_stack(tmp_path: Path, site: Site) -> None:
    """Frames are placed by their own functional groups, in whichever object they are."""
    for part, depths in enumerate([[9.0, 0.0], [3.0, 6.0]]):
        save(enhanced(depths, f"{SERIES}.{part}"), tmp_path / f"{part}.dcm")
    (only,) = scan([tmp_path], site, OPTIONS)
    assert isinstance(only, Located)
    order = [(Path(place.path).stem, place.frame) for place in only.places]
    assert order == [("0", 1), ("1", 0), ("1", 1), ("0", 0)]
    assert {stack.slices for stack in only.stacks} == {4}


def enhanced(depths: Sequence[float], uid: str) -> Dataset:
    """An object whose frames lie at these depths."""
    made = dicom(np.stack([ramp() + n for n in range(len(depths))]), uid)
    made.PerFrameFunctionalGroupsSequence = [frame_at(depth) for depth in depths]
    return made


def frame_at(depth: float) -> Dataset:
    place, orientation, group = Dataset(), Dataset(), Dataset()
    place.ImagePositionPatient = [0, 0, depth]
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    group.PlanePositionSequence, group.PlaneOrientationSequence = [place], [orientation]
    return group


def test_a_series_that_a_folder_holds_whole_starts_at_once(tmp_path: Path, site: Site) -> None:
    """Where the operator says so; what turns up later gives the series once more, whole."""
    options = IngestOptions(layout=Layout.SERIES_PER_FOLDER)
    late = write_series(tmp_path / "a", [0.0, 3.0, 6.0])[2]
    (tmp_path / "b").mkdir()
    late.rename(tmp_path / "b" / "late.dcm")
    shutil.copy(tmp_path / "a" / "0000.dcm", tmp_path / "b" / "copy.dcm")
    found = list(scan([tmp_path], site, options))
    assert names(found) == ["0000.dcm", "0001.dcm", "0000.dcm", "0001.dcm", "late.dcm"]
    assert copies(found) == ["copy.dcm"]


def test_slices_that_are_given_again_are_marked(tmp_path: Path, site: Site) -> None:
    """Those of an earlier run as well; its files in this run's own folders wait for their folder's turn."""
    options = IngestOptions(layout=Layout.SERIES_PER_FOLDER, batch=2)
    made = write_series(tmp_path / "in" / "a", [0.0, 3.0, 6.0])
    for path, folder in ((made[1], "in/b"), (made[2], "old")):
        (tmp_path / folder).mkdir()
        path.rename(tmp_path / folder / path.name)
    earlier = sorted(tmp_path.rglob("*.dcm"))
    found = list(FolderSource([tmp_path / "in"], site, options, lambda _: earlier))
    rows = [list(zip(names([one]), one.again, strict=True)) for one in found if isinstance(one, Located)]
    first, *grown = rows
    assert first == [("0000.dcm", False), ("0002.dcm", False)]
    assert [row for one in grown for row in one] == [
        ("0000.dcm", True),
        ("0001.dcm", False),
        ("0002.dcm", True),
    ]


@pytest.mark.parametrize("case", ["DICOMDIR", "dicomdir"])
def test_a_medium_s_directory_tells_what_a_series_has(tmp_path: Path, site: Site, case: str) -> None:
    """A listed series streams before files of later ones are read; each file is read once."""
    for series in "123":
        for row, path in enumerate(write_series(tmp_path / series, [0.0, 3.0], f"{SERIES}.{series}")):
            path.rename(path.with_name(f"im{row}"))
    write_directory(tmp_path / case, [[[series, "IM1"], [series, "IM0"]] for series in "123"])
    stream = scan([tmp_path], site, IngestOptions(batch=2))
    first = next(stream)
    for path in (tmp_path / "3").iterdir():
        path.unlink()
    rest = list(stream)
    assert names([first, *rest]) == ["im0", "im1", "im0", "im1"]
    lost = dict.fromkeys(("im0", "im1"), Reason.UNREADABLE)
    found = {Path(one.path).name: one.reason for one in letters(rest)}
    assert found == {**lost, case: Reason.NOT_TO_SEGMENT}


@pytest.mark.parametrize("name", ["IM{}.dcm", "im{}.dcm", "IM{}.;1", "im{}.DCM"])
def test_a_medium_s_files_are_found_under_the_suffix_that_copying_gave_them(
    tmp_path: Path, site: Site, name: str
) -> None:
    """No letter for a file that is there, and none is read twice."""
    for row, path in enumerate(write_series(tmp_path, [0.0, 3.0])):
        path.rename(tmp_path / name.format(row))
    write_directory(tmp_path / "DICOMDIR", [[["IM0"], ["IM1"]]])
    found = list(scan([tmp_path], site, IngestOptions()))
    assert names(found) == [name.format(0), name.format(1)]
    assert [Path(one.path).name for one in letters(found)] == ["DICOMDIR"]


def test_a_hostile_directory_leads_nowhere(tmp_path: Path, site: Site) -> None:
    """Names that leave the medium are left out, links in circles end, what is no directory is refused."""
    (path,) = write_series(tmp_path / "outside", [0.0])
    path.rename(path.with_name("im0"))
    medium = tmp_path / "medium"
    medium.mkdir()
    write_directory(medium / "DICOMDIR", [[["UP", "OUTSIDE", "IM0"]]])
    (medium / "DICOMDIR").write_bytes((medium / "DICOMDIR").read_bytes().replace(b"UP", b".."))
    found = list(scan([medium], site, OPTIONS))
    assert [Path(one.path).name for one in letters(found)] == ["DICOMDIR"]
    assert paths(found) == []
    write_directory(medium / "DICOMDIR", [[["A"]], [["A"]]], circle=True)
    assert sorted(Path(one.path).name for one in letters(list(scan([medium], site, OPTIONS)))) == [
        "A",
        "DICOMDIR",
    ]
    (medium / "DICOMDIR").write_bytes(b"DICM" * 99)
    assert len(letters(list(scan([medium], site, OPTIONS)))) == 1


def write_directory(path: Path, series: list[list[list[str]]], *, circle: bool = False) -> None:
    """A DICOMDIR of series that have files of these names; records in an order of their own."""
    links = ("OffsetOfTheNextDirectoryRecord", "OffsetOfReferencedLowerLevelDirectoryEntity")
    records: list[Dataset] = []
    following: dict[tuple[int, str], int] = {}  # record and link to record
    previous = None
    for files in series:
        images = [record("IMAGE", name) for name in files]
        first = len(records)
        records += [*images, record("SERIES")]
        following |= {(first + n, links[0]): first + n + 1 for n in range(len(files) - 1)}
        following[len(records) - 1, links[1]] = first
        if previous is not None:
            following[previous, links[0]] = len(records) - 1
        previous = len(records) - 1
    if circle:
        following[len(records) - 1, links[0]] = len(series[0])
    listing = Dataset()
    listing.file_meta = FileMetaDataset()
    listing.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    listing.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    listing.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    listing.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = 0
    listing.DirectoryRecordSequence = records
    listing.save_as(path, enforce_file_format=True)
    offsets = [one.seq_item_tell for one in dcmread(path).DirectoryRecordSequence]
    listing.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = offsets[len(series[0])]
    for (row, link), target in following.items():
        setattr(records[row], link, offsets[target])
    listing.save_as(path, enforce_file_format=True)


def record(kind: str, name: list[str] | None = None) -> Dataset:
    made = Dataset()
    made.OffsetOfTheNextDirectoryRecord = made.OffsetOfReferencedLowerLevelDirectoryEntity = 0
    made.DirectoryRecordType = kind
    if name:
        made.ReferencedFileID = name
    return made


def test_files_of_an_earlier_run_complete_a_series(tmp_path: Path, site: Site) -> None:
    """As far as they are there and hold slices of it; those that come again are not read twice."""
    old = write_series(tmp_path / "old", [0.0, 3.0, 6.0])
    (tmp_path / "new").mkdir()
    old[2].rename(tmp_path / "new" / "late.dcm")
    shutil.copy(old[0], tmp_path / "new" / "again.dcm")
    gone = tmp_path / "old" / "gone.dcm"
    source = FolderSource([tmp_path / "new"], site, OPTIONS, lambda _: [gone, *old[:2]])
    found = list(source)
    assert names(found) == ["again.dcm", "0001.dcm", "late.dcm"]
    assert source.scanned == 2


def test_an_earlier_run_s_image_is_not_replaced(tmp_path: Path, site: Site) -> None:
    """Other pixels under its UID are a conflict, as within one run."""
    (old,) = write_series(tmp_path / "old", [0.0])
    write_series(tmp_path / "new", [0.0, 3.0])
    edit(tmp_path / "new" / "0000.dcm", PixelData=ramp()[::-1].tobytes())
    found = list(FolderSource([tmp_path / "new"], site, OPTIONS, lambda _: [old]))
    assert [one.reason for one in letters(found)] == [Reason.CONFLICT]
    assert [
        Path(place.path).parent.name for one in found if isinstance(one, Located) for place in one.places
    ] == [
        "old",
        "new",
    ]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_the_same_slices_make_the_same_series(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory, site: Site
) -> None:
    """Whatever folders they are dealt out to, whatever they are called and numbered, however often copied."""
    depths = [0.0, 3.0, 6.0, 9.0, 12.0]
    folder = tmp_path_factory.mktemp("any")
    for row, path in enumerate(write_series(folder / "made", depths)):
        edit(path, InstanceNumber=data.draw(st.integers(0, 9)))
        for _ in range(data.draw(st.integers(1, 2))):
            target = folder / "source" / data.draw(st.sampled_from(["a", "b", "a/c"]))
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target / f"{data.draw(st.integers(0, 9))}-{row}.dcm")
    made = [one for one in scan([folder / "source"], site, OPTIONS) if isinstance(one, Located)]
    assert [one.keys for one in made] == [tuple(site.key(f"{SERIES}.{row + 1}", 0) for row in range(5))]
