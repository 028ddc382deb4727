"""Audit of a search: recompute some of its answers from blocks that the log proves.

Scoring is deterministic integer work, so an honest answer equals the recomputed one in every word. The
auditor needs the answers' file and a copy of the index with its ciphertexts; no key. Of a search of B blocks
in which f were answered wrongly, an audit of N blocks misses all of them with probability below (1 - f/B)^N.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.answers import AnswersError, load
from pipeline.proven import block_at, check_prefix, prove_rows
from stages.encrypt.errors import LweError
from stages.encrypt.shares import score_words
from stages.encrypt.wire import decode_header
from stages.index.note import NoteError, open_checkpoint, parse_vkey

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.answers import Asked
    from stages.encrypt.exchange import Scored
    from stages.index.reader import Reader
    from stages.index.segments import Block


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
        pinned = open_checkpoint(answers.checkpoint, parse_vkey(reader.vkey))
    except NoteError as error:
        raise AnswersError(f"{file} is not about the log in {directory}: {error}") from error
    check_prefix(directory, reader, pinned, str(file))
    chosen = secrets.SystemRandom().sample(sorted(answers.places), min(count, len(answers.places)))
    errors: list[Wrong] = []
    unavailable = 0
    for first in sorted(chosen):
        block = block_at(directory, reader.size, first)
        prove_rows(reader, block, range(len(block)))
        for asked, scored in answers.of(first):
            reason, gone = _compare(block, asked, scored)
            unavailable += gone
            if reason:
                errors.append(Wrong(first, scored.records, asked.party, reason))
    return Audit(not errors, len(answers.places), len(chosen), unavailable, tuple(errors))


def _compare(block: Block, asked: Asked, scored: Scored) -> tuple[str, int]:
    """What is wrong with an answer, empty if nothing; and how many of its records are gone."""
    answer = scored.answer
    if answer is None or scored.header != block.header or scored.first_index != block.first_index:
        return "the answer is about another block than the log holds there", 0
    try:
        header = decode_header(block.header)
        right = score_words(header, block.head_Dn, block.columns_ND, asked.words_D, block.positions_N)
    except LweError as error:
        return f"the question does not fit the block: {error}", 0
    there_N = np.isin(answer.positions_N, block.positions_N)
    if not np.array_equal(answer.positions_N[there_N], right.positions_N):
        return "the answer leaves out records that the block holds", 0
    if not np.array_equal(answer.head_n, right.head_n):
        return "the head's words are not what the block gives", 0
    if not np.array_equal(answer.scores_N[there_N], right.scores_N):
        return "the scores are not what the block gives", 0
    return "", int((~there_N).sum())
