"""Bad input, told from everything else, in one place.

Readers here raise ``BadData`` with a reason and a sentence. Third-party readers meet hostile bytes with
any exception at all, so ``reading`` turns whatever leaves them into ``BadData`` too. Their messages,
warnings and logs may quote header values: none is passed on.
"""

from __future__ import annotations

import errno
import logging
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from PIL.Image import DecompressionBombError

from stages.base import Reason

# The process ran out of something: bad world, to be retried, not a fault of the file.
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
# Raised by decoders that follow a hostile offset, not by the storage.
_OF_CONTENT: Final = frozenset({None, errno.EINVAL, errno.EOVERFLOW})
# How Pillow, tifffile and gzip tell of a file that ends too early; they have no exception for it.
_CUT: Final = re.compile("truncated|failed to read|expected to read|ended before", re.IGNORECASE)
_TALKERS: Final = ("pydicom", "PIL", "nibabel", "tifffile", "openjpeg", "libjpeg", "rle", "pylibjpeg")
_LOGGERS: Final = (*_TALKERS, "nibabel.global")  # the latter brings a handler of its own


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a frame or a file is not used: a closed reason and one sentence without identity."""

    reason: Reason
    detail: str


class BadData(Exception):  # noqa: N818  (it is a finding about a file, not an error of this program)
    """Raised where bytes turn out to be no usable image."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.refusal = Refusal(reason, detail)


@contextmanager
def reading() -> Iterator[None]:
    """Whatever a third-party reader raises over hostile bytes leaves as ``BadData``.

    Not so what tells of this program or its machine: no memory, no file descriptors, an interrupt.
    """
    try:
        yield
    except (BadData, MemoryError):
        raise
    except OSError as error:
        if error.errno in _EXHAUSTED:
            raise
        raise BadData(*_of_system(error)) from error
    except Exception as error:
        # The one broad catch of this stage: decoders meet hostile bytes with any exception.
        raise BadData(*_of_reader(error)) from error
    except BaseException as error:
        # A decoder in Rust panicked; its bindings keep that out of ``Exception`` (and of any module).
        if type(error).__name__ != "PanicException":
            raise
        raise BadData(*_of_reader(error)) from error


def _of_system(error: OSError) -> tuple[Reason, str]:
    if error.errno in _OF_CONTENT:
        return _of_reader(error)
    name = errno.errorcode.get(error.errno or 0, "unknown error")
    return Reason.UNREADABLE, f"The operating system refused to read the file ({name})."


def _of_reader(error: BaseException) -> tuple[Reason, str]:
    kind = type(error)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    if isinstance(error, DecompressionBombError):
        return Reason.TOO_LARGE, "The picture has more pixels than its decoder's own limit."
    if isinstance(error, (EOFError, struct.error)) or _CUT.search(str(error)):
        return Reason.TRUNCATED, f"The file ends in the middle of its content ({name})."
    if isinstance(error, NotImplementedError):
        return Reason.UNSUPPORTED, "The file uses an encoding that no decoder here reads."
    return Reason.CORRUPT, f"The decoder failed on the file's content ({name})."


def silence() -> None:
    """Keep third-party warnings and logs, which may quote identity, out of the operator's log.

    Process-wide and idempotent: ``warnings.catch_warnings`` is not safe between threads.
    """
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    for name in _TALKERS:
        quiet = rf"{name}(\.|$)"
        if not any(known[0] == "ignore" and _module_of(known) == quiet for known in warnings.filters):
            warnings.filterwarnings("ignore", module=quiet)


def _module_of(known: tuple[object, ...]) -> str:
    """The module pattern of an installed warning filter."""
    return str(getattr(known[3], "pattern", ""))
