"""MetaImage and NRRD beside SimpleITK, which is the reference for both."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from stages.base import Reason
from stages.batches import Display, Frame, Located, Refused
from stages.ingest.decode import Decoded, decode
from stages.ingest.options import IngestOptions
from stages.ingest.site import Site
from stages.ingest.sources.folder import scan
from stages.ingest.volumes import read_header
from stages.places import FileKind, Place

OPTIONS = IngestOptions()
VOXELS_DHW = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
SPACING, ORIGIN = (0.5, 0.6, 3.0), (10.0, -20.0, 30.0)
TURN = Rotation.from_euler("xyz", [8, -5, 90], degrees=True).as_matrix()
META = (
    b"ObjectType = Image\nNDims = 3\nBinaryData = True\nCompressedData = False\nElementSpacing = 0.5 0.6 3\n"
    b"DimSize = 6 5 4\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
)
NRRD = (
    b"NRRD0004\n# a comment\ntype: short\ndimension: 3\nsizes: 6 5 4\nendian: little\nencoding: raw\n"
    b"spacings: 0.5 0.6 3\n\n"
)
SOUND = {"mha": META + VOXELS_DHW.tobytes(), "nrrd": NRRD + VOXELS_DHW.tobytes()}


def written(path: Path, dtype: str = "i2", *, compressed: bool = False, turn: np.ndarray = TURN) -> Path:
    image = SimpleITK.GetImageFromArray(VOXELS_DHW.astype(dtype))
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    image.SetDirection(turn.ravel().tolist())
    SimpleITK.WriteImage(image, str(path), useCompression=compressed)
    return path


def read(path: Path) -> list[Frame]:
    (located,) = scan([path], Site(bytes(32)), OPTIONS)
    assert isinstance(located, Located), located
    assert {place.kind for place in located.places} == {FileKind.NIFTI}
    found = decode(located.places, OPTIONS)
    assert all(isinstance(one, Decoded) for one in found), found
    return [one.frame for one in found if isinstance(one, Decoded)]


def refused(path: Path, options: IngestOptions = OPTIONS) -> Refused:
    (found,) = scan([path], Site(bytes(32)), options)
    assert isinstance(found, Refused), found
    return found


def put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["a.mha", "a.mhd", "a.nrrd", "a.nhdr"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8", "i8"])
def test_voxels_and_geometry_are_those_of_simpleitk(
    tmp_path: Path, name: str, compressed: bool, dtype: str
) -> None:
    """In one file or two, folded or not, of every type."""
    path = written(tmp_path / name, dtype, compressed=compressed)
    frames = read(path)
    assert len(frames) == 4
    for frame, slice_HW in zip(frames, VOXELS_DHW, strict=True):
        np.testing.assert_array_equal(frame.image, slice_HW.T)
        assert frame.image.dtype == dtype
        assert frame.spacing_mm == pytest.approx((0.5, 0.6))
    volume = read_header(str(path), OPTIONS)
    assert volume is not None
    lps = np.diag([-1, -1, 1, 1]) @ volume.affine
    np.testing.assert_allclose(lps[:3, :3], TURN * SPACING, atol=1e-6)
    np.testing.assert_allclose(lps[:3, 3], ORIGIN, atol=1e-6)
    assert volume.slice_distance_mm == pytest.approx(3)
    assert volume.pixel_area_mm2 == pytest.approx(0.3)


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_an_axial_volume_is_shown_in_the_standard_view(tmp_path: Path, name: str) -> None:
    """Its first axis runs to the left and is a slice's rows: transposed."""
    (frame, *_) = read(written(tmp_path / name, turn=np.eye(3)))
    assert frame.display == Display(transpose=True)


@pytest.mark.parametrize("space", ["right-anterior-superior", "RAS", "left-anterior-superior", "LAS"])
def test_other_spaces_of_nrrd_become_ras(tmp_path: Path, space: str) -> None:
    """SimpleITK turns them to LPS."""
    head = NRRD.replace(
        b"spacings: 0.5 0.6 3",
        f"space: {space}\nspace directions: (0.5,0,0) (0,0.6,0) (0,0,3)\nspace origin: (1,2,3)".encode(),
    )
    path = put(tmp_path / "a.nrrd", head + VOXELS_DHW.tobytes())
    volume, image = read_header(str(path), OPTIONS), SimpleITK.ReadImage(str(path))
    assert volume is not None
    lps = np.diag([-1, -1, 1, 1]) @ volume.affine
    np.testing.assert_allclose(lps[:3, :3], np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing())
    np.testing.assert_allclose(lps[:3, 3], image.GetOrigin())


def test_big_endian_and_a_gap_before_the_voxels(tmp_path: Path) -> None:
    """Both formats know them, and voxels at the end of the file."""
    swapped = VOXELS_DHW.astype(">i2").tobytes()
    meta = META.replace(b"BinaryData = True", b"BinaryData = True\nBinaryDataByteOrderMSB = True")
    nrrd = NRRD.replace(b"little", b"big")
    made = {
        "a.mha": meta + swapped,
        "b.mha": meta.replace(b"ElementDataFile", b"HeaderSize = -1\nElementDataFile") + b"gap" + swapped,
        "c.nrrd": nrrd.replace(b"\n\n", b"\nbyte skip: 3\n\n") + b"gap" + swapped,
        "d.nrrd": nrrd.replace(b"\n\n", b"\nbyte skip: -1\n\n") + b"gaping" + swapped,
        "e.nrrd": nrrd.replace(b"raw", b"gzip") + gzip.compress(swapped),
    }
    for name, data in made.items():
        for frame, slice_HW in zip(read(put(tmp_path / name, data)), VOXELS_DHW, strict=True):
            np.testing.assert_array_equal(frame.image, slice_HW.T)
            assert frame.image.dtype.isnative


def test_volumes_of_one_header_and_other_voxels_are_two(tmp_path: Path) -> None:
    """Their keys are of header and voxels together."""
    keys = set()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        put(tmp_path / folder / "v.mhd", META.replace(b"LOCAL", b"v.raw"))
        put(tmp_path / folder / "v.raw", (VOXELS_DHW + ord(folder)).tobytes())
        (found,) = scan([tmp_path / folder / "v.mhd"], Site(bytes(32)), OPTIONS)
        assert isinstance(found, Located)
        keys |= set(found.keys)
    assert len(keys) == 8


DIRECTED = b"space directions: (0.5,0,0) (0,0.6,0) (0,0,3)"


@pytest.mark.parametrize("kind", SOUND)
@pytest.mark.parametrize(
    ("old", "new"), [(b"3\n", b"0\n"), (b"0.5", b"nan"), (b"0.5", b"-0.5"), (b"0.5", b"9e9")]
)
def test_a_geometry_that_is_none_leaves_spacing_unknown(
    tmp_path: Path, kind: str, old: bytes, new: bytes
) -> None:
    """The voxels are read all the same, and the note says why."""
    line = next(one for one in SOUND[kind].split(b"\n") if b"0.5 0.6 3" in one) + b"\n"
    path = put(tmp_path / "a", SOUND[kind].replace(line, line.replace(old, new)))
    volume = read_header(str(path), OPTIONS)
    assert volume is not None
    if new == b"-0.5":  # a flip
        assert volume.spacing_mm == pytest.approx((0.5, 0.6))
    else:
        assert None in (volume.spacing_mm, volume.slice_distance_mm)
    assert len(read(path)) in (4, 5, 6)


@pytest.mark.parametrize(
    ("kind", "old", "new", "word"),
    [
        (
            "mha",
            b"ElementSpacing",
            b"TransformMatrix = 2 0 0 0 2 0 0 0 2\nElementSpacing",
            "2 by 2 by 2 long",
        ),
        ("nrrd", b"spacings: 0.5 0.6 3", b"spacings: 1 1 3\n" + DIRECTED, "0.5 by 0.6 by 3 mm by space"),
    ],
)
def test_what_a_header_says_twice_is_taken_once_and_told(
    tmp_path: Path, kind: str, old: bytes, new: bytes, word: str
) -> None:
    """Directions have no length beside a spacing, and a spacing gives way to directions that have one."""
    volume = read_header(str(put(tmp_path / "a", SOUND[kind].replace(old, new, 1))), OPTIONS)
    assert volume is not None
    assert word in volume.geometry_note
    assert volume.spacing_mm == pytest.approx((0.5, 0.6))
    assert volume.slice_distance_mm == pytest.approx(3)


def test_an_unstated_spacing_is_unknown(tmp_path: Path) -> None:
    """Not one millimetre, as these formats would have it."""
    for name, old in (("mha", b"ElementSpacing = 0.5 0.6 3\n"), ("nrrd", b"spacings: 0.5 0.6 3\n")):
        volume = read_header(str(put(tmp_path / name, SOUND[name].replace(old, b""))), OPTIONS)
        assert volume is not None
        assert (volume.spacing_mm, volume.slice_distance_mm, volume.oriented) == (None, None, name == "mha")


@pytest.mark.parametrize(
    ("kind", "old", "new", "reason", "word"),
    [
        ("mha", b"LOCAL", b"../v.raw", Reason.UNSUPPORTED, "another folder"),
        ("mha", b"LOCAL", b"/etc/passwd", Reason.UNSUPPORTED, "another folder"),
        ("mha", b"LOCAL", b"v%02d.raw 1 4 1", Reason.UNSUPPORTED, "several files"),
        ("mha", b"LOCAL", b"LIST", Reason.UNSUPPORTED, "several files"),
        ("mha", b"LOCAL", b"gone.raw", Reason.TRUNCATED, "not beside it"),
        ("mha", b"BinaryData = True", b"BinaryData = False", Reason.UNSUPPORTED, "as text"),
        ("mha", b"NDims = 3", b"NDims = 3\nElementNumberOfChannels = 3", Reason.UNSUPPORTED, "channels"),
        ("mha", b"MET_SHORT", b"MET_BANANA", Reason.UNSUPPORTED, "ElementType"),
        ("mha", b"6 5 4", b"6 5", Reason.CORRUPT, "dimensions"),
        ("mha", b"6 5 4", b"6 5 x", Reason.CORRUPT, "text"),
        ("mha", b"6 5 4", b"6 5 0", Reason.CORRUPT, "impossible"),
        ("mha", b"6 5 4", b"6 5 -4", Reason.CORRUPT, "impossible"),
        ("mha", b"6 5 4", b"999999999 5 4", Reason.TRUNCATED, "claims"),
        ("nrrd", b"raw", b"bzip2", Reason.UNSUPPORTED, "gzip"),
        ("nrrd", b"raw", b"hex", Reason.UNSUPPORTED, "gzip"),
        ("nrrd", b"type: short", b"type: block", Reason.UNSUPPORTED, "type"),
        ("nrrd", b"\n\n", b"\nkinds: vector domain domain\n\n", Reason.UNSUPPORTED, "Several values"),
        ("nrrd", b"\n\n", b"\ndata file: ../v.raw\n\n", Reason.UNSUPPORTED, "another folder"),
        ("nrrd", b"\n\n", b"\nSegment0_ID:=a\n\n", Reason.NOT_TO_SEGMENT, "segmentation"),
        ("nrrd", b"sizes: 6 5 4", b"sizes: 6 5", Reason.CORRUPT, "sizes"),
        ("nrrd", b"6 5 4", b"6 5 999999999", Reason.TRUNCATED, "claims"),
    ],
)
def test_what_is_not_read_is_named_with_what_to_do(
    tmp_path: Path, kind: str, old: bytes, new: bytes, reason: Reason, word: str
) -> None:
    """No path is followed out of the folder, nothing is allocated for a claim."""
    put(tmp_path.parent / "v.raw", VOXELS_DHW.tobytes())
    assert old in SOUND[kind]
    found = refused(put(tmp_path / f"a.{kind}", SOUND[kind].replace(old, new, 1)))
    assert (found.reason, word in found.detail) == (reason, True), found.detail


def test_folded_voxels_are_verified_once_and_bounded(tmp_path: Path) -> None:
    """Cut, damaged, or more than the limit."""
    head = META.replace(b"CompressedData = False", b"CompressedData = True")
    noise = np.random.default_rng(0).integers(0, 99, 120).astype("i2").tobytes()
    folded = zlib.compress(noise)
    assert len(read(put(tmp_path / "a.mha", head + folded))) == 4
    assert refused(put(tmp_path / "b.mha", head + folded[:-20])).reason is Reason.TRUNCATED
    assert refused(put(tmp_path / "c.mha", head + folded[:-4] + b"\0\1\2\3")).reason is Reason.CORRUPT
    assert refused(put(tmp_path / "d.mha", head + zlib.compress(noise[:-2]))).reason is Reason.TRUNCATED
    bomb = put(tmp_path / "e.mha", head + zlib.compress(bytes(10**6)))
    assert refused(bomb, IngestOptions(max_file_bytes=10**5)).reason is Reason.TOO_LARGE


def test_any_slice_alone_is_read_from_folded_voxels(tmp_path: Path) -> None:
    """In any order of asking, though the stream runs one way."""
    path = written(tmp_path / "a.mha", compressed=True)
    for k in (3, 0, 2):
        (found,) = decode([Place(str(path), k, FileKind.NIFTI)], OPTIONS)
        assert isinstance(found, Decoded)
        np.testing.assert_array_equal(found.frame.image, VOXELS_DHW[k].T)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.sampled_from(sorted(SOUND)), st.data())
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    """Whatever bytes its header has; nothing else leaves the scan."""
    held = bytearray(SOUND[kind])
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(META if kind == "mha" else NRRD) - 1))
        held[at] = data.draw(st.integers(0, 255) | st.sampled_from(b"0123456789-.()e \n"))
    held = held[: data.draw(st.integers(1, len(held)))]
    path = put(tmp_path / "a", bytes(held))
    for one in scan([path], Site(bytes(32)), OPTIONS):
        if isinstance(one, Located):
            assert len(decode(one.places, OPTIONS)) == len(one)
