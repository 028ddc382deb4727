"""Peers of LWE encryption, each where it is installed: milliseconds and bytes for one image's features.

All encrypt D small integers under a public key, as the product does: Paillier one ciphertext a feature
(python-paillier with gmpy2), BFV one ciphertext an image or for as many images as are named. What is not
installed, or does not load under this Python, is reported with its reason and gets no figure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.report import seconds

if TYPE_CHECKING:
    from collections.abc import Callable

PAILLIER_BITS = (2048, 3072)
PAILLIER_FEATURES = 4  # measured, then scaled to D: Paillier's cost is linear
BFV_DEGREE = 4096
BFV_MODULUS = 1_032_193  # 20 bits: plaintexts and scores of the product's size; 1 mod 2 * BFV_DEGREE
BFV_IMAGES = (1, 8)  # a ciphertext
PACKAGES = ("phe", "gmpy2", "tenseal", "openfhe")


def measure(D: int) -> dict[str, Any]:
    """Every peer by its name: figures, or the reason why there are none."""
    found: dict[str, Any] = {}
    for name, peer in (("phe", paillier), ("TenSEAL", tenseal), ("OpenFHE", openfhe)):
        try:
            found |= peer(D)
        except ImportError as error:
            found[name] = {"absent": f"not importable here: {error}"}
    return found


def paillier(D: int) -> dict[str, Any]:
    """Python-paillier, on gmpy2; without that it would be several times slower."""
    import gmpy2  # noqa: F401, PLC0415 - optional peer; phe takes it when it is there
    from phe import paillier as phe  # noqa: PLC0415 - optional peer

    found = {}
    for bits in PAILLIER_BITS:
        public, _ = phe.generate_paillier_keypair(n_length=bits)

        def work(key: Any = public) -> object:
            return [key.encrypt(value) for value in range(PAILLIER_FEATURES)]

        took = seconds(work, repeats=3)
        found[f"phe-{bits}"] = {"ms/image": 1e3 * took * D / PAILLIER_FEATURES, "bytes/image": D * bits // 4}
    return found


def tenseal(D: int) -> dict[str, Any]:
    """TenSEAL's BFV: one vector a ciphertext, and several side by side in one."""
    import tenseal as ts  # noqa: PLC0415 - optional peer

    context = ts.context(ts.SCHEME_TYPE.BFV, poly_modulus_degree=BFV_DEGREE, plain_modulus=BFV_MODULUS)

    def encrypt(features: list[int]) -> Any:
        return ts.bfv_vector(context, features)

    found = {}
    for images in BFV_IMAGES:
        figures = _per_image(encrypt, D, images)
        size = len(encrypt(list(range(D * images))).serialize())
        found[f"TenSEAL BFV-{BFV_DEGREE}, {images} a ciphertext"] = {**figures, "bytes/image": size / images}
    return found


def openfhe(D: int) -> dict[str, Any]:
    """OpenFHE's BFV, one multiplication deep, one vector a ciphertext."""
    import openfhe as fhe  # noqa: PLC0415 - optional peer

    parameters = fhe.CCParamsBFVRNS()
    parameters.SetPlaintextModulus(BFV_MODULUS)
    parameters.SetMultiplicativeDepth(1)
    context = fhe.GenCryptoContext(parameters)
    context.Enable(fhe.PKESchemeFeature.PKE)
    public = context.KeyGen().publicKey

    def encrypt(features: list[int]) -> Any:
        return context.Encrypt(public, context.MakePackedPlaintext(features))

    return {f"OpenFHE BFV-{context.GetRingDimension()}": _per_image(encrypt, D, 1)}


def _per_image(encrypt: Callable[[list[int]], Any], D: int, images: int) -> dict[str, float]:
    features = list(range(D * images))
    return {"ms/image": 1e3 * seconds(lambda: encrypt(features)) / images}
