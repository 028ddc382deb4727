"""Verification: hash everything again, from the ciphertext up to the signature, and name what is wrong.

A good report proves that the index holds the bytes its log committed to, every one of them, and that the
log's key signed their root. It does not prove that the log was never rolled back or forked: for that,
compare checkpoints over time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from stages.index.check.compare import Finding
from stages.index.check.walk import audit
from stages.index.errors import DamagedError, NotAnIndexError
from stages.index.store.identity import (
    CHECKPOINT,
    IDENTITY,
    PUBLIC_KEY,
    SIGNING_KEY,
    is_index,
    read_checkpoint,
    read_identity,
    read_public_keys,
    read_signing_keys,
)
from stages.index.store.keytree_file import rebuilt
from stages.index.store.tiles import Tiles
from stages.index.verifier import Checkpoint, LogKey

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Report:
    """What was found. Size and root are the checkpoint's; 0 and empty where it cannot be trusted."""

    ok: bool
    size: int
    root: bytes
    errors: tuple[Finding, ...]


def verify(path: Path, keys: tuple[LogKey, ...] | None = None) -> Report:
    """Check every committed byte, under the given public keys or else under the index's own."""
    if not is_index(path):
        raise NotAnIndexError(f"{path} is not an index: it has no {IDENTITY}")
    findings: list[Finding] = []
    checkpoint = _identity(path, keys, findings)
    if checkpoint is None:  # without it there is nothing to compare the log with
        return Report(ok=False, size=0, root=b"", errors=tuple(findings))
    findings += audit(path, checkpoint) or _key_tree(path, checkpoint)
    return Report(not findings, checkpoint.size, checkpoint.root, tuple(findings))


def _identity(path: Path, expected: tuple[LogKey, ...] | None, findings: list[Finding]) -> Checkpoint | None:
    """Check the small files; the checkpoint, if its signature is right."""
    own = _attempt(lambda: read_public_keys(path), findings)
    if own is not None:
        _attempt(lambda: read_identity(path), findings)
        if (path / SIGNING_KEY).exists():  # a published copy has none
            with suppress(PermissionError):  # an auditor need not be able to read it
                _attempt(lambda: read_signing_keys(path, own), findings)
        if expected not in (None, own):
            findings.append(Finding(None, None, PUBLIC_KEY, "is not the expected one"))
    keys = expected or own
    if keys is None:
        return None
    return _attempt(lambda: read_checkpoint(path, keys)[0], findings)


def _key_tree(path: Path, checkpoint: Checkpoint) -> list[Finding]:
    """Whether the signed key tree is that of the records, which are what they should be."""
    signed = checkpoint.keys
    if signed is None or rebuilt(Tiles(path, signed.size)).root == signed.root:
        return []
    reason = f"signs key tree {signed.root.hex()}, which is not that of its first {signed.size} records"
    return [Finding(None, None, CHECKPOINT, reason)]


def _attempt(read: Callable[[], T], findings: list[Finding]) -> T | None:
    try:
        return read()
    except DamagedError as error:
        findings.append(Finding(None, None, error.file, error.reason))
    except NotAnIndexError as error:
        findings.append(Finding(None, None, IDENTITY, str(error)))
    return None
