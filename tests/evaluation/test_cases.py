from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from evaluation.cases import read_case
from evaluation.pairs import CaseError, find_pairs


def write(path: Path, voxels: np.ndarray) -> None:
    """A volume with 1 mm voxels."""
    nibabel.Nifti1Image(voxels.astype(np.int16), np.eye(4)).to_filename(path)


def test_pairs_come_by_name(cases: Path) -> None:
    """Every image with its reference, sorted."""
    assert [(p.name, p.image.name, p.truth.name) for p in find_pairs(cases)] == [
        ("CaseA", "CaseA.nii.gz", "CaseA_segmentation.nii.gz"),
        ("CaseB", "CaseB.nii.gz", "CaseB_segmentation.nii.gz"),
    ]


def test_case_is_read_slice_by_slice(cases: Path) -> None:
    """Slices of 36 rows and 40 columns, spacing in the same order, the reference where it is bright."""
    case = read_case(find_pairs(cases)[0])
    image = np.stack([frame.image for frame in case.frames.frames])
    assert case.truth_SHW.shape == image.shape
    assert sorted(image.shape) == [6, 36, 40]
    assert case.spacing_mm == pytest.approx((3.0, 1.5, 1.5))
    assert case.frames.frames[0].spacing_mm == (1.5, 1.5)
    assert image[case.truth_SHW].mean() > image[~case.truth_SHW].mean() + 300


@pytest.mark.parametrize("extra", [(), (2,)])
def test_a_case_is_cut_as_ingest_cuts_it(cases: Path, extra: tuple[int, ...]) -> None:
    """By the geometry that ingest believes, where an sform into a template's space states other lengths."""
    made = np.zeros((9, 8, 7, *extra), np.int16)
    image = nibabel.Nifti1Image(made, np.eye(4))
    image.set_qform(np.diag([3.0, 1.0, 1.0, 1.0]), 1)
    image.set_sform(np.diag([1.0, 1.0, 4.0, 1.0]), 4)
    image.to_filename(cases / "CaseA.nii.gz")
    truth = nibabel.Nifti1Image(made.reshape(9, 8, 7, -1)[..., 0] + 1, None, image.header)
    truth.to_filename(cases / "CaseA_segmentation.nii.gz")
    case = read_case(find_pairs(cases)[0])
    assert case.truth_SHW.shape == (9, 8, 7)
    assert case.spacing_mm == pytest.approx((3.0, 1.0, 1.0))


def test_any_label_but_zero_is_the_structure(cases: Path) -> None:
    """255 in a signed byte reads as -1."""
    path = cases / "CaseA_segmentation.nii.gz"
    volume = nibabel.load(path)
    wanted = np.asanyarray(volume.dataobj) > 0
    nibabel.Nifti1Image((wanted * -1).astype(np.int8), volume.affine).to_filename(path)
    assert read_case(find_pairs(cases)[0]).truth_SHW.sum() == wanted.sum()


def test_reference_along_other_axes_is_an_error(cases: Path) -> None:
    """Voxels that run the other way, with the affine that says so, would lie mirrored."""
    path = cases / "CaseA_segmentation.nii.gz"
    volume = nibabel.load(path)
    flipped = np.asanyarray(volume.dataobj)[::-1]
    affine = volume.affine @ np.diag([-1.0, 1.0, 1.0, 1.0])
    nibabel.Nifti1Image(flipped, affine).to_filename(path)
    with pytest.raises(CaseError, match=r"CaseA_segmentation.*runs along other axes .*\(LAS and RAS\)"):
        read_case(find_pairs(cases)[0])


def test_reference_that_states_no_orientation_is_taken_as_it_lies(cases: Path) -> None:
    """Many tools write none."""
    path = cases / "CaseA_segmentation.nii.gz"
    volume = nibabel.load(path)
    plain = nibabel.Nifti1Image(np.asanyarray(volume.dataobj), np.diag([-1.0, 1.0, 1.0, 1.0]))
    plain.set_sform(None, 0)
    plain.set_qform(None, 0)
    plain.to_filename(path)
    assert read_case(find_pairs(cases)[0]).truth_SHW.any()


@pytest.mark.parametrize("missing", ["CaseA.nii.gz", "CaseB_segmentation.nii.gz"])
def test_half_a_pair_is_an_error(cases: Path, missing: str) -> None:
    """The missing file is named."""
    (cases / missing).unlink()
    with pytest.raises(CaseError, match=missing):
        find_pairs(cases)


def test_no_folder_is_an_error(tmp_path: Path) -> None:
    """A path that is no folder is named."""
    with pytest.raises(CaseError, match="nowhere is not a folder"):
        find_pairs(tmp_path / "nowhere")


def test_reference_on_another_grid_is_an_error(cases: Path) -> None:
    """Both shapes and both files are named."""
    write(cases / "CaseA_segmentation.nii.gz", np.zeros((40, 36, 5)))
    with pytest.raises(CaseError, match=r"CaseA_segmentation\.nii\.gz.*CaseA\.nii\.gz"):
        read_case(find_pairs(cases)[0])


@pytest.mark.parametrize("name", ["CaseA.nii.gz", "CaseA_segmentation.nii.gz"])
def test_unreadable_file_is_an_error(cases: Path, name: str) -> None:
    """A file that is no NIfTI is named."""
    (cases / name).write_bytes(b"not a volume")
    with pytest.raises(CaseError, match=name):
        read_case(find_pairs(cases)[0])
