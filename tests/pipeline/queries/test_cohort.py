"""Sum and mean of cohorts that lie in several blocks and under several keys."""

from __future__ import annotations

import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.queries.cohort import CohortError, cohort_sum
from stages.encrypt.keys.folder import OwnerKeys, load_owner, load_owners, new_keys
from stages.encrypt.keys.rotation import rotate
from stages.encrypt.lwe.parameters import LWE32
from stages.encrypt.lwe.quantise import scale_for
from stages.encrypt.lwe.scheme import Encryptor
from stages.encrypt.public.folder import load_public
from stages.index.errors import DamagedError
from stages.index.options import IndexOptions
from stages.index.reader import Reader, open_reader
from stages.index.session import open_writer
from stages.index.store.manifest import Manifest
from tests.pipeline.queries.encrypted import D, append, record_key, sealed_block, unit_rows

SCALE = scale_for(LWE32, D)


class Vault:
    """Two generations; one block lost columns, as their keys were there already."""

    def __init__(self, folder: Path) -> None:
        self.keys, self.index = folder / "keys", folder / "index"
        new_keys(self.keys, None)
        self.plain = append(self.index, self.keys, [6, 1, 1, 1, 3])
        x_ND = unit_rows(5, 77)
        names = [record_key(0, 1), record_key(77, 1), record_key(0, 2), record_key(77, 3), record_key(77, 4)]
        with open_writer(self.index, IndexOptions()) as writer:
            writer.append(sealed_block(Encryptor(load_public(self.keys).lwe), x_ND, names))
        self.plain.update({record_key(77, row): np.rint(x_ND[row] * SCALE) for row in (1, 3, 4)})
        self.first = load_owner(self.keys, None)
        rotate(self.keys, None)
        self.plain |= append(self.index, self.keys, [4], seed=200)
        self.owners: dict[bytes, OwnerKeys] = load_owners(self.keys, None)
        self.reader: Reader = open_reader(self.index)


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Vault:
    return Vault(tmp_path_factory.mktemp("vault"))


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_a_cohorts_sum_is_that_of_its_plaintexts(vault: Vault, data: st.DataObject) -> None:
    """For any cohort: exact where it says so, else within seven of the standard deviations it states."""
    names = sorted(vault.plain)
    cohort = [names[i] for i in data.draw(st.sets(st.integers(0, len(names) - 1), min_size=1))]
    found = cohort_sum(vault.reader, vault.owners, cohort)
    expected_D = np.sum([vault.plain[key] for key in cohort], axis=0) / SCALE
    assert found.records == len(cohort)
    rounding = 1.5 * len(cohort) / SCALE * any(key[:16] == record_key(77, 0)[:16] for key in cohort)
    slack = 1e-9 + rounding + (0 if found.exact else 7 * found.noise_sd)
    assert np.abs(found.sum_D - expected_D).max() < slack
    assert np.allclose(found.mean, found.sum_D / len(cohort))
    assert found.exact == (found.noise_sd == 0)


def test_blocks_with_one_record_each_become_one_answer(vault: Vault) -> None:
    """The same slot of three blocks, exactly."""
    found = cohort_sum(vault.reader, vault.owners, [record_key(seed, 0) for seed in (1, 2, 3)])
    assert (found.records, found.answers, found.exact) == (3, 1, True)


def test_a_cohort_under_two_keys_is_split_by_key(vault: Vault) -> None:
    """One partial sum for each, added up in the owner's process."""
    found = cohort_sum(vault.reader, vault.owners, [record_key(0, 0), record_key(200, 0)])
    assert (found.answers, len(found.key_ids), found.exact) == (2, 2, True)
    one = {vault.first.key_id: vault.first}
    with pytest.raises(CohortError, match=r"\(1 under [0-9a-f]{16}\)"):
        cohort_sum(vault.reader, one, [record_key(0, 0), record_key(200, 0)])


def test_records_under_keys_that_are_not_held_are_counted_over_all_blocks(vault: Vault) -> None:
    """The operator learns how much of the cohort is closed, not how much of one block."""
    (newer,) = (owner for key_id, owner in vault.owners.items() if key_id != vault.first.key_id)
    closed = [record_key(0, 0), record_key(0, 1), record_key(1, 0)]
    with pytest.raises(CohortError, match=rf"\(3 under {vault.first.key_id.hex()[:16]}\)"):
        cohort_sum(vault.reader, {newer.key_id: newer}, [*closed, record_key(200, 0)])


def test_a_key_given_twice_counts_once(vault: Vault) -> None:
    """A cohort is a set."""
    twice = cohort_sum(vault.reader, vault.owners, [record_key(0, 0)] * 2)
    assert twice.records == 1


def test_unknown_keys_are_named(vault: Vault) -> None:
    """The first few of them, and how many."""
    unknown = [record_key(999, row) for row in range(5)]
    with pytest.raises(CohortError, match="the index lacks 5 of 6 records") as caught:
        cohort_sum(vault.reader, vault.owners, [record_key(0, 0), *unknown])
    assert unknown[0].hex() in str(caught.value)
    assert "and 2 more" in str(caught.value)
    with pytest.raises(CohortError, match="empty"):
        cohort_sum(vault.reader, vault.owners, [])


def test_a_record_that_the_log_does_not_commit_to_is_not_added(vault: Vault, tmp_path: Path) -> None:
    """A segment rewritten together with its manifest does not match the signed root."""
    copy = Path(shutil.copytree(vault.index, tmp_path / "index"))
    extent = Manifest(copy, vault.reader.size)[0]
    file = copy / extent.file
    data = bytearray(file.read_bytes())
    words = vault.reader.record(3).column_D.tobytes()
    at = data.index(words)
    data[at] ^= 1
    file.write_bytes(data)
    reseal(copy, data)
    reader = open_reader(copy)
    with pytest.raises(DamagedError, match="do not hold record 3"):
        cohort_sum(reader, vault.owners, [record_key(0, 3)])
    assert cohort_sum(reader, vault.owners, [record_key(0, 2)]).records == 1


def test_a_cohort_of_which_a_block_lacks_a_record_has_no_sum(vault: Vault, tmp_path: Path) -> None:
    """A segment in which the record has another key leaves it out: an error, no sum of the others."""
    copy = Path(shutil.copytree(vault.index, tmp_path / "index"))
    file = copy / Manifest(copy, vault.reader.size)[0].file
    data = bytearray(file.read_bytes())
    data[data.index(record_key(0, 3))] ^= 1
    file.write_bytes(data)
    reseal(copy, data)
    with pytest.raises(CohortError, match="only 1 of 2 records"):
        cohort_sum(open_reader(copy), vault.owners, [record_key(0, 2), record_key(0, 3)])


def reseal(index: Path, segment: bytes | bytearray) -> None:
    """Write the manifest's first row anew for a changed segment, as a forger would."""
    file = index / "segments" / "manifest"
    extent = Manifest(index, open_reader(index).size)[0]
    row = replace(extent, digest=sha256(segment[extent.offset : extent.end]).digest()).encode()
    file.write_bytes(row + file.read_bytes()[len(row) :])
