"""What the stream makes of odd series: one table of situations, streamed together, on threads and on Ray."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from pipeline.config import Settings, load
from pipeline.devices import Devices
from pipeline.engine.graph import Graph
from pipeline.run.dead_letters import Letter, read
from pipeline.run.job import Job
from pipeline.run.run import run
from pipeline.run.summary import Summary
from pipeline.stream import features
from stages.batches import Entries, Features, Located, Segmented
from stages.deliver.stage import Deliver
from stages.encrypt.keys.folder import new_keys
from stages.encrypt.keys.site import load_site_secret
from stages.encrypt.stage import Encrypt
from stages.index.stage import Append
from stages.ingest.site import Site
from stages.ingest.stage import Ingest
from stages.segment.checkpoint import describe
from tests.situations.maker import (
    BRIGHT,
    DEPTHS_MM,
    GAP_MM,
    SAGITTAL,
    Study,
    Threshold,
    ball,
    tilted,
    volume_ml,
)

SOUND = volume_ml()
UNEVEN = [*np.arange(-27.0, 0.0, 3.0).tolist(), *np.arange(0.0, 20.0, 1.5).tolist()]
HOLES = [depth for depth in DEPTHS_MM if depth not in (-3.0, 0.0, 9.0)]


@dataclass(frozen=True)
class Situation:
    """How its files are made, and what is right."""

    make: Callable[[Study], None]
    volumes: tuple[float | None, ...]  # of its mask files, in the order of the list
    slices: tuple[int, ...]  # of each
    segs: int  # how many of them are DICOM Segmentations
    letters: tuple[str, ...] = ()  # reasons
    flags: frozenset[str] = frozenset()


def split(study: Study) -> None:
    for number, depth in enumerate(DEPTHS_MM, 1):
        study.slice(depth, number, f"{'AB'[number % 2]}/{number}.dcm")


def copied(study: Study) -> None:
    study.volume()
    for number in (3, 4, 9):
        shutil.copy(
            study.folder / study.name / f"{number:04d}.dcm", study.folder / study.name / f"copy{number}.dcm"
        )


def renumbered(study: Study) -> None:
    order = np.random.default_rng(1).permutation(len(DEPTHS_MM))
    for row, depth in enumerate(DEPTHS_MM):
        study.slice(depth, int(order[row]) + 1, uid=study.uid(row + 1))


def phases(**marks: Sequence[Any]) -> Callable[[Study], None]:
    """Three images of each place; a mark may tell them apart."""

    def make(study: Study) -> None:
        number = count(1)
        for phase in range(3):
            for depth in DEPTHS_MM:
                study.slice(depth, next(number), **{name: values[phase] for name, values in marks.items()})

    return make


def shifted(study: Study) -> None:
    for phase in (1, 2):
        for row, depth in enumerate(DEPTHS_MM):
            number = 100 * phase + row
            study.slice(depth + GAP_MM / 2 * (phase - 1), number, TemporalPositionIdentifier=phase)


def two_passes(study: Study) -> None:
    for phase in range(3):
        for row, depth in enumerate(DEPTHS_MM):
            time = f"12{phase:02d}{30 * (row % 2):02d}"
            study.slice(depth, 100 * phase + row + 1, AcquisitionTime=time)


def retaken(study: Study) -> None:
    study.volume()
    study.slice(3.0, 99)


def localiser(study: Study) -> None:
    study.volume()
    for number in (91, 92):
        place = [number, -25, 25]
        study.slice(0.0, number, ImageOrientationPatient=list(SAGITTAL), ImagePositionPatient=place)


def another_size(study: Study) -> None:
    study.volume()
    image = np.pad(ball(0.0), 10, constant_values=100)
    study.slice(1.0, 99, image=image)


def shuffled(study: Study) -> None:
    order = np.random.default_rng(2).permutation(len(DEPTHS_MM))
    study.enhanced([{"depth": DEPTHS_MM[row]} for row in order], "one.dcm")


def of_one_frame(study: Study) -> None:
    for row, depth in enumerate(DEPTHS_MM):
        study.enhanced([{"depth": depth}], f"{row}.dcm", NumberOfFrames=1)


def concatenation(study: Study) -> None:
    for part, depths in enumerate((DEPTHS_MM[::2], DEPTHS_MM[1::2])):
        study.enhanced([{"depth": depth} for depth in depths], f"{part}.dcm")


def diffusion(study: Study) -> None:
    frames = [{"depth": depth, "b_value": b} for depth in DEPTHS_MM for b in (0.0, 800.0)]
    study.enhanced(frames, "one.dcm")


def jitter(study: Study) -> None:
    for number, depth in enumerate(DEPTHS_MM, 1):
        off = 1e-5 * (number % 3)
        study.slice(depth, number, ImageOrientationPatient=[1.0, off, 0.0, 0.0, 1.0, off])


def oblique(study: Study) -> None:
    cosines = tilted(20)
    normal = np.cross(cosines[:3], cosines[3:])
    for number, depth in enumerate(DEPTHS_MM, 1):
        position = [round(float(value), 6) for value in normal * depth]
        study.slice(depth, number, ImagePositionPatient=position, ImageOrientationPatient=cosines)


def damaged(study: Study) -> None:
    study.volume()
    path = study.folder / study.name / "0010.dcm"
    path.write_bytes(path.read_bytes()[:-200])


def conflict(study: Study) -> None:
    study.volume()
    study.slice(0.0, 10, "other.dcm", image=ball(0.0, 5.0))


def enlarged(study: Study) -> None:
    study.volume(DEPTHS_MM[5:])  # from -12 mm: the gland begins outside


PLAIN = ((SOUND,), (19,), 1)
END, LOST = frozenset({"gland_at_end"}), frozenset({"no_geometry"})
SITUATIONS = {
    "sound": Situation(Study.volume, *PLAIN),
    "split": Situation(split, *PLAIN),
    "copied": Situation(copied, *PLAIN),
    "renumbered": Situation(renumbered, *PLAIN),
    "jitter": Situation(jitter, *PLAIN),
    "oblique": Situation(oblique, *PLAIN),
    "shuffled": Situation(shuffled, *PLAIN),
    "of_one_frame": Situation(of_one_frame, *PLAIN),
    "concatenation": Situation(concatenation, *PLAIN),
    "phases": Situation(phases(TemporalPositionIdentifier=(1, 2, 3)), (SOUND,) * 3, (19,) * 3, 3),
    "echoes": Situation(phases(EchoTime=(4, 8, 100)), (SOUND,) * 3, (19,) * 3, 3),
    "times": Situation(phases(AcquisitionTime=("120000", "120100", "120200")), (SOUND,) * 3, (19,) * 3, 3),
    "shifted": Situation(
        shifted, (SOUND, volume_ml([depth + GAP_MM / 2 for depth in DEPTHS_MM])), (19, 19), 2
    ),
    "two_passes": Situation(two_passes, (SOUND,) * 3, (19,) * 3, 3),
    "retaken": Situation(retaken, (SOUND, None), (19, 1), 2, flags=frozenset({"one_slice"})),
    "unmarked": Situation(phases(), (SOUND,) * 3, (19,) * 3, 3),
    "diffusion": Situation(diffusion, (SOUND,) * 2, (19,) * 2, 2),
    "localiser": Situation(localiser, (SOUND, None), (19, 2), 2, flags=frozenset({"not_axial"})),
    "another_size": Situation(another_size, (SOUND, None), (19, 1), 2, flags=frozenset({"one_slice"})),
    "holes": Situation(
        lambda study: study.volume(HOLES), (volume_ml(HOLES),), (16,), 1, flags=frozenset({"missing_slices"})
    ),
    "uneven": Situation(
        lambda study: study.volume(UNEVEN),
        (volume_ml(UNEVEN),),
        (23,),
        1,
        flags=frozenset({"uneven_spacing"}),
    ),
    "partial": Situation(enlarged, (None,), (14,), 1, flags=END),
    "damaged": Situation(
        damaged,
        (volume_ml([depth for depth in DEPTHS_MM if depth != 0.0]),),
        (18,),
        1,
        ("truncated",),
        frozenset({"rejected_slices", "missing_slices"}),
    ),
    "conflict": Situation(conflict, *PLAIN, ("conflict",)),
    "no_position": Situation(
        lambda study: study.volume(ImagePositionPatient=None),
        (None,),
        (19,),
        0,
        flags=LOST,
    ),
    "one_position": Situation(
        lambda study: study.volume(ImagePositionPatient=[0, 0, 0]),
        (None,),
        (19,),
        0,
        flags=LOST,
    ),
    "no_spacing": Situation(lambda study: study.volume(PixelSpacing=None), (None,), (19,), 0, flags=LOST),
    "computed_tomography": Situation(
        lambda study: study.volume(Modality="CT"), (None,), (19,), 0, flags=frozenset({"out_of_scope"})
    ),
}


@dataclass(frozen=True)
class Streamed:
    """A run over all situations at once."""

    summary: Summary
    results: Path
    site: Site
    letters: list[Letter]

    def document(self, name: str, patient: str = "") -> dict[str, Any]:
        study = Study(Path(), name)
        person = patient or name
        series = self.site.series(f"ID-{person}", f"case^{person}", "", study.uid("study"), study.series)
        text = (self.results / series.hex()[:16] / "measurements.json").read_text()
        found: dict[str, Any] = json.loads(text)
        return found


def stream(
    settings: Settings, keys: Path, index: Path, results: Path, where: Devices
) -> Graph[Located, Entries]:
    """The product's stream with a segmenter that needs no weights; a run states those of the product."""
    weights = describe(settings.segment.weights).digest
    return (
        Graph.of(Ingest(settings.ingest, keys))
        .then(Threshold())
        .beside(Graph.of(Deliver(settings.deliver, results, keys, "", settings.ingest)), join=Segmented.join)
        .gather(narrow=features, join=Features.join)
        .then(Encrypt(settings.encrypt, keys, where.encrypt))
        .then(Append(settings.index, index, keys, bytes.fromhex(weights)))
    )


class Quiet:
    """A watcher that shows nothing."""

    def update(self, *_: object) -> None:
        """See ``Watcher``."""


def streamed_once(source: Path, keys: Path, work: Path, engine: str) -> Summary:
    """One run of the product over a folder, into ``work``."""
    settings = load(
        None, {"run": {"engine": engine, "device": "cpu"}, "ingest": {"batch": 32}, "flow": {"hops": []}}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.run.run.stream", stream)
        return run(Job((str(source),), work / "index", work / "results", keys, settings), Quiet())


@pytest.fixture(scope="module", params=["local", pytest.param("ray", marks=pytest.mark.cluster)])
def streamed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Streamed:
    folder = tmp_path_factory.mktemp("situations")
    for name, situation in SITUATIONS.items():
        situation.make(Study(folder / "source", name))
    for name in ("first", "second"):  # two patients under one series UID
        both = Study(
            folder / "source" / name,
            "two_patients",
            {"PatientID": f"ID-{name}", "PatientName": f"Case^{name}"},
        )
        radius = 18.0 if name == "first" else 12.0
        for number, depth in enumerate(DEPTHS_MM, 1):
            both.slice(depth, number, uid=both.uid(name, number), image=ball(depth, radius))
    keys = folder / "keys"
    new_keys(keys, None)
    summary = streamed_once(folder / "source", keys, folder, request.param)
    results = folder / "results"
    return Streamed(summary, results, Site(load_site_secret(keys)), read(results))


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_situation_comes_out_right(streamed: Streamed, name: str) -> None:
    """Volumes, slices, segmentations, letters and flags, each as the table states."""
    right = SITUATIONS[name]
    document = streamed.document(name)
    masks = document["masks"]
    assert tuple(len(mask["slices"]) for mask in masks) == right.slices
    for mask, volume in zip(masks, right.volumes, strict=True):
        if volume is not None:
            assert mask["volume_ml"] == pytest.approx(volume, rel=1e-3)
    segs = [mask for mask in masks if mask["file"].endswith(".dcm")]
    assert len(segs) == right.segs
    told = [letter.reason for letter in streamed.letters if f"/{name}/" in letter.path]
    assert sorted(told) == sorted(right.letters)
    flags = {flag["flag"] for flag in document["flags"]}
    assert right.flags <= flags
    if not right.flags:
        assert flags == set()


@pytest.mark.parametrize("name", ["sound", "concatenation", "oblique", "shuffled", "holes", "diffusion"])
def test_a_segmentation_has_the_voxels_of_the_phantom(streamed: Streamed, name: str) -> None:
    """Every frame at its place."""
    folder = streamed.results / streamed.document(name)["series"]
    for mask in streamed.document(name)["masks"]:
        seg = dcmread(folder / mask["file"])
        voxels = int(np.asarray(seg.pixel_array).sum())
        depths = HOLES if name == "holes" else DEPTHS_MM
        assert voxels == sum(int((ball(depth) == BRIGHT).sum()) for depth in depths)


def test_two_patients_under_one_series_uid_are_two_results(streamed: Streamed) -> None:
    """Neither replaces the other."""
    volumes = [streamed.document("two_patients", name)["volume_ml"] for name in ("first", "second")]
    assert volumes == [pytest.approx(SOUND, rel=1e-3), pytest.approx(volume_ml(radius_mm=12.0), rel=1e-3)]


def test_a_localiser_does_not_hide_the_volume(streamed: Streamed) -> None:
    """The series' volume is that of the slices that were planned on it."""
    assert streamed.document("localiser")["volume_ml"] == pytest.approx(SOUND, rel=1e-3)
    assert streamed.document("phases")["volume_ml"] is None


def test_the_sum_comes_out(streamed: Streamed) -> None:
    """Every frame is indexed, a copy or a letter."""
    summary = streamed.summary
    assert summary.frames == summary.indexed + summary.already_indexed + summary.rejected
    assert summary.copies == 3
    assert summary.rejected == 2
    assert summary.undelivered == 0


def test_what_a_person_should_look_at_is_counted(streamed: Streamed) -> None:
    """In the summary, beside what is out of scope."""
    reviewed = sum(streamed.document(name)["review"] for name in SITUATIONS)
    assert streamed.summary.series_to_review == reviewed >= 7
    assert streamed.summary.out_of_scope == 1


def test_every_volume_is_the_ball_s() -> None:
    """The truth itself: slices of three millimetres tell the analytic volume to a hundredth."""
    assert pytest.approx(4 / 3 * math.pi * 18**3 / 1000, rel=0.01) == SOUND
    assert GAP_MM == 3.0


def test_late_slices_complete_the_result_of_an_earlier_run(tmp_path: Path) -> None:
    """They come in another folder; the files of the first run are still where they were."""
    new_keys(tmp_path / "keys", None)
    first, late = Study(tmp_path / "first", "same"), Study(tmp_path / "late", "same")
    for row, depth in enumerate(DEPTHS_MM, 1):
        (first if row % 3 else late).slice(depth, row)
    streamed_once(first.folder, tmp_path / "keys", tmp_path, "local")
    (before,) = documents(tmp_path / "results")
    assert before["review"]
    summary = streamed_once(late.folder, tmp_path / "keys", tmp_path, "local")
    (after,) = documents(tmp_path / "results")
    assert (after["version"], after["slices"], after["review"]) == (2, 19, False)
    assert after["volume_ml"] == pytest.approx(SOUND, rel=1e-3)
    assert (summary.indexed, summary.already_indexed) == (6, 13)


def test_a_part_of_a_series_does_not_replace_the_whole(tmp_path: Path) -> None:
    """The files of the first run are gone: what is left is written beside its result, and says so."""
    new_keys(tmp_path / "keys", None)
    whole, part = Study(tmp_path / "whole", "same"), Study(tmp_path / "part", "same")
    whole.volume()
    for row, depth in enumerate(DEPTHS_MM, 1):
        if row % 3:
            part.slice(depth, row)
    streamed_once(whole.folder, tmp_path / "keys", tmp_path, "local")
    held = {path: path.read_bytes() for path in (tmp_path / "results").glob("*/*")}
    shutil.rmtree(whole.folder)
    summary = streamed_once(part.folder, tmp_path / "keys", tmp_path, "local")
    assert {path: path.read_bytes() for path in held} == held
    (beside,) = (tmp_path / "results").glob("*/version-2/measurements.json")
    assert "fewer_slices" in {flag["flag"] for flag in json.loads(beside.read_text())["flags"]}
    assert (summary.indexed, summary.already_indexed, summary.series_to_review) == (0, 13, 1)


def documents(results: Path) -> list[dict[str, Any]]:
    """The current result of each series."""
    return [json.loads(path.read_text()) for path in sorted(results.glob("*/measurements.json"))]


@pytest.mark.parametrize("seed", range(3))
def test_the_same_images_give_the_same_bytes(tmp_path: Path, seed: int) -> None:
    """Whatever folders they lie in, whatever they are called and numbered, however often copied."""
    rng = np.random.default_rng(seed)
    new_keys(tmp_path / "keys", None)
    plain, odd = Study(tmp_path / "plain", "same"), Study(tmp_path / "odd", "same")
    plain.volume()
    for row, depth in enumerate(DEPTHS_MM, 1):
        name = f"{'abc'[rng.integers(3)]}/{rng.integers(10**6)}"
        path = odd.slice(depth, int(rng.integers(100)), name, uid=odd.uid(row))
        for copy in range(int(rng.integers(2))):
            shutil.copy(path, path.with_name(f"{rng.integers(10**6)}-{copy}"))
    made = []
    for study in (plain, odd):
        work = tmp_path / f"{study.folder.name}-out"
        streamed_once(study.folder, tmp_path / "keys", work, "local")
        made.append({path.name: path.read_bytes() for path in (work / "results").glob("*/*")})
    assert {"seg.dcm", "overlay.png", "measurements.json"} == made[0].keys() == made[1].keys()
    assert [name for name, held in made[0].items() if made[1][name] != held] == []
