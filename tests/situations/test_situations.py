"""What the stream makes of odd series: one table of situations, streamed together, on threads and on Ray."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from pipeline.config import load
from pipeline.run.dead_letters import Letter, read
from pipeline.run.job import Job
from pipeline.run.run import run
from pipeline.run.summary import Summary
from stages.encrypt.keys.folder import new_keys
from stages.encrypt.keys.site import load_site_secret
from stages.ingest.site import Site
from tests.situations.maker import BRIGHT, DEPTHS_MM, GAP_MM, PIXEL_MM, Study, ball, thresholded, volume_ml
from tests.situations.table import HOLES, SITUATIONS, SOUND, side_by_side, two_frames


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


def streamed_once(
    source: Path,
    keys: Path,
    work: Path,
    engine: str = "local",
    more: Mapping[str, Any] | None = None,
    *,
    resume: bool = False,
) -> Summary:
    """One run of the product over a folder, into ``work``, with ``more`` settings."""
    asked = {"run": {"engine": engine, "device": "cpu"}, "ingest": {"batch": 32}, "flow": {"hops": []}}
    settings = load(None, {**asked, **(more or {})})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.run.run.stream", thresholded)
        return run(Job((str(source),), work / "index", work / "results", keys, settings, resume))


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("local", marks=pytest.mark.slow),
        pytest.param("ray", marks=[pytest.mark.slow, pytest.mark.cluster]),
    ],
)
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


@pytest.mark.parametrize("name", ["radial", "many_frames", "no_position", "one_position", "no_spacing"])
def test_what_has_no_volume_states_none(streamed: Streamed, name: str) -> None:
    """Null, and the flag says why."""
    document = streamed.document(name)
    assert {document["volume_ml"], *(mask["volume_ml"] for mask in document["masks"])} == {None}


def test_the_sum_comes_out(streamed: Streamed) -> None:
    """Every frame is indexed, a copy or a letter."""
    summary = streamed.summary
    assert summary.frames == summary.indexed + summary.already_indexed + summary.rejected
    assert summary.copies == 3 + 19  # of copied and fuller_copy
    assert summary.rejected == sum(len(situation.letters) for situation in SITUATIONS.values())
    assert summary.undelivered == 0


def test_what_a_person_should_look_at_is_counted(streamed: Streamed) -> None:
    """In the summary, beside what is out of scope."""
    reviewed = sum(streamed.document(name)["review"] for name in SITUATIONS)
    assert streamed.summary.series_to_review == reviewed >= 7
    assert streamed.summary.out_of_scope == 2


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


def overwritten(study: Study) -> None:
    for number, depth in enumerate(DEPTHS_MM, 1):
        study.slice(depth, number, f"m/{number}.dcm", image=ball(depth, 10.0))


def spread(study: Study) -> None:
    for number, depth in enumerate(DEPTHS_MM, 1):
        study.slice(depth, number, f"m/{number}.dcm", PixelSpacing=[PIXEL_MM / 2, PIXEL_MM / 2])


def moved_and_replaced(study: Study) -> None:
    shutil.rmtree(study.folder / study.name)
    for number, depth in enumerate(DEPTHS_MM, 1):
        study.slice(depth, number, f"a/{number}.dcm", image=ball(depth, 10.0))


def first_by_name(study: Study) -> None:
    for number, depth in enumerate(DEPTHS_MM, 1):
        study.slice(depth, number, f"a/{number}.dcm", image=ball(depth, 10.0))


@pytest.mark.parametrize("change", [overwritten, spread, moved_and_replaced, first_by_name])
def test_what_was_delivered_is_not_replaced_by_another_image(
    tmp_path: Path, change: Callable[[Study], None]
) -> None:
    """Overwritten in place, gone, or beside the new files: each of these is a letter that says since when."""
    new_keys(tmp_path / "keys", None)
    study = Study(tmp_path / "in", "same")
    for number, depth in enumerate(DEPTHS_MM, 1):
        study.slice(depth, number, f"m/{number}.dcm")
    streamed_once(study.folder, tmp_path / "keys", tmp_path)
    change(study)
    summary = streamed_once(study.folder, tmp_path / "keys", tmp_path)
    (document,) = documents(tmp_path / "results")
    assert document["volume_ml"] == pytest.approx(SOUND, rel=1e-3)
    other = sum((ball(depth) != ball(depth, 10.0)).any() for depth in DEPTHS_MM)
    assert summary.rejects_by_reason == {"conflict": len(DEPTHS_MM) if change is spread else other}
    flags = {flag["flag"] for flag in document["flags"]}
    assert flags == ({"conflicting_images"} if change is first_by_name else set())
    assert all("/m/" in letter.detail for letter in read(tmp_path / "results"))


PARTED = {
    "ingest": {"layout": "series-per-folder", "batch": 8},
    "flow": {"hops": [], "replicas": {"deliver": 2}},
}


def test_a_series_that_comes_in_two_units_ends_whole_and_counts_once(tmp_path: Path) -> None:
    """Both are in flight at a time; run again, or resumed, the counts are the same."""
    new_keys(tmp_path / "keys", None)
    for row, depth in enumerate(DEPTHS_MM, 1):
        Study(tmp_path / "in", "same").slice(depth, row, f"{'a' if row % 3 else 'b'}/{row}.dcm")
    for resume in (False, False, True):
        summary = streamed_once(tmp_path / "in", tmp_path / "keys", tmp_path, more=PARTED, resume=resume)
        assert (summary.inputs, summary.frames, summary.rejected) == (19, 19, 0)
        assert (summary.series_to_review, summary.undelivered) == (0, 0)
        assert summary.checkpoint["size"] == 19
        (whole,) = documents(tmp_path / "results")
        assert (whole["version"], whole["slices"], whole["review"]) == (2, 19, False)
        assert whole["volume_ml"] == pytest.approx(SOUND, rel=1e-3)


def test_what_is_rejected_in_two_units_counts_once(tmp_path: Path) -> None:
    """With one letter, also when the run is resumed; a series to review is one."""
    new_keys(tmp_path / "keys", None)
    for row, depth in enumerate(DEPTHS_MM, 1):
        path = Study(tmp_path / "in", "same").slice(depth, row, f"{'a' if row % 3 else 'b'}/{row}.dcm")
        if row in (4, 6):
            path.write_bytes(path.read_bytes()[:-50])
    for resume in (False, True):
        summary = streamed_once(tmp_path / "in", tmp_path / "keys", tmp_path, more=PARTED, resume=resume)
        assert (summary.inputs, summary.frames, summary.rejected) == (19, 19, 2)
        assert summary.series_to_review == (not resume)
        assert summary.rejects_by_reason == ({} if resume else {"truncated": 2})
        assert [Path(letter.path).name for letter in read(tmp_path / "results")] == ["4.dcm", "6.dcm"]


def documents(results: Path) -> list[dict[str, Any]]:
    """The current result of each series."""
    return [json.loads(path.read_text()) for path in sorted(results.glob("*/measurements.json"))]


@pytest.mark.parametrize(
    ("lay", "stacks"),
    [(Study.volume, 0), (side_by_side, 2), (two_frames, 2)],
    ids=["one", "beside", "frames"],
)
def test_the_same_images_give_the_same_bytes(
    tmp_path: Path, lay: Callable[[Study], None], stacks: int
) -> None:
    """Whatever folders they lie in, whatever they are called and numbered, however often copied."""
    rng = np.random.default_rng(stacks)
    new_keys(tmp_path / "keys", None)
    plain, odd = Study(tmp_path / "plain", "same"), Study(tmp_path / "odd", "same")
    for study in (plain, odd):
        lay(study)
    for path in sorted(odd.folder.rglob("*.dcm")):
        image = dcmread(path)
        path.unlink()
        image.InstanceNumber = int(rng.integers(100))
        renamed = odd.folder / "abc"[rng.integers(3)] / f"{rng.integers(10**6)}"
        renamed.parent.mkdir(exist_ok=True)
        image.save_as(renamed)
        for copy in range(int(rng.integers(2))):
            shutil.copy(renamed, renamed.with_name(f"{rng.integers(10**6)}-{copy}"))
    made = []
    for study in (plain, odd):
        work = tmp_path / f"{study.folder.name}-out"
        streamed_once(study.folder, tmp_path / "keys", work, "local")
        files = [path for path in (work / "results").glob("*/**/*") if path.is_file()]
        made.append({str(path.relative_to(work / "results")): path.read_bytes() for path in files})
    assert made[0].keys() == made[1].keys()
    assert sum(name.endswith("seg.dcm") for name in made[0]) == max(stacks, 1)
    assert [name for name, held in made[0].items() if made[1][name] != held] == []
