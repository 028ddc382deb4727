from __future__ import annotations

import errno
import logging
import warnings

import pytest

from stages.base import Reason
from stages.ingest.faults import BadData, reading, silence


class PanicException(BaseException):
    """As the bindings of Rust decoders raise it."""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("Doe^Jane"), Reason.CORRUPT),
        (AssertionError(), Reason.CORRUPT),
        (RecursionError(), Reason.CORRUPT),
        (EOFError(), Reason.TRUNCATED),
        (OSError("image file is truncated"), Reason.TRUNCATED),
        (NotImplementedError("1.2.3"), Reason.UNSUPPORTED),
        (PermissionError(errno.EACCES, "Permission denied", "/Doe^Jane"), Reason.UNREADABLE),
        (OSError(errno.EIO, "Input/output error"), Reason.UNREADABLE),
        (OSError(errno.EINVAL, "Invalid argument"), Reason.CORRUPT),
        (PanicException("index out of bounds"), Reason.CORRUPT),
    ],
)
def test_whatever_a_reader_raises_is_bad_data(error: BaseException, reason: Reason) -> None:
    """With a reason, and without the message, which may quote the header."""
    with pytest.raises(BadData) as caught, reading():
        raise error
    assert caught.value.refusal.reason is reason
    assert "Doe" not in caught.value.refusal.detail


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.EMFILE, "Too many open files"),
        OSError(errno.ENFILE, "Too many open files in system"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        KeyboardInterrupt(),
        SystemExit(1),
    ],
)
def test_what_tells_of_the_machine_is_no_bad_data(error: BaseException) -> None:
    """A process without memory or descriptors would otherwise reject sound files."""
    with pytest.raises(type(error)), reading():
        raise error


def test_a_finding_of_our_own_keeps_its_reason() -> None:
    """Nothing is wrapped twice."""
    with pytest.raises(BadData, match="no bytes") as caught, reading(), reading():
        raise BadData(Reason.EMPTY, "The file has no bytes.")
    assert caught.value.refusal.reason is Reason.EMPTY


def test_third_party_readers_are_silent(caplog: pytest.LogCaptureFixture) -> None:
    """Neither their warnings nor their logs come through; everybody else's do."""
    silence()
    before = list(warnings.filters)
    silence()
    assert list(warnings.filters) == before
    warnings.warn_explicit("Invalid value 'Doe^Jane'", UserWarning, "x.py", 1, module="pydicom.valuerep")
    logging.getLogger("pydicom").error("Doe^Jane")
    assert caplog.text == ""
    with pytest.warns(UserWarning, match="ours"):
        warnings.warn_explicit("ours", UserWarning, "x.py", 1, module="stages.x")
