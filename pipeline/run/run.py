"""One run of the stream: checks before it starts, bookkeeping while it runs, the proof at its end."""

from __future__ import annotations

import json
import signal
import tempfile
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch

from actors.crew import manned
from actors.ray_crew import RayCrew
from actors.thread_crew import ThreadCrew
from cluster.session import session
from pipeline.engine.graph import GraphError
from pipeline.engine.pump import Pump
from pipeline.run.books import Books, Watcher
from pipeline.run.job import Job, JobError
from pipeline.stream import stream
from stages.encrypt.keys.site import load_site_secret
from stages.encrypt.keys.worker import load_signer
from stages.encrypt.public.folder import load_public
from stages.encrypt.public.keyfiles import KeyFileError
from stages.files import make_directory, write_whole
from stages.index.copies.bucket import refuse_secret
from stages.index.errors import IndexStoreError
from stages.index.reader import open_reader
from stages.index.session import open_writer
from stages.index.stats import stats
from stages.index.store.durable import check_free
from stages.index.store.identity import refuse_other_model
from stages.segment.checkpoint import WeightsError, describe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import FrameType

    from actors.crew import Crew
    from pipeline.config import Settings
    from pipeline.engine.graph import Hops
    from pipeline.run.summary import Summary
    from stages.encrypt.public.folder import PublicKeys


def run(job: Job, watcher: Watcher) -> Summary:
    """Stream all sources; the summary is also written as ``summary.json`` in the results folder.

    Raises JobError before anything has started, SessionError and StageFailed where the engine fails, also
    where a stage cannot be closed in order: what it still had to write may be missing.
    SIGINT and SIGTERM drain the stream; a second one interrupts it.
    """
    check(job)
    _take_in(job)
    before = index_size(job.index)
    with ExitStack() as stack:
        books = stack.enter_context(Books(job, before))
        gpus = stack.enter_context(_compute(job.settings))
        hops = _hops(job, _device(job.settings, gpus))
        crew = stack.enter_context(manned(_crew(job.settings, hops)))
        pump = Pump(hops, crew, job.settings.flow)
        stack.enter_context(_drained_by_signals(pump))
        books.tally.start()
        for event in pump.run(books.source()):
            books.book(event)
            if books.due():
                books.show(pump.queued(), watcher)
        books.show(pump.queued(), watcher)
        stopped = pump.stopped
    return _close(job, books, before, complete=not stopped)


def check(job: Job) -> None:
    """Everything that can be known to fail before anything starts. Raises JobError."""
    _check_folders(job)
    try:
        if job.settings.index.objects is not None:
            refuse_secret(job.settings.index.objects)  # before the options are written down
        public = load_public(job.keys)
        load_site_secret(job.keys)
        load_signer(job.keys)
        weights = describe(job.settings.segment.weights)
        weights.refuse_other_recipe(job.settings.preprocess)
        if any(job.index.glob("*")):
            check_free(job.index)
            _check_owner(job.index, public)
            stated = open_reader(job.index).model
            refuse_other_model(job.index, stated, bytes.fromhex(weights.digest))
    except (KeyFileError, WeightsError, IndexStoreError) as error:
        raise JobError(str(error)) from error


def _check_folders(job: Job) -> None:
    """Folders that can be written and hold nothing of one another: the index may be given away."""
    for source in job.sources:
        if not source.exists():
            raise JobError(f"there is no source {source}")
    made = {"results": job.results, "index": job.index}
    for name, folder in made.items():
        others = {
            "source": job.sources,
            "keys": (job.keys,),
            "index": (job.index,),
            "results": (job.results,),
        }
        for kind, paths in others.items():
            for path in paths:
                if kind != name and folder.resolve().is_relative_to(path.resolve()):
                    raise JobError(
                        f"the {name} folder {folder} lies inside the {kind} {path}: choose another"
                    )
        if folder.exists() and not folder.is_dir():
            raise JobError(f"the {name} folder {folder} is a file")
        try:
            make_directory(folder)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise JobError(f"cannot write to {folder}: {error.strerror}") from error


def _check_owner(index: Path, public: PublicKeys) -> None:
    """Other keys would index every image again, under pseudonyms and for an owner of their own.

    Earlier generations of the same owner are no other keys.
    """
    own = {key_id.hex() for key_id in (public.key_id, *public.earlier)}
    theirs = [key_id for key_id in stats(index).key_ids if key_id not in own]
    if theirs:
        raise JobError(
            f"the index holds records of key {theirs[0][:16]}, these keys are {public.key_id.hex()[:16]}: "
            "give the keys it was made with, or another --index"
        )


def _take_in(job: Job) -> None:
    """Publish what a killed run committed and did not live to publish: the sum counts from there."""
    if any(job.index.glob("*")):
        with open_writer(job.index, job.settings.index):
            pass


def index_size(index: Path) -> int:
    """Records in an index, also those erased since; 0 where there is none yet."""
    return open_reader(index).records if any(index.glob("*")) else 0


def _close(job: Job, books: Books, before: int, *, complete: bool) -> Summary:
    records, size, root = 0, 0, None
    if any(job.index.glob("*")):
        reader = open_reader(job.index)
        records, size, root = reader.records, reader.size, reader.root.hex()
    summary = books.tally.summary(records - before, {"size": size, "root": root}, complete=complete)
    write_whole(job.results / "summary.json", json.dumps(summary.as_json(), indent=2).encode() + b"\n")
    return summary


@contextmanager
def _compute(settings: Settings) -> Iterator[int]:
    """The engine's session; yields how many GPUs it has."""
    if settings.run.engine == "local":
        yield torch.cuda.device_count()
        return
    with session(settings.run.address, settings.flow.object_store_bytes) as gpus:
        yield gpus


def device_here(settings: Settings) -> str:
    """The device for work in this very process. Raises JobError where the one asked for is not there."""
    return _device(settings, torch.cuda.device_count())


def _device(settings: Settings, gpus: int) -> str:
    wanted = settings.run.device
    if wanted == "cuda" and not gpus:
        raise JobError("--device cuda was asked for but there is no CUDA device")
    return "cuda" if wanted != "cpu" and gpus else "cpu"


def _hops(job: Job, device: str) -> Hops:
    flow = job.settings.flow
    graph = stream(job.settings, job.keys, job.index, job.results, device)
    try:
        return graph.hops(flow.hops, flow.replicas, on_gpu=("segment", "encrypt") if device == "cuda" else ())
    except GraphError as error:
        raise JobError(f"flow: {error}") from error


def _crew(settings: Settings, hops: Hops) -> Crew:
    return ThreadCrew(hops.legs()) if settings.run.engine == "local" else RayCrew(hops.legs())


@contextmanager
def _drained_by_signals(pump: Pump) -> Iterator[None]:
    """First signal: take nothing more and finish what is in flight. Second: as without us."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    def drain(_number: int, _frame: FrameType | None) -> None:
        pump.stop()
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in signals:
        signal.signal(number, drain)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
