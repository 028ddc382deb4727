"""One word for one thing: a record id names a record, a key is a cryptographic key."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.cli.app import Index, Root
from pipeline.cli.config import app as config
from pipeline.cli.keys import app as keys_app
from pipeline.cli.letters import app as letters
from tests.idiom import idioms
from tests.pipeline.cli.conftest import Medsecure

GROUPS = {"keys": keys_app, "dead-letters": letters, "config": config}


def commands() -> Iterator[tuple[str, ...]]:
    """Every command of the tables, by the words that call it."""
    for name in Root.table:
        if name == "index":
            yield from (("index", one) for one in Index.table)
        elif name in GROUPS:
            for one in GROUPS[name].registered_commands:
                assert one.callback is not None
                yield name, one.name or one.callback.__name__
        else:
            yield (name,)


def both(document: dict[str, str]) -> str:
    """The record id of a document that also has it under its former name."""
    assert document["key"] == document["record_id"]
    return document["record_id"]


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_the_help_of_a_command_has_an_example_and_plain_words(
    command: tuple[str, ...], medsecure: Medsecure
) -> None:
    """Every command's --help shows how it is called, in the words of the glossary."""
    text = re.sub(r"\s+", " ", medsecure(*command, "--help").out)
    assert "Example:" in text
    assert f"medsecure {' '.join(command)}" in text
    assert not list(idioms(text))


def test_documents_name_a_record_by_its_record_id(
    streamed: Path, keys: Path, medsecure: Medsecure, tmp_path: Path
) -> None:
    """list, get, search, prove and verify-proof have `record_id`, and `key` beside it until 1.0."""
    index, secret = streamed / "index", ("--secret", keys / "owner" / "owner.key", "--json")
    wanted = both(medsecure("index", "list", index, "--json").json[7])
    record = medsecure("index", "get", index, wanted, *secret).json
    assert both(record) == wanted
    (tmp_path / "v.json").write_text(str(record["feature"]))
    (hit,) = medsecure("index", "search", index, "--vector", tmp_path / "v.json", "--top", 1, *secret).json
    assert both(hit) == wanted
    proof = tmp_path / "proof"
    assert both(medsecure("index", "prove", index, wanted, "--out", proof, "--json").json) == wanted
    assert both(medsecure("verify-proof", proof, "--key", index / "checkpoint.pub", "--json").json) == wanted


def test_letters_and_erasures_name_a_record_by_its_record_id(
    streamed: Path, medsecure: Medsecure, tmp_path: Path
) -> None:
    """A letter has `record_id` beside `key`; an erasure states the record id it was given in part."""
    assert all(both(one) for one in medsecure("dead-letters", "list", streamed / "results", "--json").json)
    copied = shutil.copytree(streamed / "index", tmp_path / "index")
    wanted = medsecure("index", "list", copied, "--json").json[2]["record_id"]
    assert medsecure("index", "erase", copied, wanted[:16], "--json").json["record_id"] == wanted
    assert medsecure("index", "erase", copied, "--older-than", 1, "--json").json["record_id"] is None


def test_tables_head_the_column_with_record_id(streamed: Path, medsecure: Medsecure) -> None:
    """A table for people uses the same word."""
    heading = medsecure("index", "list", streamed / "index").out.splitlines()[2]
    assert "record id" in heading
    assert "key" not in heading
