"""Proof files: what each kind proves, and to whom."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace

import pytest

from stages.index import verifier
from stages.index.log.erasure import Cause, Erasure
from stages.index.log.keytree import row
from stages.index.log.leaf import Leaf
from stages.index.log.note import NoteSigner
from stages.index.log.proof import ErasureProof, KeyProof, Proof
from stages.index.log.tree import inclusion_path, range_root
from stages.index.verifier import Erased, ProofError, leaf_hash, node_hash, path_length, verify_proof
from tests.stages.index.log.proofs import (
    ABSENT,
    CHECKPOINT,
    ENTRIES,
    ERASED,
    ERASURES,
    GOOD,
    GROWTH,
    KEYS,
    LEAVES,
    LOG,
    NAME,
    NOTE,
    PRIVATE,
    inclusion,
    node,
    of_key,
)


@pytest.mark.parametrize("index", range(len(LEAVES)))
def test_a_proof_proves_its_record(index: int) -> None:
    """With the file and the public keys alone, a stranger learns which leaf is where in which log."""
    proven = verify_proof(inclusion(index).encode(), LOG)
    assert (proven.claim, proven.index, proven.record) == ("inclusion", index, LEAVES[index].encode())
    assert (proven.key, proven.checkpoint) == (LEAVES[index].key, CHECKPOINT)


def test_the_file_is_a_tlog_proof() -> None:
    """First line, extra, index, path, blank line and checkpoint, as c2sp.org/tlog-proof has them."""
    proof = inclusion(6)
    lines = GOOD.decode().split("\n")
    assert lines[:3] == ["c2sp.org/tlog-proof@v1", f"extra {b64encode(proof.record).decode()}", "index 6"]
    assert lines[3 : 3 + len(proof.path)] == [b64encode(one).decode() for one in proof.path]
    assert "\n".join(lines[3 + len(proof.path) :]).encode() == b"\n" + NOTE


@pytest.mark.parametrize(
    ("index", "erased"),
    [(2, Erased(9, 1_767_323_045_678, "request")), (8, Erased(10, 0, "retention"))],
)
def test_an_erasure_is_proven_with_its_record(index: int, erased: Erased) -> None:
    """Which record there was, and by which entry, when and why it was erased."""
    proven = verify_proof(ErasureProof(inclusion(index), inclusion(erased.entry)).encode(), LOG)
    assert (proven.claim, proven.checkpoint, proven.erased) == ("erasure", CHECKPOINT, erased)
    assert (proven.key, proven.index, proven.record) == (LEAVES[index].key, index, ENTRIES[index])


def test_the_facts_of_an_erasure_are_readable() -> None:
    """The time as ISO 8601 has it, the cause as a word."""
    facts = verify_proof(ERASED.encode(), LOG).facts()
    assert (facts["erased_by"], facts["cause"]) == (9, "request")
    assert facts["erased_at"] == "2026-01-02T03:04:05.678+00:00"


def test_every_cause_of_an_erasure_has_its_word() -> None:
    """The verifier knows what the writer writes, and nothing else."""
    assert {cause.value: cause.name.lower() for cause in Cause} == verifier.CAUSES


def test_an_erasure_does_not_pass_for_that_of_another_record() -> None:
    """Nor a record for an erasure, an erasure for a record, or what is in the log for what is not."""
    wrong = {
        "not one of its record": ErasureProof(inclusion(8), inclusion(9)),
        "erasure is of an unknown": ErasureProof(inclusion(2), inclusion(8)),
        "record of an unknown": ErasureProof(inclusion(9), inclusion(2)),
        "from the erasure to": ErasureProof(inclusion(2), replace(inclusion(9), index=8)),
        "from the record to": ErasureProof(replace(inclusion(2), index=11), inclusion(9)),
    }
    for reason, proof in wrong.items():
        with pytest.raises(ProofError, match=reason):
            verify_proof(proof.encode(), LOG)
    with pytest.raises(ProofError, match="record of an unknown"):
        verify_proof(inclusion(9).encode(), LOG)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (replace(ERASURES[0], key=ABSENT), "not one of its record"),
        (replace(ERASURES[0], index=1), "not one of its record"),
        (replace(ERASURES[0], time_ms=253_402_300_800_000), "unknown cause or time"),
        (replace(ERASURES[0], cause=3), "unknown cause or time"),
    ],
)
def test_an_erasure_that_was_logged_wrongly_is_refused(entry: Erasure, reason: str) -> None:
    """However well it is signed."""
    record, data = Leaf(LEAVES[2].key, 0, *[bytes(32)] * 4).encode(), entry.encode()
    filler = leaf_hash(b"")
    leaves = [filler, filler, leaf_hash(record), leaf_hash(data)]
    low, high = node_hash(*leaves[:2]), node_hash(*leaves[2:])
    note = NoteSigner(NAME, PRIVATE, None).checkpoint(4, node_hash(low, high))
    erasure = Proof(3, data, (leaves[2], low), note)
    proof = ErasureProof(Proof(2, record, (leaves[3], low), note), erasure)
    with pytest.raises(ProofError, match=reason):
        verify_proof(proof.encode(), LOG)


@pytest.mark.parametrize("size", range(1, 70))
def test_the_length_of_a_path_follows_from_index_and_size(size: int) -> None:
    """So one proof file can hold two paths, one after the other."""
    lengths = [len(inclusion_path(index, size, lambda *_: bytes(32))) for index in range(size)]
    assert [path_length(index, size) for index in range(size)] == lengths


def test_a_place_that_is_empty_is_so_for_every_key_whose_way_ends_there() -> None:
    """The proof of one key's absence with another such key is that other key's."""
    proof = of_key(ABSENT)
    others = (bytes([255, number]) * 16 for number in range(256))
    other = next(key for key in others if KEYS.prove(key) == (proof.leaf, proof.path))
    proven = verify_proof(replace(proof, key=other).encode(), LOG)
    assert (proven.claim, proven.key) == ("absence", other)


def test_growth_is_proven_between_two_checkpoints() -> None:
    """Both signed by the log, the one the other's beginning."""
    proven = verify_proof(GROWTH.encode(), LOG)
    assert (proven.claim, proven.checkpoint) == ("growth", CHECKPOINT)
    assert proven.old == replace(CHECKPOINT, size=9, root=range_root(0, 9, node))


def test_a_key_is_proven_there_or_not_there() -> None:
    """Of the records that the key tree covers."""
    for index, leaf in enumerate(LEAVES):
        proven = verify_proof(of_key(leaf.key).encode(), LOG)
        assert (proven.claim, proven.key, proven.index) == ("presence", leaf.key, index)
    for key in (ABSENT, b"\xfe" * 32):
        proven = verify_proof(of_key(key).encode(), LOG)
        assert (proven.claim, proven.key, proven.index) == ("absence", key, None)
        assert proven.facts()["as_of"] == 9


def test_a_key_proof_says_which_record_is_the_keys() -> None:
    """None where its place is empty, or another key's."""
    assert [of_key(leaf.key).index for leaf in LEAVES] == list(range(len(LEAVES)))
    other = KeyProof(ABSENT, row(LEAVES[1].key, 1), (), NOTE)
    empty = KeyProof(ABSENT, b"", (), NOTE)
    assert (other.index, empty.index) == (None, None)
