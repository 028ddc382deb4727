"""Audit of a search: recompute some of its answers from blocks verified against the log.

Scoring is deterministic integer work, so an honest answer equals the recomputed one in every word. The
auditor needs the answers' file and a copy of the index with its ciphertexts; no key. Of a search of B blocks
in which f were answered wrongly, an audit of N blocks misses all of them with probability below (1 - f/B)^N.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.queries.inclusion import check_prefix, prove_rows
from pipeline.queries.transcript import AnswersError, load
from stages.encrypt.lwe.errors import LweError
from stages.encrypt.lwe.search import score_words
from stages.encrypt.lwe.wire import decode_header
from stages.index.verifier import NoteError, open_checkpoint

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from pipeline.queries.transcript import Answers, Asked
    from stages.encrypt.lwe.exchange import Scored
    from stages.index.reader import Reader
    from stages.index.store.blocks import StoredBlock


@dataclass(frozen=True, slots=True)
class Wrong:
    """One answer that is not what the log's block gives."""

    first_index: int
    records: int
    party: str
    reason: str


@dataclass(frozen=True, slots=True)
class Audit:
    """What was recomputed. ``unavailable`` records are no longer in the block (erased since)."""

    ok: bool
    answered: int  # blocks in the file
    audited: int  # blocks recomputed
    unavailable: int
    errors: tuple[Wrong, ...]


def audit(directory: Path, reader: Reader, file: Path, count: int) -> Audit:
    """Recompute ``count`` answered blocks, chosen by the operating system's randomness; all if fewer.

    Raises AnswersError where the file is not about this log, DamagedError where the index's own bytes
    are not those of its log.
    """
    answers = load(file)
    try:
        pinned = open_checkpoint(answers.checkpoint, reader.log)
    except NoteError as error:
        raise AnswersError(f"{file} is not about the log in {directory}: {error}") from error
    check_prefix(directory, reader, pinned, str(file))
    chosen = secrets.SystemRandom().sample(sorted(answers.places), min(count, len(answers.places)))
    left = {first: answers.records[first] for first in chosen}
    wrong: dict[tuple[int, str], Wrong] = {}
    for block in reader.blocks():
        for first in _overlapping(block, answers, chosen):
            prove_rows(reader, block, range(len(block)))
            left[first] -= len(block)
            for asked, scored in answers.of(first):
                reason = _difference(block, asked, scored)
                if reason:
                    wrong.setdefault((first, asked.party), Wrong(first, scored.records, asked.party, reason))
    unavailable = sum(max(0, count) for count in left.values())
    return Audit(not wrong, len(answers.places), len(chosen), unavailable, tuple(wrong.values()))


def _overlapping(block: StoredBlock, answers: Answers, chosen: Collection[int]) -> list[int]:
    """The chosen answers about this block: where records were erased since, about more than it."""
    stop = block.first_index + len(block)
    return [first for first in chosen if first < stop and block.first_index < first + answers.records[first]]


def _difference(block: StoredBlock, asked: Asked, scored: Scored) -> str:
    """What is wrong with the answer for the records of this block; empty if nothing."""
    answer, start = scored.answer, block.first_index - scored.first_index
    if answer is None or scored.header != block.header:
        return "the answer is about another block than the log holds there"
    try:
        header = decode_header(block.header)
        right = score_words(header, block.head_Dn, block.columns_ND, asked.words_D, block.positions_N)
    except LweError as error:
        return f"the request does not fit the block: {error}"
    rows = slice(start, start + len(block))
    if start < 0 or not np.array_equal(answer.positions_N[rows], right.positions_N):
        return "the answer leaves out records that the block holds"
    if not np.array_equal(answer.head_n, right.head_n):
        return "the head's words are not what the block gives"
    if not np.array_equal(answer.scores_N[rows], right.scores_N):
        return "the scores are not what the block gives"
    return ""
