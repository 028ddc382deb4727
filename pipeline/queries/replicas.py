"""The querier's side of the two-server private query (S1'): two replicas, one checkpoint, shares of weights.

The querier keeps its own copy of the log (tiles, manifest, checkpoint; ciphertexts are not needed). The copy
gives the size and root that both replicas must answer for, lists the records to expect, and proves the hits,
so that no replica learns which records were found. Answers are read block by block from both at once.
"""

from __future__ import annotations

import ipaddress
import ssl
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httpx

from pipeline.queries.transcript import note_of
from stages.encrypt.lwe.errors import LweError
from stages.encrypt.lwe.exchange import Scored, ScoreRequest, decode_answers
from stages.encrypt.lwe.shares import join, split_weights
from stages.errors import OperatorError
from stages.index.verifier import Checkpoint, NoteError, open_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from pipeline.queries.transcript import Transcript
    from stages.encrypt.lwe.parameters import Parameters
    from stages.encrypt.lwe.wire import Words
    from stages.index.reader import Reader

_WAIT_S: Final = 30.0  # without a byte
_MAX_SENTENCE: Final = 300


class ReplicaError(OperatorError):
    """A replica that does not answer, or answers with something else; the message names its URL."""


@dataclass(frozen=True, slots=True)
class Access:
    """How replicas are reached: a bearer token, and the authority that signs their certificates."""

    token: str | None = field(default=None, repr=False)
    ca: Path | None = None
    wait_s: float = _WAIT_S


class Replicas:
    """Two replicas of one log, as one source of answers; made by ``replicas``."""

    def __init__(
        self,
        client: httpx.Client,
        urls: tuple[str, str],
        reader: Reader,
        transcript: Transcript | None,
    ) -> None:
        self._client = client
        self._urls = urls
        self._reader = reader
        self._transcript = transcript

    def ask(self, parameters: Parameters, weights_D: NDArray[np.int32]) -> Iterator[Scored]:
        """See ``pipeline.queries.search.Scorer``: the sums of both replicas' answers."""
        shares = split_weights(weights_D, parameters)
        with ExitStack() as stack:
            one, other = (
                stack.enter_context(self._asked(url, parameters, share_D))
                for url, share_D in zip(self._urls, shares, strict=True)
            )
            at = 0
            for first, second in zip_longest(one, other):
                if first is None or second is None or _place(first) != _place(second):
                    raise ReplicaError(f"{self._both} answered about different records from {at} on")
                self._require_gone(at, first.first_index)
                at = first.first_index + first.records
                yield self._joined(first, second)
            self._require_gone(at, self._reader.size)

    def confirm(self, index: int) -> None:
        """Check nothing: the querier holds no ciphertexts, and requests no record that it found."""

    def check(self) -> None:
        """Both replicas are of this log and at least as long. Raises ReplicaError, naming both."""
        pins = [self._checkpoint(url) for url in self._urls]
        own, mine = (
            Checkpoint(pins[0].origin, self._reader.size, self._reader.root),
            "the copy of the log here",
        )
        states = [(own, mine), *zip(pins, self._urls, strict=True)]
        for number, (one, whose) in enumerate(states):
            for other, whom in states[number + 1 :]:
                if one.size == other.size and one.root != other.root:
                    raise ReplicaError(
                        f"{whose} and {whom} hold different logs: with {one.size} records the root is "
                        f"{one.root.hex()[:16]} and {other.root.hex()[:16]}"
                    )
        for pin, url in zip(pins, self._urls, strict=True):
            if pin.size < own.size:
                raise ReplicaError(
                    f"{url} has {pin.size} records, {mine} has {own.size}: bring the replica up to date"
                )

    @property
    def _both(self) -> str:
        return " and ".join(self._urls)

    def _require_gone(self, start: int, stop: int) -> None:
        """Answers come in the log's order and leave out no record that is there."""
        if stop < start or stop > self._reader.size:
            raise ReplicaError(f"{self._both} answer for records that the log does not have there")
        left_out = self._reader.present(start, stop)
        if left_out:
            raise ReplicaError(
                f"{self._both} leave out {len(left_out)} records, from {left_out[0]} on, which the log has"
            )

    def _joined(self, one: Scored, other: Scored) -> Scored:
        if one.header == other.header and one.answer is None and other.answer is None:
            return one
        try:
            if one.header == other.header and one.answer is not None and other.answer is not None:
                return replace(one, answer=join(one.answer, other.answer))
        except LweError:
            pass
        raise ReplicaError(f"{self._both} answered about different blocks from record {one.first_index} on")

    @contextmanager
    def _asked(self, url: str, parameters: Parameters, share_D: Words) -> Iterator[Iterator[Scored]]:
        wanted = ScoreRequest(parameters, self._reader.size, self._reader.root, share_D)
        note = note_of(self._transcript, url, parameters, share_D)
        request = self._client.build_request("POST", f"{url}/score", content=wanted.encode())
        with _told(url):
            response = self._client.send(request, stream=True)
        try:
            with _told(url):
                _require(url, response)
            yield _answers(url, parameters, _exactly(url, response.iter_bytes()), note)
        finally:
            response.close()

    def _checkpoint(self, url: str) -> Checkpoint:
        with _told(url):
            response = self._client.get(f"{url}/checkpoint")
            _require(url, response)
        try:
            return open_checkpoint(response.content, self._reader.log)
        except NoteError as error:
            raise ReplicaError(f"{url} is no replica of the log here: {error}") from error


@contextmanager
def replicas(
    urls: tuple[str, str], reader: Reader, access: Access, transcript: Transcript | None = None
) -> Iterator[Replicas]:
    """Two replicas that hold the log at the reader's checkpoint. Raises ReplicaError."""
    names = tuple(url.rstrip("/") for url in urls)
    if names[0] == names[1]:
        raise ReplicaError(f"{names[0]} is named twice: one server with both shares learns the query")
    for url in names:
        _require_safe(url)
    headers = {"authorization": f"Bearer {access.token}"} if access.token else {}
    with httpx.Client(
        headers=headers, timeout=access.wait_s, verify=_trust(access.ca), trust_env=False
    ) as client:
        found = Replicas(client, (names[0], names[1]), reader, transcript)
        found.check()
        yield found


def _place(block: Scored) -> tuple[int, int]:
    return block.first_index, block.records


def _answers(
    url: str, parameters: Parameters, read: Callable[[int], bytes], note: Callable[[Scored], None]
) -> Iterator[Scored]:
    try:
        for block in decode_answers(parameters, read):
            note(block)
            yield block
    except LweError as error:
        raise ReplicaError(f"{url} gave a damaged answer: {error}") from error


def _exactly(url: str, pieces: Iterator[bytes]) -> Callable[[int], bytes]:
    """Reads a given number of bytes from a stream of pieces; holds at most one piece too many."""
    held = bytearray()

    def read(count: int) -> bytes:
        while len(held) < count:
            with _told(url):
                piece = next(pieces, None)
            if piece is None:
                raise ReplicaError(f"{url} gave an answer that is cut short")
            held.extend(piece)
        data = bytes(held[:count])
        del held[:count]
        return data

    return read


@contextmanager
def _told(url: str) -> Iterator[None]:
    """What can go wrong on the way, in one sentence."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise ReplicaError(f"{url} did not answer in time") from error
    except httpx.RemoteProtocolError as error:
        raise ReplicaError(f"{url} gave an answer that is cut short") from error
    except httpx.HTTPError as error:
        raise ReplicaError(f"{url} cannot be reached: {error}") from error


def _require(url: str, response: httpx.Response) -> None:
    """Refuse every status but 200, with the server's own sentence."""
    if response.status_code == httpx.codes.OK:
        return
    sentence = response.read().decode(errors="replace")[:_MAX_SENTENCE].strip()
    raise ReplicaError(f"{url} refuses ({response.status_code}): {sentence}")


def _require_safe(url: str) -> None:
    """Plain HTTP to this machine only: a party that reads both links learns the query."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ReplicaError(f"{url} is no address of a replica: give https://HOST:PORT")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ReplicaError(f"{url} is not encrypted, and reading both links reveals the query: use https")


def is_loopback(host: str) -> bool:
    """Whether a host is this very machine, by its name or number."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _trust(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca is None else str(ca))
    except OSError as error:
        raise ReplicaError(f"{ca} holds no certificate of an authority: give a PEM file") from error
