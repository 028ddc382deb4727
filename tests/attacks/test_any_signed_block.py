"""A stolen worker key, or a worker of another version, signs whatever it likes.

The append stage used to check the signature and nothing else. A garbage header, a scale a hundred times too
large, another number of features or a foreign key entered the log for ever; ``index verify`` called it sound,
and a single such block ended every later search with an error.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.cli.search import report_left_out
from pipeline.queries.answering import answers
from pipeline.queries.cohort import CohortError, cohort_sum
from pipeline.queries.search import search
from pipeline.queries.vector import VectorError
from stages.base import Reason
from stages.batches import Sealed
from stages.encrypt.keys.folder import load_owners, new_keys
from stages.encrypt.keys.worker import load_signer
from stages.encrypt.lwe.exchange import ScoreRequest, decode_answers, encode_answers
from stages.encrypt.lwe.parameters import LWE32, LWE64
from stages.encrypt.lwe.scheme import Encryptor
from stages.encrypt.lwe.search import quantise_query, weight_words
from stages.encrypt.lwe.wire import Header, decode_header
from stages.encrypt.public.folder import load_public
from stages.index.check.verify import verify
from stages.index.options import IndexOptions
from stages.index.reader import open_reader
from stages.index.session import open_writer
from stages.index.stage import Append
from tests.pipeline.queries.encrypted import D, record_key, sealed_block, unit_rows

RECORDS = 4
FOREIGN_KEY = bytes(range(32))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worker") / "keys"
    new_keys(folder, None)
    return folder


@pytest.fixture(scope="module")
def encryptor(keys: Path) -> Encryptor:
    return Encryptor(load_public(keys).lwe)


def block(encryptor: Encryptor, seed: int, features: int = D) -> Sealed:
    record_ids = [record_key(seed, row) for row in range(RECORDS)]
    return sealed_block(encryptor, unit_rows(RECORDS, seed, features), record_ids)


def stating(**changes: Any) -> Callable[[Sealed], Sealed]:
    """The block under a header that states something else, and is sound as a header."""

    def change(sealed: Sealed) -> Sealed:
        header: Header = replace(decode_header(sealed.header), **changes)
        return replace(sealed, header=header.encode())

    return change


ATTACKS: dict[str, tuple[Callable[[Sealed], Sealed], Reason, str]] = {
    "garbage": (lambda b: replace(b, header=b"\xa5" * 64), Reason.DAMAGED, "wrong magic number"),
    "no header": (lambda b: replace(b, header=b""), Reason.DAMAGED, "has 64 bytes, not 0"),
    "half a header": (lambda b: replace(b, header=b.header[:32]), Reason.DAMAGED, "64 bytes, not 32"),
    "a hundredfold scale": (stating(scale=35_300), Reason.DAMAGED, "scale 35300"),
    "a scale of one": (stating(scale=1), Reason.DAMAGED, "scale 1,"),
    "a sum": (stating(terms=4), Reason.DAMAGED, "4 terms"),
    "more records": (stating(count=RECORDS + 1), Reason.DAMAGED, "5 records"),
    "a foreign key": (stating(key_id=FOREIGN_KEY), Reason.FOREIGN, "under key 0001020304050607"),
    "other parameters": (stating(parameters=LWE64), Reason.FOREIGN, "LWE64"),
    "other features": (stating(dimensions=D - 1), Reason.DAMAGED, "23 features"),
    "a cut head": (lambda b: replace(b, head_Dn=b.head_Dn[:, :-1]), Reason.DAMAGED, "head is uint32"),
    "cut columns": (
        lambda b: replace(b, columns_ND=b.columns_ND[:, :-1]),
        Reason.DAMAGED,
        "columns is uint32",
    ),
    "wide words": (
        lambda b: replace(b, columns_ND=b.columns_ND.astype(np.uint64)),
        Reason.DAMAGED,
        "columns is uint64",
    ),
    "short record ids": (
        lambda b: replace(b, rows=replace(b.rows, keys=tuple(key[:31] for key in b.rows.keys))),
        Reason.DAMAGED,
        "a record id",
    ),
}


def test_a_signed_block_that_is_none_costs_only_itself(
    keys: Path, encryptor: Encryptor, tmp_path: Path
) -> None:
    """Each is refused with its reason, counted row by row; what comes before and after it is found."""
    signer, index = load_signer(keys), tmp_path / "index"
    with Append(IndexOptions(), index, keys, bytes(32), D).open() as append:
        for number, (forge, reason, sentence) in enumerate(ATTACKS.values()):
            forged = forge(block(encryptor, 100 + number))
            split = append(replace(forged, signature=signer.sign(forged)))
            assert [one.key for one in split.rejected] == list(forged.keys)
            assert {one.reason for one in split.rejected} == {reason}
            assert sentence in split.rejected[0].detail
            assert len(split.kept) == 0
            sound = block(encryptor, number)
            assert len(append(replace(sound, signature=signer.sign(sound))).kept) == RECORDS
    reader = open_reader(index)
    assert reader.size == RECORDS * len(ATTACKS)
    found = search(reader, load_owners(keys, None), unit_rows(RECORDS, 5)[2], top=1)
    assert (found.hits[0].key, found.unscored) == (record_key(5, 2).hex(), ())


@pytest.mark.parametrize("attack", ["garbage", "half a header", "other features", "a sum"])
def test_a_block_that_is_there_already_breaks_no_search(
    attack: str, keys: Path, encryptor: Encryptor, tmp_path: Path
) -> None:
    """Taken in by an older version: it is named, with its records and why, and the others are searched."""
    forged = ATTACKS[attack][0](block(encryptor, 100))
    with open_writer(tmp_path / "index", IndexOptions()) as writer:
        for one in (block(encryptor, 1), forged, block(encryptor, 2)):
            writer.append(one)
    reader, owners = open_reader(tmp_path / "index"), load_owners(keys, None)
    assert verify(tmp_path / "index").ok
    for seed in (1, 2):
        found = search(reader, owners, unit_rows(RECORDS, seed)[3], top=1)
        assert found.hits[0].key == record_key(seed, 3).hex()
        if attack != "a sum":  # which scores as one, and ranks below its true cosine
            (unscored,) = found.unscored
            assert (unscored.first_index, unscored.records) == (RECORDS, RECORDS)


def test_a_sum_names_what_cannot_be_added(keys: Path, encryptor: Encryptor, tmp_path: Path) -> None:
    """A sum without some of its records would be a wrong number; the rest of the index adds up."""
    with open_writer(tmp_path / "index", IndexOptions()) as writer:
        for one in (block(encryptor, 1), ATTACKS["garbage"][0](block(encryptor, 100))):
            writer.append(one)
    reader, owners = open_reader(tmp_path / "index"), load_owners(keys, None)
    assert cohort_sum(reader, owners, [record_key(1, 0)]).records == 1
    with pytest.raises(CohortError, match="1 records from number 4 on cannot be added up"):
        cohort_sum(reader, owners, [record_key(1, 0), record_key(100, 2)])


def test_a_replica_answers_around_it(encryptor: Encryptor, tmp_path: Path) -> None:
    """Its frame says that there is nothing; the querier, who has the log, names the block."""
    with open_writer(tmp_path / "index", IndexOptions()) as writer:
        for one in (ATTACKS["half a header"][0](block(encryptor, 100)), block(encryptor, 1)):
            writer.append(one)
    reader = open_reader(tmp_path / "index")
    weights_D = quantise_query(unit_rows(RECORDS, 1)[3], LWE32)
    wanted = ScoreRequest(LWE32, reader.size, reader.root, weight_words(weights_D, LWE32))
    stream = BytesIO(b"".join(encode_answers(LWE32, answers(reader, wanted))))
    nothing, scored = decode_answers(LWE32, stream.read)
    assert (nothing.records, nothing.answer) == (RECORDS, None)
    assert scored.answer is not None


@pytest.mark.parametrize("as_json", [False, True])
def test_a_person_is_told_what_was_not_searched(
    *, as_json: bool, keys: Path, encryptor: Encryptor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr: how many records, where they begin, and why."""
    with open_writer(tmp_path / "index", IndexOptions()) as writer:
        for one in (block(encryptor, 1), ATTACKS["garbage"][0](block(encryptor, 100))):
            writer.append(one)
    found = search(open_reader(tmp_path / "index"), load_owners(keys, None), unit_rows(1, 1)[0], top=1)
    report_left_out(found, as_json)
    shown = capsys.readouterr().err
    if as_json:
        (damaged,) = json.loads(shown)["damaged"]
        assert (damaged["first_index"], damaged["records"]) == (RECORDS, RECORDS)
    else:
        assert shown.startswith("4 records from number 4 on were not searched: these bytes")


def test_an_index_that_cannot_be_scored_is_an_error(keys: Path, encryptor: Encryptor, tmp_path: Path) -> None:
    """An empty answer would read as: there is no such patient."""
    with open_writer(tmp_path / "index", IndexOptions()) as writer:
        writer.append(ATTACKS["garbage"][0](block(encryptor, 100)))
    with pytest.raises(VectorError, match="no record can be scored: these bytes are no block header"):
        search(open_reader(tmp_path / "index"), load_owners(keys, None), unit_rows(1, 0)[0], top=1)
