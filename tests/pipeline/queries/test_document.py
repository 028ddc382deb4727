"""docs/queries.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from pipeline.queries.cohort import CohortSum
from stages.encrypt.lwe import exchange
from stages.encrypt.lwe.cohort import Partial
from stages.encrypt.lwe.exchange import Scored, ScoreRequest
from stages.encrypt.lwe.parameters import LWE32
from stages.encrypt.lwe.search import BlockScores
from stages.encrypt.lwe.wire import HEADER_BYTES, Header
from stages.encrypt.public import bundle, signing

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "queries.md").read_text()


def fields(heading: str) -> list[tuple[int, int]]:
    """Offset and bytes of each field of the table with this heading; 0 for the rest."""
    table = re.search(rf"^\| offset \| bytes \| {heading} \|\n\|[-|]+\|\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    assert table is not None
    cells = [[cell.strip() for cell in line.split("|")[1:3]] for line in table[1].splitlines()]
    return [(int(at), int(width or 0)) for at, width in cells]


def cut(data: bytes, heading: str) -> list[bytes]:
    return [data[at : at + width] if width else data[at:] for at, width in fields(heading)]


def number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def test_a_request_lies_as_the_table_says() -> None:
    """Every field, and nothing between them."""
    share_D = np.array([1, 2, 2**32 - 1], np.uint32)
    data = ScoreRequest(LWE32, 77, b"r" * 32, share_D).encode()
    magic, version, parameters, D, size, root, words = cut(data, "request")
    assert (magic, root, words) == (b"MSPQ", b"r" * 32, share_D.astype("<u4").tobytes())
    found = (number(version), number(parameters), number(D), number(size))
    assert found == (1, LWE32.number, 3, 77)
    assert sum(width for _, width in fields("request")) == 52


def test_a_frame_lies_as_the_table_says() -> None:
    """Kinds 0, 1 and 2, each with what follows its header."""
    header = Header(LWE32, bytes(32), 3, 1, 0, 6).encode()
    head_n = np.arange(LWE32.n, dtype=np.uint32)
    scores_N, some_N = np.array([7, 8], np.uint32), np.array([1, 5], np.uint32)
    words = head_n.tobytes() + scores_N.tobytes()
    for kind, positions_N, rest in (
        (0, None, b""),
        (1, np.arange(2, dtype=np.uint32), words),
        (2, some_N, some_N.tobytes() + words),
    ):
        answer = None if positions_N is None else BlockScores(head_n, scores_N, positions_N)
        first, records, found, named, after = cut(
            exchange.encode_frame(Scored(9, 2, header, answer)), "frame"
        )
        assert (number(first), number(records), number(found)) == (9, 2, kind)
        assert (named, len(named), after) == (header, HEADER_BYTES, rest)


def test_domains_and_fields_are_the_documented_ones() -> None:
    """Names of the fields that the owner signs, and the strings that ids and signatures begin with."""
    table = TEXT.split("## Public bundle")[1]
    named = set(re.findall(r"`([a-z_0-9]+)`", "".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE))))
    assert named == set(bundle.Contents.model_fields)
    for domain in (bundle._DOMAIN, bundle._OWNER_ID, bundle._HPKE_ID, bundle._WORKER_ID, signing._DOMAIN):
        assert f"`{domain[:-1].decode()}` ‖ 0x00" in TEXT
        assert domain[-1:] == b"\x00"


def test_three_records_are_the_most_that_lwe32_adds_exactly() -> None:
    """The stated number is what the code calls exact."""
    header = Header(LWE32, bytes(32), 256, 353, 0, 1024)
    exact = [
        count
        for count in range(1, 10)
        if Partial(header, np.arange(count, dtype=np.uint32), 1, np.empty(0), np.empty(0)).exact
    ]
    assert f"up to {exact[-1]} records under LWE32" in TEXT
    assert "noise_sd" in CohortSum.__dataclass_fields__
