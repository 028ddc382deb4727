from __future__ import annotations

import contextlib
import copy
import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.encrypt.keys import owner as owner_side
from stages.encrypt.keys.folder import OwnerKeys
from stages.encrypt.lwe import reference
from stages.encrypt.lwe.blank import Blank
from stages.encrypt.lwe.errors import (
    ForeignKeyError,
    HeaderError,
    PlaintextOverflowError,
    ShapeError,
    SpentBlankError,
)
from stages.encrypt.lwe.parameters import LWE32, Parameters
from stages.encrypt.lwe.scheme import Encryptor
from stages.encrypt.lwe.wire import Header

PLAIN = np.array([[3, -1, 4]])
ONE = Header(LWE32, bytes(32), dimensions=3, scale=10, slot=0, count=1)


@pytest.mark.parametrize("toy", ["toy", "toy64"], indirect=True)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_block_from_a_blank_equals_the_reference(toy: Parameters, data: st.DataObject) -> None:
    """Whatever the blank's size, its block is the one that its key gives the records there are."""
    key = data.draw(st.binary(min_size=32, max_size=32))
    slot = data.draw(st.integers(0, toy.slots))
    count, D = data.draw(st.integers(0, toy.slots - slot)), data.draw(st.integers(1, 5))
    N = data.draw(st.integers(0, count))
    X_ND = np.random.default_rng(N).integers(-toy.plaintext_bound, toy.plaintext_bound, (N, D))
    public = owner_side.generate(toy, bytes(32), bytes(32))
    encryptor = Encryptor(public, randomness=lambda _: key)
    block = encryptor.encrypt(X_ND, slot=slot, scale=2**31, blank=encryptor.blank(D, count, slot))

    B, _ = reference.keygen(toy, bytes(32), bytes(32))
    C1, C2 = reference.encrypt(toy, bytes(32), B, X_ND.T.astype(object), slot=slot, key=key)
    assert (block.head_Dn == C1).all()
    assert (block.columns_ND == C2.T).all()


def test_a_blank_works_once(encryptor: Encryptor) -> None:
    """The second block is refused: it would show the difference of the records."""
    blank = encryptor.blank(3)
    encryptor.encrypt(PLAIN, slot=0, scale=10, blank=blank)
    with pytest.raises(SpentBlankError, match="has been used"):
        encryptor.encrypt(PLAIN, slot=0, scale=10, blank=blank)


def test_of_many_threads_one_gets_the_blank(encryptor: Encryptor) -> None:
    """Racing for a blank gives exactly one block."""
    blank = encryptor.blank(3)

    def race(_: int) -> bool:
        try:
            encryptor.encrypt(PLAIN, slot=0, scale=10, blank=blank)
        except SpentBlankError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(race, range(64))) == 1


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, pickle.dumps, lambda blank: copy.deepcopy([blank])]
)
def test_a_blank_has_no_second(encryptor: Encryptor, duplicate: Callable[[Blank], object]) -> None:
    """Copies and pickles, alone or inside something, are refused, and the blank is still good."""
    blank = encryptor.blank(3)
    with pytest.raises(TypeError, match="neither copied nor pickled"):
        duplicate(blank)
    encryptor.encrypt(PLAIN, slot=0, scale=10, blank=blank)


def _take(blank: Blank, answer: multiprocessing.SimpleQueue[str]) -> None:
    try:
        blank.take(ONE)
    except SpentBlankError as error:
        answer.put(str(error))
    else:
        answer.put("taken")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_no_second_either() -> None:
    """Fork duplicates memory behind Python's back; the child is refused."""
    blank = Blank(bytes(32), 0, np.zeros((3, 4), np.uint32), np.zeros((1, 3), np.uint32))
    context = multiprocessing.get_context("fork")
    answer = context.SimpleQueue()
    child = context.Process(target=_take, args=(blank, answer))
    child.start()
    assert "process that made it" in answer.get()
    child.join()
    blank.take(ONE)


def test_a_refused_plaintext_spends_nothing(encryptor: Encryptor) -> None:
    """Checks come first: a blank is taken only by a block that is made."""
    blank = encryptor.blank(3)
    with pytest.raises(PlaintextOverflowError):
        encryptor.encrypt(PLAIN * 1000, slot=0, scale=10, blank=blank)
    encryptor.encrypt(PLAIN, slot=0, scale=10, blank=blank)


@pytest.mark.parametrize(("dimensions", "count", "slot"), [(4, 1, 0), (3, 0, 0), (3, 1, 1)])
def test_a_blank_that_does_not_fit_is_refused(
    encryptor: Encryptor, dimensions: int, count: int, slot: int
) -> None:
    """Dimensions and slot must be the block's, and there must be a mask for every record."""
    with pytest.raises(ShapeError, match="the blank is for"):
        encryptor.encrypt(PLAIN, slot=0, scale=10, blank=encryptor.blank(dimensions, count, slot))


def test_racing_parts_never_give_a_block_at_the_wrong_slot(encryptor: Encryptor, owner: OwnerKeys) -> None:
    """While parts are taken, a block gets the masks of the slots it names; one block a blank, no more."""
    blanks = [encryptor.blank(3, 9) for _ in range(8)]

    def use(blank: Blank) -> int:
        while True:
            with contextlib.suppress(ShapeError):  # a part was taken since: there are slots left
                try:
                    block = encryptor.encrypt(PLAIN, slot=blank.slot, scale=10, blank=blank)
                except SpentBlankError:
                    return 0
                plain_ND = owner_side.decrypt(owner.lwe, block.header, block.head_Dn, block.columns_ND)
                assert (plain_ND == PLAIN).all()
                return 1

    def split(blank: Blank) -> int:
        with contextlib.suppress(SpentBlankError):
            for _ in range(8):
                blank.part(1)
        return 0

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(job, blank) for blank in blanks for job in (use, split, use)]
    assert sum(job.result() for job in jobs) == len(blanks)


def test_a_blank_of_another_key_is_refused(encryptor: Encryptor, toy: Parameters) -> None:
    """Its masks could never be removed."""
    other = Encryptor(owner_side.generate(toy, bytes(32), bytes(32)))
    with pytest.raises(ForeignKeyError, match="another key"):
        encryptor.encrypt(PLAIN, slot=0, scale=10, blank=other.blank(3))


@pytest.mark.parametrize(
    ("dimensions", "count", "slot"), [(0, 1, 0), (4097, 1, 0), (3, 1025, 0), (3, 1, 1024)]
)
def test_blanks_that_no_block_could_use_are_not_made(
    encryptor: Encryptor, dimensions: int, count: int, slot: int
) -> None:
    """The bounds are a block's."""
    with pytest.raises(HeaderError):
        encryptor.blank(dimensions, count, slot)


@pytest.mark.parametrize("toy", ["toy", "toy64"], indirect=True)
@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(0, 3), max_size=4), slot=st.integers(0, 3))
def test_blocks_from_parts_are_slices_of_one_block(toy: Parameters, sizes: list[int], slot: int) -> None:
    """Records that come one after the other, under one head, get the words they would have got together."""
    sizes = sizes if slot + sum(sizes) <= toy.slots else []
    X_ND = np.random.default_rng(0).integers(-9, 10, (sum(sizes), 3))
    public = owner_side.generate(toy, bytes(32), bytes(32))
    encryptor = Encryptor(public, randomness=lambda _: bytes(range(32)))
    whole = encryptor.encrypt(X_ND, slot=slot, scale=20)
    blank, done = encryptor.blank(3, toy.slots - slot, slot), 0
    for size in sizes:
        part = blank.part(size)
        block = encryptor.encrypt(X_ND[done : done + size], slot=slot + done, scale=20, blank=part)
        assert (block.head_Dn == whole.head_Dn).all()
        assert (block.columns_ND == whole.columns_ND[done : done + size]).all()
        done += size
    assert (blank.slot, blank.count) == (slot + done, toy.slots - slot - done)


def test_no_slot_is_in_two_parts(encryptor: Encryptor) -> None:
    """What a part has taken is gone: the rest starts behind it, and there is no more than there was."""
    blank = encryptor.blank(3, 4)
    first = blank.part(3)
    assert (first.slot, first.count, blank.slot, blank.count) == (0, 3, 3, 1)
    with pytest.raises(ShapeError, match="1 slots left, not 2"):
        blank.part(2)
    with pytest.raises(ShapeError, match="from slot 3"):
        encryptor.encrypt(PLAIN, slot=0, scale=10, blank=blank)
    encryptor.encrypt(PLAIN, slot=3, scale=10, blank=blank)
    with pytest.raises(SpentBlankError):
        blank.part(0)
    encryptor.encrypt(np.repeat(PLAIN, 3, axis=0), slot=0, scale=10, blank=first)


def test_blanks_are_fresh(encryptor: Encryptor, owner: OwnerKeys) -> None:
    """Two blanks give unrelated words for one record, and both open."""
    one, two = (encryptor.encrypt(PLAIN, slot=0, scale=10, blank=encryptor.blank(3, 5)) for _ in range(2))
    assert (one.head_Dn == two.head_Dn).sum() < 3
    assert (one.columns_ND != two.columns_ND).any()
    for block in (one, two):
        plain_ND = owner_side.decrypt(owner.lwe, block.header, block.head_Dn, block.columns_ND)
        assert (plain_ND == PLAIN).all()
