"""The dashboard's JSON, read as Grafana reads it."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.board import dashboard
from pipeline.metrics import TABLE

BOARD: dict[str, Any] = json.loads(dashboard())
PANELS: list[dict[str, Any]] = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
QUERIES: list[str] = [target["expr"] for panel in PANELS for target in panel["targets"]]


def test_grafanas_schema_reads_all_of_it() -> None:
    """Read into Grafana's model and written again, the dashboard is the same: no field is unknown to it."""
    register_default_plugins()
    assert json.loads(json.dumps(Dashboard.from_json(BOARD), cls=JSONEncoder)) == BOARD


@pytest.mark.parametrize("metric", TABLE, ids=lambda metric: metric.name)
def test_every_metric_is_asked_for(metric: Any) -> None:
    """Each row of the table has a panel whose query names its metric."""
    series = re.compile(rf"\b{metric.name}(_bucket|_sum|_count)?\{{")
    assert any(series.search(query) for query in QUERIES)


@pytest.mark.parametrize("metric", TABLE, ids=lambda metric: metric.name)
def test_a_panel_stands_with_the_metric_it_shows(metric: Any) -> None:
    """The queries of a row ask for that row's metric and group by no label that it has not."""
    for panel in metric.panels:
        for promql, legend in panel.queries:
            assert metric.name in promql
            grouped = set(re.findall(r"\w+", " ".join(re.findall(r"by \((.*?)\)", promql))))
            assert grouped - {"le"} <= set(metric.labels)
            assert set(re.findall(r"\{\{(\w+)\}\}", legend)) == grouped - {"le"}


def test_the_rows_in_order() -> None:
    """Throughput first, the size of the index last."""
    rows = [panel["title"] for panel in BOARD["panels"] if panel["type"] == "row"]
    assert rows == ["Throughput", "Latency", "Stages", "Queues", "Rejects", "Memory and index"]


def test_the_line_of_58_frames_a_second() -> None:
    """The throughput panel draws the goal, red below and green from it on."""
    (panel,) = [panel for panel in PANELS if panel["title"] == "Indexed frames per second"]
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["custom"]["thresholdsStyle"]["mode"] == "dashed"
    assert [(step["value"], step["color"]) for step in defaults["thresholds"]["steps"]] == [
        (None, "red"),
        (58.0, "green"),
    ]


def test_two_variables_choose_server_and_runs() -> None:
    """Every panel reads the chosen data source, every selector the chosen jobs."""
    assert [(v["name"], v["type"]) for v in BOARD["templating"]["list"]] == [
        ("datasource", "datasource"),
        ("job", "query"),
    ]
    for panel in PANELS:
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert {source["uid"] for source in sources} == {"${datasource}"}
    for query in QUERIES:
        assert re.findall(r"medsecure_\w+(\{[^}]*\})?", query) == ['{job=~"$job"}']


def test_panels_share_no_place_and_no_number() -> None:
    """All lie on Grafana's 24 columns, none over another; identifiers and query letters are unique."""
    cells = [
        {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        for place in (panel["gridPos"] for panel in BOARD["panels"])
    ]
    assert all(one.isdisjoint(other) for one, other in combinations(cells, 2))
    assert all(0 <= x < 24 for cell in cells for x, _ in cell)
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    for panel in PANELS:
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters) > 0


def test_titles_are_unique() -> None:
    """A panel is found by its title."""
    titles = [panel["title"] for panel in BOARD["panels"]]
    assert len(set(titles)) == len(titles)
