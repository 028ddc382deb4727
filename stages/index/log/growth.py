"""Whether a log only grew from one checkpoint to a later one: what readers prove, and pulls demand."""

from __future__ import annotations

from stages.index.errors import ForkedError
from stages.index.log.tree import Node, consistency_path
from stages.index.verifier import Checkpoint, contradiction, verify_consistency


def growth_path(before: Checkpoint, now: Checkpoint, node: Node) -> tuple[bytes, ...]:
    """The consistency path between the two, which holds; ``node`` is of the later tree.

    Raises ForkedError where there is none, or the log states another model or key tree than it did.
    """
    if before.size <= now.size:
        path = consistency_path(before.size, now.size, node)
        if verify_consistency(before.size, now.size, path, before.root, now.root):
            if (reason := contradiction(before, now)) is not None:
                raise ForkedError(f"the log states {reason} at {before.size} records")
            return path
    raise ForkedError(
        f"the log of {now.size} records is not one that grew from that of {before.size} records with "
        f"root {before.root.hex()}: it was rolled back, forked or damaged"
    )
