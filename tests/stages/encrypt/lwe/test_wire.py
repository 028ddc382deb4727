from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.encrypt.keys.owner import SecretKey, generate
from stages.encrypt.lwe.errors import HeaderError, PublicKeyError, ShapeError
from stages.encrypt.lwe.parameters import LWE32, LWE64, Parameters
from stages.encrypt.lwe.scheme import Encryptor
from stages.encrypt.lwe.wire import (
    HEADER_BYTES,
    Header,
    check_block,
    decode_header,
    decode_public_key,
    encode_public_key,
)
from stages.encrypt.public.folder import PublicKeys

HEADER = Header(LWE32, bytes(range(32)), dimensions=256, scale=353, slot=5, count=1000)


def sealed(body: bytes) -> bytes:
    """A header body with a valid checksum."""
    return body + zlib.crc32(body).to_bytes(4, "little")


def test_the_header_is_these_bytes() -> None:
    """The layout is the documented one, field by field."""
    expected = b"MSLB" + bytes([1, 0, 1, 0]) + bytes(range(32)) + struct.pack("<5I", 256, 353, 5, 1000, 1)
    assert HEADER.encode() == sealed(expected)
    assert len(HEADER.encode()) == HEADER_BYTES == 64


@given(
    key_id=st.binary(min_size=32, max_size=32),
    sizes=st.tuples(st.integers(1, 4096), st.integers(1, 2**32 - 1)),
    slots=st.tuples(st.integers(0, 1024), st.integers(0, 1024)),
    terms=st.tuples(st.integers(1, 4), st.integers(1, 10**6)),
)
def test_headers_survive_the_wire(
    key_id: bytes, sizes: tuple[int, int], slots: tuple[int, int], terms: tuple[int, int]
) -> None:
    """decode(encode(header)) is the header, for every header there can be."""
    slot, end = sorted(slots)
    for parameters, count in zip((LWE32, LWE64), terms, strict=True):
        header = Header(parameters, key_id, *sizes, slot, end - slot, count)
        assert decode_header(header.encode()) == header


@pytest.mark.parametrize("parameters", [LWE32, LWE64], ids=["LWE32", "LWE64"])
def test_every_single_bit_flip_is_refused(parameters: Parameters) -> None:
    """No bit of a header can change unnoticed."""
    data = replace(HEADER, parameters=parameters).encode()
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(HeaderError):
            decode_header(bytes(flipped))


@pytest.mark.parametrize("length", [0, 4, 63, 65, 128])
def test_other_lengths_are_refused(length: int) -> None:
    """Truncated or prolonged headers are errors."""
    with pytest.raises(HeaderError, match="64 bytes"):
        decode_header((HEADER.encode() * 2)[:length])


@given(st.binary(min_size=60, max_size=60))
def test_arbitrary_bytes_with_a_valid_checksum_never_pass_as_a_header(body: bytes) -> None:
    """Parsing is strict behind the checksum too."""
    with pytest.raises(HeaderError):
        decode_header(sealed(body))


@pytest.mark.parametrize(
    ("offset", "value", "sentence"),
    [
        (4, 2, "version 2"),
        (6, 77, "parameter set 77"),
        (40, 0, "D = 0"),
        (40, 5000, "D = 5000"),
        (44, 0, "scale 0"),
        (48, 25, "slots from 25"),
        (52, 1020, "1020 records"),
        (56, 0, "0 terms"),
        (56, 5, "5 terms"),
    ],
)
def test_contradictions_are_refused(offset: int, value: int, sentence: str) -> None:
    """A well-formed header that describes no possible block names what is wrong."""
    body = bytearray(HEADER.encode()[:-4])
    width = 2 if offset < 8 else 4
    body[offset : offset + width] = value.to_bytes(width, "little")
    with pytest.raises(HeaderError, match=sentence):
        decode_header(sealed(bytes(body)))


def test_encoding_refuses_what_decoding_would() -> None:
    """A header that cannot be read is not written."""
    for change in ({"slot": 1000}, {"terms": 9}, {"key_id": b"short"}, {"dimensions": 0}):
        with pytest.raises(HeaderError):
            replace(HEADER, **change).encode()


def test_arrays_are_checked_against_the_header() -> None:
    """Shape and word type must be exactly the header's."""
    head, columns = np.zeros((256, 1536), np.uint32), np.zeros((1000, 256), np.uint32)
    check_block(HEADER, head, columns)
    for bad in (
        (head[1:], columns),
        (head, columns[1:]),
        (head.astype(np.int32), columns),
        (head, columns.T),
    ):
        with pytest.raises(ShapeError):
            check_block(HEADER, *bad)


def test_words_of_the_other_set_are_refused() -> None:
    """Arrays of 32-bit words are no block of a 64-bit set, nor the other way round."""
    for parameters, word in ((LWE32, np.uint64), (LWE64, np.uint32)):
        header = replace(HEADER, parameters=parameters, count=1)
        head, columns = np.zeros((256, parameters.n), word), np.zeros((1, 256), word)
        with pytest.raises(ShapeError, match=f"uint{parameters.q_bits}"):
            check_block(header, head, columns)


def test_a_public_key_of_64_bit_words_survives_the_wire(exact_pair: tuple[Encryptor, SecretKey]) -> None:
    """LWE64: eight little-endian bytes a word; the id is the digest."""
    public = exact_pair[0].public
    data = encode_public_key(public)
    again = decode_public_key(data)
    assert len(data) == 40 + 8 * 2560 * 1024
    assert (again.B_nl == public.B_nl).all()
    assert again.key_id == public.key_id == hashlib.sha256(data).digest()
    assert int.from_bytes(data[40:48], "little") == public.B_nl[0, 0]
    with pytest.raises(PublicKeyError, match="20971560 bytes"):
        decode_public_key(data[:-8])


def test_every_flipped_bit_of_a_public_key_changes_its_id_or_is_refused(
    toy: Parameters,
) -> None:
    """A key that is not the one agreed on never passes under its id."""
    public = generate(toy, bytes(32), bytes(32))
    data = encode_public_key(public)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            assert decode_public_key(bytes(flipped)).key_id != public.key_id
        except PublicKeyError:
            assert bit < 8 * 8  # magic, version, parameter id


def test_public_keys_survive_the_wire(public: PublicKeys) -> None:
    """A key read back is the key, and its id is the digest of its bytes."""
    data = encode_public_key(public.lwe)
    again = decode_public_key(data)
    assert (again.B_nl == public.lwe.B_nl).all()
    assert again.seed_A == public.lwe.seed_A
    assert again.key_id == public.key_id == hashlib.sha256(data).digest()
    assert len(data) == 40 + 4 * 1536 * 1024


def test_damaged_public_keys_are_refused(public: PublicKeys) -> None:
    """Wrong magic, version, parameters or length, and a degenerate matrix, are errors."""
    data = encode_public_key(public.lwe)
    for bad, sentence in (
        (b"", "magic"),
        (b"XXXX" + data[4:], "magic"),
        (data[:4] + b"\2\0" + data[6:], "version 2"),
        (data[:6] + b"\7\0" + data[8:], "parameter set 7"),
        (data[:-1], "6291496 bytes"),
        (data + b"\0", "6291496 bytes"),
        (data[:40] + bytes(len(data) - 40), "degenerate"),
    ):
        with pytest.raises(PublicKeyError, match=sentence):
            decode_public_key(bad)
