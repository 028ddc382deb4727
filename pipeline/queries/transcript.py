"""The transcript of a search: its requests and the answers, in a file for ``pipeline.queries.audit``.

The file holds the checkpoint, every request (the weights, or each replica's share of them) and the answer
for every block. The file reveals the query: it is created with mode 0600, under its name once it is whole.

Entries follow one another: kind (1 byte), length (4 bytes, little-endian), body. The last is the SHA-256
of everything before it.
"""

from __future__ import annotations

import os
import struct
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np

from stages.encrypt.lwe.errors import LweError
from stages.encrypt.lwe.exchange import Scored, decode_frame, encode_frame
from stages.encrypt.lwe.parameters import Parameters, by_number
from stages.encrypt.lwe.wire import Words
from stages.errors import OperatorError
from stages.files import SECRET, whole_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_MAGIC: Final = b"MedSecure-U answers v1\x00"
_ENTRY: Final = struct.Struct("<cI")
_CHECKPOINT, _REQUEST, _ANSWER, _END = b"C", b"Q", b"A", b"E"
_ASKED: Final = struct.Struct("<HH")  # parameters, bytes of the party's name; the name and the words follow
_OF: Final = struct.Struct("<H")  # the request's number; the frame follows


class AnswersError(OperatorError):
    """The file holds no answers, or cannot be read or written; the message names it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request and its recipient: ``direct``, or a replica's URL."""

    party: str
    parameters: Parameters
    words_D: Words = field(repr=False)


class Transcript:
    """Writes requests and answers as they come; ``recording`` opens one."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._digest = sha256()
        self._requests = 0
        self._write(_MAGIC)

    def checkpoint(self, note: bytes) -> None:
        """Write the signed note of the log that all answers are for."""
        self._entry(_CHECKPOINT, note)

    def asked(self, request: Asked) -> int:
        """Write a request; its number."""
        name = request.party.encode()
        words = request.words_D.astype(request.parameters.word).tobytes()
        self._entry(_REQUEST, _ASKED.pack(request.parameters.number, len(name)) + name + words)
        self._requests += 1
        return self._requests - 1

    def answered(self, number: int, block: Scored) -> None:
        """Write one block's answer to the request of that number; a block that was not scored is left out."""
        if block.answer is not None:
            self._entry(_ANSWER, _OF.pack(number) + encode_frame(block))

    def end(self) -> None:
        """Write the end mark: the digest of all entries."""
        self._entry(_END, self._digest.digest())

    def _entry(self, kind: bytes, body: bytes) -> None:
        self._write(_ENTRY.pack(kind, len(body)))
        self._write(body)

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._stream.write(data)


def note_of(
    transcript: Transcript | None, party: str, parameters: Parameters, words_D: Words
) -> Callable[[Scored], None]:
    """Write a request; the function that writes its answers. Writes nothing without a transcript."""
    if transcript is None:
        return lambda _: None
    number = transcript.asked(Asked(party, parameters, words_D))
    return lambda block: transcript.answered(number, block)


@contextmanager
def recording(file: Path, note: bytes) -> Iterator[Transcript]:
    """A transcript in a new file, which exists once the block succeeds. Raises AnswersError."""
    if file.exists():
        raise AnswersError(f"{file} exists already: nothing is overwritten, choose another name")
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(whole_file(file, SECRET))
        except OSError as error:
            raise AnswersError(f"cannot write {file}: {error.strerror}") from error
        transcript = Transcript(stream)
        transcript.checkpoint(note)
        yield transcript
        transcript.end()


@dataclass(frozen=True, slots=True)
class Answers:
    """A file of answers; memory holds the place of each answer only."""

    file: Path
    checkpoint: bytes
    requests: tuple[Asked, ...]
    places: dict[int, list[tuple[int, int]]] = field(repr=False)  # by first record: offset, length
    records: dict[int, int] = field(repr=False)  # by first record: how many records the answers cover

    def of(self, first_index: int) -> list[tuple[Asked, Scored]]:
        """All answers for the block that begins with this record."""
        found = []
        with self.file.open("rb") as stream:
            for offset, length in self.places[first_index]:
                stream.seek(offset)
                body = stream.read(length)
                asked = self.requests[_OF.unpack_from(body)[0]]
                found.append((asked, decode_frame(body[_OF.size :], asked.parameters)))
        return found


def load(file: Path) -> Answers:
    """The answers of a file, which is whole. Raises AnswersError."""
    try:
        with file.open("rb") as stream:
            return _load(file, stream)
    except OSError as error:
        raise AnswersError(f"cannot read {file}: {error.strerror}") from error
    except (struct.error, LweError, UnicodeDecodeError, IndexError, ValueError) as error:
        if isinstance(error, AnswersError):
            raise
        raise AnswersError(f"{file} is damaged: no audit can begin with it") from error


def _load(file: Path, stream: BinaryIO) -> Answers:
    if stream.read(len(_MAGIC)) != _MAGIC:
        raise AnswersError(f"{file} holds no answers of a search: name a file that --answers wrote")
    digest, note = sha256(_MAGIC), b""
    requests: list[Asked] = []
    places: dict[int, list[tuple[int, int]]] = {}
    records: dict[int, int] = {}
    while True:
        before = digest.digest()
        entry = stream.read(_ENTRY.size)
        kind, length = _ENTRY.unpack(entry)
        offset = stream.tell()
        body = stream.read(min(length, os.fstat(stream.fileno()).st_size))
        digest.update(entry + body)
        if kind == _END and body == before and not stream.read(1):
            return Answers(file, note, tuple(requests), places, records)
        if kind == _CHECKPOINT:
            note = body
        elif kind == _REQUEST:
            requests.append(_asked(body))
        elif kind == _ANSWER and len(body) == length:
            asked = requests[_OF.unpack_from(body)[0]]
            scored = decode_frame(body[_OF.size :], asked.parameters)
            places.setdefault(scored.first_index, []).append((offset, length))
            records[scored.first_index] = scored.records
        else:
            raise AnswersError(f"{file} is damaged: it does not end as it was written")


def _asked(body: bytes) -> Asked:
    number, name = _ASKED.unpack_from(body)
    parameters = by_number(number)
    words_D = np.frombuffer(body, parameters.word, offset=_ASKED.size + name)
    return Asked(body[_ASKED.size : _ASKED.size + name].decode(), parameters, words_D)
