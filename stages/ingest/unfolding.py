"""A zlib or gzip stream (RFC 1950, RFC 1952) inside a file, as a file of its own that can seek."""

from __future__ import annotations

import zlib
from io import SEEK_SET, BufferedReader, RawIOBase
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_PIECE_BYTES: Final = 1 << 18
_EITHER: Final = zlib.MAX_WBITS | 32  # zlib finds the wrapping from its first bytes


def unfolding(file: BufferedReader, start: int) -> BufferedReader:
    """What the stream at ``start`` holds. Reading raises EOFError where it is cut, zlib.error where damaged.

    Seeking backwards unfolds from the start again.
    """
    return BufferedReader(_Unfolding(file, start), _PIECE_BYTES)


class _Unfolding(RawIOBase):
    def __init__(self, file: BufferedReader, start: int) -> None:
        self._file, self._start = file, start
        self._rewind()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        if whence != SEEK_SET:
            raise ValueError("a compressed stream is sought from its start only")
        if offset < self._at:
            self._rewind()
        while self._at < offset and self.read(min(_PIECE_BYTES, offset - self._at)):
            pass
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        while not self._folded.eof:
            piece = self._folded.unconsumed_tail or self._file.read(_PIECE_BYTES)
            if not piece:
                raise EOFError("the compressed voxels end before their stream does")
            held = self._folded.decompress(piece, len(view))
            if held:
                view[: len(held)] = held
                self._at += len(held)
                return len(held)
        return 0

    def _rewind(self) -> None:
        self._file.seek(self._start)
        self._folded = zlib.decompressobj(wbits=_EITHER)
        self._at = 0
