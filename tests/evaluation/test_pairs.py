from __future__ import annotations

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from evaluation.cases import read_case
from evaluation.pairs import CaseError, Pair, find_pairs
from stages.preprocess.options import PreprocessOptions
from training.dataset import read_slices


def as_metaimage(folder: Path, suffix: str = ".mhd") -> None:
    """Every NIfTI volume of a folder saved as MetaImage instead."""
    for path in folder.glob("*.nii.gz"):
        target = folder / (path.name.removesuffix(".nii.gz") + suffix)
        SimpleITK.WriteImage(SimpleITK.ReadImage(str(path)), str(target))
        path.unlink()


@pytest.mark.parametrize("suffix", [".mhd", ".mha"])
def test_metaimage_gives_the_very_case_that_nifti_gives(cases: Path, suffix: str) -> None:
    """Voxels, reference, spacing and orientation are the same, whatever the format."""
    turned = np.diag([-1.5, 1.5, 3.0, 1.0])
    for name in ("CaseA", "CaseA_segmentation"):
        path = cases / f"{name}.nii.gz"
        voxels = np.asarray(nibabel.load(path).dataobj)
        nibabel.Nifti1Image(voxels, turned).to_filename(path)
    wanted = read_case(find_pairs(cases)[0])
    as_metaimage(cases, suffix)
    pair = find_pairs(cases)[0]
    found = read_case(pair)
    assert pair.image.suffix == suffix
    np.testing.assert_array_equal(found.truth_SHW, wanted.truth_SHW)
    for one, other in zip(found.frames.frames, wanted.frames.frames, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        assert one.display == other.display
    assert found.spacing_mm == pytest.approx(wanted.spacing_mm)


def test_voxels_of_a_metaimage_count_in_the_digest(cases: Path) -> None:
    """They lie in a second file; changing that changes the data."""
    as_metaimage(cases)
    recipe = PreprocessOptions(size=32, spacing_mm=2.0)
    before = read_slices(cases, recipe).digest
    raw = next(iter(sorted(cases.glob("*.*raw"))))
    voxels = bytearray(raw.read_bytes())
    voxels[-1] ^= 1
    raw.write_bytes(voxels)
    assert read_slices(cases, recipe).digest != before


def test_decathlon_folder_is_read(cases: Path, tmp_path: Path) -> None:
    """ImagesTr beside labelsTr: the first channel is the image, every zone is the structure."""
    images, labels = tmp_path / "msd" / "imagesTr", tmp_path / "msd" / "labelsTr"
    images.mkdir(parents=True)
    labels.mkdir()
    image = nibabel.load(cases / "CaseA.nii.gz")
    t2 = np.asarray(image.dataobj)
    both = np.stack((t2, np.zeros_like(t2)), axis=-1)
    nibabel.Nifti1Image(both, image.affine).to_filename(images / "prostate_00.nii.gz")
    zones = np.asarray(nibabel.load(cases / "CaseA_segmentation.nii.gz").dataobj).copy()
    zones[:20][zones[:20] > 0] = 2
    nibabel.Nifti1Image(zones, image.affine).to_filename(labels / "prostate_00.nii.gz")
    (images / "._prostate_00.nii.gz").write_bytes(b"what another system leaves behind")
    (pair,) = find_pairs(tmp_path / "msd")
    found, wanted = read_case(pair), read_case(find_pairs(cases)[0])
    assert pair.name == "prostate_00"
    np.testing.assert_array_equal(found.truth_SHW, wanted.truth_SHW)
    np.testing.assert_array_equal(found.frames.frames[2].image, wanted.frames.frames[2].image)


def test_pictures_are_cases_of_one_slice_without_spacing(tmp_path: Path) -> None:
    """A PNG and its mask; nobody invents millimetres for them."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (40, 50), dtype=np.uint8)).save(tmp_path / "a.png")
    mask = np.zeros((40, 50), np.uint8)
    mask[10:20, 10:20] = 255
    Image.fromarray(mask).save(tmp_path / "a_segmentation.png")
    case = read_case(find_pairs(tmp_path)[0])
    assert case.spacing_mm is None
    assert case.truth_SHW.shape == (1, 40, 50)
    assert case.truth_SHW.sum() == 100
    assert len(read_slices(tmp_path, PreprocessOptions(size=32))) == 1


def test_one_case_in_two_formats_is_an_error(cases: Path) -> None:
    """Which one is meant cannot be known."""
    shutil.copy(cases / "CaseA.nii.gz", cases / "CaseA.nii")
    with pytest.raises(CaseError, match=r"CaseA\.nii\.gz are one case twice"):
        find_pairs(cases)


def test_half_a_decathlon_folder_is_an_error(cases: Path, tmp_path: Path) -> None:
    """The missing folder or file is named."""
    (tmp_path / "msd" / "imagesTr").mkdir(parents=True)
    with pytest.raises(CaseError, match="labelsTr is missing"):
        find_pairs(tmp_path / "msd")
    (tmp_path / "msd" / "labelsTr").mkdir()
    shutil.copy(cases / "CaseA.nii.gz", tmp_path / "msd" / "imagesTr" / "one.nii.gz")
    with pytest.raises(CaseError, match=r"one\.nii\.gz is missing"):
        find_pairs(tmp_path / "msd")


def test_damaged_metaimage_is_an_error(cases: Path) -> None:
    """The file is named, in one line."""
    as_metaimage(cases)
    (cases / "CaseA.mhd").write_text("ObjectType = Image\n")
    with pytest.raises(CaseError, match=r"CaseA\.mhd cannot be read as MetaImage") as caught:
        read_case(find_pairs(cases)[0])
    assert "\n" not in str(caught.value)


def test_pair_of_files_lists_them() -> None:
    """A NIfTI pair is two files."""
    pair = Pair("a", Path("a.nii.gz"), Path("a_segmentation.nii.gz"))
    assert pair.files == (pair.image, pair.truth)
