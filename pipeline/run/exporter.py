"""Serves the metrics table to Prometheus, from the engine's events.

Only the pump's process observes, from receipts, so a worker's restart makes no new series and loses
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from pipeline.engine.accounting import Finished, Rejected
from pipeline.engine.pump import Event, Measured
from pipeline.metrics import TABLE, Kind
from stages.base import Counted
from stages.batches import Entries, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping
    from wsgiref.simple_server import WSGIServer

# The metric that sums what stages count (``Batch.counters``); it has every member of Counted.
_COUNTED = {
    Counted.OUT_OF_DISTRIBUTION: "medsecure_out_of_distribution_frames_total",
    Counted.SERIES_TO_REVIEW: "medsecure_series_to_review_total",
    Counted.OUT_OF_SCOPE: "medsecure_out_of_scope_series_total",
}
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Exporter:
    """The table as live Prometheus metrics of one run."""

    def __init__(self, records: int) -> None:
        self.registry = CollectorRegistry()
        classes: Mapping[Kind, Any] = {Kind.COUNTER: Counter, Kind.GAUGE: Gauge}
        self._of: dict[str, Any] = {}
        for row in TABLE:
            if row.kind is Kind.HISTOGRAM:
                live: Any = Histogram(
                    row.name, row.help, row.labels, buckets=_SECONDS, registry=self.registry
                )
            else:
                live = classes[row.kind](row.name, row.help, row.labels, registry=self.registry)
            self._of[row.name] = live
        self._of["medsecure_index_records"].set(records)
        self._server: WSGIServer | None = None

    def serve(self, host: str, port: int) -> None:
        """Expose /metrics until ``close``. Raises OSError where the port is taken."""
        self._server, _ = start_http_server(port, host, self.registry)

    def close(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def observe(self, event: Event) -> None:
        """Count one event of the engine."""
        match event:
            case Measured():
                self._measured(event)
            case Finished():
                self._of["medsecure_unit_seconds"].observe(event.seconds)
            case Rejected(again=True):
                pass  # the frame's first unit counts
            case Rejected(counted=False):
                self._of["medsecure_undelivered_frames_total"].labels(event.reject.reason).inc()
            case Rejected():
                labels = (event.reject.stage, event.reject.reason)
                self._of["medsecure_rejected_frames_total"].labels(*labels).inc()
            case Refused():
                self._of["medsecure_rejected_frames_total"].labels("scan", event.reason).inc()

    def depth(self, rows: Mapping[str, int]) -> None:
        """Set the queue depths."""
        for stage, depth in rows.items():
            self._of["medsecure_queue_frames"].labels(stage).set(depth)

    def _measured(self, event: Measured) -> None:
        receipt = event.receipt
        for lap in receipt.laps:
            self._of["medsecure_stage_frames_total"].labels(lap.stage).inc(lap.rows)
            for name, count in lap.counters.items():
                self._of[_COUNTED[name]].inc(count)
            self._of["medsecure_stage_seconds"].labels(lap.stage).observe(lap.seconds)
        self._of["medsecure_hop_bytes_total"].labels(event.hop).inc(receipt.nbytes)
        self._of["medsecure_worker_resident_bytes"].labels(event.hop).set(receipt.rss_bytes)
        if isinstance(receipt.result, Entries):
            fresh = int(receipt.result.fresh_N.sum())
            self._of["medsecure_indexed_frames_total"].inc(fresh)
            self._of["medsecure_already_indexed_frames_total"].inc(len(receipt.result) - fresh)
            self._of["medsecure_index_records"].inc(fresh)
