"""Proof files: nothing else passes for one."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from hypothesis import example, given
from hypothesis import strategies as st

from stages.index.log.keytree import row
from stages.index.log.note import NoteSigner, cosign, public_key, witness_key
from stages.index.log.proof import ErasureProof, KeyProof, Proof
from stages.index.log.tree import range_root
from stages.index.verifier import ProofError, leaf_hash, verify_proof
from tests.stages.index.log.proofs import (
    ABSENT,
    ALL,
    CHECKPOINT,
    ERASED,
    GOOD,
    GROWTH,
    LEAVES,
    LOG,
    NAME,
    NOTE,
    OLD,
    PRIVATE,
    inclusion,
    node,
    of_key,
)


def test_a_proof_under_another_key_is_refused() -> None:
    """The log's keys are what is trusted, not the file; one right key of two is not enough."""
    other = public_key(NAME, MLDSA44PrivateKey.from_seed_bytes(bytes(32)))
    for data in ALL:
        with pytest.raises(ProofError, match="not signed by"):
            verify_proof(data, (LOG[0], other))


def test_a_witness_among_the_keys_must_have_cosigned() -> None:
    """Only the checkpoint that the proof leads to: what is older may have been seen by nobody."""
    key = witness_key("example.com/w", PRIVATE[0])
    cosigned = cosign(NOTE, key.name, PRIVATE[0], 1)
    proofs = (inclusion(6), GROWTH, of_key(ABSENT))
    seen = ErasureProof(replace(inclusion(2), note=cosigned), inclusion(9))
    for good in (seen, *(replace(proof, note=cosigned) for proof in proofs)):
        verify_proof(good.encode(), (*LOG, key))
    for proof in (ERASED, *proofs):
        with pytest.raises(ProofError, match=r"not signed by example\.com/w"):
            verify_proof(proof.encode(), (*LOG, key))


def test_a_proof_of_another_record_is_refused() -> None:
    """A path proves one leaf at one index."""
    proof = inclusion(6)
    for wrong in (
        replace(proof, index=5),
        replace(proof, record=LEAVES[5].encode()),
        replace(proof, path=proof.path[:-1]),
        replace(proof, index=11),
    ):
        with pytest.raises(ProofError, match="does not lead"):
            verify_proof(wrong.encode(), LOG)


def test_a_proof_of_other_growth_is_refused() -> None:
    """Backwards, with another path, or from a checkpoint of another log."""
    other = NoteSigner("example.com/other", PRIVATE, None).checkpoint(9, range_root(0, 9, node))
    with pytest.raises(ProofError, match="not signed by"):
        verify_proof(replace(GROWTH, old=other).encode(), LOG)
    for wrong in (replace(GROWTH, old=NOTE, note=OLD), replace(GROWTH, path=GROWTH.path[1:])):
        with pytest.raises(ProofError, match="from the old root"):
            verify_proof(wrong.encode(), LOG)


def test_presence_does_not_pass_for_absence_nor_absence_for_presence() -> None:
    """Whatever of one proof is put into the other, and whatever leaf is left out or put in."""
    there, gone = of_key(LEAVES[3].key), of_key(ABSENT)
    wrong = [
        replace(there, key=ABSENT),
        replace(gone, key=there.key),
        replace(there, leaf=b""),
        replace(there, leaf=gone.leaf),
        replace(there, path=gone.path),
        replace(there, path=there.path[1:]),
        replace(gone, leaf=row(ABSENT, 3)),
        replace(gone, path=()),
        KeyProof(there.key, gone.leaf, gone.path, NOTE),
        KeyProof(ABSENT, there.leaf, there.path, NOTE),
        replace(there, note=NoteSigner(NAME, PRIVATE, None).checkpoint(11, CHECKPOINT.root)),
    ]
    for proof in wrong:
        with pytest.raises(ProofError, match="does not lead from the record id"):
            verify_proof(proof.encode(), LOG)


def is_refused(data: bytes) -> bool:
    """Whether this proves nothing, or, as truly, that another key is absent for the same reason."""
    try:
        proven = verify_proof(data, LOG)
    except ProofError:
        return True
    return proven.claim == "absence" and proven.key not in {ABSENT, *(leaf.key for leaf in LEAVES)}


@given(st.sampled_from(ALL), st.data(), st.integers(1, 255))
def test_a_proof_with_any_byte_changed_is_refused(good: bytes, data: st.DataObject, change: int) -> None:
    """No byte of a proof file is free."""
    damaged = bytearray(good)
    damaged[data.draw(st.integers(0, len(good) - 1))] ^= change
    assert is_refused(bytes(damaged))


@given(st.sampled_from(ALL), st.data(), st.binary(max_size=40))
def test_a_proof_with_a_piece_replaced_is_refused(good: bytes, data: st.DataObject, piece: bytes) -> None:
    """Cut, doubled or overwritten anywhere, it is refused with the one exception that says so."""
    start, stop = data.draw(st.integers(0, len(good))), data.draw(st.integers(0, len(good)))
    damaged = good[:start] + piece + good[stop:]
    assert damaged == good or is_refused(damaged)


@given(st.sampled_from(ALL), st.data())
def test_a_proof_with_lines_exchanged_is_refused(good: bytes, data: st.DataObject) -> None:
    """Lines of one proof, dropped, doubled, in another order or among those of another."""
    lines = good.split(b"\n\n")[0].split(b"\n")
    others = [line for proof in ALL for line in proof.split(b"\n\n")[0].split(b"\n")]
    chosen = data.draw(st.lists(st.sampled_from(lines + others), max_size=9))
    if chosen != lines and b"\n".join(chosen) + b"\n\n" + NOTE not in ALL:
        with pytest.raises(ProofError):
            verify_proof(b"\n".join(chosen) + b"\n\n" + NOTE, LOG)


@given(st.binary() | st.text().map(lambda text: text.encode(errors="replace")))
@example(b"")
@example(b"c2sp.org/tlog-proof@v1\nindex 1\n\n")
@example(b"c2sp.org/tlog-proof@v1\nextra \nindex " + b"9" * 5000 + b"\n\n" + NOTE)
@example(b"medsecure-u/key-proof@v1\nkey \nleaf\n\n" + NOTE)
@example(ERASED.encode().replace(b"index 2", b"index 9223372036854775807"))
@example(ERASED.encode().replace(b"entry 9", b"entry 9223372036854775807"))
@example(of_key(ABSENT).encode().replace(b"\n\n", b"\n" + b64encode(bytes(32)) * 300 + b"\n\n"))
@example(GOOD + b"x" * (1 << 19))
def test_other_bytes_are_no_proof(data: bytes) -> None:
    """Malformed input raises ProofError and nothing else."""
    with pytest.raises(ProofError):
        verify_proof(data, LOG)


def test_a_record_of_an_unknown_kind_is_not_explained() -> None:
    """It may well be in the log, but what it is nobody here can say."""
    record = b"\1\7" + bytes(164)
    note = NoteSigner(NAME, PRIVATE, None).checkpoint(1, leaf_hash(record))
    with pytest.raises(ProofError, match="unknown version or kind"):
        verify_proof(Proof(0, record, (), note).encode(), LOG)
