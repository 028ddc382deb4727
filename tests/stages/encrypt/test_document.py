from __future__ import annotations

import re
import zlib
from math import exp, log2
from pathlib import Path

import pytest

from stages.encrypt import owner, wire
from stages.encrypt.parameters import LWE32
from stages.encrypt.quantise import scale_for

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "lwe.md").read_text(encoding="utf-8")


def rows(first_heading: str) -> list[list[str]]:
    """The cells of the table whose first column has this heading."""
    table = re.search(rf"^\| {first_heading} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    assert table is not None
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table[1].splitlines()]


def test_the_parameter_table_is_the_code() -> None:
    """Every figure of a parameter set in docs/lwe.md is the one in use."""
    ((name, number, n, slots, q_bits, delta_bits, noise, terms, *estimates),) = rows("set")
    assert (name, int(number), int(n), int(slots)) == (LWE32.name, LWE32.number, LWE32.n, LWE32.slots)
    assert (int(q_bits), int(delta_bits), int(terms)) == (LWE32.q_bits, LWE32.delta_bits, LWE32.max_terms)
    assert noise == f"TU({LWE32.noise_bits})"
    assert [float(bits) for bits in estimates] == [one.bits for one in LWE32.estimates]


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


def test_the_stated_scale_and_grid() -> None:
    """The default scale and the grid of cosines are the documented ones."""
    assert f"**s = {scale_for(LWE32, 256)} at D = 256.**" in TEXT
    assert owner.COSINE_GRID == 2.0**-12
    assert "grid of 2⁻¹²" in TEXT


@pytest.mark.parametrize(("terms", "slack", "stated"), [(1, 1.0, -348), (4, 1.0, -72), (4, 1.13, -60)])
def test_the_stated_failure_bounds(terms: int, slack: float, stated: int) -> None:
    """The table's exponents follow from the sub-Gaussian bound over the 2^18 words of a block."""
    exponent = (LWE32.delta / 2) ** 2 / (2 * terms * slack * LWE32.sigma_fresh**2)
    assert 1 + 18 - exponent / 0.6931471805599453 < stated
    superscript = str(stated).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    assert f"2{superscript}" in TEXT


def test_the_stated_score_bound() -> None:
    """Twelve standard deviations are exceeded with probability below 2^-100."""
    assert log2(2 * exp(-(12**2) / 2)) < -100
