"""A copy of the log in object storage, and from there. No secret, no torch."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import Directory, Json, emit, stderr
from pipeline.cli.proofs import log_keys
from stages.index.copies.bucket import open_store
from stages.index.copies.pull import pull as pull_log
from stages.index.copies.push import push as push_log

Uri = Annotated[
    str,
    typer.Argument(
        metavar="URI", help="s3://BUCKET/PREFIX?region=…, gs://…, abfs://…, file:///…, or a folder's path."
    ),
]

_EVERY_S = 5.0


def push(directory: Directory, uri: Uri, as_json: Json = False) -> None:
    """Copy the published log to object storage; what is there already is not sent again.

    Readers there see the old log or the new one. What was erased here is removed there. The signing key is
    never sent. Credentials come from the environment: AWS_ACCESS_KEY_ID and so on.

    Example: medsecure index push index/ s3://bucket/index?region=eu-central-1
    """
    store = open_store(uri)
    done = push_log(directory, store, Lines("sent"))
    if as_json:
        emit({**asdict(done), "root": done.root.hex()})
    else:
        since = "" if done.size_before is None else f", {done.size_before:,} before"
        typer.echo(
            f"{store}: {done.size:,} entries{since}, root {done.root.hex()}: "
            f"{done.objects:,} objects of {done.bytes:,} bytes sent, {done.removed:,} removed"
        )


def pull(
    uri: Uri,
    directory: Directory,
    key: Annotated[
        Path | None, typer.Option("--key", help="The log's public keys, checkpoint.pub, from whom you trust.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Bring a log from object storage into a folder to verify, search and prove; checked as it comes.

    A log that does not continue what the folder has is refused. The first time, without --key, the keys there
    are taken on trust.

    Example: medsecure index pull s3://bucket/index?region=eu-central-1 copy/ --key checkpoint.pub
    """
    store = open_store(uri)
    done = pull_log(store, directory, None if key is None else log_keys([key]), Lines("fetched"))
    if as_json:
        emit({**asdict(done), "root": done.root.hex()})
        return
    since = "" if done.size_before is None else f", {done.size_before:,} before"
    typer.echo(
        f"{directory}: {done.size:,} entries{since}, root {done.root.hex()}: "
        f"{done.objects:,} objects of {done.bytes:,} bytes fetched"
    )
    if key is None and done.size_before is None:
        typer.echo(f"{directory / 'checkpoint.pub'} was taken on trust: compare it with the log's own")


class Lines:
    """Progress on stderr: a plain line now and then."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._told_s = time.monotonic()

    def __call__(self, done: int, total: int, size: int) -> None:
        """So many of so many objects, and bytes."""
        if time.monotonic() - self._told_s >= _EVERY_S:
            self._told_s = time.monotonic()
            text = f"{done:,} of {total:,} objects {self._verb} · {size / 1e6:,.0f} MB"
            stderr().print(text, soft_wrap=True)
