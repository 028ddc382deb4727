"""Proof files: what they prove, and that nothing else passes for one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from hypothesis import example, given
from hypothesis import strategies as st

from stages.index import verifier
from stages.index.log.erasure import Cause, Erasure
from stages.index.log.keytree import EMPTY, grown, row
from stages.index.log.leaf import Leaf
from stages.index.log.note import NoteSigner, cosign, public_key, witness_key
from stages.index.log.proof import ErasureProof, GrowthProof, KeyProof, Proof
from stages.index.log.tree import consistency_path, inclusion_path, range_root
from stages.index.verifier import (
    Checkpoint,
    Erased,
    KeyRoot,
    LogKey,
    ProofError,
    leaf_hash,
    node_hash,
    parse_keys,
    path_length,
    verify_proof,
)

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
        with pytest.raises(ProofError, match="does not lead along the key"):
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


def test_the_verifier_is_one_file_that_runs_by_itself(tmp_path: Path) -> None:
    """Copied to an empty folder, without this project, it tells each kind of proof and refuses others."""
    program = shutil.copy(verifier.__file__, tmp_path / "verifier.py")
    (tmp_path / "log.pub").write_text("".join(f"{key.vkey}\n" for key in LOG))

    def check(data: bytes, keys: str = "log.pub") -> tuple[int, dict[str, object]]:
        (tmp_path / "file").write_bytes(data)
        done = subprocess.run(
            [sys.executable, "-I", "-W", "ignore", program, "file", "--key", keys],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, json.loads(done.stdout or "{}")

    claims = [check(data) for data in ALL]
    assert [code for code, _ in claims] == [0] * len(ALL)
    said = [facts["claim"] for _, facts in claims]
    assert said == ["inclusion", "growth", "presence", "absence", "erasure"]
    assert claims[0][1] == {"ok": True, **verify_proof(GOOD, LOG).facts()}
    assert check(GOOD[:-1])[0] == 1
    assert check(GOOD, "file") == (2, {})


def test_the_verifier_needs_nothing_but_cryptography() -> None:
    """Importing it loads no other module of ours, no NumPy, no Arrow, no SQLite."""
    code = """
import sys
import stages.index.verifier
names = set(sys.modules)
print(sorted(name for name in names if name.startswith("stages")))
print(sorted(names & {"numpy", "pyarrow", "pydantic", "sqlite3", "torch"}))
"""
    root = Path(__file__).resolve().parents[4]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    ours = ["stages", "stages.index", "stages.index.verifier"]
    assert done.stdout.splitlines() == [repr(ours), "[]"]


def test_a_public_key_file_says_which_signatures_are_demanded() -> None:
    """All that it lists."""
    text = "".join(f"{key.vkey}\n" for key in LOG)
    assert parse_keys(text) == LOG
    assert all(isinstance(key, LogKey) for key in parse_keys(text))
    assert verify_proof(GOOD, parse_keys(LOG[1].vkey)).index == 6
