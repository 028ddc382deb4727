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

from stages.encrypt import reference
from stages.encrypt.parameters import LWE32, Parameters

SEED = bytes(range(32))
SEED_A = bytes(range(32, 64))
BLOCK_KEYS = (bytes(range(64, 96)), bytes(range(96, 128)))
TOY = Parameters("TOY", 0, n=16, slots=8, q_bits=32, delta_bits=14, noise_bits=4, max_terms=4, estimates=())


def words(matrix: reference.Matrix) -> str:
    """Little-endian 32-bit words in hex, row by row."""
    return b"".join(int(word).to_bytes(4, "little") for word in matrix.ravel()).hex()


def toy() -> dict[str, Any]:
    """Everything in full, at a dimension that protects nothing."""
    B, S = reference.keygen(TOY, SEED, SEED_A)
    slot = 3
    X = np.array([[0, 1, -1], [131071, -131072, 5], [40, -7, 65535]], object)
    blocks = [reference.encrypt(TOY, SEED_A, B, X, slot=slot, key=key) for key in BLOCK_KEYS]
    X_small = np.array([[3, -2, 1], [0, 7, 100], [-60, 4, 2]], object)
    w = np.array([7, -3, 11], object)
    small = reference.encrypt(TOY, SEED_A, B, X_small, slot=slot, key=BLOCK_KEYS[1])
    head, scores = reference.score(TOY, *small, w)
    total = reference.add(TOY, small, small)
    return {
        "n": TOY.n,
        "slots": TOY.slots,
        "slot": slot,
        "B": words(B),
        "S": [int(s) for s in S.ravel()],
        "X": X.tolist(),
        "blocks": [{"C1": words(C1), "C2": words(C2)} for C1, C2 in blocks],
        "decrypted": reference.decrypt(TOY, S, *blocks[0], slot).tolist(),
        "X_small": X_small.tolist(),
        "weights": w.tolist(),
        "answer": {"head": words(head), "scores": words(scores)},
        "sum": {"C1": words(total[0]), "C2": words(total[1])},
        "sum_decrypted": reference.decrypt(TOY, S, *total, slot).tolist(),
    }


def full_size() -> dict[str, Any]:
    """LWE32 itself: digests of two columns of B and of one block of two records with two features."""
    p, q = LWE32, 2**LWE32.q_bits
    A = reference.uniform(SEED_A, reference.A_LABEL, p.n, p.n, q)
    S = reference.cbd(SEED, reference.S_LABEL, p.n, p.slots)[:, :2]
    E = reference.tu(SEED, reference.E_LABEL, p.n, p.slots, p.noise_bits)[:, :2]
    B = (A @ S + E) % q
    X = np.array([[353, -1], [-131072, 131071]], object)
    C1, C2 = reference.encrypt(p, SEED_A, B, X, slot=0, key=BLOCK_KEYS[0])
    digests = {
        name: hashlib.sha256(bytes.fromhex(words(matrix))).hexdigest()
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
        "about": "Made by make_lwe.py from stages/encrypt/reference.py. C2 is [D, m], row by row.",
        "seed": SEED.hex(),
        "seed_A": SEED_A.hex(),
        "block_keys": [key.hex() for key in BLOCK_KEYS],
        "toy": toy(),
        "LWE32": full_size(),
    }


if __name__ == "__main__":
    text = json.dumps(vectors(), indent=1) + "\n"
    Path(__file__).with_name("lwe.json").write_text(text, encoding="utf-8")
