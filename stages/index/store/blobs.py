"""The byte strings of a stored block, made on demand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload


@dataclass(frozen=True, slots=True, eq=False)
class Blobs(Sequence[bytes]):
    """The byte strings of an Arrow array, each made when it is read: a search reads none."""

    array: Any

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, place: int) -> bytes: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[bytes, ...]: ...
    def __getitem__(self, place: int | slice) -> bytes | tuple[bytes, ...]:
        found = self.array[place]
        return tuple(found.to_pylist()) if isinstance(place, slice) else found.as_py()

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.array.to_pylist())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]  # compared, never looked up
