from __future__ import annotations

import gzip
import io
import os
import threading
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import config as pydicom_config
from pydicom.data.data_manager import DATA_ROOT
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from stages.batches import Frame, Located
from stages.ingest import decode as decode_module
from stages.ingest.decode import decode, read_frames
from stages.ingest.faults import Refusal
from stages.ingest.options import IngestOptions
from stages.ingest.site import Site
from stages.ingest.sources.folder import scan
from stages.places import FileKind, Place
from tests.stages.ingest.maker import NAME, account, compressed, dicom, item, ramp, save

SITE, OPTIONS = Site(bytes(32)), IngestOptions()


def picture(kind: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(ramp(dtype="u1", most=255)).save(out, kind)
    return out.getvalue()


def pages() -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, np.stack([ramp()] * 3), photometric="minisblack", compression="zlib")
    return out.getvalue()


@pytest.fixture(scope="session")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One sound file of each kind, to be harmed."""
    path = tmp_path_factory.mktemp("seeds") / "a"
    frames = np.stack([ramp(40, 33)] * 3)
    groups = item(PixelMeasuresSequence=item(PixelSpacing=[1, 1]))
    volume = nibabel.Nifti1Image(np.zeros((6, 5, 4), np.int16), np.eye(4)).to_bytes()
    return {
        "native": save(dicom(ramp(), SharedFunctionalGroupsSequence=groups), path).read_bytes(),
        "frames": save(dicom(np.stack([ramp()] * 3)), path).read_bytes(),
        "RLE": compressed(dicom(frames), path, RLELossless).read_bytes(),
        "JPEG-LS": compressed(dicom(frames), path, JPEGLSLossless).read_bytes(),
        "JPEG 2000": compressed(dicom(frames), path, JPEG2000Lossless).read_bytes(),
        "NIfTI": volume,
        "NIfTI gzip": gzip.compress(volume, mtime=0),
        "PNG": picture("PNG"),
        "JPEG": picture("JPEG"),
        "TIFF": pages(),
    }


KINDS = ["native", "frames", "RLE", "JPEG-LS", "JPEG 2000", "NIfTI", "NIfTI gzip", "PNG", "JPEG", "TIFF"]
HARM = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("kind", KINDS)
@HARM
@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=12))
@example(flips=[(0.34375, 1)])  # in a gzipped header: it claimed 516 slices, and each was a letter
def test_flipped_bits_never_crash_and_every_row_is_accounted_for(
    seeds: dict[str, bytes], tmp_path: Path, kind: str, flips: list[tuple[float, int]]
) -> None:
    """Anywhere in the file: frames or refusals come, nothing else, and no flood of them."""
    harmed = bytearray(seeds[kind])
    for where, bits in flips:
        harmed[int(where * len(harmed))] ^= bits
    (tmp_path / "a").write_bytes(harmed)
    assert 1 <= len(account(tmp_path / "a")) <= 100


@pytest.mark.parametrize("kind", KINDS)
@HARM
@given(where=st.floats(0, 1))
@example(where=0.0)
@example(where=1.0)
def test_a_cut_file_never_crashes_and_never_decodes_what_is_missing(
    seeds: dict[str, bytes], tmp_path: Path, kind: str, where: float
) -> None:
    """Its whole frames are those of the sound file; the rest is refused."""
    sound = seeds[kind]
    (tmp_path / "a").write_bytes(sound)
    whole = account(tmp_path / "a")
    (tmp_path / "a").write_bytes(sound[: int(where * len(sound))])
    rows = account(tmp_path / "a")
    assert rows
    for found, original in zip(rows, whole, strict=False):
        if isinstance(found, Frame):
            assert isinstance(original, Frame)
            np.testing.assert_array_equal(found.image, original.image)


@HARM
@given(st.binary(max_size=2000))
def test_random_bytes_are_one_refusal_or_few(tmp_path: Path, held: bytes) -> None:
    """Also behind each magic number that opens a reader."""
    for magic in (b"", bytes(128) + b"DICM", b"II*\0", b"\x89PNG\r\n\x1a\n", b"\x08\0\x05\0CS"):
        (tmp_path / "a").write_bytes(magic + held)
        rows = account(tmp_path / "a")
        assert rows
        assert not any(isinstance(one, Frame) for one in rows)


def test_a_file_is_opened_once_for_all_its_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames of two files, mixed: two openings, and each row gets its own frame."""
    opened: list[str] = []
    original: Callable[..., object] = decode_module.open_dicom

    def counting(path: str, options: IngestOptions) -> object:
        opened.append(path)
        return original(path, options)

    monkeypatch.setattr(decode_module, "open_dicom", counting)
    a = save(dicom(np.stack([ramp(), ramp() + 1])), tmp_path / "a")
    b = save(dicom(np.stack([ramp() + 2, ramp() + 3])), tmp_path / "b")
    rows = [(b, 1), (a, 0), (b, 0), (a, 1), (a, 0)]
    found = decode([Place(str(path), frame, FileKind.DICOM) for path, frame in rows], OPTIONS)
    means = [float(one.frame.image.min()) for one in found if not isinstance(one, Refusal)]
    assert means == [3.0, 0.0, 2.0, 1.0, 0.0]
    assert len(opened) == 2


def test_a_vanished_file_and_a_stale_kind_are_refused(tmp_path: Path) -> None:
    """The file was replaced since the scan: the reader of the old kind says so, and nothing crashes."""
    Image.fromarray(ramp(dtype="u1", most=255)).save(tmp_path / "a", "PNG")
    places = [
        Place(str(tmp_path / "gone"), 0, FileKind.DICOM),
        *(Place(str(tmp_path / "a"), 0, k) for k in FileKind),
    ]
    found = read_frames(places, OPTIONS)
    assert [isinstance(one, Frame) for one in found] == [False, False, False, True]


def test_each_row_of_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    """They were located when it was there."""
    found = read_frames([Place(str(tmp_path / "gone"), frame, FileKind.DICOM) for frame in range(3)], OPTIONS)
    assert [type(one) for one in found] == [Refusal] * 3


def test_decoding_in_threads_stays_silent_and_right(tmp_path: Path) -> None:
    """The local executor runs stages in threads; warnings are errors here, and a race would surface."""
    odd = dicom(ramp(), PatientBirthDate="19640812")
    odd.NumberOfFrames = 1
    path = save(odd, tmp_path / "a")
    path.write_bytes(path.read_bytes().replace(b"19640812", b"1964XX12"))
    failures: list[object] = []

    def work() -> None:
        for _ in range(30):
            found = read_frames([Place(str(path), 0, FileKind.DICOM)] * 2, OPTIONS)
            failures.extend(one for one in found if isinstance(one, Refusal))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_no_output_of_a_reader_quotes_the_header(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Odd values make pydicom warn and log; neither reaches the operator, nor does the refusal quote them."""
    odd = dicom(ramp(), PatientName=NAME)
    path = save(odd, tmp_path / "a")
    held = path.read_bytes()
    path.write_bytes(held.replace(b"MONOCHROME2", b"Mustermann^").replace(b"19640812", b"Mustermn"))
    (found,) = read_frames([Place(str(path), 0, FileKind.DICOM)], OPTIONS)
    assert isinstance(found, Refusal)
    captured = capfd.readouterr()
    assert "Muster" not in found.detail + captured.out + captured.err + caplog.text


def test_every_file_that_pydicom_ships_is_accounted_for() -> None:
    """Sound and odd ones, whatever pydicom itself makes of them; no warning, no crash."""
    assert pydicom_config.settings.reading_validation_mode == pydicom_config.WARN
    files = [path for path in Path(DATA_ROOT).rglob("*") if path.is_file()]
    seen: set[str] = set()
    frames = 0
    for found in scan([Path(DATA_ROOT)], SITE, OPTIONS):
        if not isinstance(found, Located):
            seen.add(found.path)
        else:
            seen.update(place.path for place in found.places)
            frames += sum(isinstance(one, Frame) for one in read_frames(found.places, OPTIONS))
    assert seen == {os.fspath(path) for path in files}
    assert frames > 60
