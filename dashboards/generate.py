"""Writes what is generated from the metrics table: ``python -m dashboards.generate``.

The results are committed; a test holds them equal to what this module would write.
"""

from __future__ import annotations

from pathlib import Path

from dashboards.alerts import ALERTS, rules
from dashboards.board import dashboard
from pipeline.metrics import TABLE

_ROOT = Path(__file__).resolve().parents[1]
DASHBOARD = _ROOT / "dashboards" / "grafana" / "medsecure.json"
RULES = _ROOT / "dashboards" / "prometheus" / "rules.yml"
PAGE = _ROOT / "docs" / "metrics.md"


def generated() -> dict[Path, str]:
    """Every generated file and its whole text."""
    page = _filled(PAGE.read_text(), "metrics", _metrics())
    return {DASHBOARD: dashboard(), RULES: rules(), PAGE: _filled(page, "alerts", _alerts())}


def _filled(page: str, name: str, table: str) -> str:
    """The page with the text between its two markers of this name replaced."""
    begin, end = f"<!-- {name}: generated -->\n", f"<!-- {name}: end -->"
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    if not after:
        raise ValueError(f"{PAGE.name} has no markers for the generated table of {name}.")
    return f"{before}{begin}{table}{end}{after}"


def _metrics() -> str:
    rows = (
        f"| `{metric.name}` | {metric.kind} | {_labels(metric.labels)} | {metric.help} "
        f"| {'; '.join(panel.title for panel in metric.panels)} |\n"
        for metric in TABLE
    )
    return "| metric | kind | labels | what it counts | panels |\n|---|---|---|---|---|\n" + "".join(rows)


def _labels(labels: tuple[str, ...]) -> str:
    return ", ".join(f"`{label}`" for label in labels)


def _alerts() -> str:
    rows = (
        f"| {alert.name} | {alert.severity} | `{alert.expr}` | {alert.wait} | {alert.action} |\n"
        for alert in ALERTS
    )
    return "| alert | severity | fires when | for | what to do |\n|---|---|---|---|---|\n" + "".join(rows)


def main() -> None:
    """Write them all."""
    for path, text in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
