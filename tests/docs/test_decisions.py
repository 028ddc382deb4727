"""Records of decisions have one skeleton."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "adr"
RECORDS = sorted(FOLDER.glob("*.md"))
TEMPLATE = RECORDS[0]


def headings(record: Path) -> list[str]:
    return re.findall(r"^## (.*)$", record.read_text(), re.MULTILINE)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_a_record_has_the_four_headings_of_the_template(record: Path) -> None:
    """Status, context, decision and consequences, each with text; the number is the file's."""
    assert headings(TEMPLATE) == ["Status", "Context", "Decision", "Consequences"]
    assert headings(record) == headings(TEMPLATE)
    sections = re.split(r"^## .*$", record.read_text(), flags=re.MULTILINE)
    assert sections[0].startswith(f"# {int(record.name[:4])}. ")
    assert all(section.strip() for section in sections)


def test_records_are_numbered_without_a_gap() -> None:
    """A number names one record."""
    assert [int(record.name[:4]) for record in RECORDS] == list(range(len(RECORDS)))
