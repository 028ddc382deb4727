"""What can be known to fail before anything starts: a table of small checks, cheapest first."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from pipeline.run.job import Job, JobError
from stages.encrypt.keys.site import load_site_secret
from stages.encrypt.keys.worker import load_signer
from stages.encrypt.public.bundle import worker_id
from stages.encrypt.public.folder import PublicKeys, load_public
from stages.encrypt.public.layout import site_folder
from stages.encrypt.public.pin import read_bundle, remember
from stages.errors import OperatorError, RefusedError
from stages.files import make_directory
from stages.index.copies.bucket import refuse_secret
from stages.index.reader import open_reader
from stages.index.stats import stats
from stages.index.store.durable import check_free
from stages.index.store.identity import UNFINISHED, refuse_other_model
from stages.ingest.sources.manifest import check as check_manifest
from stages.ingest.sources.opening import location, manifests
from stages.segment.checkpoint import WeightsInfo, describe


class Given:
    """What the checks read: the job, and the files that several of them need, each read once."""

    def __init__(self, job: Job) -> None:
        self.job = job

    @cached_property
    def public(self) -> PublicKeys:
        """The public bundle. Raises KeyFileError."""
        return load_public(self.job.keys)

    @cached_property
    def weights(self) -> WeightsInfo:
        """The description and the digest of the weights. Raises WeightsError."""
        return describe(self.job.settings.segment.weights)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a run needs. ``run`` raises OperatorError, one sentence, if the check fails."""

    name: str
    about: str
    run: Callable[[Given], None]


def check(job: Job) -> None:
    """Run every check. Raises JobError at the first that fails, RefusedError where it is a bundle."""
    given = Given(job)
    for one in CHECKS:
        try:
            one.run(given)
        except (JobError, RefusedError):
            raise
        except OperatorError as error:
            raise JobError(str(error)) from error


def _sources(given: Given) -> None:
    for source in given.job.sources:
        where = location(source)
        if not where.exists():
            raise JobError(f"there is no source {where}")
        if where.is_dir() and not _holds_a_file(where):
            raise JobError(f"the source {where} is empty: it holds no file, nor does a folder in it")
    for manifest in manifests(given.job.sources):
        check_manifest(manifest)


def _holds_a_file(folder: Path) -> bool:
    """Whether there is one below, or a folder that cannot be listed, which the scan then names."""
    waiting, seen = [os.path.realpath(folder)], set()
    while waiting:
        here = waiting.pop()
        if here in seen:
            continue
        seen.add(here)
        try:
            with os.scandir(here) as found:
                for entry in found:
                    if not entry.is_dir():
                        return True
                    waiting.append(os.path.realpath(entry.path))
        except OSError:
            return True
    return False


def _folders(given: Given) -> None:
    """No output folder lies inside an input: the index may be given away."""
    job = given.job
    sources = tuple(location(source) for source in job.sources)
    for name, folder in {"results": job.results, "index": job.index}.items():
        others = {"source": sources, "keys": (job.keys,), "index": (job.index,), "results": (job.results,)}
        for kind, paths in others.items():
            for path in paths:
                if kind != name and folder.resolve().is_relative_to(path.resolve()):
                    raise JobError(
                        f"the {name} folder {folder} lies inside the {kind} {path}: choose another"
                    )
        _writable(name, folder)


def _writable(name: str, folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise JobError(f"the {name} folder {folder} is a file")
    try:
        make_directory(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise JobError(f"cannot write to {folder}: {error.strerror}") from error


def _no_secret_in_storage(given: Given) -> None:
    if given.job.settings.index.objects is not None:
        refuse_secret(given.job.settings.index.objects)


def _keys(given: Given) -> None:
    _ = given.public
    remember(site_folder(given.job.keys), read_bundle(given.job.keys))
    load_site_secret(given.job.keys)
    worker = worker_id(load_signer(given.job.keys).public).hex()
    if worker not in given.public.workers:
        raise JobError(
            f"the bundle in {given.job.keys} does not name its worker.key, {worker[:16]}: it was revoked or "
            "never added, so run 'medsecure keys add-worker' where the owner's key is"
        )


def _recipe(given: Given) -> None:
    given.weights.refuse_other_recipe(given.job.settings.preprocess)


def _index_is_free(given: Given) -> None:
    if exists(given.job.index):
        check_free(given.job.index)


def _index_owner(given: Given) -> None:
    """Other keys would index every image again, under pseudonyms and for an owner of their own.

    Earlier generations of the same owner are no other keys.
    """
    if not exists(given.job.index):
        return
    public = given.public
    own = {key_id.hex() for key_id in (public.key_id, *public.earlier)}
    theirs = [key_id for key_id in stats(given.job.index).key_ids if key_id not in own]
    if theirs:
        raise JobError(
            f"the index holds records of key {theirs[0][:16]}, these keys are {public.key_id.hex()[:16]}: "
            "give the keys it was made with, or another --index"
        )


def _index_model(given: Given) -> None:
    index = given.job.index
    if exists(index):
        refuse_other_model(index, open_reader(index).model, bytes.fromhex(given.weights.digest))


def exists(index: Path) -> bool:
    """Whether there is an index, or what remains of one; an interrupted creation leaves none."""
    return any(path.name not in UNFINISHED for path in index.glob("*"))


CHECKS: Final = (
    Check("sources", "Every source is there and holds something.", _sources),
    Check("folders", "Results and index can be written, and no folder lies inside another.", _folders),
    Check(
        "storage", "The address of the copy holds no secret, since it is written down.", _no_secret_in_storage
    ),
    Check(
        "keys", "The owner vouches for the bundle, which names the worker; the site key can be read.", _keys
    ),
    Check("weights", "The weights can be read and fit the preprocessing.", _recipe),
    Check("index free", "No other process writes the index.", _index_is_free),
    Check("index owner", "The index is of these keys.", _index_owner),
    Check("index model", "The index is of these weights.", _index_model),
)
