"""Ciphertext on disk: Arrow IPC streams of LWE blocks.

A segment is an Arrow stream without an end mark: a schema, then one record batch of one row per block.
Arrow IPC has no checksum and reads a torn tail as a clean end, so nothing here trusts it: a block is
found through the manifest and used once the SHA-256 of its bytes is right. Blocks are mapped, not read:
the arrays of a ``StoredBlock`` are views of the file. 64-bit words lie as two 32-bit ones, the lower
first: the same bytes, and one schema for every parameter set. The block's header states which.
"""

from __future__ import annotations

import os
from hashlib import sha256
from mmap import PROT_READ, mmap
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from stages.index.errors import DamagedError
from stages.index.store.blocks import Statements, StoredBlock, decode_block
from stages.index.store.manifest import MANIFEST, Extent, Manifest


def read_extent(directory: Path, extent: Extent) -> bytes:
    """The block's bytes, unchecked."""
    try:
        with (directory / extent.file).open("rb") as file:
            if os.fstat(file.fileno()).st_size < extent.end:
                raise DamagedError(extent.file, f"ends before {extent} do")
            file.seek(extent.offset)
            return file.read(extent.length)
    except FileNotFoundError:
        raise DamagedError(extent.file, "is missing") from None


def check_extent(data: Any, extent: Extent) -> None:
    """Refuse bytes that are not those that were written."""
    if sha256(data).digest() != extent.digest:
        raise DamagedError(extent.file, f"is damaged among the bytes of {extent}")


class Segments:
    """Maps blocks of the first ``size`` entries; a segment is unmapped when the last view of it is gone.

    An erasure or a compaction moves blocks and then replaces the manifest; from then on it leads.
    """

    def __init__(self, directory: Path, size: int) -> None:
        self._directory = directory
        self._size = size
        self._maps: WeakValueDictionary[int, mmap] = WeakValueDictionary()
        self._checked: set[Extent] = set()  # whose bytes were right, there
        self._manifest = Manifest(directory, size)

    @property
    def manifest(self) -> Manifest:
        """Where the blocks lie now."""
        if _identity(self._directory) != self._manifest.file:
            self._manifest = Manifest(self._directory, self._size)
            self._maps.clear()
        return self._manifest

    def block(self, number: int) -> StoredBlock | Statements:
        """The block, its bytes checked the first time."""
        return self._held(number)[1]

    def holder(self, index: int) -> tuple[Extent, StoredBlock | Statements]:
        """The block that holds an entry, and where it lies."""
        return self._held(self.manifest.find(index))

    def leads_to(self, index: int, extent: Extent) -> bool:
        """Whether an entry still is where it was found: old bytes are overwritten once it is not."""
        return self.manifest[self.manifest.find(index)] == extent

    def _held(self, number: int) -> tuple[Extent, StoredBlock | Statements]:
        while True:
            extent = self.manifest[number]
            try:
                block = self._block(extent)
            except DamagedError:
                if self.manifest[number] == extent:
                    raise
            else:
                if self.manifest[number] == extent:
                    return extent, block  # decoded before anybody could overwrite it

    def peek(self, extent: Extent) -> StoredBlock | Statements:
        """The block, unchecked."""
        return decode_block(self._bytes(extent), extent)

    def _block(self, extent: Extent) -> StoredBlock | Statements:
        data = self._bytes(extent)
        if extent not in self._checked:
            check_extent(data, extent)
            self._checked.add(extent)
        return decode_block(data, extent)

    def _bytes(self, extent: Extent) -> memoryview:
        mapped = self._maps.get(extent.segment)
        if mapped is None or len(mapped) < extent.end:
            self._maps[extent.segment] = mapped = self._map(extent)
        return memoryview(mapped)[extent.offset : extent.end]

    def _map(self, extent: Extent) -> mmap:
        try:
            with (self._directory / extent.file).open("rb") as file:
                if os.fstat(file.fileno()).st_size < extent.end:
                    raise DamagedError(extent.file, f"ends before {extent} do")
                return mmap(file.fileno(), 0, prot=PROT_READ)
        except FileNotFoundError:
            raise DamagedError(extent.file, "is missing") from None


def _identity(directory: Path) -> tuple[int, int] | None:
    """Which file the manifest is now: device and inode."""
    try:
        found = os.stat(f"{directory}/{MANIFEST}")  # noqa: PTH116 - called for every block
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
