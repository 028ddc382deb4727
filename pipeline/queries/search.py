"""Search of an encrypted index (S1, and S1' with two replicas).

The querier quantises a feature vector to weights, lets a source score every block, and opens the answers
with the secret key. A scorer sees ciphertexts and weights (or one share of them), never a score. An
inclusion proof against the signed checkpoint then proves that each hit is in the log.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.queries.transcript import note_of
from pipeline.queries.vector import VectorError
from stages.encrypt.keys.owner import open_scores
from stages.encrypt.lwe.errors import LweError, ShapeError
from stages.encrypt.lwe.exchange import Scored
from stages.encrypt.lwe.search import BlockScores, quantise_query, score_block, weight_words
from stages.encrypt.lwe.wire import decode_header
from stages.index.log.leaf import decode_leaf
from stages.index.verifier import ProofError, verify_proof

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from pipeline.queries.transcript import Transcript
    from stages.encrypt.keys.folder import OwnerKeys
    from stages.encrypt.lwe.parameters import Parameters
    from stages.encrypt.lwe.wire import Header
    from stages.index.reader import Reader


class Scorer(Protocol):
    """Scores the blocks of a log: the holder of the ciphertexts, or a client of replicas."""

    def ask(self, parameters: Parameters, weights_D: NDArray[np.int32]) -> Iterator[Scored]:
        """The answer for every block of the log at the querier's checkpoint, in order."""

    def confirm(self, index: int) -> None:
        """Check the source's bytes of a record, if it has any. Raises DamagedError."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One record of the answer, best first."""

    key: str  # hex
    index: int
    score: float  # cosine in [-1, 1]
    proof_ok: bool

    def as_json(self) -> dict[str, Any]:
        """The hit as plain values; ``key`` stands beside ``record_id`` until 1.0."""
        return {**asdict(self), "record_id": self.key}


@dataclass(frozen=True, slots=True)
class Closed:
    """Blocks that the given keys cannot open."""

    key_id: str  # hex, of the key that opens them
    blocks: int
    records: int


@dataclass(frozen=True, slots=True)
class Unscored:
    """A block of the log that no search can score."""

    first_index: int
    records: int
    reason: str


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The hits, the blocks that need other keys, and those that cannot be scored."""

    hits: tuple[Hit, ...]
    closed: tuple[Closed, ...]
    unscored: tuple[Unscored, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class _Candidate:
    """One scored record; compares by score, then the earlier record first."""

    score: float
    minus_index: int
    position: int
    header: bytes


class Direct:
    """Scores the index's folder in this process, and skips blocks under other keys."""

    def __init__(
        self, reader: Reader, key_ids: Collection[bytes], transcript: Transcript | None = None
    ) -> None:
        self._reader = reader
        self._key_ids = key_ids
        self._transcript = transcript

    def ask(self, parameters: Parameters, weights_D: NDArray[np.int32]) -> Iterator[Scored]:
        """See ``Scorer``."""
        note = note_of(self._transcript, "direct", parameters, weight_words(weights_D, parameters))
        for block in self._reader.blocks():
            answer: BlockScores | None = None
            with suppress(LweError):  # who opens the answers names the block
                header = decode_header(block.header)
                fits = header.parameters == parameters and header.dimensions == len(weights_D)
                if fits and header.key_id in self._key_ids:
                    answer = score_block(
                        header, block.head_Dn, block.columns_ND, weights_D, block.positions_N
                    )
            scored = Scored(block.first_index, len(block), block.header, answer)
            note(scored)
            yield scored

    def confirm(self, index: int) -> None:
        """Hash the record's bytes up to the signed root."""
        self._reader.record(index)


def search(
    reader: Reader,
    owners: Mapping[bytes, OwnerKeys],
    feature_D: NDArray[np.float32],
    top: int,
    source: Scorer | None = None,
) -> SearchResult:
    """The ``top`` records most similar to a feature vector, streaming over the blocks.

    ``owners`` are the owner's generations by key id; ``source`` None scores the reader's own blocks. A
    block that cannot be scored costs only its own records. Raises VectorError where no block can be scored.
    """
    source = source or Direct(reader, owners)
    best: list[_Candidate] = []
    closed: dict[bytes, Counter[str]] = {}
    unscored: dict[int, Unscored] = {}
    sets = dict.fromkeys(keys.lwe.parameters for keys in owners.values())
    for number, parameters in enumerate(sets):
        weights_D = quantise_query(feature_D, parameters)
        for block in source.ask(parameters, weights_D):
            try:
                header = decode_header(block.header)
                keys = owners.get(header.key_id)
                if keys is None:
                    if not number:  # every parameter set goes over the same blocks
                        closed.setdefault(header.key_id, Counter()).update(blocks=1, records=block.records)
                elif keys.lwe.parameters == parameters:
                    found = _opened(block, header, keys, weights_D, top)
                    best = heapq.nlargest(top, itertools.chain(best, found))
            except LweError as error:
                unscored[block.first_index] = Unscored(block.first_index, block.records, str(error))
    others = tuple(Closed(key.hex(), count["blocks"], count["records"]) for key, count in closed.items())
    if not best:
        _refuse_left_out(others, tuple(unscored.values()))
    hits = tuple(_checked(reader, source, one) for one in best)
    return SearchResult(hits, others, tuple(unscored.values()))


def _refuse_left_out(closed: tuple[Closed, ...], unscored: tuple[Unscored, ...]) -> None:
    """An empty answer would read as: nothing is similar. Raises VectorError where nothing was compared."""
    if closed:
        raise VectorError(
            f"this key opens none of the {sum(one.records for one in closed)} records: they were encrypted "
            f"under another ({', '.join(one.key_id[:16] for one in closed)})"
        )
    if unscored:
        raise VectorError(f"no record can be scored: {unscored[0].reason}")


def _opened(
    block: Scored, header: Header, keys: OwnerKeys, weights_D: NDArray[np.int32], top: int
) -> Iterator[_Candidate]:
    """The block's ``top`` records; of equal scores the earlier ones. Raises LweError."""
    if header.dimensions != len(weights_D):
        raise ShapeError(f"the vector has {len(weights_D)} features, these records have {header.dimensions}")
    answer = block.answer
    if answer is None:
        raise ShapeError("the block's words are not what its header states")
    score_N = open_scores(keys.lwe, header, answer, weights_D)
    return _candidates(block, answer, score_N, top)


def _candidates(
    block: Scored, answer: BlockScores, score_N: NDArray[np.float64], top: int
) -> Iterator[_Candidate]:
    for row in np.argsort(-score_N, kind="stable")[:top].tolist():
        index, position = block.first_index + row, int(answer.positions_N[row])
        yield _Candidate(float(score_N[row]), -index, position, block.header)


def _checked(reader: Reader, source: Scorer, found: _Candidate) -> Hit:
    """A hit: the verifier checks its inclusion proof, and its leaf must name the scored column."""
    index = -found.minus_index
    source.confirm(index)
    proof = reader.prove(index)
    leaf = decode_leaf(proof.record)
    same = (leaf.position, leaf.header) == (found.position, sha256(found.header).digest())
    with suppress(ProofError):
        checked = verify_proof(proof.encode(), reader.log)
        return Hit(leaf.key.hex(), index, found.score, proof_ok=same and checked.record == proof.record)
    return Hit(leaf.key.hex(), index, found.score, proof_ok=False)
