"""What makes an index one: its name and its two signing keys."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.batches import Sealed
from stages.index.errors import DamagedError, NotAnIndexError
from stages.index.reader import open_reader
from stages.index.store.identity import read_identity
from stages.index.verifier import ED25519, ML_DSA_44, NoteError, open_checkpoint

pytestmark = pytest.mark.usefixtures("fast_disk")
MakeIndex = Callable[..., list[Sealed]]


def test_a_new_index_signs_with_two_algorithms(tmp_path: Path, make_index: MakeIndex) -> None:
    """And whoever knows both keys demands both signatures on every checkpoint and in every proof."""
    make_index(tmp_path, [5])
    identity, keys = read_identity(tmp_path)
    assert (identity.format, [key.kind for key in keys]) == (2, [ED25519, ML_DSA_44])
    note = (tmp_path / "checkpoint").read_text()
    assert note.count("\n\u2014 ") == 2
    one_less = "\n".join([*note.split("\n")[:-2], ""]).encode()
    assert open_checkpoint(one_less, keys[:1]).size == 5
    with pytest.raises(NoteError, match="is not signed"):
        open_checkpoint(one_less, keys)
    (tmp_path / "checkpoint").write_bytes(one_less)
    with pytest.raises(DamagedError, match="is not signed"):
        open_reader(tmp_path)


@pytest.mark.parametrize("kept", [0, 1])
def test_a_public_key_taken_away_is_noticed(tmp_path: Path, make_index: MakeIndex, kept: int) -> None:
    """The log's name is derived from both."""
    make_index(tmp_path, [5])
    lines = (tmp_path / "checkpoint.pub").read_text().splitlines()
    (tmp_path / "checkpoint.pub").write_text(lines[kept] + "\n")
    with pytest.raises(DamagedError, match=r"index\.json is damaged"):
        open_reader(tmp_path)


def test_a_format_from_the_future_is_said_to_be_one(tmp_path: Path, make_index: MakeIndex) -> None:
    """Not taken for damage."""
    make_index(tmp_path, [1])
    fields = json.loads((tmp_path / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps({**fields, "format": 3}))
    with pytest.raises(NotAnIndexError, match="has index format 3; this program reads format 2"):
        open_reader(tmp_path)


def test_the_signing_key_is_nobody_elses_from_its_first_byte(
    tmp_path: Path, make_index: MakeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file has its mode when it is opened, whatever its name is by then."""
    modes: dict[int, int] = {}
    real = os.open

    def spy(path: Path, flags: int, *args: int) -> int:
        descriptor = real(path, flags, *args)
        found = os.fstat(descriptor)
        modes.setdefault(found.st_ino, stat.S_IMODE(found.st_mode))
        return descriptor

    monkeypatch.setattr(os, "open", spy)
    umask = os.umask(0)
    try:
        make_index(tmp_path, [1])
    finally:
        os.umask(umask)
    assert modes[(tmp_path / "signing.key").stat().st_ino] == 0o600
    assert modes[(tmp_path / "index.json").stat().st_ino] == 0o644
