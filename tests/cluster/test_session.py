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
import json, os, ray, time
from cluster.session import session

seen = {}

def own():
    return os.getpriority(os.PRIO_PROCESS, 0)

@ray.remote
def niceness():
    print("a worker speaks", flush=True)
    return own()

@ray.remote
def secrets():
    return sorted(name for name in os.environ if name.startswith("MEDSECURE"))

with session(None, 100_000_000) as gpus:
    seen["secrets"] = ray.get(secrets.remote())
    seen["gpus"] = [gpus, ray.cluster_resources().get("GPU", 0)]
    seen["store"] = ray.cluster_resources()["object_store_memory"]
    seen["dashboard"] = ray._private.worker._global_node.webui_url
    seen["nicer"] = ray.get(niceness.remote()) - own()
    with session("nowhere.invalid:1", 1) as inner:
        seen["inner"] = inner == gpus
    seen["goes on"] = ray.is_initialized()
    time.sleep(1)  # what a worker says comes later
seen["after"] = ray.is_initialized()
seen["again"] = os.environ["MEDSECURE_PASSPHRASE"]
seen["reports"] = os.environ["RAY_USAGE_STATS_ENABLED"]
print(json.dumps(seen))
"""
JOIN = """
import ray, sys, time
from cluster.session import session

@ray.remote
def speak():
    print("a worker speaks", flush=True)

with session(sys.argv[1] or None, 1) as gpus:
    ray.get(speak.remote())
    time.sleep(1)
    print(gpus)
"""
HEAD = (
    f"JOIN = {JOIN!r}"
    """
import json, os, ray, subprocess, sys

ray.init(address="local", num_cpus=1, num_gpus=3, include_dashboard=False, log_to_driver=False)
address = ray.get_runtime_context().gcs_address
seen = []
for given, environment in ((address, {}), ("", {"RAY_ADDRESS": address})):
    command = [sys.executable, "-c", JOIN, given]
    done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, check=True)
    seen += [int(done.stdout), ray.cluster_resources()["GPU"]]
print(json.dumps(seen))
"""
)


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
    assert "speaks" not in done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.cluster
def test_a_session_of_its_own_has_the_store_it_was_given_and_ends() -> None:
    """No GPU unless it is given one; workers run at the driver's niceness; an inner session is the outer one.

    A passphrase or a token of the driver is in no worker's environment.
    """
    given = {"MEDSECURE_PASSPHRASE": "secret", "MEDSECURE_TOKEN": "secret", "MEDSECURE__RUN__ENGINE": "ray"}
    assert said(STARTED, **given) == {
        "secrets": ["MEDSECURE__RUN__ENGINE"],
        "again": "secret",
        "gpus": [0, 0],
        "store": 100_000_000,
        "dashboard": "",
        "nicer": 0,
        "inner": True,
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


@pytest.mark.parametrize("address", ["auto", "nowhere.invalid:http", ":6379"])
def test_an_address_of_another_form_is_left_to_ray(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it says of it, nothing half open is left."""
    asked, ended = [], []

    def init(**options: Any) -> None:
        asked.append(options["address"])
        raise RuntimeError("a node did not come up")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: ended.append(True))
    with pytest.raises(SessionError, match=f"at {address}: a node did not come up"), session(address, 1):
        pass
    assert (asked, ended) == ([address], [True])
