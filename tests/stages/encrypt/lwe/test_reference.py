from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.encrypt.lwe import reference
from stages.encrypt.lwe.parameters import Parameters

MAKER = Path(__file__).resolve().parents[3] / "vectors" / "make_lwe.py"


@pytest.mark.slow
def test_committed_vectors_are_what_the_reference_makes(vectors: dict[str, Any]) -> None:
    """The golden file has not drifted from the specification."""
    assert runpy.run_path(str(MAKER))["vectors"]() == vectors


def test_the_reference_decrypts_and_adds_what_it_encrypted(vectors: dict[str, Any]) -> None:
    """The specification itself is a correct encryption scheme, for both word sizes."""
    for name in ("toy", "toy64"):
        toy = vectors[name]
        assert toy["decrypted"] == toy["X"]
        assert toy["sum_decrypted"] == (2 * np.array(toy["X_small"])).tolist()
    for name in ("LWE32", "LWE64"):
        assert vectors[name]["decrypted"] == vectors[name]["X"]


@pytest.mark.parametrize(("toy", "error"), [("toy", 1), ("toy64", 0)], indirect=["toy"])
def test_reference_scores_are_linear(toy: Parameters, error: int) -> None:
    """Decrypting (w C1, w C2) gives w X, within the noise of a score, which 64-bit words round away."""
    B, S = reference.keygen(toy, bytes(32), bytes(32))
    X = np.array([[50, -3], [7, 200], [0, -90]], object)
    w = np.array([3, -2, 5], object)
    C1, C2 = reference.score(toy, *reference.encrypt(toy, bytes(32), B, X, slot=2, key=bytes(32)), w)
    found = reference.decrypt(toy, S, C1[None, :], C2[None, :], 2)[0] - w @ X
    assert np.abs(found.astype(float)).max() <= error
