"""A TOML file as a checked dataclass."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from stages.errors import OperatorError

Content = TypeVar("Content")


def read_toml(path: Path, kind: type[Content]) -> Content:
    """What the file declares. Raises OperatorError, which names the place in the file."""
    try:
        return TypeAdapter(kind).validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise OperatorError(f"{path} cannot be read as TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = "".join(f"{step}: " for step in [".".join(map(str, first["loc"]))] if step)
        raise OperatorError(f"{path}: {place}{first['msg'].removeprefix('Value error, ')}") from error
