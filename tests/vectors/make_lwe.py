"""Write lwe.json: known answers from the pure-int reference, and from nothing else.

Run from the repository's root: python tests/vectors/make_lwe.py
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from stages.encrypt.lwe import reference
from stages.encrypt.lwe.parameters import LWE32, LWE64, Parameters

SEED = bytes(range(32))
SEED_A = bytes(range(32, 64))
BLOCK_KEYS = (bytes(range(64, 96)), bytes(range(96, 128)))
TOY = Parameters("TOY", 0, n=16, slots=8, q_bits=32, delta_bits=14, noise_bits=4, max_terms=4, estimates=())
TOY64 = Parameters("TOY64", 99, 16, 8, 64, 36, 16, max_terms=1_000_000, estimates=(), exact_scores=True)


def words(p: Parameters, matrix: reference.Matrix) -> str:
    """Little-endian words mod q in hex, row by row."""
    return matrix.astype(f"<u{p.q_bits // 8}").tobytes().hex()


def toy(p: Parameters) -> dict[str, Any]:
    """Everything in full, at a dimension that protects nothing."""
    B, S = reference.keygen(p, SEED, SEED_A)
    slot, bound = 3, p.plaintext_bound
    X = np.array([[0, 1, -1], [bound - 1, -bound, 5], [40, -7, bound // 2 - 1]], object)
    blocks = [reference.encrypt(p, SEED_A, B, X, slot=slot, key=key) for key in BLOCK_KEYS]
    X_small = np.array([[3, -2, 1], [0, 7, 100], [-60, 4, 2]], object)
    w = np.array([7, -3, 11], object)
    small = reference.encrypt(p, SEED_A, B, X_small, slot=slot, key=BLOCK_KEYS[1])
    head, scores = reference.score(p, *small, w)
    total = reference.add(p, small, small)
    return {
        "n": p.n,
        "slots": p.slots,
        "slot": slot,
        "B": words(p, B),
        "S": [int(s) for s in S.ravel()],
        "X": X.tolist(),
        "blocks": [{"C1": words(p, C1), "C2": words(p, C2)} for C1, C2 in blocks],
        "decrypted": reference.decrypt(p, S, *blocks[0], slot).tolist(),
        "X_small": X_small.tolist(),
        "weights": w.tolist(),
        "answer": {"head": words(p, head), "scores": words(p, scores)},
        "sum": {"C1": words(p, total[0]), "C2": words(p, total[1])},
        "sum_decrypted": reference.decrypt(p, S, *total, slot).tolist(),
    }


def full_size(p: Parameters) -> dict[str, Any]:
    """A set of the table: digests of two columns of B and of one block of two records with two features."""
    q, bound = 2**p.q_bits, p.plaintext_bound
    A = reference.uniform(SEED_A, reference.A_LABEL, p.n, p.n, q)
    S = reference.cbd(SEED, reference.S_LABEL, p.n, p.slots)[:, :2]
    E = reference.tu(SEED, reference.E_LABEL, p.n, p.slots, p.noise_bits)[:, :2]
    B = (A @ S + E) % q
    X = np.array([[353, -1], [-bound, bound - 1]], object)
    C1, C2 = reference.encrypt(p, SEED_A, B, X, slot=0, key=BLOCK_KEYS[0])
    digests = {
        name: hashlib.sha256(bytes.fromhex(words(p, matrix))).hexdigest()
        for name, matrix in {"A": A, "B01": B, "C1": C1, "C2": C2}.items()
    }
    return {
        "X": X.tolist(),
        "slot": 0,
        "sha256": digests,
        "decrypted": reference.decrypt(p, S, C1, C2, 0).tolist(),
    }


def vectors() -> dict[str, Any]:
    """The whole document."""
    return {
        "about": "Made by make_lwe.py from stages/encrypt/lwe/reference.py. C2 is [D, m], row by row.",
        "seed": SEED.hex(),
        "seed_A": SEED_A.hex(),
        "block_keys": [key.hex() for key in BLOCK_KEYS],
        "toy": toy(TOY),
        "toy64": toy(TOY64),
        "LWE32": full_size(LWE32),
        "LWE64": full_size(LWE64),
    }


if __name__ == "__main__":
    text = json.dumps(vectors(), indent=1) + "\n"
    Path(__file__).with_name("lwe.json").write_text(text, encoding="utf-8")
