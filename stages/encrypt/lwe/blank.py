"""Blanks: all of a block's encryption but its message, made ahead and used once.

C1 = R A + E1 and the mask R B + E2 do not depend on the records, and are nearly all of the work. A blank
holds them for one block. Used for two, it would give away the difference of their records, so it hands
its parts out once, only in the process that made it, and can be neither copied nor pickled: it lives in
memory until it is used or dropped. A party that reads an unused blank's memory can
read the block made from it.
"""

from __future__ import annotations

import os
from threading import Lock
from typing import Never

from stages.encrypt.lwe.errors import ForeignKeyError, ShapeError, SpentBlankError
from stages.encrypt.lwe.wire import Header, Words


class Blank:
    """The head and the masks of one block to come, of at most ``count`` records from ``slot`` on."""

    __slots__ = ("_lock", "_parts", "_process", "count", "dimensions", "key_id", "slot")

    def __init__(self, key_id: bytes, slot: int, head_Dn: Words, mask_ND: Words) -> None:
        self.key_id = key_id
        self.slot = slot
        self.count, self.dimensions = mask_ND.shape
        self._parts: tuple[Words, Words] | None = (head_Dn, mask_ND)
        self._process = os.getpid()
        self._lock = Lock()

    def take(self, header: Header) -> tuple[Words, Words]:
        """(C1, R B + E2) of the block with this header, once; a block that it does not fit spends nothing."""
        with self._lock:
            head_Dn, mask_ND = self._unspent()
            self._require_fit(header)
            self._parts = None
        return head_Dn, mask_ND[: header.count]

    def part(self, count: int) -> Blank:
        """A blank of the next ``count`` slots, which this one then no longer has, under the same head.

        Blocks from parts are slices of one block: their records may come at different times, and the
        head is stored once for all of them. No mask is in two parts.
        """
        with self._lock:
            head_Dn, mask_ND = self._unspent()
            if not 0 <= count <= self.count:
                raise ShapeError(f"the blank has {self.count} slots left, not {count}: make another")
            part = Blank(self.key_id, self.slot, head_Dn, mask_ND[:count])
            self._parts = (head_Dn, mask_ND[count:])
            self.slot, self.count = self.slot + count, self.count - count
        return part

    def _unspent(self) -> tuple[Words, Words]:
        if os.getpid() != self._process:
            raise SpentBlankError("a blank is used in the process that made it: make one here")
        if self._parts is None:
            raise SpentBlankError("this blank has been used: every block needs a fresh one")
        return self._parts

    def _require_fit(self, header: Header) -> None:
        if self.key_id != header.key_id:
            raise ForeignKeyError("the blank was made under another key than this encryptor's")
        if (self.dimensions, self.slot) != (header.dimensions, header.slot) or self.count < header.count:
            raise ShapeError(
                f"the blank is for {self.count} records of {self.dimensions} features from slot {self.slot}, "
                f"not for {header.count} of {header.dimensions} from slot {header.slot}"
            )

    def _refuse(self, *_: object) -> Never:
        raise TypeError("a blank is used once, so it is neither copied nor pickled")

    __copy__ = __deepcopy__ = __reduce__ = __reduce_ex__ = _refuse
