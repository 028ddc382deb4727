"""Imports OpenVINO and NNCF so that they report nothing: both tell their maker over the network of every use.

They do so through a package of its own, ``openvino_telemetry``, and do without where it is not installed.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

REPORTER = "openvino_telemetry"


def unreported(name: str) -> Any:
    """The module, imported as if the reporter were not installed."""
    if name in sys.modules:
        return sys.modules[name]
    known = sys.modules.get(REPORTER)
    sys.modules[REPORTER] = None  # type: ignore[assignment]  # this is how an import is made to fail
    try:
        return import_module(name)
    finally:
        del sys.modules[REPORTER]
        if known is not None:
            sys.modules[REPORTER] = known
