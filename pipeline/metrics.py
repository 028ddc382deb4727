"""Every metric of the stream in one table; dashboards are generated from it, the exporter serves it.

Names follow the Prometheus conventions: base units, ``_total`` for counters. A fused host appears under
its stages' names joined by ``+``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Prometheus metric types."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One row: what it counts, by which labels, and the panel that asks for it."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    panel: str
    unit: str  # Grafana's id of the panel's unit
    query: str  # PromQL
    legend: str


def _rate(name: str, by: str = "") -> str:
    return f"sum by ({by}) (rate({name}[1m]))" if by else f"sum(rate({name}[1m]))"


TABLE = (
    Metric(
        "medsecure_indexed_frames_total", Kind.COUNTER, "Frames appended to the index and durable.", (),
        "Indexed frames per second", "short", _rate("medsecure_indexed_frames_total"), "indexed",
    ),
    Metric(
        "medsecure_unit_seconds", Kind.HISTOGRAM, "Seconds until a series is indexed and delivered.", (),
        "End-to-end latency, 99th percentile", "s",
        "histogram_quantile(0.99, sum by (le) (rate(medsecure_unit_seconds_bucket[5m])))", "p99",
    ),
    Metric(
        "medsecure_index_records", Kind.GAUGE, "Records in the index.", (),
        "Records in the index", "short", "max(medsecure_index_records)", "records",
    ),
    Metric(
        "medsecure_rejected_frames_total", Kind.COUNTER, "Frames in the dead letters.", ("stage", "reason"),
        "Rejected frames by reason", "short",
        "sum by (reason) (medsecure_rejected_frames_total)", "{{reason}}",
    ),
    Metric(
        "medsecure_stage_frames_total", Kind.COUNTER, "Frames a stage has answered for.", ("stage",),
        "Frames per second by stage", "short", _rate("medsecure_stage_frames_total", "stage"), "{{stage}}",
    ),
    Metric(
        "medsecure_stage_seconds", Kind.HISTOGRAM, "Seconds a stage is busy with one batch.", ("stage",),
        "Busy processes by stage", "short", _rate("medsecure_stage_seconds_sum", "stage"), "{{stage}}",
    ),
    Metric(
        "medsecure_queue_frames", Kind.GAUGE, "Frames sent to a host and not yet answered for.", ("stage",),
        "Queue depth by host", "short", "sum by (stage) (medsecure_queue_frames)", "{{stage}}",
    ),
    Metric(
        "medsecure_hop_bytes_total", Kind.COUNTER, "Bytes that left a host for the next.", ("stage",),
        "Bytes per second by host", "Bps", _rate("medsecure_hop_bytes_total", "stage"), "{{stage}}",
    ),
    Metric(
        "medsecure_worker_resident_bytes", Kind.GAUGE, "Resident memory of a host's process.", ("stage",),
        "Resident memory by host", "bytes", "max by (stage) (medsecure_worker_resident_bytes)", "{{stage}}",
    ),
    Metric(
        "medsecure_already_indexed_frames_total", Kind.COUNTER, "Frames the index held already.", (),
        "Frames already indexed", "short", "sum(medsecure_already_indexed_frames_total)", "already indexed",
    ),
    Metric(
        "medsecure_undelivered_frames_total", Kind.COUNTER, "Frames indexed but not delivered.", ("reason",),
        "Frames not delivered", "short", "sum(medsecure_undelivered_frames_total)", "not delivered",
    ),
)  # fmt: skip
