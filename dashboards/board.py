"""The Grafana dashboard: one panel of the metrics table after the other, in the table's order.

Grafana's variables ``$datasource`` and ``$job`` choose the Prometheus server and the runs.
"""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import common, prometheus, timeseries
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DatasourceVariable,
    QueryVariable,
    Row,
    ThresholdsConfig,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    GraphTresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)

from pipeline.metrics import TABLE

if TYPE_CHECKING:
    from pipeline.metrics import Panel

_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
_WIDTH = 24  # columns of Grafana's grid
_HEIGHT = 8


def dashboard() -> str:
    """The dashboard as JSON, ready to import; the same bytes each time."""
    board = (
        Dashboard("MedSecure-U")
        .uid("medsecure")
        .description("Generated from the metrics table. Change the table, not this.")
        .tags(["medsecure"])
        .readonly()
        .time("now-15m", "now")
        .refresh("10s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(_job())
    )
    for row, panels in groupby((panel for metric in TABLE for panel in metric.panels), lambda p: p.row):
        board.with_row(Row(row))
        abreast = list(panels)
        for panel in abreast:
            board.with_panel(_graph(panel, _WIDTH // len(abreast)))
    built = board.build()
    for number, placed in enumerate(built.panels or (), start=1):
        placed.id_val = number
    return json.dumps(built, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _job() -> QueryVariable:
    return (
        QueryVariable("job")
        .label("Job")
        .datasource(_SOURCE)
        .query("label_values(medsecure_index_records, job)")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
    )


def _graph(panel: Panel, width: int) -> timeseries.Panel:
    graph = (
        timeseries.Panel()
        .title(panel.title)
        .unit(panel.unit)
        .min(0)
        .fill_opacity(10)
        .datasource(_SOURCE)
        .height(_HEIGHT)
        .span(width)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    )
    for letter, (promql, legend) in zip("ABCDEFGH", panel.queries, strict=False):
        graph.with_target(
            prometheus.Dataquery()
            .expr(promql)
            .legend_format(legend)
            .ref_id(letter)
            .datasource(_SOURCE)
            .range()
        )
    if panel.line is not None:
        steps = [Threshold(color="red"), Threshold(value=panel.line, color="green")]
        graph.thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        graph.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.DASHED))
    return graph
