"""Opens the one writer of an index: lock, recovery, publishing, in this order, and back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

from stages.errors import UnwritableError
from stages.files import make_directory
from stages.index.erase import finish
from stages.index.keeper import KeyKeeper
from stages.index.log.note import NoteSigner
from stages.index.options import IndexOptions
from stages.index.publish import Publisher
from stages.index.recovery import recover
from stages.index.store.blocks import Statements, StoredBlock
from stages.index.store.durable import SYNCS, Fence, locked
from stages.index.store.identity import (
    LOCK,
    STAGING,
    create,
    is_index,
    read_checkpoint,
    read_identity,
    read_signing_keys,
    refuse_foreign,
    refuse_other_model,
)
from stages.index.store.lookup import open_lookup
from stages.index.store.tail import Tail
from stages.index.store.tiles import Tiles
from stages.index.verifier import leaf_hash
from stages.index.writer import Writer

LOCK_WAIT_S: Final = 2.0  # a killed writer's lock goes with its process, which may take a moment


@contextmanager
def open_writer(directory: Path, options: IndexOptions, model: bytes | None = None) -> Iterator[Writer]:
    """The index's writer; the committed remains of an interrupted one are recovered, the others truncated.

    Makes the index. In the end everything is published, unless something failed. ``model`` is the SHA-256 of
    the weights that made the features: from the first time on every checkpoint states it, and another is
    refused.
    """
    with ExitStack() as stack:
        try:
            writer, publisher, fence = _recovered(stack, directory, options, model)
        except (OSError, sqlite3.Error) as error:
            raise UnwritableError(f"{directory} cannot be written: {error}") from error
        keeper = KeyKeeper(directory, publisher)
        publisher.start()
        keeper.start()
        try:
            finish(writer)
            yield writer
        finally:
            keeper.stop()
            publisher.stop()
        if not writer.broken:
            writer.publish()
            fence.check()
            keeper.keep()


def _recovered(
    stack: ExitStack, directory: Path, options: IndexOptions, model: bytes | None
) -> tuple[Writer, Publisher, Fence]:
    """The writer of the recovered index and its publisher, not started; the stack closes what they hold."""
    pool = stack.enter_context(ThreadPoolExecutor(SYNCS))
    refuse_foreign(directory)
    make_directory(directory)
    fence = stack.enter_context(locked(directory / LOCK, LOCK_WAIT_S))
    (directory / STAGING).mkdir(exist_ok=True)  # a copy may lack it: it is empty
    if not is_index(directory):
        create(directory, pool)
    identity, public = read_identity(directory)
    checkpoint, _ = read_checkpoint(directory, public)
    if model is not None:
        refuse_other_model(directory, checkpoint.model, model)
    private = read_signing_keys(directory, public)
    signer = NoteSigner(identity.origin, private, checkpoint.keys, checkpoint.model or model)
    recovered = recover(directory, checkpoint)
    tail = stack.enter_context(closing(Tail(directory, pool, fence)))
    lookup = stack.enter_context(
        closing(open_lookup(directory, Tiles(directory, recovered.edge.size), fence.holds))
    )
    publisher = Publisher(directory, pool, signer, lookup, recovered.edge, fence)
    _take_in(publisher, recovered.tail)
    if signer.model != checkpoint.model:
        publisher.restate(signer.keys)  # before the first record: a killed run's are this model's
    return Writer(directory, options, pool, fence, recovered.head, tail, lookup, publisher), publisher, fence


def _take_in(publisher: Publisher, tail: Iterable[StoredBlock | Statements]) -> None:
    """Publish what was committed after the checkpoint."""
    for block in tail:
        entries = block.entries()
        hashes = [leaf_hash(entry) for entry in entries]
        publisher.add(entries, hashes, block.keys if isinstance(block, StoredBlock) else ())
    publisher.publish()
