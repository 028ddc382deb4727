"""Every metric of the stream in one table; dashboards are generated from it, the exporter serves it.

Names follow the Prometheus conventions: base units, ``_total`` for counters. A fused host appears under
its stages' names joined by ``+``. Counters begin at zero with each run.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

GOAL_FRAMES_PER_S = 58.0


class Kind(StrEnum):
    """Prometheus metric types."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Panel:
    """A Grafana panel that shows a metric."""

    row: str  # the dashboard's row
    title: str
    unit: str  # Grafana's id
    queries: tuple[tuple[str, str], ...]  # PromQL with Grafana's variables, legend
    line: float | None = None  # drawn across the panel: good is above


@dataclass(frozen=True, slots=True)
class Metric:
    """One row: what it counts, by which labels, and the panels that show it."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    panels: tuple[Panel, ...]


_JOB = '{job=~"$job"}'


def _sum(name: str, by: str = "") -> str:
    return f"sum by ({by}) ({name}{_JOB})" if by else f"sum({name}{_JOB})"


def _rate(name: str, by: str = "") -> str:
    rate = f"rate({name}{_JOB}[$__rate_interval])"
    return f"sum by ({by}) ({rate})" if by else f"sum({rate})"


def _quantile(quantile: float, name: str, by: str = "le") -> str:
    return f"histogram_quantile({quantile}, sum by ({by}) (rate({name}_bucket{_JOB}[5m])))"


TABLE = (
    Metric(
        "medsecure_indexed_frames_total", Kind.COUNTER, "Frames appended to the index and durable.", (),
        (Panel("Throughput", "Indexed frames per second", "short",
               ((_rate("medsecure_indexed_frames_total"), "indexed"),), line=GOAL_FRAMES_PER_S),),
    ),
    Metric(
        "medsecure_already_indexed_frames_total", Kind.COUNTER, "Frames that the index held already.",
        (),
        (Panel("Throughput", "Already indexed frames per second", "short",
               ((_rate("medsecure_already_indexed_frames_total"), "already indexed"),)),),
    ),
    Metric(
        "medsecure_unit_seconds", Kind.HISTOGRAM, "Seconds until a series is indexed and delivered.", (),
        (Panel("Latency", "End-to-end latency of a series", "s",
               ((_quantile(0.5, "medsecure_unit_seconds"), "p50"),
                (_quantile(0.99, "medsecure_unit_seconds"), "p99"))),),
    ),
    Metric(
        "medsecure_stage_seconds", Kind.HISTOGRAM, "Seconds a stage is busy with one batch.", ("stage",),
        (Panel("Latency", "Time for one batch by stage, 99th percentile", "s",
               ((_quantile(0.99, "medsecure_stage_seconds", "stage, le"), "{{stage}}"),)),
         Panel("Stages", "Busy processes by stage", "short",
               ((_rate("medsecure_stage_seconds_sum", "stage"), "{{stage}}"),))),
    ),
    Metric(
        "medsecure_stage_frames_total", Kind.COUNTER, "Frames a stage has answered for.", ("stage",),
        (Panel("Stages", "Frames per second by stage", "short",
               ((_rate("medsecure_stage_frames_total", "stage"), "{{stage}}"),)),),
    ),
    Metric(
        "medsecure_queue_frames", Kind.GAUGE, "Frames sent to a host and not yet answered for.", ("stage",),
        (Panel("Queues", "Queue depth by host", "short",
               ((_sum("medsecure_queue_frames", "stage"), "{{stage}}"),)),),
    ),
    Metric(
        "medsecure_hop_bytes_total", Kind.COUNTER, "Bytes that left a host for the next.", ("stage",),
        (Panel("Queues", "Bytes per second by host", "Bps",
               ((_rate("medsecure_hop_bytes_total", "stage"), "{{stage}}"),)),),
    ),
    Metric(
        "medsecure_rejected_frames_total", Kind.COUNTER, "Frames in the dead letters.", ("stage", "reason"),
        (Panel("Rejects", "Rejected frames by reason", "short",
               ((_sum("medsecure_rejected_frames_total", "reason"), "{{reason}}"),)),),
    ),
    Metric(
        "medsecure_undelivered_frames_total", Kind.COUNTER, "Frames indexed but not delivered.", ("reason",),
        (Panel("Rejects", "Frames indexed but not delivered, by reason", "short",
               ((_sum("medsecure_undelivered_frames_total", "reason"), "{{reason}}"),)),),
    ),
    Metric(
        "medsecure_out_of_distribution_frames_total", Kind.COUNTER,
        "Frames out of the training images' distribution.",
        (),
        (Panel("Rejects", "Frames out of distribution", "short",
               ((_sum("medsecure_out_of_distribution_frames_total"), "out of distribution"),)),),
    ),
    Metric(
        "medsecure_series_to_review_total", Kind.COUNTER,
        "Series delivered with a flag that a person should look at.",
        (),
        (Panel("Rejects", "Series to review", "short",
               ((_sum("medsecure_series_to_review_total"), "to review"),)),),
    ),
    Metric(
        "medsecure_out_of_scope_series_total", Kind.COUNTER,
        "Series of a modality out of scope: do not use their results.",
        (),
        (Panel("Rejects", "Series out of scope", "short",
               ((_sum("medsecure_out_of_scope_series_total"), "out of scope"),)),),
    ),
    Metric(
        "medsecure_worker_resident_bytes", Kind.GAUGE, "Resident memory of a host's process.",
        ("stage",),
        (Panel("Memory and index", "Resident memory by host", "bytes",
               ((f"max by (stage) (medsecure_worker_resident_bytes{_JOB})", "{{stage}}"),)),),
    ),
    Metric(
        "medsecure_index_records", Kind.GAUGE, "Records in the index.", (),
        (Panel("Memory and index", "Records in the index", "short",
               ((f"max(medsecure_index_records{_JOB})", "records"),)),),
    ),
)  # fmt: skip
