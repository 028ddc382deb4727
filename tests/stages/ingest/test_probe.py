from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from pydicom import Dataset

from stages.base import Reason
from stages.batches import Frame, Located
from stages.ingest.options import IngestOptions
from stages.ingest.probe import probe
from stages.ingest.site import Site
from stages.ingest.sources.folder import scan
from tests.stages.ingest.maker import SERIES, account, dicom, ramp, save


def subsampled(frames: int) -> Dataset:
    """Grey frames as native YBR_FULL_422: two luminances, then one pair of chromas (PS3.3 C.7.6.3.1.2)."""
    grey = np.stack([ramp(6, 8, "u1", 200) + 7 * frame for frame in range(frames)])
    made = dicom(np.zeros((frames, 6, 8, 3), np.uint8), samples=3, PhotometricInterpretation="YBR_FULL_422")
    chroma = np.full((*grey.shape[:2], 4, 2), 128, np.uint8)
    made.PixelData = np.concatenate([grey.reshape(frames, 6, 4, 2), chroma], -1).tobytes()
    return made


def test_frames_of_subsampled_colour_are_read_by_their_number(tmp_path: Path) -> None:
    """Two bytes a pixel, so that the second frame begins at two thirds of three."""
    path = save(subsampled(3), tmp_path / "a")
    found = account(path)
    assert len(found) == 3
    for frame, one in enumerate(found):
        assert isinstance(one, Frame)
        assert np.abs(one.image.astype(int) - (ramp(6, 8, "u1", 200) + 7 * frame)).max() <= 1


@pytest.mark.parametrize(
    ("made", "frames"),
    [
        (dicom(np.stack([ramp()] * 3)), 3),
        (subsampled(3), 3),
        (
            dicom(
                np.zeros((3, 4, 6), np.uint8), BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=bytes(9)
            ),
            3,
        ),
    ],
    ids=["native", "subsampled", "one bit"],
)
def test_as_many_frames_are_found_as_the_pixel_data_holds(tmp_path: Path, made: Dataset, frames: int) -> None:
    """Exactly: with all its bytes they are all there, with two fewer or one frame more in the header none."""
    path = save(made, tmp_path / "a")
    assert [type(one) for one in account(path)] == [Frame] * frames
    held = path.read_bytes()
    path.write_bytes(held[:-2])
    assert [getattr(one, "reason", None) for one in account(path)] == [Reason.TRUNCATED]
    path.write_bytes(held.replace(b"IS\x02\x003 ", b"IS\x02\x004 "))
    assert [getattr(one, "reason", None) for one in account(path)] == [Reason.TRUNCATED]


def test_what_follows_the_pixel_data_is_not_taken_for_frames(tmp_path: Path) -> None:
    """Padding as large as another frame."""
    padded = dicom(np.stack([ramp()] * 3), NumberOfFrames=4, DataSetTrailingPadding=bytes(1000))
    (one,) = account(save(padded, tmp_path / "a"))
    assert getattr(one, "reason", None) is Reason.TRUNCATED


@pytest.mark.parametrize("kind", ["DICOM", "TIFF"])
def test_a_file_of_just_the_limit_of_frames_is_read(tmp_path: Path, site: Site, kind: str) -> None:
    """And none with one more."""
    stack = np.stack([ramp()] * 3)
    if kind == "DICOM":
        save(dicom(stack), tmp_path / "a")
    else:
        tifffile.imwrite(tmp_path / "a", stack, photometric="minisblack")
    (found,) = scan([tmp_path / "a"], site, IngestOptions(max_frames=3))
    assert isinstance(found, Located)
    (found,) = scan([tmp_path / "a"], site, IngestOptions(max_frames=2))
    assert getattr(found, "reason", None) is Reason.TOO_LARGE


def test_an_object_without_series_is_a_series_by_itself(
    tmp_path: Path, site: Site, options: IngestOptions
) -> None:
    """Two of them in one folder are not thrown together."""
    for name in "12":
        made = dicom(ramp(), f"{SERIES}.{name}")
        del made.SeriesInstanceUID
        found = probe(save(made, tmp_path / name), site, options)
        assert found.series == site.series(f"{SERIES}.{name}")


def test_a_frame_s_pixels_are_counted_for_the_size_of_batches(
    tmp_path: Path, site: Site, options: IngestOptions
) -> None:
    """Of a slice, and of each frame of an object."""
    for image in (ramp(12, 10), np.stack([ramp(12, 10)] * 3)):
        series = probe(save(dicom(image), tmp_path / "a"), site, options)
        assert {one.pixels for one in series.slices} == {120}


def test_the_pixels_of_a_slice_are_those_of_its_volume_shared_out(
    tmp_path: Path, site: Site, options: IngestOptions
) -> None:
    """So that batches of large volumes stay within memory."""
    nibabel.save(nibabel.Nifti1Image(np.zeros((6, 5, 4), np.int16), np.eye(4)), tmp_path / "a.nii")
    series = probe(tmp_path / "a.nii", site, options)
    assert [one.pixels for one in series.slices] == [30] * 4


@pytest.mark.parametrize("pages", [1, 4])
def test_the_pixels_of_a_picture_are_guessed_from_its_size(
    tmp_path: Path, site: Site, options: IngestOptions, pages: int
) -> None:
    """Rather too many, eight for each byte, and each page has its share."""
    tifffile.imwrite(tmp_path / "a", np.stack([ramp()] * pages), photometric="minisblack")
    series = probe(tmp_path / "a", site, options)
    assert {one.pixels for one in series.slices} == {(tmp_path / "a").stat().st_size * 8 // pages}


@pytest.mark.parametrize(
    ("written", "read"), [("7", 7), ("+12", 12), ("-3", -3), ("1" * 12, int("1" * 12)), ("7A", None)]
)
def test_the_instance_number_is_read_as_far_as_it_is_one(
    tmp_path: Path, site: Site, options: IngestOptions, written: str, read: int | None
) -> None:
    """Up to the twelve digits that an IS can hold."""
    path = save(dicom(ramp(), InstanceNumber="9" * 12), tmp_path / "a")
    path.write_bytes(path.read_bytes().replace(b"9" * 12, written.ljust(12).encode()))
    (only,) = probe(path, site, options).slices
    assert only.instance == read
