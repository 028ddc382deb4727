"""A log of nine records and two erasures, and a proof of each kind about it."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from stages.index.log.erasure import Cause, Erasure
from stages.index.log.keytree import EMPTY, grown, row
from stages.index.log.leaf import Leaf
from stages.index.log.note import NoteSigner, public_key
from stages.index.log.proof import ErasureProof, GrowthProof, KeyProof, Proof
from stages.index.log.tree import consistency_path, inclusion_path, range_root
from stages.index.verifier import Checkpoint, KeyRoot, leaf_hash, node_hash

NAME = "example.com/log"
PRIVATE = (
    Ed25519PrivateKey.from_private_bytes(bytes(range(32))),
    MLDSA44PrivateKey.from_seed_bytes(bytes(range(32))),
)
LOG = tuple(public_key(NAME, key) for key in PRIVATE)
LEAVES = [Leaf(bytes([i]) * 32, i, *[bytes([9]) * 32] * 4) for i in range(9)]
ERASURES = [
    Erasure(LEAVES[2].key, 2, 1_767_323_045_678, Cause.REQUEST),
    Erasure(LEAVES[8].key, 8, 0, Cause.RETENTION),
]
ENTRIES = [entry.encode() for entry in (*LEAVES, *ERASURES)]
ABSENT = b"\xff" * 32


def node(height: int, i: int) -> bytes:
    """Of the tree over ENTRIES."""
    if not height:
        return leaf_hash(ENTRIES[i])
    return node_hash(node(height - 1, 2 * i), node(height - 1, 2 * i + 1))


KEYS = grown(EMPTY, [row(leaf.key, i) for i, leaf in enumerate(LEAVES)])
SIGNER = NoteSigner(NAME, PRIVATE, KeyRoot(9, KEYS.root))
OLD = SIGNER.checkpoint(9, range_root(0, 9, node))
NOTE = SIGNER.checkpoint(11, range_root(0, 11, node))
CHECKPOINT = Checkpoint(NAME, 11, range_root(0, 11, node), KeyRoot(9, KEYS.root))


def inclusion(index: int) -> Proof:
    return Proof(index, ENTRIES[index], inclusion_path(index, len(ENTRIES), node), NOTE)


def of_key(key: bytes) -> KeyProof:
    return KeyProof(key, *KEYS.prove(key), NOTE)


ERASED = ErasureProof(inclusion(2), inclusion(9))
GROWTH = GrowthProof(OLD, consistency_path(9, 11, node), NOTE)
GOOD = inclusion(6).encode()
ALL = [GOOD, GROWTH.encode(), of_key(LEAVES[3].key).encode(), of_key(ABSENT).encode(), ERASED.encode()]
