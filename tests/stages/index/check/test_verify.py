"""Verification finds every changed byte and names the record and the file."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.batches import Sealed
from stages.index.check import walk as audit
from stages.index.check.verify import verify
from stages.index.errors import NotAnIndexError
from stages.index.options import IndexOptions
from stages.index.reader import open_reader
from stages.index.session import open_writer
from stages.index.store.manifest import Manifest

MakeIndex = Callable[..., list[Sealed]]
ROWS = [200, 300, 40, 7]  # two full tiles, a third with an earlier state, three segments
STARTS = [0, 200, 500, 540]
CACHES = ("lock", "lookup.", "keys.tree", "staging")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, make_index: MakeIndex) -> tuple[Path, list[Sealed]]:
    path = tmp_path_factory.mktemp("verify") / "index"
    return path, make_index(path, ROWS, segment_bytes=1 << 14)


@contextmanager
def changed(file: Path, place: int, change: int = 1) -> Iterator[None]:
    """One byte of the file, changed for a while."""
    data = file.read_bytes()
    file.write_bytes(data[:place] + bytes([data[place] ^ change]) + data[place + 1 :])
    try:
        yield
    finally:
        file.write_bytes(data)


def committed(path: Path) -> list[str]:
    names = [str(file.relative_to(path)) for file in sorted(path.rglob("*")) if file.is_file()]
    return [name for name in names if not name.startswith(CACHES)]


def test_an_untouched_index_is_whole(index: tuple[Path, list[Sealed]]) -> None:
    """And has the size and root of its checkpoint."""
    report = verify(index[0])
    reader = open_reader(index[0])
    assert report.ok
    assert (report.size, report.root, report.errors) == (547, reader.root, ())
    assert len([name for name in committed(index[0]) if name.endswith(".arrows")]) == 3
    assert {"tile/0/002.p/28", "tile/0/002.p/35", "tile/1/000.p/2"} < set(committed(index[0]))


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_any_byte_changed_in_any_file_is_found_and_the_file_named(
    index: tuple[Path, list[Sealed]], data: st.DataObject
) -> None:
    """Whatever the file's class and wherever the byte."""
    path, _ = index
    name = data.draw(st.sampled_from(committed(path)))
    place = data.draw(st.integers(0, (path / name).stat().st_size - 1))
    with changed(path / name, place, data.draw(st.integers(1, 255))):
        report = verify(path)
    assert not report.ok
    assert {finding.file for finding in report.errors} == {name}


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_byte_changed_in_a_segment_names_records_of_its_block(
    index: tuple[Path, list[Sealed]], data: st.DataObject
) -> None:
    """By index and by key, also where the byte is Arrow framing or padding."""
    path, blocks = index
    extent = data.draw(st.sampled_from(list(Manifest(path, 547))))
    block = blocks[STARTS.index(extent.first)]
    with changed(path / extent.file, extent.offset + data.draw(st.integers(0, extent.length - 1))):
        report = verify(path)
    keys = {extent.first + row: key.hex() for row, key in enumerate(block.rows.keys)}
    assert report.errors
    assert all(finding.index in keys for finding in report.errors)
    assert all(finding.key == keys[finding.index or 0] for finding in report.errors)


@pytest.mark.parametrize("part", ["column", "key", "sealed"])
@pytest.mark.parametrize(("number", "row"), [(0, 1), (1, 299), (2, 17), (3, 6)])
def test_a_byte_of_one_record_names_that_record(
    index: tuple[Path, list[Sealed]], part: str, number: int, row: int
) -> None:
    """And no other; the reason says which part."""
    path, blocks = index
    block = blocks[number]
    bytes_of = {
        "column": block.columns_ND[row].tobytes(),
        "key": block.rows.keys[row],
        "sealed": b"".join(block.rows.sealed[row : row + 2]),
    }
    extent = next(one for one in Manifest(path, 547) if one.first == STARTS[number])
    place = (path / extent.file).read_bytes().index(bytes_of[part], extent.offset)
    with changed(path / extent.file, place):
        (finding,) = verify(path).errors
    assert (finding.index, finding.file) == (STARTS[number] + row, extent.file)
    assert finding.key == block.rows.keys[row].hex()
    assert f"the record's {part} is not" in finding.reason


@pytest.mark.parametrize("part", ["head", "header"])
def test_a_byte_of_a_head_names_every_record_of_the_block(
    index: tuple[Path, list[Sealed]], part: str
) -> None:
    """They all depend on it."""
    path, blocks = index
    extent = list(Manifest(path, 547))[2]
    needle = {"head": blocks[2].head_Dn.tobytes(), "header": blocks[2].header}[part]
    with changed(path / extent.file, (path / extent.file).read_bytes().index(needle, extent.offset)):
        errors = verify(path).errors
    assert [finding.index for finding in errors] == list(range(500, 540))
    assert [finding.key for finding in errors] == [key.hex() for key in blocks[2].rows.keys]
    assert all(f"the record's {part} is not" in finding.reason for finding in errors)


def test_damage_in_several_files_is_named_in_each(index: tuple[Path, list[Sealed]]) -> None:
    """One finding does not hide another."""
    path, _ = index
    names = ["tile/0/000", "tile/entries/001", "tile/1/000.p/2", "segments/000001.arrows", "signing.key"]
    with (
        changed(path / names[0], 40),
        changed(path / names[1], 50),
        changed(path / names[2], 60),
        changed(path / names[3], 5000),
        changed(path / names[4], 70),
    ):
        report = verify(path)
    assert {finding.file for finding in report.errors} == set(names)


@pytest.mark.parametrize("how", ["gone", "empty", "cut", "longer"])
def test_any_file_of_the_wrong_length_is_found_and_named(
    index: tuple[Path, list[Sealed]], tmp_path: Path, how: str
) -> None:
    """Gone, empty, cut short; longer, too, where the length is part of the format."""
    tails = ("segments/", "tile/0/002.p/28", "tile/entries/002.p/28", "tile/1/000.p/1")
    path = shutil.copytree(index[0], tmp_path / "index")
    for name in committed(path):
        if name == "index.json" and how == "gone":
            continue  # then it is no index
        if how == "gone" and (name == "signing.key" or name.startswith(tails[1:])):
            continue  # an auditor's copy has no signing key; earlier states of tiles may go
        if how == "longer" and name.startswith("segments/"):
            continue  # an unfinished append
        file = path / name
        data = file.read_bytes()
        if how == "gone":
            file.unlink()
        else:
            file.write_bytes({"empty": b"", "cut": data[:-1], "longer": data + b"x"}[how])
        assert name in {finding.file for finding in verify(path).errors}, name
        file.write_bytes(data)
    assert verify(path).ok


def test_a_block_replaced_in_every_file_but_the_tree_is_found(
    index: tuple[Path, list[Sealed]], tmp_path: Path
) -> None:
    """Segment, manifest, bundle and leaf hash agree on a forged record; the signed root does not."""
    path = shutil.copytree(index[0], tmp_path / "good")
    blocks = list(index[1])
    columns_ND = blocks[1].columns_ND.copy()
    columns_ND[7, 0] ^= np.uint32(1)
    blocks[1] = replace(blocks[1], columns_ND=columns_ND)
    with open_writer(tmp_path / "evil", IndexOptions(segment_bytes=1 << 14)) as writer:
        for block in blocks:
            writer.append(block)
            writer.publish()
    for name in committed(path):
        if name.startswith(("segments/", "tile/0/", "tile/entries/")):
            shutil.copy(tmp_path / "evil" / name, path / name)
    errors = verify(path).errors
    assert (errors[0].file, errors[0].reason) == (
        "tile/1/000.p/2",
        "hash 0 is not that of records 0 to 255",
    )
    assert errors[-1].file == "checkpoint"
    shutil.copytree(tmp_path / "evil" / "tile", path / "tile", dirs_exist_ok=True)
    (finding,) = verify(path).errors
    assert finding.file == "checkpoint"
    assert open_reader(path).root.hex() in finding.reason


def test_a_checkpoint_of_another_log_is_found(index: tuple[Path, list[Sealed]], tmp_path: Path) -> None:
    """Its signature is good, but not this log's."""
    path = shutil.copytree(index[0], tmp_path / "index")
    with open_writer(tmp_path / "other", IndexOptions()):
        shutil.copy(tmp_path / "other" / "checkpoint", path)
    report = verify(path)
    assert (report.ok, report.size, report.root) == (False, 0, b"")
    assert [finding.file for finding in report.errors] == ["checkpoint"]


def test_the_key_that_is_asked_for_decides(index: tuple[Path, list[Sealed]], tmp_path: Path) -> None:
    """The index's own public key is not evidence to who has a better one."""
    path, _ = index
    assert verify(path, open_reader(path).log).ok
    with open_writer(tmp_path / "other", IndexOptions()):
        other = open_reader(tmp_path / "other").log
    assert {finding.file for finding in verify(path, other).errors} == {"checkpoint.pub", "checkpoint"}


def test_the_number_of_findings_is_bounded(
    index: tuple[Path, list[Sealed]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ruined index does not fill the memory with sentences."""
    path = shutil.copytree(index[0], tmp_path / "index")
    (path / "segments/manifest").unlink()
    assert len(verify(path).errors) == 547
    monkeypatch.setattr(audit, "MAX_FINDINGS", 100)
    monkeypatch.setattr(audit, "_GAP", 50)
    errors = verify(path).errors
    assert len(errors) == 101
    assert errors[-1].reason == "is checked up to record 99 only: there are 100 findings already"


def test_a_path_that_is_no_index_is_one_sentence(tmp_path: Path) -> None:
    """Not a report of a thousand missing files."""
    with pytest.raises(NotAnIndexError, match=r"is not an index: it has no index\.json"):
        verify(tmp_path)
