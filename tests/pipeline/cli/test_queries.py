"""``medsecure index`` sum, mean, search, get and audit on really encrypted features, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.cli.app import main
from pipeline.queries.transcript import load
from stages.encrypt.keys.folder import new_keys
from stages.encrypt.keys.rotation import rotate
from stages.encrypt.lwe.exchange import Scored
from stages.encrypt.lwe.parameters import LWE32
from stages.encrypt.lwe.quantise import scale_for
from stages.encrypt.public.folder import load_public
from tests.pipeline.queries.encrypted import D, append, record_key, unit_rows
from tests.pipeline.queries.test_audit import rewritten


@dataclass(frozen=True)
class Said:
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Ask = Callable[..., Said]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Runs ``medsecure`` here; checks the exit code."""

    def run(*arguments: object, expect: int = 0) -> Said:
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = Said(*capsys.readouterr())
        assert code == expect, said.err + said.out
        return said

    return run


@dataclass(frozen=True)
class Vault:
    keys: Path
    index: Path
    plain: dict[bytes, np.ndarray]
    first: str  # the key id of the first generation
    vector: Path  # that of record 1


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Vault:
    """Three records under a first key, two under the next."""
    folder = tmp_path_factory.mktemp("vault")
    keys, index = folder / "keys", folder / "index"
    new_keys(keys, None)
    first = load_public(keys).key_id.hex()
    plain = append(index, keys, [3])
    rotate(keys, None)
    plain |= append(index, keys, [2], seed=1)
    (folder / "v.json").write_text(json.dumps(unit_rows(3, 0)[1].tolist()))
    return Vault(keys, index, plain, first, folder / "v.json")


def expected(vault: Vault, names: list[bytes]) -> np.ndarray:
    return np.sum([vault.plain[name] for name in names], axis=0) / scale_for(LWE32, D)


def test_a_sum_takes_record_ids_from_a_file_the_line_and_stdin(
    vault: Vault, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All ways name the same cohort."""
    names = [record_key(0, 0), record_key(0, 2), record_key(1, 1)]
    text = "".join(f"{name.hex()}\n" for name in names)
    (tmp_path / "cohort").write_text(text + "\n")
    monkeypatch.setattr("sys.stdin", StringIO(text))
    base = ("index", "sum", vault.index, "--secret", vault.keys, "--json")
    ways = [
        ask(*base, "--records", tmp_path / "cohort").json,
        ask(*base, "--records", "-").json,
        ask(*base, *(word for name in names for word in ("--record", name.hex()))).json,
    ]
    assert ways[0] == ways[1] == ways[2]
    assert np.allclose(ways[0]["sum"], expected(vault, names), atol=1e-8)
    assert (ways[0]["records"], ways[0]["exact"], len(ways[0]["key_ids"])) == (3, True, 2)


def test_a_sum_takes_the_former_names_of_its_options(vault: Vault, ask: Ask, tmp_path: Path) -> None:
    """--keys and --key mean --records and --record until 1.0, and --help does not list them."""
    first, second = record_key(0, 0).hex(), record_key(0, 2).hex()
    (tmp_path / "cohort").write_text(f"{first}\n")
    base = ("index", "sum", vault.index, "--secret", vault.keys, "--json")
    former = ask(*base, "--keys", tmp_path / "cohort", "--key", second).json
    assert former == ask(*base, "--record", first, "--record", second).json
    text = ask("index", "sum", "--help").out
    assert "--records" in text
    assert "--key" not in text


def test_a_mean_is_the_sum_over_the_count(vault: Vault, ask: Ask) -> None:
    """As text it says how exact it is."""
    names = [record_key(0, 0), record_key(1, 1)]
    options = ("--secret", vault.keys, "--record", names[0].hex(), "--record", names[1].hex())
    found = ask("index", "mean", vault.index, *options, "--json").json
    assert np.allclose(found["mean"], expected(vault, names) / 2, atol=1e-8)
    assert "mean of 2 records (exact)" in ask("index", "mean", vault.index, *options).out


@pytest.mark.parametrize(
    ("record_id", "sentence"),
    [
        ("ff" * 32, "the index lacks 1 of 1 records"),
        ("zz", "--record: 'zz' is not a record id"),
        ("", "the cohort is empty"),
    ],
)
def test_a_cohort_that_is_none_is_exit_code_2(vault: Vault, ask: Ask, record_id: str, sentence: str) -> None:
    """Unknown, malformed and missing record ids."""
    options = ("--secret", vault.keys, "--record", record_id)
    assert sentence in ask("index", "sum", vault.index, *options, expect=2).err


def test_search_says_which_blocks_a_key_cannot_open(vault: Vault, ask: Ask) -> None:
    """The list on stdout stays a list; the rest is on stderr, as JSON or as a sentence."""
    search = ("index", "search", vault.index, "--vector", vault.vector)
    everything = ask(*search, "--secret", vault.keys, "--json")
    assert everything.json[0]["key"] == record_key(0, 1).hex()
    assert (len(everything.json), everything.err) == (5, "")
    some = ask(*search, "--secret", vault.keys / "owner" / "owner.key", "--json")
    assert len(some.json) == 2
    closed = {"key_id": vault.first, "blocks": 1, "records": 3}
    assert json.loads(some.err) == {"unreadable": [closed]}
    told = ask(*search, "--secret", vault.keys / "owner" / "owner.key").err
    assert f"3 records in 1 blocks were not searched: they are under key {vault.first[:16]}" in told


def test_get_takes_the_right_generation(vault: Vault, ask: Ask) -> None:
    """The folder's, or a sentence that says which is missing."""
    done = ask(
        "index",
        "get",
        vault.index,
        record_key(0, 1).hex(),
        "--secret",
        vault.keys / "owner" / "owner.key",
        expect=2,
    )
    assert f"is under key {vault.first[:16]}" in done.err


def test_kept_answers_are_audited(vault: Vault, ask: Ask, tmp_path: Path) -> None:
    """Exit code 0 where they are right, 1 with the block named where one is not."""
    file = tmp_path / "answers"
    ask("index", "search", vault.index, "--vector", vault.vector, "--secret", vault.keys, "--answers", file)
    audit = ("index", "audit", vault.index, "--answers")
    found = ask(*audit, file, "--blocks", 9, "--json").json
    assert (found["ok"], found["audited"], found["errors"]) == (True, 2, [])
    assert "2 of 2 answered blocks recomputed" in ask(*audit, file, "--blocks", 2).out
    assert (
        "exists already"
        in ask(
            *("index", "search", vault.index, "--vector", vault.vector, "--secret", vault.keys),
            *("--answers", file),
            expect=2,
        ).err
    )
    wrong = rewritten(load(file), tmp_path / "wrong", reversed_scores)
    assert "Wrong answers" in ask(*audit, wrong, "--blocks", 2, expect=1).out
    file.write_bytes(file.read_bytes()[:-1])
    assert "does not end as it was written" in ask(*audit, file, "--blocks", 1, expect=2).err


def reversed_scores(scored: Scored) -> Scored:
    assert scored.answer is not None
    return replace(scored, answer=replace(scored.answer, scores_N=scored.answer.scores_N[::-1]))


def test_a_private_search_needs_two_safe_replicas(vault: Vault, ask: Ask) -> None:
    """Usage errors are exit code 2, as everywhere."""
    search = ("index", "search", vault.index, "--vector", vault.vector, "--secret", vault.keys, "--private")
    url = "http://127.0.0.1:9"
    assert "named twice" in ask(*search, url, url, expect=2).err
    assert "use https" in ask(*search, url, "http://192.0.2.1", expect=2).err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--host", "0.0.0.0"], "is not a loopback address"),  # noqa: S104 - it is refused
        (["--certificate", "x.pem"], "need each other"),
        (
            ["--certificate", "x.pem", "--certificate-key", "x.key"],
            "are not a certificate and its private key",
        ),
    ],
)
def test_serving_unsafely_is_refused(vault: Vault, ask: Ask, options: list[str], sentence: str) -> None:
    """Others may only listen behind TLS and a token."""
    assert sentence in ask("index", "serve", vault.index, *options, expect=2).err


@pytest.mark.parametrize("command", ["sum", "mean", "search", "serve", "audit", "get"])
def test_every_command_has_an_example(ask: Ask, command: str) -> None:
    """--help shows how it is called."""
    assert f"medsecure index {command}" in ask("index", command, "--help").out
