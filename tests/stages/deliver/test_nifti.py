"""NIfTI masks: the input's own grid, to the last bit of its transforms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from stages.ingest.volume import axis_of, padded_shape
from stages.places import FileKind, Place, StackId

if TYPE_CHECKING:
    from tests.stages.deliver.conftest import Clinic

OBLIQUE = np.array([[0.1, -0.7, 0.2, 11.5], [0.6, 0.1, -0.3, -7.25], [0.05, 0.2, 3.0, 40.1], [0, 0, 0, 1]])
SAGITTAL = np.array([[3.5, 0, 0, 1], [0, 0.5, 0, 2], [0, 0, 0.5, 3], [0, 0, 0, 1.0]])


def volume(
    clinic: Clinic,
    shape: tuple[int, ...],
    affine: np.ndarray,
    kind: Any = nib.Nifti1Image,
    name: str = "Case 7.nii.gz",
) -> tuple[Any, list[Place]]:
    """A volume on disk and the places of its slices."""
    image = kind(np.random.default_rng(0).integers(0, 900, shape).astype(np.int16), affine)
    image.header["qform_code"], image.header["sform_code"] = 1, 2
    path = clinic.folder / name
    nib.save(image, path)
    return image, [Place(str(path), k, FileKind.NIFTI) for k in range(shape[cut_along(image)])]


def cut_along(image: nib.Nifti1Image) -> int:
    return axis_of(padded_shape(image.shape), image.affine)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize(
    ("shape", "affine"),
    [((20, 24, 7), OBLIQUE), ((7, 20, 24), SAGITTAL), ((20, 24, 7, 1), OBLIQUE)],
    ids=["oblique", "sagittal", "four axes"],
)
def test_the_mask_has_the_grid_of_the_input(
    clinic: Clinic, shape: tuple[int, ...], affine: np.ndarray, kind: Any
) -> None:
    """Same class, shape, affine, transforms and codes; slices where they were."""
    image, places = volume(clinic, shape, affine, kind)
    source = nib.load(places[0].path)
    masks = clinic.balls(7, (20, 24))
    clinic.deliver(clinic.batch(places[::-1], masks[::-1]))
    mask = nib.load(clinic.of() / "Case_7_mask.nii.gz")
    assert type(mask) is type(source)
    assert mask.shape == source.shape
    assert mask.get_data_dtype() == np.uint8
    for field in (
        "qform_code",
        "sform_code",
        "srow_x",
        "srow_y",
        "srow_z",
        "pixdim",
        "quatern_b",
        "qoffset_x",
    ):
        assert np.array_equal(mask.header[field], source.header[field]), field
    assert np.array_equal(mask.affine, source.affine)
    expected = np.stack(masks, axis=cut_along(image)).reshape(shape)
    assert np.array_equal(np.asarray(mask.dataobj), expected)


def test_a_slice_that_was_rejected_stays_empty(clinic: Clinic) -> None:
    """Missing rows leave zeros, not a shift."""
    _, places = volume(clinic, (20, 24, 7), OBLIQUE)
    masks = [np.ones((20, 24))] * 7
    rows = [0, 1, 3, 6]
    clinic.deliver(clinic.batch([places[i] for i in rows], [masks[i] for i in rows]))
    found = np.asarray(nib.load(clinic.of() / "Case_7_mask.nii.gz").dataobj).any(axis=(0, 1))
    assert np.flatnonzero(found).tolist() == rows


def test_the_volume_is_that_of_the_voxels(clinic: Clinic) -> None:
    """Voxels times their size, which in a sheared grid is less than its edges say; an overlay beside it."""
    _, places = volume(clinic, (20, 24, 7), OBLIQUE)
    masks = clinic.balls(7, (20, 24))
    split = clinic.deliver(clinic.batch(places, masks))
    voxel_mm3 = abs(np.linalg.det(OBLIQUE[:3, :3]))
    assert voxel_mm3 < 0.99 * np.linalg.norm(OBLIQUE[:3, :3], axis=0).prod()
    expected_ml = sum(int(mask_HW.sum()) for mask_HW in masks) * voxel_mm3 / 1000
    assert clinic.measured()["volume_ml"] == pytest.approx(expected_ml, rel=1e-3)
    assert {path.split("/")[1] for path in split.kept.paths} == {
        "Case_7_mask.nii.gz",
        "overlay.png",
        "measurements.json",
    }


def test_the_suffix_does_not_matter(clinic: Clinic) -> None:
    """An uncompressed volume under a wrong name is delivered as what it is."""
    _, places = volume(clinic, (20, 24, 7), OBLIQUE, name="plain.nii")
    renamed = clinic.folder / "scan.bin"
    (clinic.folder / "plain.nii").rename(renamed)
    places = [Place(str(renamed), place.frame, place.kind) for place in places]
    clinic.deliver(clinic.batch(places, clinic.balls(7, (20, 24))))
    assert nib.load(clinic.of() / "scan.bin_mask.nii.gz").shape == (20, 24, 7)


def test_the_same_result_is_the_same_file(clinic: Clinic) -> None:
    """No time stamp inside: equal to the byte."""
    _, places = volume(clinic, (20, 24, 7), OBLIQUE)
    batch = clinic.batch(places, clinic.balls(7, (20, 24)))
    contents = []
    for _ in range(2):
        clinic.deliver(batch)
        contents.append((clinic.of() / "Case_7_mask.nii.gz").read_bytes())
    assert contents[0] == contents[1]


def test_a_rejected_slice_is_bridged_and_counted(clinic: Clinic) -> None:
    """Positions count along the normal from the frames' numbers, so the gap is seen."""
    affine = np.diag([0.5, 0.5, 3.0, 1.0])
    _, places = volume(clinic, (20, 24, 7), affine)
    box_HW = np.ones((20, 24))
    kept = [0, 1, 3, 4, 5, 6]
    batch = clinic.batch(
        [places[i] for i in kept], [box_HW] * 6, novelty=[0.5] * 6, stacks=[StackId(1, 1, 7)] * 6
    )
    clinic.deliver(batch)
    measured = clinic.measured()
    assert measured["volume_ml"] == pytest.approx(20 * 24 * 0.25 * 21 / 1000)
    assert [one["position_mm"] for one in measured["masks"][0]["slices"]] == [0, 3, 9, 12, 15, 18]
    assert {"missing_slices", "rejected_slices"} <= {one["flag"] for one in measured["flags"]}


@pytest.mark.parametrize("name", ["Case.mha", "Case.nrrd", "Case.nhdr"])
def test_the_mask_of_another_format_s_volume_is_nifti_of_its_geometry(clinic: Clinic, name: str) -> None:
    """Voxel for voxel at the same place in the patient."""
    image = SimpleITK.GetImageFromArray(np.arange(7 * 20 * 24, dtype=np.int16).reshape(7, 20, 24))
    image.SetSpacing((0.5, 0.6, 3.0))
    image.SetOrigin((10, -20, 30))
    image.SetDirection([0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    SimpleITK.WriteImage(image, str(clinic.folder / name))
    places = [Place(str(clinic.folder / name), k, FileKind.NIFTI) for k in range(7)]
    masks = clinic.balls(7, (24, 20))
    clinic.deliver(clinic.batch(places, masks))
    mask = SimpleITK.ReadImage(str(clinic.of() / "Case_mask.nii.gz"))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(mask).T, np.stack(masks, -1) != 0)
    for field in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(mask, field)(), getattr(image, field)(), atol=1e-5, err_msg=field)
    voxels = sum(int(mask_HW.sum()) for mask_HW in masks)
    assert clinic.measured()["volume_ml"] == pytest.approx(voxels * 0.9 / 1000, rel=1e-3)
    assert (clinic.of() / "overlay.png").exists()


def test_the_mask_of_a_volume_without_geometry_claims_none(clinic: Clinic) -> None:
    """No directions, and no millimetres."""
    header = b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 24 20 7\nencoding: raw\n\n"
    (clinic.folder / "Case.nrrd").write_bytes(header + bytes(range(210)) * 16)
    places = [Place(str(clinic.folder / "Case.nrrd"), k, FileKind.NIFTI) for k in range(7)]
    clinic.deliver(clinic.batch(places, clinic.balls(7, (24, 20))))
    found = nib.load(clinic.of() / "Case_mask.nii.gz").header
    assert (int(found["sform_code"]), int(found["qform_code"]), found.get_xyzt_units()[0]) == (
        0,
        0,
        "unknown",
    )
    assert clinic.measured()["volume_ml"] is None
