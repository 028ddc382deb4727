"""Search over several blocks and generations of keys."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.queries.search import search
from pipeline.queries.vector import VectorError
from stages.encrypt.keys.folder import OwnerKeys, load_owner, load_owners, new_keys
from stages.encrypt.keys.rotation import rotate
from stages.index.errors import DamagedError
from stages.index.reader import open_reader
from tests.pipeline.queries.encrypted import append, record_key, unit_rows


@pytest.fixture(scope="module")
def rotated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A key folder that was rotated, and an index with blocks of 5 and 3 before and of 4 after."""
    folder = tmp_path_factory.mktemp("rotated")
    new_keys(folder / "keys", None)
    append(folder / "index", folder / "keys", [5, 3])
    rotate(folder / "keys", None)
    append(folder / "index", folder / "keys", [4], seed=2)
    return folder / "keys", folder / "index"


def the(owner: OwnerKeys) -> dict[bytes, OwnerKeys]:
    return {owner.key_id: owner}


@pytest.mark.parametrize(("seed", "row", "index"), [(0, 4, 4), (1, 0, 5), (2, 3, 11)])
def test_the_folder_finds_records_of_every_generation(
    rotated: tuple[Path, Path], seed: int, row: int, index: int
) -> None:
    """Each record finds itself, with a proof, whatever key it is under."""
    keys, log = rotated
    asked_D = unit_rows({0: 5, 1: 3, 2: 4}[seed], seed)[row]
    result = search(open_reader(log), load_owners(keys, None), asked_D, top=3)
    first = result.hits[0]
    assert (first.key, first.index, first.proof_ok) == (record_key(seed, row).hex(), index, True)
    assert first.score > 0.99
    assert result.closed == ()
    assert len(result.hits) == 3


def test_one_key_says_what_it_cannot_open(rotated: tuple[Path, Path]) -> None:
    """Blocks and records by the key that could."""
    keys, log = rotated
    current = load_owner(keys, None)
    result = search(open_reader(log), the(current), unit_rows(4, 2)[0], top=20)
    assert len(result.hits) == 4
    (closed,) = result.closed
    (retired,) = (keys / "owner" / "retired").iterdir()
    assert (closed.key_id, closed.blocks, closed.records) == (retired.stem, 2, 8)


def test_a_key_that_opens_nothing_is_an_error(rotated: tuple[Path, Path], tmp_path: Path) -> None:
    """Never noise for an answer."""
    new_keys(tmp_path / "other", None)
    with pytest.raises(VectorError, match="opens none of the 12 records"):
        search(open_reader(rotated[1]), the(load_owner(tmp_path / "other", None)), unit_rows(1, 0)[0], top=1)


def test_a_vector_of_another_length_is_an_error(rotated: tuple[Path, Path]) -> None:
    """The sentence has both numbers."""
    keys, log = rotated
    with pytest.raises(VectorError, match=r"the vector has 7 features, these \w+ have 24"):
        search(open_reader(log), load_owners(keys, None), np.ones(7, np.float32), top=1)


def test_a_hit_whose_bytes_changed_is_not_shown(rotated: tuple[Path, Path], tmp_path: Path) -> None:
    """Damage to a segment is named, not scored."""
    keys, log = rotated
    copy = Path(shutil.copytree(log, tmp_path / "index"))
    (segment,) = copy.glob("segments/*.arrows")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    with pytest.raises(DamagedError):
        search(open_reader(copy), load_owners(keys, None), unit_rows(5, 0)[0], top=1)
