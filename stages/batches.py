"""The data that flows: frozen structs of arrays, one row per frame.

Suffixes name the axes: N rows, C channels, H and W pixels, D features, n LWE dimension. Arrays that
arrive from the object store are read-only; a stage never mutates its input.

From ``Frames`` on nothing here identifies a patient except under encryption: ``Rows.sealed`` (for the
index's owner, HPKE) and ``Rows.tickets`` (for delivery on the same site, AES-GCM under the site secret).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from stages.base import Counted, Reason
from stages.grid import STORED, Display, Grid, Mask
from stages.packed import Packed
from stages.places import Held, Place, StackId

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Uncounted:
    """A batch that counts nothing for operators."""

    __slots__ = ()

    @property
    def counters(self) -> Mapping[Counted, int]:
        """See ``Batch.counters``."""
        return {}


@dataclass(frozen=True, slots=True)
class Located(Uncounted):
    """A piece of work: frames in stream order, still unread.

    A series longer than the batch size is cut into ``parts`` pieces that share ``group``; such a piece holds
    no other series. Short series travel together, whole, with ``group`` None and ``parts`` 1. Rows of one
    stack follow each other in its order. ``before`` and ``after`` are the neighbours of a cut: context for
    2.5-D input, never counted, delivered or indexed. They belong to the stacks of the first and last row.
    """

    keys: tuple[bytes, ...]  # 32 bytes each: HMAC-SHA-256 under the site secret
    series: tuple[bytes, ...]  # 32 bytes each: the series' pseudonym
    places: tuple[Place, ...]
    before: Place | None = None
    after: Place | None = None
    group: bytes | None = None
    parts: int = 1
    stacks: tuple[StackId, ...] = ()  # one a row; where none are given every series is one whole stack
    again: tuple[bool, ...] = ()  # one a row: whether an earlier unit of the run held it; else none was
    held: tuple[Held | None, ...] = ()  # one a row: what was delivered before; else nothing was
    geometry: tuple[str, ...] = ()  # one a row: what its header states (stages.ingest.likeness); else nothing

    def __post_init__(self) -> None:
        _fill_stacks(self)
        for name, value in (("again", False), ("held", None), ("geometry", "")):
            if not getattr(self, name):
                object.__setattr__(self, name, (value,) * len(self.keys))

    def __len__(self) -> int:
        return len(self.keys)

    def cut(self, lo: int, hi: int) -> Located:
        """Rows lo..hi-1. The rows next to a new cut become its context, so features do not change."""
        return Located(
            self.keys[lo:hi],
            self.series[lo:hi],
            self.places[lo:hi],
            self.before if lo == 0 else self._across(lo - 1, lo),
            self.after if hi == len(self) else self._across(hi, hi - 1),
            self.group,
            self.parts,
            self.stacks[lo:hi],
            self.again[lo:hi],
            self.held[lo:hi],
            self.geometry[lo:hi],
        )

    def _across(self, neighbour: int, row: int) -> Place | None:
        return self.places[neighbour] if same_stack(self, neighbour, row) else None


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that cannot be opened as an image; it counts as one frame."""

    path: str
    key: bytes
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Copied:
    """Frames of a file that the source holds elsewhere too, with the same pixels: counted, and no work."""

    path: str
    frames: int


@dataclass(frozen=True, slots=True)
class Rows:
    """What every batch carries along for each of its rows."""

    keys: tuple[bytes, ...]
    series: tuple[bytes, ...]
    sealed: tuple[bytes, ...]  # identity and origin, HPKE to the index's owner, bound to the key
    tickets: tuple[bytes, ...]  # the row's Place, AES-GCM under the site secret, bound to the key
    stacks: tuple[StackId, ...] = ()  # one a row; where none are given every series is one whole stack
    contents: tuple[bytes, ...] = ()  # one a row: the keyed digest of a DICOM frame's pixels; else b""

    def __post_init__(self) -> None:
        _fill_stacks(self)
        if not self.contents:
            object.__setattr__(self, "contents", (b"",) * len(self.keys))

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: Sequence[int]) -> Rows:
        """The given rows."""
        return Rows(
            tuple(self.keys[i] for i in rows),
            tuple(self.series[i] for i in rows),
            tuple(self.sealed[i] for i in rows),
            tuple(self.tickets[i] for i in rows),
            tuple(self.stacks[i] for i in rows),
            tuple(self.contents[i] for i in rows),
        )

    @classmethod
    def join(cls, many: Sequence[Self]) -> Rows:
        """All rows, in order."""
        return cls(
            tuple(key for rows in many for key in rows.keys),
            tuple(series for rows in many for series in rows.series),
            tuple(sealed for rows in many for sealed in rows.sealed),
            tuple(ticket for rows in many for ticket in rows.tickets),
            tuple(stack for rows in many for stack in rows.stacks),
            tuple(content for rows in many for content in rows.contents),
        )


def same_stack(rows: Located | Rows, one: int, other: int) -> bool:
    """Whether two rows are slices of one stack, so that they can be neighbours in the body."""
    return rows.series[one] == rows.series[other] and rows.stacks[one].number == rows.stacks[other].number


def _fill_stacks(rows: Located | Rows) -> None:
    if not rows.stacks:
        object.__setattr__(rows, "stacks", (StackId(),) * len(rows.keys))


class OfRows(Uncounted):
    """A batch that carries ``Rows``."""

    __slots__ = ()
    rows: Rows

    @property
    def keys(self) -> tuple[bytes, ...]:
        """See ``Batch.keys``."""
        return self.rows.keys

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded image: values in modality units on the stored grid, one channel, finite or not."""

    image: NDArray[Any]  # [H, W], integer or float
    spacing_mm: tuple[float, float] | None  # row, column, on the stored grid; None where unknown
    display: Display = STORED


@dataclass(frozen=True, slots=True)
class Frames(OfRows):
    """Decoded images, ragged; identity is sealed here."""

    rows: Rows
    frames: tuple[Frame, ...]
    before: Frame | None = None
    after: Frame | None = None


@dataclass(frozen=True, slots=True)
class Prepared(OfRows):
    """Model input. The rows' own fields come first, in their order, then the neighbours across a cut."""

    rows: Rows
    packed: Packed
    grids: tuple[Grid, ...]

    @property
    def x_NCHW(self) -> NDArray[np.float32]:  # noqa: N802  an array by its axes
        """What the network sees."""
        return self.packed.unpacked()


@dataclass(frozen=True, slots=True)
class Segmented(OfRows):
    """What the clinic gets, and the feature vectors that go on to encryption."""

    rows: Rows
    masks: tuple[Mask, ...]
    confidence_N: NDArray[np.float32]  # 0..1
    spacing_known_N: NDArray[np.bool_]
    feature_ND: NDArray[np.float32]  # L2-normalised
    novelty_N: NDArray[np.float32]  # above 1: out of distribution; NaN: unknown

    @property
    def counters(self) -> Mapping[Counted, int]:
        """How many rows a person should look at, since they are out of the training images' distribution."""
        return {Counted.OUT_OF_DISTRIBUTION: int((self.novelty_N > 1).sum())}

    @classmethod
    def join(cls, many: Sequence[Segmented]) -> Segmented:
        """All rows, in order."""
        return cls(
            Rows.join([one.rows for one in many]),
            tuple(mask for one in many for mask in one.masks),
            np.concatenate([one.confidence_N for one in many]),
            np.concatenate([one.spacing_known_N for one in many]),
            np.concatenate([one.feature_ND for one in many]),
            np.concatenate([one.novelty_N for one in many]),
        )


@dataclass(frozen=True, slots=True)
class Features(OfRows):
    """What is gathered into LWE blocks: about a kilobyte a row."""

    rows: Rows
    feature_ND: NDArray[np.float32]  # L2-normalised

    def take(self, rows: Sequence[int]) -> Features:
        """The given rows."""
        return Features(self.rows.take(rows), self.feature_ND[list(rows)])

    def cut(self, lo: int, hi: int) -> Features:
        """Rows lo..hi-1."""
        return self.take(range(lo, hi))

    @classmethod
    def join(cls, many: Sequence[Features]) -> Features:
        """All rows, in order."""
        return cls(Rows.join([one.rows for one in many]), np.concatenate([one.feature_ND for one in many]))


@dataclass(frozen=True, slots=True)
class Sealed(OfRows):
    """One LWE block: a head shared by its records and one column per record."""

    rows: Rows
    header: bytes  # the block's wire header: version, parameter set, key id, scale, D, slot
    head_Dn: NDArray[np.uint32]
    columns_ND: NDArray[np.uint32]  # row i is record i's ciphertext column, D words
    signature: bytes = b""  # a worker's, over all of this; the append stage refuses a block without


@dataclass(frozen=True, slots=True)
class Entries(Uncounted):
    """Durable when returned: where each row stands in the log."""

    keys: tuple[bytes, ...]
    index_N: NDArray[np.int64]
    leaf_hashes: tuple[bytes, ...]
    fresh_N: NDArray[np.bool_]  # False: the key was already there, nothing was appended

    def __len__(self) -> int:
        return len(self.keys)
