"""Bytes of blocks and public keys; docs/lwe.md has both as tables. Everything is little-endian.

A header is 64 bytes and ends in the CRC-32 of what precedes it: that finds damage, not malice,
which is the task of the log. Decoding refuses bytes that encoding cannot produce.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stages.encrypt.lwe.errors import HeaderError, PublicKeyError, ShapeError
from stages.encrypt.lwe.parameters import ParameterError, Parameters, by_number
from stages.encrypt.lwe.quantise import rounding_slack

HEADER_BYTES: Final = 64
MAX_DIMENSIONS: Final = 4096  # features per record, at most
_HEADER: Final = struct.Struct("<4sHH32sIIIII")  # the CRC-32 follows
_HEADER_MAGIC: Final = b"MSLB"
_KEY: Final = struct.Struct("<4sHH32s")  # B follows
_KEY_MAGIC: Final = b"MSLK"
_VERSION: Final = 1
Words = NDArray[np.unsignedinteger[Any]]  # mod q, of the type ``Parameters.word``


@dataclass(frozen=True, slots=True)
class Header:
    """What a block is: under which key, what its columns hold, where they stand."""

    parameters: Parameters
    key_id: bytes
    dimensions: int  # D
    scale: int  # plaintext = feature * scale, rounded: column norms are at most norm_bound
    slot: int  # the first column of S and B in use
    count: int  # columns, one per record
    terms: int = 1  # fresh blocks added up in this one

    @property
    def norm_bound(self) -> int:
        """No plaintext column's Euclidean norm is above this: terms (scale + rounding_slack)."""
        return self.terms * (self.scale + rounding_slack(self.dimensions))

    def check(self) -> None:
        """Refuse what no block can be: empty vectors, slots outside the key, too many terms."""
        good = (
            len(self.key_id) == 32  # noqa: PLR2004 - SHA-256
            and 0 < self.dimensions <= MAX_DIMENSIONS
            and 0 < self.scale < 2**32
            and self.slot >= 0
            and self.count >= 0
            and self.slot + self.count <= self.parameters.slots
            and 0 < self.terms <= self.parameters.max_terms
        )
        if not good:
            raise HeaderError(
                f"no block has D = {self.dimensions}, scale {self.scale}, slots from {self.slot}, "
                f"{self.count} records and {self.terms} terms under {self.parameters.name}"
            )

    def encode(self) -> bytes:
        """The header's 64 bytes."""
        self.check()
        body = _HEADER.pack(
            _HEADER_MAGIC,
            _VERSION,
            self.parameters.number,
            self.key_id,
            self.dimensions,
            self.scale,
            self.slot,
            self.count,
            self.terms,
        )
        return body + zlib.crc32(body).to_bytes(4, "little")


def decode_header(data: bytes) -> Header:
    """The header that these bytes are."""
    if len(data) != HEADER_BYTES:
        raise HeaderError(f"a block header has {HEADER_BYTES} bytes, not {len(data)}")
    body = data[:-4]
    magic, version, number, key_id, dimensions, scale, slot, count, terms = _HEADER.unpack(body)
    if magic != _HEADER_MAGIC:
        raise HeaderError("these bytes are no block header: wrong magic number")
    if zlib.crc32(body).to_bytes(4, "little") != data[-4:]:
        raise HeaderError("the block header is damaged: its checksum does not match")
    if version != _VERSION:
        raise HeaderError(f"the block header has version {version}, this program reads version {_VERSION}")
    try:
        header = Header(by_number(number), key_id, dimensions, scale, slot, count, terms)
    except ParameterError as error:
        raise HeaderError(str(error)) from error
    header.check()
    return header


def check_block(
    header: Header,
    head_Dn: Words,
    columns_ND: Words,
    positions_N: NDArray[np.uint32] | None = None,
) -> NDArray[np.uint32]:
    """Refuse arrays that are not of the block this header describes; the columns' positions in it.

    A stored block may have lost columns (repeated keys, erased records): ``positions_N`` says which of
    the block's ``count`` columns are there. None means all.
    """
    if positions_N is None:
        positions_N = np.arange(header.count, dtype=np.uint32)
    if positions_N.ndim != 1 or (positions_N >= header.count).any():
        raise ShapeError(f"the positions are not a row of numbers below {header.count}, the block's columns")
    D, n, N = header.dimensions, header.parameters.n, len(positions_N)
    for name, array, shape in (("head", head_Dn, (D, n)), ("columns", columns_ND, (N, D))):
        if array.shape != shape or array.dtype != header.parameters.word:
            raise ShapeError(
                f"the block's {name} is {array.dtype} {array.shape}, its header says "
                f"{header.parameters.word} {shape}"
            )
    return positions_N


@dataclass(frozen=True, slots=True)
class LwePublicKey:
    """An LWE public key. Its id is the SHA-256 of its bytes."""

    parameters: Parameters
    seed_A: bytes
    B_nl: Words = field(repr=False)
    key_id: bytes


def public_key(parameters: Parameters, seed_A: bytes, B_nl: Words) -> LwePublicKey:
    """The public key of these parts, with its id."""
    return LwePublicKey(
        parameters, seed_A, B_nl, hashlib.sha256(_key_bytes(parameters, seed_A, B_nl)).digest()
    )


def encode_public_key(key: LwePublicKey) -> bytes:
    """The key's bytes, which its id is the digest of."""
    return _key_bytes(key.parameters, key.seed_A, key.B_nl)


def decode_public_key(data: bytes) -> LwePublicKey:
    """The public key that these bytes are."""
    if len(data) < _KEY.size or data[:4] != _KEY_MAGIC:
        raise PublicKeyError("these bytes are no LWE public key: wrong magic number")
    _, version, number, seed_A = _KEY.unpack_from(data)
    if version != _VERSION:
        raise PublicKeyError(
            f"the LWE public key has version {version}, this program reads version {_VERSION}"
        )
    try:
        parameters = by_number(number)
    except ParameterError as error:
        raise PublicKeyError(str(error)) from error
    expected = _KEY.size + parameters.word.itemsize * parameters.n * parameters.slots
    if len(data) != expected:
        raise PublicKeyError(f"an {parameters.name} public key has {expected} bytes, not {len(data)}")
    B_nl = np.frombuffer(data, parameters.word, offset=_KEY.size).reshape(parameters.n, parameters.slots)
    if (B_nl == B_nl[0]).all(axis=0).any():
        raise PublicKeyError("the LWE public key is degenerate: a column of B is constant")
    return LwePublicKey(parameters, seed_A, B_nl, hashlib.sha256(data).digest())


def _key_bytes(parameters: Parameters, seed_A: bytes, B_nl: Words) -> bytes:
    return _KEY.pack(_KEY_MAGIC, _VERSION, parameters.number, seed_A) + B_nl.astype(parameters.word).tobytes()
