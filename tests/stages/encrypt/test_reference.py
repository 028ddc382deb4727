from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np

from stages.encrypt import reference
from stages.encrypt.parameters import Parameters

MAKER = Path(__file__).resolve().parents[2] / "vectors" / "make_lwe.py"


def test_committed_vectors_are_what_the_reference_makes(vectors: dict[str, Any]) -> None:
    """The golden file has not drifted from the specification."""
    assert runpy.run_path(str(MAKER))["vectors"]() == vectors


def test_the_reference_decrypts_and_adds_what_it_encrypted(vectors: dict[str, Any]) -> None:
    """The specification itself is a correct encryption scheme."""
    toy = vectors["toy"]
    assert toy["decrypted"] == toy["X"]
    assert toy["sum_decrypted"] == (2 * np.array(toy["X_small"])).tolist()
    assert vectors["LWE32"]["decrypted"] == vectors["LWE32"]["X"]


def test_reference_scores_are_linear(toy: Parameters) -> None:
    """Decrypting (w C1, w C2) gives w X, within the noise of a score."""
    B, S = reference.keygen(toy, bytes(32), bytes(32))
    X = np.array([[50, -3], [7, 200], [0, -90]], object)
    w = np.array([3, -2, 5], object)
    C1, C2 = reference.score(toy, *reference.encrypt(toy, bytes(32), B, X, slot=2, key=bytes(32)), w)
    error = reference.decrypt(toy, S, C1[None, :], C2[None, :], 2)[0] - w @ X
    assert np.abs(error.astype(float)).max() <= 1
