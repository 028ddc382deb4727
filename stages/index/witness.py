"""A witness: stores the newest checkpoint it saw of a log, and cosigns only a log that continues it.

A party that can sign for a log can show two readers different logs, or an old one. A witness that both ask
prevents that: its state is the last note it accepted, it moves forward only, and a note that does not
continue it is kept beside it as evidence. The first note is taken on trust. Cosignatures are
those of Ed25519 in c2sp.org/tlog-cosignature: on the whole text of the note, with the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from stages.errors import OperatorError
from stages.files import SECRET, create, make_directory, write_whole
from stages.index.errors import ForkedError
from stages.index.log.note import cosign, witness_key
from stages.index.reader import Reader
from stages.index.store.durable import locked
from stages.index.store.identity import encode_keys, encode_public
from stages.index.verifier import Checkpoint, LogKey, NoteError, open_checkpoint, parse_keys

_WAIT_S: Final = 2.0  # for another run of the same witness


class WitnessError(OperatorError):
    """A witness key or state that cannot be used."""


class EquivocationError(ForkedError):
    """A log that does not continue what the witness saw; ``evidence`` are the two signed notes."""

    def __init__(self, reason: str, evidence: tuple[Path, Path]) -> None:
        super().__init__(reason)
        self.evidence = evidence


@dataclass(frozen=True, slots=True)
class WitnessKey:
    """Who cosigns."""

    name: str
    private: Ed25519PrivateKey

    @property
    def public(self) -> LogKey:
        """For those who trust the witness."""
        return witness_key(self.name, self.private)


def new_witness_key(file: Path, name: str) -> WitnessKey:
    """Make a key: the secret in this file, the public half beside it with ``.pub`` added."""
    key = WitnessKey(name, Ed25519PrivateKey.generate())
    try:
        parse_keys(key.public.vkey)
        create(file, encode_keys([key.private]), SECRET)
        write_whole(_public(file), encode_public([key.public]))
    except NoteError as error:
        raise WitnessError(f"{name!r} is no name for a witness: no spaces, no +, not empty") from error
    except OSError as error:
        raise WitnessError(f"cannot make {error.filename}: {error.strerror}") from error
    return key


def load_witness_key(file: Path) -> WitnessKey:
    """The key in this file, whose name stands in the public half beside it."""
    try:
        private = load_pem_private_key(file.read_bytes(), password=None)
        (public,) = parse_keys(_public(file).read_text())
    except OSError as error:
        raise WitnessError(f"cannot read {error.filename}: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise WitnessError(
            f"{file} and {_public(file)} are no witness key: make one with --new-key"
        ) from error
    if not isinstance(private, Ed25519PrivateKey) or witness_key(public.name, private) != public:
        raise WitnessError(f"{file} is not the key of {_public(file)}")
    return WitnessKey(public.name, private)


def witness(reader: Reader, state: Path, key: WitnessKey | None, time_s: int) -> Checkpoint | None:
    """Accept the reader's checkpoint if it continues the state's, which it then replaces, cosigned.

    What was seen before comes back; None the first time. Raises EquivocationError where the log forked or
    went back, WitnessError where the state is not of this log.
    """
    try:
        with locked(state.with_name(f"{state.name}.lock"), _WAIT_S):
            old = _checked(reader, state) if state.exists() else None
            note = reader.checkpoint
            write_whole(state, note if key is None else cosign(note, key.name, key.private, time_s))
    except OSError as error:
        raise WitnessError(f"cannot keep {state}: {error}") from error
    return old


def _checked(reader: Reader, state: Path) -> Checkpoint:
    """The checkpoint of the state, if the reader's checkpoint continues it."""
    note = state.read_bytes()
    try:
        old = open_checkpoint(note, reader.log)
    except NoteError as error:
        raise WitnessError(f"{state} is of another log, or damaged: {error}") from error
    try:
        reader.prove_growth(note)
    except ForkedError as error:
        folder = state.with_name(f"{state.name}.evidence")
        make_directory(folder)
        evidence = (_name(folder, old.size, old.root), _name(folder, reader.size, reader.root))
        write_whole(evidence[0], note)
        write_whole(evidence[1], reader.checkpoint)
        raise EquivocationError(str(error), evidence) from error
    return old


def _name(folder: Path, size: int, root: bytes) -> Path:
    return folder / f"{size}-{root.hex()[:16]}.note"


def _public(file: Path) -> Path:
    return file.with_name(f"{file.name}.pub")
