"""The alerts: what they name exists, and they fire when they should and not before."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dashboards.alerts import ALERTS, Alert
from pipeline.metrics import TABLE
from tests.dashboards.conftest import PROMETHEUS

CASES = PROMETHEUS / "rules_test.yml"


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_names_metrics_of_the_table(alert: Alert) -> None:
    """A metric that is renamed in the table cannot be forgotten in a rule."""
    names = set(re.findall(r"medsecure_\w+", alert.expr))
    assert names
    assert names <= {metric.name for metric in TABLE}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_is_tested_firing_and_silent(alert: Alert) -> None:
    """Promtool's cases hold for each alert a time at which it fires and one at which it does not."""
    times = re.findall(rf"alertname: {alert.name}\n( *exp_alerts)?", CASES.read_text())
    assert {bool(expected) for expected in times} == {True, False}


def test_the_rules_behave(promtool: str) -> None:
    """`promtool test rules` passes on the committed rules."""
    subprocess.run([promtool, "test", "rules", CASES.name], cwd=PROMETHEUS, check=True)


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        ("> 0.05", "> 0.10"),
        ("> 0.05", ">= 0.05"),
        ("for: 5m", "for: 1m"),
        (" + sum by (job, instance) (rate(medsecure_already_indexed_frames_total[1m]))", ""),
        ("(medsecure_queue_frames) > 0", "(medsecure_queue_frames) >= 0"),
        ("unless on (job, instance) (sum", "and on (job, instance) (sum"),
        ("(job, instance, reason) (medsecure_undelivered_frames_total) > 0", "(job) (up) > 0"),
    ],
)
def test_the_cases_notice_a_changed_rule(promtool: str, tmp_path: Path, written: str, instead: str) -> None:
    """A rule with one thing altered fails promtool's cases."""
    shutil.copy(CASES, tmp_path)
    text = (PROMETHEUS / "rules.yml").read_text()
    assert written in text
    (tmp_path / "rules.yml").write_text(text.replace(written, instead))
    answer = subprocess.run(
        [promtool, "test", "rules", CASES.name], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert answer.returncode == 1
    assert "FAILED" in answer.stdout + answer.stderr


@pytest.mark.parametrize(
    "check", [("rules", "rules.yml"), ("config", "prometheus.yml")], ids=lambda check: check[0]
)
def test_promtool_finds_no_fault(promtool: str, check: tuple[str, str]) -> None:
    """The rule file and the configuration are valid as they lie there."""
    subprocess.run([promtool, "check", *check], cwd=PROMETHEUS, check=True)
