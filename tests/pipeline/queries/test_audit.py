"""Answers that are kept can be recomputed, and what differs in one word is found."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.queries import search as query
from pipeline.queries.audit import audit
from pipeline.queries.inclusion import OtherLogError
from pipeline.queries.transcript import Answers, AnswersError, Transcript, load, recording
from stages.encrypt.keys.folder import load_owners, new_keys
from stages.encrypt.lwe.exchange import Scored
from stages.encrypt.lwe.search import BlockScores
from stages.index.errors import DamagedError
from stages.index.reader import open_reader
from tests.pipeline.queries.encrypted import append, unit_rows

BLOCKS = [5, 3, 1, 4]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys, an index of four blocks, and the answers of one search of it."""
    made = tmp_path_factory.mktemp("audit")
    new_keys(made / "keys", None)
    append(made / "index", made / "keys", BLOCKS)
    reader, owners = open_reader(made / "index"), load_owners(made / "keys", None)
    with recording(made / "answers", reader.checkpoint) as transcript:
        query.search(reader, owners, unit_rows(1, 1)[0], 3, query.Direct(reader, owners, transcript))
    return made


def rewritten(answers: Answers, target: Path, change: Callable[[Scored], Scored]) -> Path:
    """The same file with other answers, whole in itself."""
    with target.open("wb") as stream:
        transcript = Transcript(stream)
        transcript.checkpoint(answers.checkpoint)
        for question in answers.requests:
            transcript.asked(question)
        for first in answers.places:
            for _, scored in answers.of(first):
                transcript.answered(0, change(scored))
        transcript.end()
    return target


def test_honest_answers_pass(folder: Path) -> None:
    """Asking for more blocks than were answered audits all."""
    done = audit(folder / "index", open_reader(folder / "index"), folder / "answers", 1000)
    assert (done.ok, done.answered, done.audited, done.unavailable, done.errors) == (True, 4, 4, 0, ())
    assert (folder / "answers").stat().st_mode & 0o777 == 0o600


def flipped(words: np.ndarray, place: int) -> np.ndarray:
    changed = words.copy()
    changed[place] ^= 1
    return changed


CHANGES: dict[str, tuple[str, Callable[[BlockScores], BlockScores]]] = {
    "score": ("scores", lambda a: replace(a, scores_N=flipped(a.scores_N, -1))),
    "head": ("head", lambda a: replace(a, head_n=flipped(a.head_n, 7))),
    "fewer": ("leaves out", lambda a: BlockScores(a.head_n, a.scores_N[:-1], a.positions_N[:-1])),
    "swapped": ("leaves out", lambda a: replace(a, positions_N=a.positions_N[::-1])),
}


@pytest.mark.parametrize("what", CHANGES)
def test_one_wrong_word_names_its_block(folder: Path, tmp_path: Path, what: str) -> None:
    """Wherever it is, and only the block it is in."""
    sentence, change = CHANGES[what]

    def tamper(scored: Scored) -> Scored:
        if scored.first_index != 5 or scored.answer is None:
            return scored
        answer = change(scored.answer)
        return replace(scored, answer=answer, records=len(answer.positions_N))

    file = rewritten(load(folder / "answers"), tmp_path / "tampered", tamper)
    done = audit(folder / "index", open_reader(folder / "index"), file, 4)
    (wrong,) = done.errors
    assert not done.ok
    assert (wrong.first_index, wrong.party) == (5, "direct")
    assert sentence in wrong.reason


def test_blocks_are_picked_at_random(folder: Path, tmp_path: Path) -> None:
    """One wrong block of four is found by some audits of one block and missed by others."""

    def tamper(scored: Scored) -> Scored:
        if scored.first_index != 5 or scored.answer is None:
            return scored
        return replace(scored, answer=replace(scored.answer, head_n=scored.answer.head_n + np.uint32(1)))

    file = rewritten(load(folder / "answers"), tmp_path / "tampered", tamper)
    reader = open_reader(folder / "index")
    verdicts = {audit(folder / "index", reader, file, 1).ok for _ in range(100)}
    assert verdicts == {True, False}  # fails by chance once in 10^12


def test_an_index_whose_bytes_changed_cannot_audit(folder: Path, tmp_path: Path) -> None:
    """Its own damage is named before any answer is called wrong."""
    copy = Path(shutil.copytree(folder / "index", tmp_path / "index"))
    (segment,) = copy.glob("segments/*.arrows")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    with pytest.raises(DamagedError):
        audit(copy, open_reader(copy), folder / "answers", 4)


def test_a_grown_index_audits_earlier_answers(folder: Path, tmp_path: Path) -> None:
    """The answers' checkpoint is a prefix of the log."""
    copy = Path(shutil.copytree(folder / "index", tmp_path / "index"))
    append(copy, folder / "keys", [2, 2], seed=50)
    assert audit(copy, open_reader(copy), folder / "answers", 4).ok


def test_answers_of_another_log_are_refused(folder: Path, tmp_path: Path) -> None:
    """Another index, and one that lies behind, are told apart."""
    append(tmp_path / "other", folder / "keys", [2])
    with pytest.raises(AnswersError, match="is not about the log"):
        audit(tmp_path / "other", open_reader(tmp_path / "other"), folder / "answers", 1)
    copy = Path(shutil.copytree(folder / "index", tmp_path / "index"))
    append(copy, folder / "keys", [2], seed=60)
    reader, owners = open_reader(copy), load_owners(folder / "keys", None)
    with recording(tmp_path / "later", reader.checkpoint) as transcript:
        query.search(reader, owners, unit_rows(1, 1)[0], 3, query.Direct(reader, owners, transcript))
    with pytest.raises(OtherLogError, match="bring it up to date"):
        audit(folder / "index", open_reader(folder / "index"), tmp_path / "later", 1)


@pytest.mark.parametrize("cut", [0, 10, 200, 5000])
def test_damaged_answers_begin_no_audit(folder: Path, tmp_path: Path, cut: int) -> None:
    """A file cut short, longer or with a flipped bit is refused as a whole."""
    data = (folder / "answers").read_bytes()
    flip = bytearray(data)
    flip[cut] ^= 1
    for damaged in (data[: -cut or None][: len(data) - 1], data + b"x", bytes(flip)):
        (tmp_path / "file").write_bytes(damaged)
        with pytest.raises(AnswersError, match="file"):
            load(tmp_path / "file")
    with pytest.raises(AnswersError, match="cannot read"):
        load(tmp_path / "nowhere")


def test_answers_are_never_written_over_and_appear_whole(folder: Path, tmp_path: Path) -> None:
    """A search that fails leaves no file."""
    with pytest.raises(AnswersError, match="exists already"), recording(folder / "answers", b""):
        pass
    with pytest.raises(RuntimeError), recording(tmp_path / "answers", b""):
        raise RuntimeError
    assert not list(tmp_path.iterdir())
