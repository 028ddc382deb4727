"""Every query, answered by a real Prometheus that scrapes a real run."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from typing import TypeVar

import pytest

from dashboards.alerts import ALERTS, Alert
from pipeline.metrics import TABLE, Panel
from tests.dashboards.conftest import Server

Answer = TypeVar("Answer")
PANELS = [panel for metric in TABLE for panel in metric.panels]


def soon(ask: Callable[[], Answer], good: Callable[[Answer], bool]) -> Answer:
    """The first good answer; after 20 s the last one, good or not."""
    end_s = time.monotonic() + 20
    while not good(answer := ask()) and time.monotonic() < end_s:
        time.sleep(0.25)
    return answer


def filled(promql: str) -> str:
    """The query with Grafana's variables as it would fill them in."""
    return promql.replace("$job", "medsecure").replace("$__rate_interval", "1m")


def drawn(values: dict[str, float]) -> bool:
    return bool(values) and all(math.isfinite(value) for value in values.values())


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_every_query_of_a_panel_returns_data(server: Server, panel: Panel) -> None:
    """Prometheus parses it and answers with at least one series, all of them numbers."""
    for promql, _ in panel.queries:
        values = soon(lambda promql=promql: server.query(filled(promql)), drawn)
        assert drawn(values), (promql, values)


@pytest.mark.parametrize(
    ("title", "labels"),
    [
        ("Frames per second by stage", {"read", "double", "deliver", "append"}),
        ("Busy processes by stage", {"read", "double", "deliver", "append"}),
        ("Queue depth by host", {"read+double", "deliver", "append", "gather"}),
        ("Bytes per second by host", {"read+double", "deliver", "append"}),
        ("Rejected frames by reason", {"empty", "corrupt"}),
        ("Frames indexed but not delivered, by reason", {"undeliverable"}),
    ],
)
def test_a_panel_has_one_line_for_each(server: Server, title: str, labels: set[str]) -> None:
    """Stages, hosts and reasons of the run appear under their names."""
    (panel,) = [panel for panel in PANELS if panel.title == title]
    ((promql, _),) = panel.queries

    def seen() -> set[str]:
        return {name for series in server.query(filled(promql)) for name in json.loads(series).values()}

    assert soon(seen, labels.__eq__) == labels


def test_the_index_grows_by_what_was_indexed(server: Server) -> None:
    """Two metrics that are counted apart agree in one scrape: the index held 100 records before."""
    apart = "medsecure_index_records - medsecure_indexed_frames_total"
    assert list(soon(lambda: server.query(apart), drawn).values()) == [100]


def test_the_job_variable_has_a_choice(server: Server) -> None:
    """What Grafana asks to fill its variable finds the run's job."""
    ask = {"match[]": "medsecure_index_records"}
    assert soon(lambda: server.ask("label/job/values", **ask), bool) == ["medsecure"]


def test_the_run_is_scraped_without_fault(server: Server) -> None:
    """The target is up, and the times of creation are dropped on the way."""
    assert soon(lambda: list(server.query('up{job="medsecure"}').values()), bool) == [1]
    names = server.ask("label/__name__/values")
    assert "medsecure_indexed_frames_total" in names
    assert not [name for name in names if name.endswith("_created")]


def test_nodes_that_ray_lists_are_scraped(server: Server) -> None:
    """The second job finds the file where the configuration's folder has it, and its target is up."""
    assert soon(lambda: list(server.query('up{job="ray"}').values()), [1].__eq__) == [1]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_every_alert_is_evaluated_in_good_health(server: Server, alert: Alert) -> None:
    """Prometheus has loaded the rule and its last evaluation ended without an error."""

    def health() -> str:
        (group,) = server.ask("rules")["groups"]
        (rule,) = [rule for rule in group["rules"] if rule["name"] == alert.name]
        return str(rule["health"])

    assert soon(health, "ok".__eq__) == "ok"


def test_a_failed_delivery_raises_its_alert(server: Server) -> None:
    """The run, whose deliveries fail, has the alert firing, with the reason in it."""

    def firing() -> list[str]:
        alerts = server.ask("alerts")["alerts"]
        return [
            alert["labels"]["reason"]
            for alert in alerts
            if (alert["labels"]["alertname"], alert["state"]) == ("MedSecureUndelivered", "firing")
        ]

    assert soon(firing, bool) == ["undeliverable"]
