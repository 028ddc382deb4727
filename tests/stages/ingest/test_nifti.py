from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray

from stages.base import Reason
from stages.batches import Frame, Located, Refused
from stages.grid import Display
from stages.ingest import nifti
from stages.ingest.decode import Decoded, decode, read_frames
from stages.ingest.faults import Refusal
from stages.ingest.options import IngestOptions
from stages.ingest.site import Site
from stages.ingest.sources.folder import scan
from stages.ingest.volume import Volume, axis_of
from stages.places import FileKind, Place

VOXELS = np.arange(6 * 5 * 4, dtype=np.int16).reshape(6, 5, 4)
AXIAL = np.diag([0.5, 0.6, 3.0, 1.0])


def save(voxels: NDArray, affine: NDArray, path: Path) -> Path:
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
    return path


def read(path: Path, frames: Sequence[int]) -> list[Frame]:
    found = read_frames([Place(str(path), frame, FileKind.NIFTI) for frame in frames], IngestOptions())
    assert [one for one in found if isinstance(one, Refusal)] == []
    return [one for one in found if isinstance(one, Frame)]


def reason(path: Path, site: Site) -> Reason:
    (found,) = scan([path], site, IngestOptions())
    assert isinstance(found, Refused)
    return found.reason


@pytest.mark.parametrize("suffix", ["a.nii", "a.nii.gz", "a.img.bak"])
@pytest.mark.parametrize("image", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_slices_are_taken_along_the_slice_axis(tmp_path: Path, suffix: str, image: type) -> None:
    """Both versions, plain and gzipped, under any name, in any order of asking."""
    made = image(VOXELS, AXIAL).to_bytes()
    path = tmp_path / suffix
    path.write_bytes(gzip.compress(made) if suffix.endswith("gz") else made)
    for one, k in zip(read(path, (3, 1)), (3, 1), strict=True):
        np.testing.assert_array_equal(one.image, VOXELS[:, :, k])
        assert one.image.flags.c_contiguous
        assert one.spacing_mm == pytest.approx((0.5, 0.6))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_masks_are_put_back_by_stacking_along_the_slice_axis(tmp_path: Path, axis: int) -> None:
    """The documented inverse, for acquisitions along any axis."""
    spacing = [0.5, 0.5, 0.5]
    spacing[axis] = 3.0
    path = save(VOXELS, np.diag([*spacing, 1.0]), tmp_path / "a.nii")
    assert header_of(path).axis == axis
    slices = [one.image for one in read(path, range(VOXELS.shape[axis]))]
    np.testing.assert_array_equal(np.stack(slices, axis=axis), VOXELS)


@pytest.mark.parametrize(
    ("shape", "affine", "axis"),
    [
        ((9, 9, 9), np.diag([1.0, 1.0, 1.0, 1.0]), 2),  # isotropic: nearest to the long axis
        ((9, 9, 9), np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]]), 1),
        ((9, 9, 9), np.diag([1.0, 1.15, 1.0, 1.0]), 2),  # not clearly larger
        ((9, 9, 9), np.diag([1.0, 1.25, 1.0, 1.0]), 1),
        ((9, 9, 9), np.diag([0.5, 1.6, 1.5, 1.0]), 2),  # clearly larger than the smallest only
        ((9, 1, 1), np.diag([5.0, 1.0, 1.0, 1.0]), 0),  # a line of voxels is no slice
        ((9, 1, 9), np.diag([1.0, 1.0, 5.0, 1.0]), 1),  # a single slice is one whatever its spacing
        ((9, 9), np.eye(4), 2),
        ((9, 9, 9), np.diag([0.0, 0.0, 0.0, 1.0]), 2),
        ((9, 9, 9), np.full((4, 4), np.nan), 2),
    ],
)
def test_the_slice_axis_is_the_one_of_acquisition(
    shape: tuple[int, int, int], affine: NDArray, axis: int
) -> None:
    """Largest spacing where that is clear, else the patient's long axis; 2 where nothing is known."""
    assert axis_of(shape, affine) == axis


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_no_voxel_lies_in_the_header(tmp_path: Path, kind: type) -> None:
    """Some writers state the offset 0."""
    image = kind(VOXELS, AXIAL)
    made = bytearray(image.to_bytes())
    offset = (108, 4) if kind is nibabel.Nifti1Image else (168, 8)
    made[offset[0] : sum(offset)] = bytes(offset[1])
    (tmp_path / "a.nii").write_bytes(made)
    np.testing.assert_array_equal(read(tmp_path / "a.nii", (0,))[0].image, VOXELS[:, :, 0])


@pytest.mark.parametrize("intent", [1002, 1003])
def test_a_map_of_labels_is_no_image(tmp_path: Path, intent: int) -> None:
    """As its intent code says, whatever its name is."""
    image = nibabel.Nifti1Image(VOXELS, AXIAL)
    image.header["intent_code"] = intent
    nibabel.save(image, tmp_path / "a.nii")
    (only,) = scan([tmp_path], Site(bytes(32)), IngestOptions())
    assert isinstance(only, Refused)
    assert only.reason is Reason.NOT_TO_SEGMENT


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "RPI", "ARS", "PLI", "ALS"])
def test_every_orientation_shows_the_same_view(tmp_path: Path, codes: str) -> None:
    """Rows to posterior, columns to the left, as nibabel reorients to PLS."""
    ras = nibabel.Nifti1Image(VOXELS, AXIAL)
    turn = ornt_transform(io_orientation(AXIAL), axcodes2ornt(codes))
    stored = ras.as_reoriented(turn)
    path = tmp_path / "a.nii"
    nibabel.save(stored, path)
    to_view = ornt_transform(io_orientation(stored.affine), axcodes2ornt("PLS"))
    expected = apply_orientation(np.asanyarray(stored.dataobj), to_view)
    assert header_of(path).axis == 2
    forward = to_view[2, 1] == 1
    for k, one in enumerate(read(path, range(4))):
        image = one.image.T if one.display.transpose else one.image
        image = image[::-1] if one.display.flip_rows else image
        image = image[:, ::-1] if one.display.flip_columns else image
        np.testing.assert_array_equal(image, expected[:, :, k if forward else 3 - k])


def test_scaling_is_applied(tmp_path: Path) -> None:
    """scl_slope and scl_inter give the quantity."""
    image = nibabel.Nifti1Image(VOXELS, AXIAL)
    image.header.set_slope_inter(0.5, 7)
    held = bytearray(image.to_bytes())
    held[112:120] = np.array([0.5, 7], "<f4").tobytes()
    held[352:] = VOXELS.tobytes(order="F")
    (tmp_path / "a.nii").write_bytes(held)
    np.testing.assert_allclose(read(tmp_path / "a.nii", [2])[0].image, VOXELS[:, :, 2] * 0.5 + 7)


def test_big_endian_voxels_come_in_the_machine_s_order(tmp_path: Path) -> None:
    """As old workstations wrote them."""
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nibabel.save(nibabel.Nifti1Image(VOXELS.astype(">i2"), AXIAL, header), tmp_path / "a.nii")
    found = read(tmp_path / "a.nii", [1])[0].image
    np.testing.assert_array_equal(found, VOXELS[:, :, 1])
    assert found.dtype.isnative


@pytest.mark.parametrize("slope", [0.0, np.nan])
def test_a_slope_that_is_none_scales_nothing(tmp_path: Path, slope: float) -> None:
    """nifti1.h: no scaling where scl_slope is zero, whatever the intercept; nibabel writes NaN."""
    held = bytearray(nibabel.Nifti1Image(VOXELS, AXIAL).to_bytes())
    held[112:120] = np.array([slope, 0 if slope else 7], "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(held)
    np.testing.assert_array_equal(read(tmp_path / "a.nii", [2])[0].image, VOXELS[:, :, 2])


@pytest.mark.parametrize(("code", "unit"), [(1, 0.001), (2, 1), (3, 1000), (0, 1), (5, 1), (8 + 3, 1000)])
def test_metres_and_microns_become_millimetres(tmp_path: Path, code: int, unit: float) -> None:
    """xyzt_units is honoured, its unit of time ignored; unknown units are taken for millimetres."""
    image = nibabel.Nifti1Image(VOXELS, np.diag([0.5 * unit, 0.6 * unit, 3.0 * unit, 1.0]))
    image.header["xyzt_units"] = code
    nibabel.save(image, tmp_path / "a.nii")
    assert read(tmp_path / "a.nii", [0])[0].spacing_mm == pytest.approx((0.5, 0.6))


def test_the_description_is_what_identifies_a_volume(tmp_path: Path) -> None:
    """Without its padding; an empty one is left out."""
    image = nibabel.Nifti1Image(VOXELS, AXIAL)
    for written in (b"  knee of E. M. ", b""):
        image.header["descrip"] = written
        nibabel.save(image, tmp_path / "a.nii")
        (found,) = decode([Place(str(tmp_path / "a.nii"), 0, FileKind.NIFTI)], IngestOptions())
        assert isinstance(found, Decoded)
        assert dict(found.identity) == ({"Description": "knee of E. M."} if written else {})


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_volume_of_just_the_limit_is_read(
    tmp_path: Path, site: Site, pack: Callable[[bytes], bytes]
) -> None:
    """And one byte below it is too large."""
    held = nibabel.Nifti1Image(VOXELS, AXIAL).to_bytes()
    (tmp_path / "a").write_bytes(pack(held))
    (found,) = scan([tmp_path / "a"], site, IngestOptions(max_file_bytes=len(held)))
    assert isinstance(found, Located)
    (found,) = scan([tmp_path / "a"], site, IngestOptions(max_file_bytes=len(held) - 1))
    assert isinstance(found, Refused)
    assert found.reason is Reason.TOO_LARGE


def test_an_orientation_that_is_not_stated_stays_unknown(tmp_path: Path) -> None:
    """Neither sform nor qform: nibabel would guess, and a guess may be mirrored."""
    image = nibabel.Nifti1Image(VOXELS, None)
    image.header.set_zooms((0.5, 0.6, 3.0))
    nibabel.save(image, tmp_path / "a.nii")
    found = read(tmp_path / "a.nii", [0])[0]
    assert found.display == Display()
    assert found.spacing_mm == pytest.approx((0.5, 0.6))


def test_a_single_slice_and_trailing_ones_are_volumes(tmp_path: Path, site: Site) -> None:
    """Two dimensions, and a fourth of size one."""
    save(VOXELS[:, :, 0], AXIAL, tmp_path / "a.nii")
    save(VOXELS[..., None], AXIAL, tmp_path / "b.nii")
    (found,) = scan([tmp_path], site, IngestOptions())
    assert isinstance(found, Located)
    assert [Path(place.path).name for place in found.places] == ["a.nii"] + ["b.nii"] * 4
    np.testing.assert_array_equal(read(tmp_path / "a.nii", [0])[0].image, VOXELS[:, :, 0])


def header_of(path: Path) -> Volume:
    return nifti.header_of(str(path), IngestOptions())


@pytest.mark.parametrize("code", [1, 2])
def test_an_sform_of_the_scanner_is_taken(tmp_path: Path, code: int) -> None:
    """As is one that was aligned to another scan; the qform turns the slices otherwise."""
    header = nibabel.Nifti1Header()
    header.set_qform(AXIAL, code=1)
    sagittal = np.array([[0, 0, 3.0, 1], [0.5, 0, 0, 2], [0, 0.6, 0, 3], [0, 0, 0, 1]])
    header.set_sform(sagittal, code=code)
    nibabel.save(nibabel.Nifti1Image(VOXELS, None, header), tmp_path / "a.nii")
    np.testing.assert_allclose(header_of(tmp_path / "a.nii").affine, sagittal, rtol=1e-6)


def test_an_sform_into_a_template_does_not_scale_the_patient(tmp_path: Path) -> None:
    """Case n_mni: code 4, a third too large; areas and distances are those of pixdim and qform."""
    header = nibabel.Nifti1Header()
    header.set_qform(np.diag([-0.5, -0.6, 3.0, 1.0]), code=1)
    header.set_sform(np.diag([-0.65, -0.78, 3.9, 1.0]), code=4)
    header["pixdim"][1:4] = 0.5, 0.6, 3
    nibabel.save(nibabel.Nifti1Image(VOXELS, None, header), tmp_path / "a.nii")
    volume = header_of(tmp_path / "a.nii")
    assert volume.pixel_area_mm2 == pytest.approx(0.3)
    assert volume.slice_distance_mm == pytest.approx(3)
    assert "pixdim is taken" in volume.geometry_note
    assert read(tmp_path / "a.nii", [0])[0].spacing_mm == pytest.approx((0.5, 0.6))


def test_areas_and_distances_of_a_sheared_volume_are_those_of_its_planes(tmp_path: Path) -> None:
    """The product is the volume of a voxel, which the lengths of its edges exceed."""
    sheared = np.array([[0.5, 0.2, 0, 0], [0, 0.6, 1.0, 0], [0, 0, 3.0, 0], [0, 0, 0, 1]])
    volume = header_of(save(VOXELS, sheared, tmp_path / "a.nii"))
    assert volume.axis == 2
    assert volume.pixel_area_mm2 == pytest.approx(0.3)
    assert volume.slice_distance_mm == pytest.approx(3)
    assert np.prod(np.linalg.norm(sheared[:3, :3], axis=0)) > 0.95


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_transform_of_no_numbers_gives_way_to_the_qform(tmp_path: Path, value: float) -> None:
    """As failed registrations leave it."""
    image = nibabel.Nifti1Image(VOXELS, AXIAL)
    image.set_qform(AXIAL, code=1)
    image.header["srow_y"] = value
    held = bytearray(image.to_bytes())
    held[296:300] = np.array([value], "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(held)
    volume = header_of(tmp_path / "a.nii")
    assert volume.spacing_mm == pytest.approx((0.5, 0.6))
    assert "sform spans no volume" in volume.geometry_note


def test_a_header_without_geometry_is_read_without_spacing(tmp_path: Path) -> None:
    """The slices are there all the same."""
    held = bytearray(nibabel.Nifti1Image(VOXELS, AXIAL).to_bytes())
    held[80:92] = bytes(12)  # pixdim[1..3]
    held[252:256] = bytes(4)  # the codes
    (tmp_path / "a.nii").write_bytes(held)
    volume = header_of(tmp_path / "a.nii")
    assert (volume.spacing_mm, volume.pixel_area_mm2, volume.slice_distance_mm) == (None, None, None)
    found = read(tmp_path / "a.nii", [1])[0]
    np.testing.assert_array_equal(found.image, VOXELS[:, :, 1])
    assert (found.spacing_mm, found.display) == (None, Display())


def test_four_dimensions_are_unsupported(tmp_path: Path, site: Site) -> None:
    """Taking the first volume would lose the others without a word."""
    assert reason(save(np.stack([VOXELS] * 2, -1), AXIAL, tmp_path / "a.nii"), site) is Reason.UNSUPPORTED


def test_colours_and_complex_voxels_are_unsupported(tmp_path: Path, site: Site) -> None:
    """No guess is made of what a grey value would be."""
    assert reason(save(VOXELS.astype("c8"), AXIAL, tmp_path / "a.nii"), site) is Reason.UNSUPPORTED
    rgb = np.zeros((3, 3, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert reason(save(rgb, AXIAL, tmp_path / "b.nii"), site) is Reason.UNSUPPORTED


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "u4", "i8", "u8", "f4", "f8"])
def test_voxels_of_up_to_64_bits_come_as_stored(tmp_path: Path, dtype: str) -> None:
    """Research tools write their maps in double precision."""
    image = nibabel.Nifti1Image(VOXELS.astype(dtype), AXIAL, dtype=dtype)
    nibabel.save(image, tmp_path / "a.nii")
    found = read(tmp_path / "a.nii", [3])[0].image
    np.testing.assert_array_equal(found, VOXELS[:, :, 3])
    assert found.dtype == dtype


def test_voxels_of_128_bits_are_unsupported(tmp_path: Path, site: Site) -> None:
    """Whether or not this machine has a type for them: NumPy's long double differs between machines."""
    held = bytearray(nibabel.Nifti1Image(VOXELS, AXIAL).to_bytes()) + bytes(VOXELS.size * 14)
    held[70:74] = np.array([1536, 128], "<i2").tobytes()  # datatype and bitpix of float128, nifti1.h
    (tmp_path / "a.nii").write_bytes(held)
    assert reason(tmp_path / "a.nii", site) is Reason.UNSUPPORTED


def test_a_pair_of_files_is_unsupported(tmp_path: Path, site: Site) -> None:
    """The header says that the voxels are elsewhere."""
    nibabel.save(nibabel.Nifti1Pair(VOXELS, AXIAL), tmp_path / "a.hdr")
    assert reason(tmp_path / "a.hdr", site) is Reason.UNSUPPORTED


def test_a_volume_shorter_than_its_header_claims_is_truncated(tmp_path: Path, site: Site) -> None:
    """Found from the size alone, before it is read."""
    path = save(VOXELS, AXIAL, tmp_path / "a.nii")
    path.write_bytes(path.read_bytes()[:-10])
    assert reason(path, site) is Reason.TRUNCATED


def test_a_cut_gzip_is_truncated(tmp_path: Path, site: Site) -> None:
    """As one, however many slices its header claims."""
    noise = np.random.default_rng(0).integers(0, 3000, (40, 40, 4)).astype(np.int16)
    path = save(noise, AXIAL, tmp_path / "a.nii.gz")
    path.write_bytes(path.read_bytes()[:-2000])
    assert reason(path, site) is Reason.TRUNCATED


def test_a_gzip_of_more_than_the_limit_is_unfolded_no_further(tmp_path: Path, site: Site) -> None:
    """A small volume with megabytes of zeros behind it."""
    held = nibabel.Nifti1Image(VOXELS, AXIAL).to_bytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(held + bytes(10**7)))
    (found,) = scan([tmp_path / "a.nii.gz"], site, IngestOptions(max_file_bytes=10**6))
    assert isinstance(found, Refused)
    assert found.reason is Reason.TOO_LARGE
    assert isinstance(next(scan([tmp_path / "a.nii.gz"], site, IngestOptions())), Located)


def test_a_slice_over_the_limit_of_pixels_refuses_the_volume(tmp_path: Path, site: Site) -> None:
    """Once, not slice by slice."""
    path = save(VOXELS, AXIAL, tmp_path / "a.nii")
    (found,) = scan([path], site, IngestOptions(max_pixels=29))
    assert isinstance(found, Refused)
    assert found.reason is Reason.TOO_LARGE
    assert isinstance(next(scan([path], site, IngestOptions(max_pixels=30))), Located)


def test_a_claim_of_size_that_no_gzip_can_hold_is_refused(tmp_path: Path, site: Site) -> None:
    """Deflate unfolds to 1,032 times its size at most; a header of 32,767 cubed lies."""
    held = bytearray(nibabel.Nifti1Image(VOXELS, AXIAL).to_bytes())
    held[42:48] = np.array([32767] * 3, "<i2").tobytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(held)))
    assert reason(tmp_path / "a.nii.gz", site) is Reason.TRUNCATED


def test_a_volume_over_the_limit_is_too_large(tmp_path: Path, site: Site) -> None:
    """A gzip of zeros holds what it claims, and is still not unfolded."""
    path = save(np.zeros((200, 200, 100), np.int16), AXIAL, tmp_path / "a.nii.gz")
    (found,) = scan([path], site, IngestOptions(max_file_bytes=10**6))
    assert isinstance(found, Refused)
    assert found.reason is Reason.TOO_LARGE


def test_a_volume_that_shrank_since_it_was_found_is_refused(tmp_path: Path) -> None:
    """Its slice is not another's."""
    path = save(VOXELS, AXIAL, tmp_path / "a.nii")
    (found,) = read_frames([Place(str(path), 4, FileKind.NIFTI)], IngestOptions())
    assert isinstance(found, Refusal)
    assert found.reason is Reason.CORRUPT
    assert "fewer slices" in found.detail
