"""Proof files: what they prove, and that nothing else passes for one."""

from __future__ import annotations

import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given
from hypothesis import strategies as st

from stages.index.leaf import Leaf
from stages.index.note import Checkpoint, Verifier, sign
from stages.index.proof import Proof, ProofError, decode_proof, verify_proof
from stages.index.tree import inclusion_path, leaf_hash, node_hash, range_root

ROOT = Path(__file__).resolve().parents[3]
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
LOG = Verifier("example.com/log", KEY.public_key().public_bytes_raw())
LEAVES = [Leaf(bytes([i]) * 32, i, *[bytes([9]) * 32] * 4) for i in range(11)]


def node(height: int, i: int) -> bytes:
    """Of the tree over LEAVES."""
    if not height:
        return leaf_hash(LEAVES[i].encode())
    return node_hash(node(height - 1, 2 * i), node(height - 1, 2 * i + 1))


CHECKPOINT = Checkpoint(LOG.name, len(LEAVES), range_root(0, len(LEAVES), node))
NOTE = sign(CHECKPOINT.text, LOG.name, KEY)


def proof_of(index: int) -> Proof:
    return Proof(index, LEAVES[index].encode(), inclusion_path(index, len(LEAVES), node), NOTE)


GOOD = proof_of(6).encode()


@pytest.mark.parametrize("index", range(len(LEAVES)))
def test_a_proof_proves_its_record(index: int) -> None:
    """With the file and the public key alone, a stranger learns which leaf is where in which log."""
    verified = verify_proof(proof_of(index).encode(), LOG.vkey)
    assert (verified.index, verified.leaf, verified.checkpoint) == (index, LEAVES[index], CHECKPOINT)


def test_the_file_is_a_tlog_proof() -> None:
    """First line, extra, index, path, blank line and checkpoint, as c2sp.org/tlog-proof has them."""
    proof = proof_of(6)
    lines = GOOD.decode().split("\n")
    assert lines[:3] == ["c2sp.org/tlog-proof@v1", f"extra {b64encode(proof.record).decode()}", "index 6"]
    assert lines[3 : 3 + len(proof.path)] == [b64encode(one).decode() for one in proof.path]
    assert "\n".join(lines[3 + len(proof.path) :]).encode() == b"\n" + NOTE
    assert decode_proof(GOOD) == proof


def test_a_proof_under_another_key_is_refused() -> None:
    """The log's key is what is trusted, not the file."""
    other = Verifier(
        LOG.name, Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
    )
    with pytest.raises(ProofError, match="not signed by"):
        verify_proof(GOOD, other.vkey)


def test_a_proof_of_another_record_is_refused() -> None:
    """A path proves one leaf at one index."""
    proof = proof_of(6)
    for wrong in (
        Proof(5, proof.record, proof.path, NOTE),
        Proof(6, LEAVES[5].encode(), proof.path, NOTE),
        Proof(6, proof.record, proof.path[:-1], NOTE),
        Proof(11, proof.record, proof.path, NOTE),
    ):
        with pytest.raises(ProofError, match="does not lead"):
            verify_proof(wrong.encode(), LOG.vkey)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_proof_with_any_byte_changed_is_refused(place: int, change: int) -> None:
    """No byte of a proof file is free."""
    damaged = bytearray(GOOD)
    damaged[place] ^= change
    with pytest.raises(ProofError):
        verify_proof(bytes(damaged), LOG.vkey)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, len(GOOD)), st.binary(max_size=40))
def test_a_proof_with_a_piece_replaced_is_refused(start: int, stop: int, piece: bytes) -> None:
    """Cut, doubled or overwritten anywhere, it is refused with the one exception that says so."""
    damaged = GOOD[:start] + piece + GOOD[stop:]
    if damaged != GOOD:
        with pytest.raises(ProofError):
            verify_proof(damaged, LOG.vkey)


@given(st.binary() | st.text().map(lambda text: text.encode(errors="replace")), st.text() | st.just(LOG.vkey))
@example(b"", "")
@example(GOOD, "\ud800")
@example(b"c2sp.org/tlog-proof@v1\nindex 1\n\n", LOG.vkey)
@example(b"c2sp.org/tlog-proof@v1\nextra \nindex " + b"9" * 5000 + b"\n\n" + NOTE, LOG.vkey)
@example(GOOD + b"x" * (1 << 18), LOG.vkey)
def test_other_bytes_are_no_proof(data: bytes, vkey: str) -> None:
    """Malformed input raises ProofError and nothing else."""
    with pytest.raises(ProofError):
        verify_proof(data, vkey)


def test_the_verifier_needs_nothing_but_cryptography() -> None:
    """Importing it loads no writer, no NumPy, no Arrow, no SQLite."""
    program = """
import sys
import stages.index.proof
names = set(sys.modules)
print(sorted(name for name in names if name.startswith("stages")))
print(sorted(names & {"numpy", "pyarrow", "pydantic", "sqlite3", "torch"}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    ours = ["stages", "stages.index", *(f"stages.index.{name}" for name in ("leaf", "note", "proof", "tree"))]
    assert done.stdout.splitlines() == [repr(ours), "[]"]
