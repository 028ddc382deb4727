"""What a run checks before anything starts."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from actors.crew import Crew
from pipeline.config import Settings, load
from pipeline.engine.graph import Hops
from pipeline.run import run as module
from pipeline.run.job import Job, JobError
from pipeline.run.preflight import CHECKS, check, exists
from pipeline.run.run import run
from stages.encrypt.keys.folder import new_keys
from stages.encrypt.keys.rotation import export_public, rotate
from stages.encrypt.keys.workers import revoke_worker
from stages.encrypt.public.folder import load_public
from stages.errors import RefusedError
from tests.pipeline.queries.encrypted import append


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A run into an index that holds records of its keys."""
    (tmp_path / "in" / "deeper").mkdir(parents=True)
    (tmp_path / "in" / "deeper" / "a.dcm").write_bytes(b"anything")
    new_keys(tmp_path / "keys", None)
    append(tmp_path / "index", tmp_path / "keys", [2, 1])
    folders = (tmp_path / "index", tmp_path / "results", tmp_path / "keys")
    return Job((str(tmp_path / "in"),), *folders, load(None, {}))


def test_a_source_without_any_file_is_refused_by_its_name(job: Job, tmp_path: Path) -> None:
    """A mount that is missing looks like this: exit code 2, and not an empty result."""
    (tmp_path / "empty" / "of" / "files").mkdir(parents=True)
    (tmp_path / "empty" / "again").symlink_to(tmp_path / "empty")
    for sources in ((str(tmp_path / "empty"),), (*job.sources, str(tmp_path / "empty"))):
        with pytest.raises(JobError, match=r"the source \S+/empty is empty"):
            check(replace(job, sources=sources))


def test_a_rotated_key_goes_on_with_its_index(job: Job) -> None:
    """Before and after there are records of both generations."""
    check(job)
    rotate(job.keys, None)
    check(job)
    append(job.index, job.keys, [2], seed=9)
    check(job)


def test_a_bundle_from_before_the_rotation_is_refused_afterwards(job: Job, tmp_path: Path) -> None:
    """A worker that was not given the new bundle would go on under the retired key."""
    old = tmp_path / "old"
    shutil.copytree(job.keys, old)
    rotate(job.keys, None)
    append(job.index, job.keys, [2], seed=9)
    stale = Job(job.sources, job.index, job.results, old, job.settings)
    with pytest.raises(JobError, match="the index holds records of key"):
        check(stale)


@pytest.mark.parametrize("name", ["site.key", "worker.key"])
def test_a_key_that_a_worker_needs_is_missed_before_anything_starts(job: Job, name: str) -> None:
    """Not when the first image is read or the first record signed."""
    (job.keys / "site" / name).unlink()
    with pytest.raises(JobError, match=name.replace(".", r"\.")):
        check(job)


def test_unrelated_keys_are_refused_wherever_their_records_are(job: Job, tmp_path: Path) -> None:
    """Also when the first block is one's own."""
    new_keys(tmp_path / "other", None)
    append(job.index, tmp_path / "other", [1], seed=9)
    with pytest.raises(JobError, match="the index holds records of key"):
        check(job)


def test_an_exported_bundle_beside_the_sites_keys_is_enough(job: Job, tmp_path: Path) -> None:
    """What a worker's machine needs: what is public, site.key, worker.key."""
    site = tmp_path / "site"
    export_public(job.keys, site)
    for name in ("site.key", "worker.key"):
        shutil.copy2(job.keys / "site" / name, site / name)
    check(Job(job.sources, job.index, job.results, site, job.settings))


def test_a_revoked_worker_starts_no_run(job: Job) -> None:
    """It would encrypt everything for nothing: the index takes none of its blocks."""
    (worker,) = load_public(job.keys).workers
    revoke_worker(job.keys, worker, None)
    with pytest.raises(JobError, match=f"does not name its worker.key, {worker[:16]}: it was revoked"):
        check(job)


def test_a_run_remembers_the_newest_bundle(job: Job, tmp_path: Path) -> None:
    """From then on the site refuses the one from before, although its owner signed it."""
    old, home = job.keys / "site" / "public", tmp_path / "home"
    shutil.copytree(old, tmp_path / "old")
    shutil.copytree(job.keys, home)
    rotate(home, None)
    shutil.copytree(home / "site" / "public", old, dirs_exist_ok=True)
    check(job)
    shutil.copytree(tmp_path / "old", old, dirs_exist_ok=True)
    with pytest.raises(RefusedError, match="number 1, and number 2 was seen here"):
        check(job)


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "there is no source"), ("", "lists no file"), (b"\xff\xfe", "is not UTF-8 text")],
)
def test_a_manifest_is_read_before_anything_starts(
    job: Job, tmp_path: Path, text: str | bytes | None, message: str
) -> None:
    """A missing, empty or binary manifest costs no start-up."""
    manifest = tmp_path / "list.txt"
    if text is not None:
        manifest.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(JobError, match=message):
        check(replace(job, sources=(f"manifest:{manifest}",)))


def test_what_an_interrupted_creation_left_is_no_index(tmp_path: Path) -> None:
    """The next run makes it anew, as where there was no room for it; an index that lost its name is one."""
    for name in ("lock", "signing.key", "checkpoint"):
        (tmp_path / name).touch()
    assert not exists(tmp_path)
    (tmp_path / "segments").mkdir()
    assert exists(tmp_path)


def test_every_check_has_a_name_and_a_sentence() -> None:
    """They are shown to operators."""
    assert len({one.name for one in CHECKS}) == len(CHECKS)
    assert all(one.about.endswith(".") for one in CHECKS)


def test_slices_prepared_otherwise_than_in_training_are_refused(job: Job) -> None:
    """The weights say how; a run that prepares otherwise would segment what the network never saw."""
    settings = load(None, {"preprocess": {"clahe_clip_limit": 0}})
    with pytest.raises(JobError, match=r"preprocess\.clahe_clip_limit 2\.0, the configuration says 0"):
        run(replace(job, settings=settings))


@pytest.mark.slow
def test_the_clock_starts_when_all_stages_are_open(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading weights and keys is no processing time: frames per second leave it out."""
    opened_s = 0.0

    def slowly(settings: Settings, hops: Hops) -> Crew:
        nonlocal opened_s
        crew = make(settings, hops)
        time.sleep(0.5)
        opened_s = time.monotonic()
        return crew

    make = module._crew
    monkeypatch.setattr(module, "_crew", slowly)
    summary = run(replace(job, settings=load(None, {"run": {"engine": "local"}})))
    assert summary.seconds <= time.monotonic() - opened_s
