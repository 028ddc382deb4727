"""A Ray session for one run: the cluster that is named, or one started here and shut down after.

Raises SessionError where the named cluster does not answer.
"""

from __future__ import annotations

import logging
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import ray

from stages.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Ray reads these when its processes start. Workers at nice 15 would starve beside any other process;
# usage reports would leave the hospital.
_ENVIRONMENT = {
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
# Passphrases and tokens are named so; settings (MEDSECURE__SECTION__KEY) are not.
_SECRET, _SETTING = "MEDSECURE_", "MEDSECURE__"
_CONNECT_S = 10.0


class SessionError(EngineError):
    """No Ray session could be had."""


@contextmanager
def session(address: str | None, object_store_bytes: int, gpus: int = 0) -> Iterator[int]:
    """Connect to ``address``; with None, to the cluster of the submitted job, else start one here.

    Yields the number of GPUs. A cluster that is started here has ``gpus``, whatever Ray would detect by
    itself (none without NVML), and ``object_store_bytes`` of shared memory at most. Its processes do not
    inherit this one's passphrases and tokens, which are out of the environment for as long as it lasts.
    """
    if ray.is_initialized():
        yield _gpus()
        return
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with _secrets_withheld():
        yield from _started(address, object_store_bytes, gpus)


def _started(address: str | None, object_store_bytes: int, gpus: int) -> Iterator[int]:
    address = address or os.environ.get("RAY_ADDRESS")  # set by `ray job submit`
    try:
        if address:
            _check(address)
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
        else:
            ray.init(
                address="local",
                object_store_memory=object_store_bytes,
                num_gpus=gpus,
                include_dashboard=False,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
    except Exception as error:  # Ray raises this very class where a node does not come up in time
        ray.shutdown()
        where = f"the Ray cluster at {address}" if address else "a Ray session on this machine"
        raise SessionError(f"cannot start {where}: {error}") from error
    try:
        yield _gpus()
    finally:
        ray.shutdown()


@contextmanager
def _secrets_withheld() -> Iterator[None]:
    names = [name for name in os.environ if name.startswith(_SECRET) and not name.startswith(_SETTING)]
    withheld = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(withheld)


def _check(address: str) -> None:
    """Connect once: Ray would try for a quarter of an hour. Raises OSError."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()


def _gpus() -> int:
    return int(ray.cluster_resources().get("GPU", 0))  # type: ignore[no-untyped-call]  # Ray leaves it untyped
