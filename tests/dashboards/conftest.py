"""A real Prometheus, with the configuration that lies in the project, scraping a real run."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from dashboards.generate import RULES
from pipeline.run.exporter import Exporter
from tests.dashboards.stream import running

PROMETHEUS = RULES.parent


@dataclass(frozen=True)
class Server:
    """A Prometheus server's HTTP interface."""

    port: int

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of one API call; an error of the server is an error here."""
        status, body = self.get(f"/api/v1/{path}?{urlencode(parameters)}")
        answer = json.loads(body)
        assert (status, answer["status"]) == (200, "success"), answer
        return answer["data"]

    def query(self, promql: str) -> dict[str, float]:
        """The values now of an instant vector, by their labels."""
        rows = self.ask("query", query=promql)["result"]
        return {json.dumps(row["metric"], sort_keys=True): float(row["value"][1]) for row in rows}


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not here; dashboards/install-test-tools.sh installs it on Debian")
    return path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def promtool() -> str:
    return tool("promtool")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Prometheus scraping a run that goes on, four times a second; gone after the session."""
    binary, folder = tool("prometheus"), tmp_path_factory.mktemp("prometheus")
    exporter, port, metrics = Exporter(records=100), free_port(), free_port()
    (folder / "prometheus.yml").write_text(_configuration(metrics))
    shutil.copy(RULES, folder)
    (folder / "ray").mkdir()
    (folder / "ray" / "prom_metrics_service_discovery.json").write_text(_as_ray_lists_nodes(port))
    command = [
        binary,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    exporter.serve("127.0.0.1", metrics)
    with (folder / "log").open("w") as log, running(exporter):
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait_until_ready(Server(port), process, folder / "log")
            yield Server(port)
        finally:
            process.terminate()
            process.wait(timeout=30)
            exporter.close()


def _configuration(metrics_port: int) -> str:
    """The project's own, faster and with this run's port."""
    text = (PROMETHEUS / "prometheus.yml").read_text()
    assert text.count("127.0.0.1:9464") == 1
    text = text.replace("127.0.0.1:9464", f"127.0.0.1:{metrics_port}")
    return re.sub(r"_interval: \d+s", "_interval: 250ms", text)


def _as_ray_lists_nodes(port: int) -> str:
    """Ray 2.60's file, copied from a running cluster but for the target: Prometheus's own metrics."""
    return json.dumps([{"labels": {"job": "ray"}, "targets": [f"127.0.0.1:{port}"]}])


def _wait_until_ready(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        assert process.poll() is None, log.read_text()
        try:
            if server.get("/-/ready")[0] == 200:
                return
        except ConnectionRefusedError:
            pass
        time.sleep(0.1)
    pytest.fail(f"Prometheus is not ready after 30 s:\n{log.read_text()}")
