from __future__ import annotations

from dataclasses import replace

import pytest

from stages.index.errors import ForkedError
from stages.index.log.growth import growth_path
from stages.index.log.tree import range_root
from stages.index.verifier import Checkpoint, KeyRoot, leaf_hash, node_hash, verify_consistency

ENTRIES = [bytes([i]) for i in range(11)]
MODEL, OTHER = b"m" * 32, b"o" * 32


def node(height: int, i: int) -> bytes:
    if not height:
        return leaf_hash(ENTRIES[i])
    return node_hash(node(height - 1, 2 * i), node(height - 1, 2 * i + 1))


def checkpoint(size: int, keys: int | None = None, model: bytes | None = None) -> Checkpoint:
    stated = None if keys is None else KeyRoot(keys, bytes([keys]) * 32)
    return Checkpoint("log", size, range_root(0, size, node), stated, model)


@pytest.mark.parametrize("old", [1, 4, 7, 11])
def test_a_log_that_only_grew_has_a_path(old: int) -> None:
    """It convinces anyone, also where the later checkpoint states more than the earlier one."""
    before, now = checkpoint(old), checkpoint(11, keys=9, model=MODEL)
    assert verify_consistency(old, 11, growth_path(before, now, node), before.root, now.root)
    assert growth_path(checkpoint(old, 3, MODEL), now, node) == growth_path(before, now, node)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (checkpoint(11), checkpoint(7)),
        (replace(checkpoint(7), root=bytes(32)), checkpoint(11)),
        (checkpoint(7), replace(checkpoint(11), root=bytes(32))),
        (replace(checkpoint(11), root=bytes(32)), checkpoint(11)),
    ],
)
def test_a_log_that_shrank_or_changed_is_a_fork(before: Checkpoint, now: Checkpoint) -> None:
    """Both sizes and the root that was seen are named."""
    sentence = rf"log of {now.size} records .* that of {before.size} records with root {before.root.hex()}"
    with pytest.raises(ForkedError, match=sentence):
        growth_path(before, now, node)


@pytest.mark.parametrize(
    ("before", "now", "reason"),
    [
        (checkpoint(7, model=MODEL), checkpoint(11, model=OTHER), "another model"),
        (checkpoint(7, model=MODEL), checkpoint(11), "another model"),
        (checkpoint(7, keys=5), checkpoint(11), "an older key tree"),
        (checkpoint(7, keys=5), checkpoint(11, keys=4), "an older key tree"),
        (checkpoint(7, keys=5), replace(checkpoint(11), keys=KeyRoot(5, bytes(32))), "another key tree"),
    ],
)
def test_what_a_log_has_stated_it_cannot_take_back(before: Checkpoint, now: Checkpoint, reason: str) -> None:
    """Although its tree of entries only grew."""
    with pytest.raises(ForkedError, match=f"states {reason} than it did at 7 records"):
        growth_path(before, now, node)
