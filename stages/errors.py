"""The errors that a command turns into an exit code; everything else that is raised is a bug.

But for a disk that is full or fails, which any write may find: see ``unwritable``.
"""

import errno


class OperatorError(ValueError):
    """The operator can mend this: usage, configuration, keys, files. One sentence; exit code 2."""


class RefusedError(OperatorError):
    """Another party's answer, log or bundle is refused. One sentence; exit code 4."""


class UnwritableError(OperatorError):
    """The operating system does not let a file be written: a full or failing disk, or its rights."""


class EngineError(RuntimeError):
    """The engine fails a run that was requested correctly. One sentence; exit code 3."""


_OF_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})
_OF_DEVICE = (
    "CUDA error",
    "CUDA driver error",
    "CUDA out of memory",
    "cuDNN error",
    "CUDNN_STATUS",
    "CUBLAS_STATUS",
)


def is_of_device(error: BaseException) -> bool:
    """Whether an accelerator failed under the work: a failure of the world, after which its process is lost.

    Torch has classes of its own for some of these errors and plain RuntimeError for the others.
    """
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & {"AcceleratorError", "OutOfMemoryError"}:
        return True
    return isinstance(error, RuntimeError) and any(mark in str(error) for mark in _OF_DEVICE)


def unwritable(error: OSError) -> UnwritableError | None:
    """One sentence where a disk is full or fails; None for any other error of the operating system."""
    if error.errno not in _OF_DISK:
        return None
    return UnwritableError(f"{error.filename or 'a file'} cannot be written: {error.strerror}")
