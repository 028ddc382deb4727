"""Makes ``bundle.json``: a public bundle as docs/queries.md describes it, by no code of the product.

    python -m tests.vectors.make_bundle > tests/vectors/bundle.json

Everything follows from the seed but the ML-DSA-44 signature, which is randomised: it changes with every run.
"""

from __future__ import annotations

import hmac
import json
import struct
import sys
from base64 import b64encode
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

SEED = bytes(range(32))  # of the owner's first generation
SITE, LWE_KEY, EARLIER = (bytes([one]) * 32 for one in (1, 2, 3))
HPKE, WORKER, REVOKED = (bytes([one]) * 32 for one in (4, 5, 6))
SUITE = "X25519, HKDF-SHA256, AES-256-GCM"
CREATED, REPLACED, GONE = (f"2026-11-28T10:0{minute}:00+00:00" for minute in (2, 0, 1))


def derived(purpose: str) -> bytes:
    """HKDF-Expand of 32 bytes is one HMAC (RFC 5869)."""
    return hmac.digest(SEED, f"MedSecure-U v1 {purpose}".encode() + b"\x01", "sha256")


def text(data: bytes) -> str:
    return b64encode(data).decode()


def main() -> None:
    ed25519 = Ed25519PrivateKey.from_private_bytes(derived("owner Ed25519"))
    ml_dsa_44 = MLDSA44PrivateKey.from_seed_bytes(derived("owner ML-DSA-44"))
    public = (ed25519.public_key().public_bytes_raw(), ml_dsa_44.public_key().public_bytes_raw())
    fields = [struct.pack("<Q", 3), CREATED.encode(), SITE, *public, b"LWE32", LWE_KEY, SUITE.encode(), HPKE]
    fields += [struct.pack("<Q", 1), WORKER]
    fields += [struct.pack("<Q", 1), REVOKED, GONE.encode()]
    fields += [struct.pack("<Q", 1), EARLIER, REPLACED.encode()]
    message = b"MedSecure-U public bundle v3\x00"
    message += b"".join(struct.pack("<Q", len(field)) + field for field in fields)
    worker, revoked = (
        sha256(b"MedSecure-U worker key v1\x00" + key).hexdigest() for key in (WORKER, REVOKED)
    )
    contents = {
        "number": 3,
        "created": CREATED,
        "site_id": SITE.hex(),
        "owner": {"ed25519": text(public[0]), "ml_dsa_44": text(public[1])},
        "parameters": "LWE32",
        "key_id": LWE_KEY.hex(),
        "hpke_suite": SUITE,
        "hpke_id": sha256(b"MedSecure-U HPKE key v1\x00" + SUITE.encode() + b"\x00" + HPKE).hexdigest(),
        "hpke_public": text(HPKE),
        "verification_keys": [{"id": worker, "ed25519": text(WORKER)}],
        "revoked": [{"id": revoked, "ed25519": text(REVOKED), "until": GONE}],
        "earlier": [{"key_id": EARLIER.hex(), "until": REPLACED}],
    }
    signatures = {"ed25519": text(ed25519.sign(message)), "ml_dsa_44": text(ml_dsa_44.sign(message))}
    bundle = {
        "format": "medsecure-public-bundle",
        "version": 3,
        "contents": contents,
        "signatures": signatures,
    }
    owner_id = sha256(b"MedSecure-U owner keys v1\x00" + b"".join(public)).hexdigest()
    vector = {"seed": SEED.hex(), "owner_id": owner_id, "message": message.hex(), "bundle": bundle}
    json.dump(vector, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
