from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.encrypt.lwe.errors import LweError
from stages.encrypt.lwe.exchange import (
    ExchangeError,
    Scored,
    ScoreRequest,
    decode_answers,
    decode_request,
    encode_answers,
)
from stages.encrypt.lwe.parameters import LWE32, Parameters
from stages.encrypt.lwe.search import BlockScores
from stages.encrypt.lwe.wire import Header


def request_for_scores(parameters: Parameters = LWE32) -> ScoreRequest:
    return ScoreRequest(parameters, 77, b"r" * 32, np.arange(5, dtype=np.uint32))


def blocks(toy: Parameters) -> list[Scored]:
    """One full block, one that lost columns, one that was skipped."""
    rng = np.random.default_rng(1)

    def answer(positions: Any) -> BlockScores:
        words = rng.integers(0, 2**32, (2, max(toy.n, len(positions))), np.uint32)
        return BlockScores(words[0, : toy.n], words[1, : len(positions)], np.asarray(positions, np.uint32))

    header = Header(toy, bytes(32), 3, 1, 0, 6).encode()
    return [
        Scored(0, 6, header, answer(range(6))),
        Scored(6, 2, header, answer([1, 5])),
        Scored(8, 6, header, None),
    ]


def reader(data: bytes) -> Callable[[int], bytes]:
    """Exactly so many bytes, or EOFError."""
    stream = io.BytesIO(data)

    def read(count: int) -> bytes:
        got = stream.read(count)
        if len(got) < count:
            raise EOFError
        return got

    return read


def test_a_request_is_read_as_it_was_asked() -> None:
    """Parameters, size, root and words come back; the words take four bytes each."""
    data = request_for_scores().encode()
    back = decode_request(data)
    assert (back.parameters, back.size, back.root) == (LWE32, 77, b"r" * 32)
    assert back.words_D.tolist() == [0, 1, 2, 3, 4]
    assert len(data) == 52 + 4 * 5


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d[:40], "at least"),
        (lambda d: b"MSPX" + d[4:], "magic"),
        (lambda d: d[:4] + b"\x02" + d[5:], "version 2"),
        (lambda d: d[:6] + b"\xee\xee" + d[8:], "unknown or too weak"),
        (lambda d: d[:-1], "does not have"),
        (lambda d: d[:8] + bytes(4) + d[12:], "0 features"),
    ],
)
def test_what_is_no_question_is_refused(change: Callable[[bytes], bytes], sentence: str) -> None:
    """Each with a sentence of its own."""
    with pytest.raises(ExchangeError, match=sentence):
        decode_request(change(request_for_scores().encode()))


def test_a_question_of_no_features_is_refused() -> None:
    """However well its length agrees."""
    data = request_for_scores().encode()[: -4 * 5]
    with pytest.raises(ExchangeError, match="0 features"):
        decode_request(data[:8] + bytes(4) + data[12:])


def test_answers_are_read_as_they_were_given(toy: Parameters) -> None:
    """Block by block, positions only where the block is not full."""
    given_blocks = blocks(toy)
    data = b"".join(encode_answers(toy, given_blocks))
    back = list(decode_answers(toy, reader(data)))
    for one, other in zip(given_blocks, back, strict=True):
        assert (one.first_index, one.records, one.header) == (other.first_index, other.records, other.header)
        if one.answer is None or other.answer is None:
            assert one.answer is other.answer
            continue
        assert np.array_equal(one.answer.head_n, other.answer.head_n)
        assert np.array_equal(one.answer.scores_N, other.answer.scores_N)
        assert np.array_equal(one.answer.positions_N, other.answer.positions_N)
    empty = b"".join(encode_answers(toy, []))
    assert list(decode_answers(toy, reader(empty))) == []


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_answers_are_never_answers(toy: Parameters, data: st.DataObject) -> None:
    """A cut or a flipped bit anywhere is an error by the end of the stream."""
    stream = b"".join(encode_answers(toy, blocks(toy)))
    if data.draw(st.booleans()):
        stream = stream[: data.draw(st.integers(0, len(stream) - 1))]
    else:
        at = data.draw(st.integers(0, 8 * len(stream) - 1))
        stream = stream[: at // 8] + bytes([stream[at // 8] ^ 1 << at % 8]) + stream[at // 8 + 1 :]
    with pytest.raises((LweError, EOFError)):
        list(decode_answers(toy, reader(stream)))


def test_a_claimed_length_is_bounded(toy: Parameters) -> None:
    """A server cannot make the client wait for gigabytes."""
    stream = b"".join(encode_answers(toy, []))[:8] + b"\xff\xff\xff\xff"
    with pytest.raises(ExchangeError, match="claims"):
        list(decode_answers(toy, reader(stream)))
