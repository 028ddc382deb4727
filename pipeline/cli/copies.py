"""Copies of the log, to object storage and from there. No secret, no torch."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import Directory, Json, emit, stderr
from pipeline.cli.proofs import log_keys

Uri = Annotated[
    str,
    typer.Argument(
        metavar="URI", help="s3://BUCKET/PREFIX?region=…, gs://…, abfs://…, file:///…, or a folder's path."
    ),
]

_EVERY_S = 5.0


def push(directory: Directory, uri: Uri, as_json: Json = False) -> None:
    """Copy the published log to object storage; only new objects are sent.

    Readers of the copy see the old log or the new one, never a mixture. Records that were erased here are
    removed there. The signing key is never sent. Credentials come from the environment, such as
    AWS_ACCESS_KEY_ID.

    Example: medsecure index push index/ s3://bucket/index?region=eu-central-1
    """
    from stages.index.copies.bucket import open_store
    from stages.index.copies.push import push as push_log

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
        Path | None,
        typer.Option("--key", help="The log's public keys, checkpoint.pub, from a trusted place."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Fetch a log from object storage into a folder, and check it on the way.

    A log that does not continue the one in the folder is refused. Without --key, the first pull trusts the
    public keys that the copy has.

    Example: medsecure index pull s3://bucket/index?region=eu-central-1 copy/ --key checkpoint.pub
    """
    from stages.index.copies.bucket import open_store
    from stages.index.copies.pull import pull as pull_log

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
        typer.echo(f"{directory / 'checkpoint.pub'} is not verified: compare it with the original log's file")


class Lines:
    """Progress on stderr: a line every few seconds."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._shown_s = time.monotonic()

    def __call__(self, done: int, total: int, size: int) -> None:
        """Show how many objects and bytes are done."""
        if time.monotonic() - self._shown_s >= _EVERY_S:
            self._shown_s = time.monotonic()
            text = f"{done:,} of {total:,} objects {self._verb} · {size / 1e6:,.0f} MB"
            stderr().print(text, soft_wrap=True)
