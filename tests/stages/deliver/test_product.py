"""What results say of their maker."""

from __future__ import annotations

import tomllib
from pathlib import Path

from stages.deliver.product import VERSION


def test_the_version_is_the_projects() -> None:
    """Results carry the version that pyproject.toml states."""
    project = tomllib.loads((Path(__file__).resolve().parents[3] / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
