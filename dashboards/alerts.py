"""The alerts that matter, as a Prometheus rule file. Their metrics are the table's.

Counters begin with the run, so a share or a sum is the run's own; when a run ends its series end, and
its alerts with them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

_BY = "sum by (job, instance)"
_ON = "on (job, instance)"
_ANSWERED = (
    f"{_BY} (rate(medsecure_indexed_frames_total[1m]))"
    f" + {_BY} (rate(medsecure_already_indexed_frames_total[1m]))"
)
_REJECTED = f"{_BY} (medsecure_rejected_frames_total)"
_ALL = (
    f"({_REJECTED} + {_BY} (medsecure_indexed_frames_total) + {_BY} (medsecure_already_indexed_frames_total))"
)


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule: it fires once ``expr`` has held for ``wait``."""

    name: str
    expr: str  # PromQL
    wait: str  # Prometheus duration
    severity: str
    summary: str
    action: str


ALERTS = (
    Alert(
        "MedSecureStalled",
        f"({_ANSWERED} == 0) and {_ON} ({_BY} (medsecure_queue_frames) > 0)"
        f" unless {_ON} ({_BY} (rate(medsecure_rejected_frames_total[1m])) > 0)",
        "5m",
        "critical",
        "Frames wait and none has reached the index for five minutes.",
        "Look at the queues by host: the host with the deepest queue is where the stream stands.",
    ),
    Alert(
        "MedSecureRejects",
        f"{_REJECTED} / {_ALL} > 0.05",
        "5m",
        "warning",
        "{{ $value | humanizePercentage }} of this run's frames are rejected.",
        "List the dead letters by reason; when the cause is removed, replay them.",
    ),
    Alert(
        "MedSecureUndelivered",
        "sum by (job, instance, reason) (medsecure_undelivered_frames_total) > 0",
        "0s",
        "warning",
        "{{ $value }} frames are indexed but not delivered: {{ $labels.reason }}.",
        "The index is complete; the clinic lacks results. See the dead letters, then replay them.",
    ),
)


def rules() -> str:
    """The rule file, ready to be named in ``rule_files``."""
    head = "# Generated from dashboards/alerts.py.\ngroups:\n  - name: medsecure\n    rules:\n"
    return head + "".join(_rule(alert) for alert in ALERTS)


def _rule(alert: Alert) -> str:
    """YAML takes JSON's strings as they are."""
    return (
        f"      - alert: {alert.name}\n"
        f"        expr: {json.dumps(alert.expr)}\n"
        f"        for: {alert.wait}\n"
        f"        labels:\n"
        f"          severity: {alert.severity}\n"
        f"        annotations:\n"
        f"          summary: {json.dumps(alert.summary)}\n"
        f"          action: {json.dumps(alert.action)}\n"
    )
