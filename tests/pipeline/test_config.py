from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import PREFIX, ConfigError, Settings, as_dict, load


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "medsecure.toml"


def refusal(file: Path | None, overrides: dict[str, dict[str, Any]] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(file, overrides or {})
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_defaults_stand_alone() -> None:
    """Nothing has to be configured."""
    assert load(None, {}).flow.block == 1024


def test_each_layer_wins_over_the_one_below(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Defaults, then the file, then the environment, then the command line; key by key."""
    file.write_text("[flow]\nblock = 100\nblocks = 10\nwindow_rows = 1000\n")
    monkeypatch.setenv("MEDSECURE__FLOW__BLOCKS", "20")
    monkeypatch.setenv("MEDSECURE__FLOW__WINDOW_ROWS", "2000")
    flow = load(file, {"flow": {"window_rows": 3000}}).flow
    assert (flow.block_age_s, flow.block, flow.blocks, flow.window_rows) == (30, 100, 20, 3000)


def test_what_the_command_line_leaves_out_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is not a value but its absence, for one key and for a whole section."""
    monkeypatch.setenv("MEDSECURE__RUN__ENGINE", "local")
    settings = load(None, {"run": {"engine": None, "device": "cpu"}, "flow": {"block": None}})
    assert (settings.run.engine, settings.run.device, settings.flow.block) == ("local", "cpu", 1024)


def test_tables_and_lists_come_from_the_environment_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """A nested key may also be named whole."""
    monkeypatch.setenv("MEDSECURE__FLOW__HOPS", '["segment", "encrypt+append"]')
    monkeypatch.setenv("MEDSECURE__FLOW__REPLICAS__INGEST", "3")
    flow = load(None, {}).flow
    assert (flow.hops, flow.replicas) == (("segment", "encrypt+append"), {"ingest": 3})


def test_the_tree_is_frozen() -> None:
    """A resolved configuration does not change under a run."""
    settings = load(None, {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.flow.block = 1  # type: ignore[misc]  # what is tested


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[run]\nengin = 'local'", "run.engin: there is no such option"),
        ("[rum]\nengine = 'local'", "rum: there is no such option"),
        ("block = 3", "block: there is no such option"),
        ("[flow]\nblock = 'many'", "flow.block: input should be a valid integer"),
        ("[flow]\nblock = 1.5", "flow.block: input should be a valid integer"),
        ("[flow]\nhops = 'segment'", "flow.hops: input should be a valid tuple"),
        ("[run]\nengine = 'spark'", "run.engine: input should be 'ray' or 'local'"),
        ("run = 3", "run: input should be a dictionary"),
        ("[flow]\nblock = 0", "flow.block: input should be greater than or equal to 1"),
        ("[flow]\nblock = 1025", "flow.block: input should be less than or equal to 1024"),
        ("[flow]\nblock_age_s = nan", "flow.block_age_s: input should be greater than 0"),
        ("[flow.replicas]\ningest = 0", "flow.replicas.ingest: input should be greater"),
        ("[run]\nmax_rejects = 1.1", "run.max_rejects: input should be less than or equal to 1"),
    ],
)
def test_a_bad_key_of_the_file_is_named(file: Path, toml: str, message: str) -> None:
    """Unknown keys, wrong types and values out of range, in one sentence."""
    file.write_text(toml)
    assert refusal(file).startswith(message)


def test_every_bad_key_is_named_at_once(file: Path) -> None:
    """Nobody has to mend one to hear of the next."""
    file.write_text("[flow]\nblock = 0\nwindow_rows = -1\n[run]\nengin = 'local'")
    message = refusal(file)
    assert all(key in message for key in ("flow.block:", "flow.window_rows:", "run.engin:"))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MEDSECURE__RUN__ENGIN", "local", "MEDSECURE__RUN__ENGIN: there is no such option"),
        ("MEDSECURE__RUM__ENGINE", "local", "MEDSECURE__RUM__ENGINE: there is no such option"),
        ("medsecure__rum__engine", "local", "medsecure__rum__engine: there is no such option"),
        ("MEDSECURE__RUN", "{}", "MEDSECURE__RUN: there is no such option"),
        ("MEDSECURE__FLOW__BLOCK__SIZE", "3", "flow.block: input should be a valid integer"),
        ("MEDSECURE__FLOW__BLOCK", "many", "flow.block: input should be a valid integer"),
        ("MEDSECURE__FLOW__BLOCK", "0", "flow.block: input should be greater than or equal to 1"),
    ],
)
def test_a_bad_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    """A misspelt variable is not passed over."""
    monkeypatch.setenv(name, value)
    assert refusal(None).startswith(message)


def test_a_list_that_is_not_json_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says which one and how it is written."""
    monkeypatch.setenv("MEDSECURE__FLOW__HOPS", "segment,encrypt")
    assert "written as JSON in the environment (MEDSECURE__FLOW__HOPS)" in refusal(None)


def test_other_programs_variables_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the prefix with both underscores counts; the passphrase has one."""
    monkeypatch.setenv("MEDSECURE_PASSPHRASE", "secret")
    assert "secret" not in json.dumps(as_dict(load(None, {})))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"run": {"engin": "local"}}, "run.engin: there is no such option"),
        ({"rum": {"engine": "local"}}, "rum: there is no such option"),
        ({"flow": {"block": 0}}, "flow.block: input should be greater"),
    ],
)
def test_a_bad_option_is_named(overrides: dict[str, dict[str, Any]], message: str) -> None:
    """The command line is held to the same rules."""
    assert refusal(None, overrides).startswith(message)


@pytest.mark.parametrize("data", [b"[run", b"engine", b"\xff\xfe"])
def test_a_file_that_is_not_toml_is_named(file: Path, data: bytes) -> None:
    """Broken syntax and text that is not UTF-8."""
    file.write_bytes(data)
    assert refusal(file).startswith(f"{file} is not TOML: ")


def test_a_file_that_is_not_there_is_named(file: Path) -> None:
    """A misspelt name is no reason to run with the defaults; neither is a folder."""
    assert refusal(file) == f"there is no configuration file {file}"
    assert refusal(file.parent) == f"there is no configuration file {file.parent}"


def test_a_batch_must_fit_a_block(file: Path) -> None:
    """Rows of one batch are never parted, so a larger one could never be encrypted."""
    file.write_text("[ingest]\nbatch = 65\n[flow]\nblock = 64\n")
    assert refusal(file) == "ingest.batch is 65 but flow.block only 64"
    assert load(file, {"ingest": {"batch": 64}}).ingest.batch == 64


def test_the_tree_round_trips_through_json(file: Path) -> None:
    """What a run has written down makes the same configuration again."""
    file.write_text(
        "[run]\nengine = 'local'\naddress = 'auto'\n[flow]\nhops = ['segment']\nreplicas = {ingest = 2}\n"
        "[segment]\nweights = 'some/model.safetensors'\n[ingest]\nbatch = 7\n"
    )
    settings = load(file, {})
    again = load(None, json.loads(json.dumps(as_dict(settings))))
    for section in Settings.model_fields:
        assert getattr(again, section) == getattr(settings, section)


def test_what_the_machine_suggests_ranks_lowest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the defaults, below the file, the environment and the command line."""
    suggested = {"flow": {"window_rows": 1, "deliveries": 2, "blocks": 3, "block": 1000}}
    file = tmp_path / "c.toml"
    file.write_text("[flow]\ndeliveries = 20\n")
    monkeypatch.setenv("MEDSECURE__FLOW__BLOCKS", "30")
    flow = load(file, {"flow": {"block": 512}}, suggested).flow
    assert (flow.window_rows, flow.deliveries, flow.blocks, flow.block) == (1, 20, 30, 512)
