from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray

from cluster.session import SessionError, session

ROOT = Path(__file__).parents[2]
STARTED = """
import json, os, ray
from cluster.session import session

@ray.remote
def niceness():
    return os.getpriority(os.PRIO_PROCESS, 0)

with session(None, 100_000_000) as gpus:
    seen = {"gpus": gpus, "store": ray.cluster_resources()["object_store_memory"]}
    seen["nicer"] = ray.get(niceness.remote()) - niceness._function()
    with session("nowhere.invalid:1", 1) as inner:
        seen["inner"] = inner
    seen["goes on"] = ray.is_initialized()
seen["after"] = ray.is_initialized()
seen["reports"] = os.environ["RAY_USAGE_STATS_ENABLED"]
print(json.dumps(seen))
"""
HEAD = """
import json, os, ray, subprocess, sys

ray.init(address="local", num_cpus=1, num_gpus=3, include_dashboard=False, log_to_driver=False)
address = ray.get_runtime_context().gcs_address
seen = []
for given, environment in ((repr(address), {}), ("None", {"RAY_ADDRESS": address})):
    script = f"from cluster.session import session\\nwith session({given}, 1) as gpus: print(gpus)"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, check=True)
    seen += [int(done.stdout), ray.cluster_resources()["GPU"]]
print(json.dumps(seen))
"""


def said(script: str, **environment: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.cluster
def test_a_session_of_its_own_has_the_store_it_was_given_and_ends() -> None:
    """Workers run at the driver's niceness, nothing is reported, and an inner session is the outer one."""
    assert said(STARTED) == {
        "gpus": 0,
        "store": 100_000_000,
        "nicer": 0,
        "inner": 0,
        "goes on": True,
        "after": False,
        "reports": "0",
    }


@pytest.mark.cluster
def test_a_cluster_is_joined_by_its_address_and_stays() -> None:
    """By the one that is named, or that of the submitted job; its GPUs are counted."""
    assert said(HEAD) == [3, 3, 3, 3]


@pytest.mark.parametrize("address", ["nowhere.invalid:1", "127.0.0.1:1", "ray://127.0.0.1:1"])
def test_a_cluster_that_is_not_there_is_named_at_once(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, and Ray is not asked: it would try for many minutes."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.delattr(ray, "init")
    with (
        pytest.raises(
            SessionError,
            match=f"^cannot start the Ray cluster at {address}: .*(refused|not known|resolution)",
        ),
        session(address, 1),
    ):
        pass
