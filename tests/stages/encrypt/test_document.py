from __future__ import annotations

import re
import zlib
from math import exp, log, log2, sqrt
from pathlib import Path

import pytest

from benchmarks.security_estimate import instances, primal_core_svp
from stages.encrypt.keys import owner
from stages.encrypt.lwe import sampling, wire
from stages.encrypt.lwe.parameters import LEAST_BITS, LWE32, LWE64, TABLE, Parameters
from stages.encrypt.lwe.quantise import SUM_BLOCKS, rounding_slack, scale_for, weight_scale_for

DOCS = Path(__file__).resolve().parents[3] / "docs"
TEXT = (DOCS / "lwe.md").read_text(encoding="utf-8")
SHARDS = (DOCS / "adr" / "0003-blocks-cannot-be-added.md").read_text(encoding="utf-8")


PLAIN = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


def rows(*headings: str, text: str = TEXT) -> list[list[str]]:
    """The cells of the table whose first columns have these headings."""
    table = re.search(
        rf"^\| {re.escape(' | '.join(headings))} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE
    )
    assert table is not None
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table[1].splitlines()]


def test_the_parameter_table_is_the_code() -> None:
    """Every figure of every parameter set in docs/lwe.md is the one in use, and none is missing."""
    for one, row in zip(TABLE.values(), rows("set", "id"), strict=True):
        figures = (one.number, one.n, one.slots, one.q_bits, one.delta_bits)
        assert row[:6] == [one.name, *map(str, figures)]
        assert row[6:8] == [f"TU({one.noise_bits})", str(one.max_terms)]
        assert [float(bits) for bits in row[8:]] == [estimate.bits for estimate in one.estimates]
        assert {estimate.tool for estimate in one.estimates} == {"malb/lattice-estimator"}
        assert {estimate.commit for estimate in one.estimates} == {None}
    assert "the estimator's commit was not recorded" in TEXT


def test_the_cross_check_is_what_it_computes() -> None:
    """The figures of primal uSVP alone, and the bar."""
    for one in instances()[:-1]:
        assert " / ".join(f"{bits:.1f}" for bits in primal_core_svp(one).values()) in TEXT
    assert f"holds every figure of the table above {LEAST_BITS}" in TEXT


def test_the_sampler_table_is_the_byte_layout() -> None:
    """Each sampler of the table consumes so many bytes a sample, and gives the stated value."""
    widths = {name: width for name, width, _ in rows("sampler", "bytes a sample")}
    assert widths == {
        "uniform": "4 (q = 2³²) or 8 (q = 2⁶⁴)",
        "CBD(1)": "1",
        "TU(b), b ≤ 6": "1",
        "TU(b), b > 6": "4",
    }
    data = sampling.keystream(bytes(32), 5, 64).tobytes()
    for b, width in ((4, 1), (6, 1), (7, 4), (16, 4)):
        found = sampling.noise(bytes(32), 5, (2, 3), b).ravel().tolist()
        u = [int.from_bytes(data[width * i : width * (i + 1)], "little") % 2 ** (b + 2) for i in range(6)]
        assert found == [(one >> 1) + (one & 1) - 2**b for one in u]
    assert f"{LWE64.sigma:.0f} at b = 16" in TEXT


def test_the_table_of_words_is_the_wire_format() -> None:
    """Bytes of words, heads, columns and public keys of each set."""
    for one, row in zip(TABLE.values(), rows("set", "bytes a word"), strict=True):
        width = one.word.itemsize
        sizes = (width, 256 * one.n * width, 256 * width, 40 + width * one.n * one.slots)
        assert row == [one.name, *map(str, sizes)]
    for one in TABLE.values():
        per_score = (one.n + one.slots) * one.word.itemsize / one.slots
        assert f"{per_score:.0f} " in TEXT[TEXT.index("words a record:") :][:80]


def test_the_header_table_is_the_wire_format() -> None:
    """Every field stands where docs/lwe.md says, and the table covers all 64 bytes."""
    header = wire.Header(LWE32, bytes(range(32)), dimensions=256, scale=353, slot=5, count=1000, terms=2)
    data = header.encode()
    fields = {name.split(",")[0].split(":")[0]: (int(at), int(width)) for at, width, name in rows("offset")}
    found = {name: data[at : at + width] for name, (at, width) in fields.items()}
    assert sum(width for _, width in fields.values()) == len(data) == wire.HEADER_BYTES
    assert found.pop("magic `MSLB`") == b"MSLB"
    assert found.pop("key id") == header.key_id
    assert found.pop("CRC-32 (zlib) of bytes 0–59") == zlib.crc32(data[:60]).to_bytes(4, "little")  # noqa: RUF001
    assert {name: int.from_bytes(value, "little") for name, value in found.items()} == {
        "version": 1,
        "parameter id": LWE32.number,
        "D": 256,
        "scale s": 353,
        "first slot o": 5,
        "records m": 1000,
        "terms": 2,
    }


def test_the_table_of_scales_is_the_code() -> None:
    """Scales, how many blocks they let add, and the errors that follow."""
    D = 256
    for one, row in zip(TABLE.values(), rows("set", "records s at D = 256"), strict=True):
        s, w = scale_for(one, D), weight_scale_for(one, D)
        assert row[:4] == [one.name, str(s), str(w), str(min(one.max_terms, SUM_BLOCKS))]
        assert value(row[4]) == pytest.approx(sqrt((1 / s**2 + 1 / w**2) / 12), rel=0.03)
        noise = 0.0 if one.exact_scores else one.sigma_fresh / (one.delta * s)
        assert value(row[5]) == pytest.approx(noise, rel=0.01)
    assert owner.COSINE_GRID == 2.0**-12
    assert "grid of 2⁻¹²" in TEXT
    assert f"({scale_for(LWE64, D, terms=10**6)} for 10⁶ blocks)" in TEXT


def value(text: str) -> float:
    """A figure such as 1.16·10⁻³."""
    mantissa, _, exponent = text.partition("·10")
    return float(mantissa) * 10.0 ** int(exponent.translate(PLAIN) or 0)


@pytest.mark.parametrize(
    ("parameters", "terms", "slack", "stated"),
    [
        (LWE32, 1, 1.0, -348),
        (LWE32, 4, 1.0, -72),
        (LWE32, 4, 1.13, -60),
        (LWE64, 1, 1.0, -1000000),
        (LWE64, 10**6, 1.0, -213),
        (LWE64, 10**6, 1.13, -186),
    ],
)
def test_the_stated_failure_bounds(parameters: Parameters, terms: int, slack: float, stated: int) -> None:
    """The table's exponents follow from the sub-Gaussian bound over the 2^18 words of a block."""
    assert terms <= parameters.max_terms
    exponent = (parameters.delta / 2) ** 2 / (2 * terms * slack * parameters.sigma_fresh**2)
    assert 1 + 18 - exponent / log(2) < stated
    superscript = str(stated).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    assert f"2{superscript}" in TEXT


def test_the_decision_on_shards_counts_right() -> None:
    """Bytes a flush and a score in the decision record follow from the set's sizes."""
    n, most, word, D = LWE32.n, LWE32.slots, LWE32.word.itemsize, 256
    for row in rows("records at a flush", "bytes now", text=SHARDS):
        N = int(row[0])
        added = min(LWE32.max_terms * N, most)
        sizes = (D * (n + N) * word, D * (n + most) * word)
        per_score = [word * (n + records) / records for records in (N, added, most)]
        assert row[1:] == [str(size) for size in sizes] + [f"{size:.0f}" for size in per_score]
    two = 2 * (scale_for(LWE32, D) + rounding_slack(D)) * weight_scale_for(LWE32, D)
    assert two > LWE32.plaintext_bound
    assert 1024 / 58 < 18


def test_the_stated_score_bound() -> None:
    """Twelve standard deviations are exceeded with probability below 2^-100."""
    assert log2(2 * exp(-(12**2) / 2)) < -100
