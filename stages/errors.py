"""The two errors that a command turns into an exit code; everything else that is raised is a bug."""


class OperatorError(ValueError):
    """The operator can mend this: usage, configuration, keys, files. One sentence; exit code 2."""


class EngineError(RuntimeError):
    """The engine fails a run that was requested correctly. One sentence; exit code 3."""
