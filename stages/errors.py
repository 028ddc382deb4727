"""The errors that a command turns into an exit code; everything else that is raised is a bug."""


class OperatorError(ValueError):
    """The operator can mend this: usage, configuration, keys, files. One sentence; exit code 2."""


class RefusedError(OperatorError):
    """Another party's answer, log or bundle is refused. One sentence; exit code 4."""


class EngineError(RuntimeError):
    """The engine fails a run that was requested correctly. One sentence; exit code 3."""


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
