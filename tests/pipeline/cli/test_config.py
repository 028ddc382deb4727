from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from pipeline.cli.config import sentences
from pipeline.config import Settings
from tests.pipeline.cli.conftest import Medsecure

CHANGED = """
[segment]
threads = 2
weights = "a \\"quoted\\" name.safetensors"
[deliver]
modalities = ["MR", "CT"]
[flow]
gpu_shares = {segment = 0.5}
"""


@pytest.mark.parametrize("given", ["", CHANGED], ids=["defaults", "own options"])
def test_what_is_shown_can_be_given_again(medsecure: Medsecure, tmp_path: Path, given: str) -> None:
    """The TOML that ``config show`` prints is the same configuration, comments included."""
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text(given)
    shown = medsecure("config", "show", "--config", first).out
    second.write_text(shown)
    assert medsecure("config", "show", "--config", second).out == shown
    was = medsecure("config", "show", "--config", first, "--json").json
    assert medsecure("config", "show", "--config", second, "--json").json == was
    for section, values in tomllib.loads(given).items():
        assert {key: was[section][key] for key in values} == values


def test_above_each_option_stands_what_it_does(medsecure: Medsecure) -> None:
    """Its sentence is a comment, on all its lines, directly before the option."""
    lines = medsecure("config", "show").out.splitlines()
    for name, field in Settings.model_fields.items():
        start = lines.index(f"[{name}]")
        assert field.annotation is not None
        for option, words in sentences(field.annotation).items():
            at = next(
                n
                for n, line in enumerate(lines)
                if n > start and line.removeprefix("# ").startswith(f"{option} =")
            )
            comment = [f"# {line}".rstrip() for line in words.splitlines()]
            assert lines[at - len(comment) : at] == comment


def test_every_option_has_a_sentence() -> None:
    """So the help of ``--config`` can send its reader to ``config show``."""
    for field in Settings.model_fields.values():
        section = field.annotation
        assert section is not None
        assert set(sentences(section)) == set(section.__dataclass_fields__)
