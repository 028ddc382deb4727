"""The configuration section of encrypt."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Le
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated


@validated(frozen=True, config=ConfigDict(extra="forbid"))
class EncryptOptions:
    """How blocks are encrypted."""

    threads: Annotated[int, Ge(1), Le(256)] = 1
    """CPU threads of one worker; more only pays on idle cores."""
