"""The contract of a stage: a picklable recipe that opens into a function from batch to ``Split``.

Three kinds of failure, one way each:

* bad data: the row comes back as a ``Reject`` in the ``Split``; the rest of the batch goes on;
* bad world (a killed process, a lost node): the engine retries, then isolates the row;
* bug: the stage raises, and the run ends loudly.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager


class Counted(StrEnum):
    """What an operator watches of a stage's work. Closed: each is a metric (``pipeline/run/exporter.py``)."""

    OUT_OF_DISTRIBUTION = "out_of_distribution"  # rows
    SERIES_TO_REVIEW = "series_to_review"
    OUT_OF_SCOPE = "out_of_scope"  # series


class Batch(Protocol):
    """What flows: rows, each named by its record id."""

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The rows' record ids, 32 bytes each, in order."""

    @property
    def counters(self) -> Mapping[Counted, int]:
        """What an operator watches of these rows."""

    def __len__(self) -> int: ...


class Divisible(Batch, Protocol):
    """A batch that the engine may cut, to find the row that kills a worker."""

    def cut(self, lo: int, hi: int) -> Self:
        """Rows lo..hi-1."""


In = TypeVar("In", bound=Batch, contravariant=True)
Out = TypeVar("Out", bound=Batch, covariant=True)


class Reason(StrEnum):
    """Why a row goes no further. Closed, so that it can be a metric label."""

    UNREADABLE = "unreadable"  # the operating system refused, or the file vanished
    EMPTY = "empty"  # zero bytes
    NOT_AN_IMAGE = "not_an_image"  # no known image format, with any suffix
    ENCRYPTED = "encrypted"  # an encrypted container or attribute hides the pixels
    NOT_TO_SEGMENT = (
        "not_to_segment"  # sound, and no image to segment: a result, dose, map, report, directory
    )
    NO_PIXELS = "no_pixels"  # an image by its class, without pixel data
    TRUNCATED = "truncated"  # the file ends before its pixels do
    UNSUPPORTED = "unsupported"  # a transfer syntax, bit depth or layout that no decoder here supports
    CORRUPT = "corrupt"  # the decoder failed, or the header contradicts itself
    TOO_LARGE = "too_large"  # over the configured limit on pixels or bytes
    CONFLICT = "conflict"  # another image has its SOP Instance UID
    DEGENERATE = "degenerate"  # constant, non-finite or too small to segment
    OVERFLOW = "overflow"  # a feature outside the plaintext range of the encryption
    POISON = "poison"  # this row, alone, killed its worker
    FOREIGN = "foreign"  # the block it came in is under another key than the owner's current one
    DAMAGED = "damaged"  # the block it came in is signed, and nothing that a search could read
    ERASED = "erased"  # its record was erased from the index, which does not take it again
    UNDELIVERABLE = "undeliverable"  # indexed, but its result could not be written


@dataclass(frozen=True, slots=True)
class Reject:
    """One row that goes no further: which, where, why. Never pixel data, never identity."""

    key: bytes
    stage: str
    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Split(Generic[Out]):
    """A stage's answer. ``len(kept) + len(rejected) == len(input)``, checked by the host."""

    kept: Out
    rejected: tuple[Reject, ...] = ()


class Stage(Protocol[In, Out]):
    """A picklable recipe: a frozen dataclass whose fields are its configuration and its wiring."""

    @property
    def name(self) -> str:
        """The stage's name in metrics, logs and rejects."""

    def open(self) -> AbstractContextManager[Callable[[In], Split[Out]]]:
        """Acquire weights, keys and files; yield the batch function; release on exit.

        A killed worker releases nothing: state that must survive this is made durable
        before the batch function returns.
        """
