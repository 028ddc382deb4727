"""What can be wrong with an index as a whole; each is one sentence for the operator."""

from __future__ import annotations

from stages.errors import OperatorError


class IndexStoreError(OperatorError):
    """Base of everything refused here."""


class NotAnIndexError(IndexStoreError):
    """A path that holds no index, or one of an unknown format."""


class BusyError(IndexStoreError):
    """Another process is writing to the index."""


class DamagedError(IndexStoreError):
    """Committed bytes are missing or not what was written; ``verify`` names them all."""

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file} {reason}")
        self.file = file  # relative to the index
        self.reason = reason


class ForkedError(IndexStoreError):
    """A log that is not the continuation of what it was at an earlier checkpoint."""


class OtherModelError(IndexStoreError):
    """Features of one model and an index of another model's: they cannot be compared."""


class ErasedError(IndexStoreError):
    """The requested record was erased."""
