"""The metrics table as Prometheus reads it, after events whose figures are known."""

from __future__ import annotations

import http.client
import math
import re
import socket
from collections.abc import Callable

import numpy as np
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from actors.receipts import Lap, Receipt
from pipeline.engine.accounting import Finished, Rejected
from pipeline.engine.pump import Admitted, Event, Measured
from pipeline.metrics import TABLE, Kind
from pipeline.run.exporter import Exporter
from stages.base import Counted, Reason, Reject
from stages.batches import Entries, Refused
from tests.pipeline.toys import key_of, piece

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def receipt(*laps: Lap, nbytes: int = 0, rss_bytes: int = 1, pid: int = 1, result: object = None) -> Receipt:
    return Receipt(laps, (), (), nbytes, 0.0, pid, rss_bytes, result)


def appended(*fresh: bool) -> Entries:
    keys = tuple(key_of(number) for number in range(len(fresh)))
    return Entries(keys, np.arange(len(fresh)), keys, np.array(fresh))


def rejected(stage: str, reason: Reason, *, counted: bool = True) -> Rejected:
    source = piece([1])
    return Rejected(Reject(source.keys[0], stage, reason), source.places[0], counted)


EVENTS: tuple[Event, ...] = (
    Admitted(piece(range(6))),
    Refused("broken", key_of(9), Reason.EMPTY, "the file has no bytes"),
    Measured(
        "front",
        "read+double",
        receipt(
            Lap("read", 6, 5, 0.25),
            Lap("double", 5, 4, 0.5, counters={Counted.OUT_OF_DISTRIBUTION: 3}),
            nbytes=640,
            rss_bytes=10_000_000,
        ),
    ),
    rejected("read", Reason.CORRUPT),
    rejected("double", Reason.OVERFLOW),
    Measured(
        "back", "log", receipt(Lap("log", 4, 4, 2.0), nbytes=128, result=appended(True, True, True, False))
    ),
    Measured(
        "side",
        "deliver",
        receipt(Lap("deliver", 4, 4, 0.1, counters={Counted.SERIES_TO_REVIEW: 2, Counted.OUT_OF_SCOPE: 1})),
    ),
    rejected("deliver", Reason.UNDELIVERABLE, counted=False),
    Finished((piece(range(6)),), kept=4, rejected=2, seconds=3.0),
)


@pytest.fixture
def told() -> Exporter:
    exporter = Exporter(records=100)
    for event in EVENTS:
        exporter.observe(event)
    exporter.depth({"read+double": 32, "log": 0, "gather": 7})
    return exporter


def exposed(exporter: Exporter) -> Samples:
    families = text_string_to_metric_families(generate_latest(exporter.registry).decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(samples: Samples, name: str, *labels: tuple[str, str]) -> float:
    return samples[name, frozenset(labels)]


def test_every_row_of_the_table_is_exposed(told: Exporter) -> None:
    """Name, type, help and labels of each row arrive in the exposition text, with at least one sample."""
    families = {
        family.name: family
        for family in text_string_to_metric_families(generate_latest(told.registry).decode())
    }
    for row in TABLE:
        name = row.name.removesuffix("_total") if row.kind is Kind.COUNTER else row.name
        family = families[name]
        assert (family.type, family.documentation) == (row.kind, row.help)
        assert family.samples
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(row.labels)


def test_nothing_beside_the_table_is_exposed(told: Exporter) -> None:
    """Neither a process collector nor another metric shares the page, but for the times of creation."""
    known = {row.name.removesuffix("_total") for row in TABLE}
    text = generate_latest(told.registry).decode()
    names = {family.name for family in text_string_to_metric_families(text)}
    assert {name for name in names if not name.endswith("_created")} == known


def test_before_the_first_event() -> None:
    """What has no labels stands at zero at once, so that rates begin with the run; the index is as found."""
    samples = exposed(Exporter(records=100))
    assert value(samples, "medsecure_index_records") == 100
    assert value(samples, "medsecure_indexed_frames_total") == 0
    assert value(samples, "medsecure_already_indexed_frames_total") == 0
    assert value(samples, "medsecure_unit_seconds_count") == 0


def test_a_receipt_of_two_fused_stages(told: Exporter) -> None:
    """Laps count under the stage's own name; bytes and memory under the host's."""
    samples = exposed(told)
    assert value(samples, "medsecure_stage_frames_total", ("stage", "read")) == 6
    assert value(samples, "medsecure_stage_frames_total", ("stage", "double")) == 5
    assert value(samples, "medsecure_stage_seconds_sum", ("stage", "double")) == 0.5
    assert value(samples, "medsecure_stage_seconds_count", ("stage", "double")) == 1
    assert value(samples, "medsecure_stage_seconds_bucket", ("stage", "double"), ("le", "0.25")) == 0
    assert value(samples, "medsecure_stage_seconds_bucket", ("stage", "double"), ("le", "0.5")) == 1
    assert value(samples, "medsecure_hop_bytes_total", ("stage", "read+double")) == 640
    assert value(samples, "medsecure_worker_resident_bytes", ("stage", "read+double")) == 10_000_000


def test_buckets_reach_from_five_milliseconds_to_two_minutes(told: Exporter) -> None:
    """As docs/metrics.md says; a panel's percentile is no finer than they are."""
    stage = ("stage", "double")
    ends = [dict(labels)["le"] for name, labels in exposed(told) if name == "medsecure_stage_seconds_bucket"
            and stage in labels]  # fmt: skip
    assert (ends[0], ends[-2:]) == ("0.005", ["120.0", "+Inf"])
    assert len(set(ends)) == 15


def test_flagged_rows_are_counted(told: Exporter) -> None:
    """Of every stage that flags any; delivery counts series."""
    assert value(exposed(told), "medsecure_out_of_distribution_frames_total") == 3
    assert value(exposed(told), "medsecure_series_to_review_total") == 2
    assert value(exposed(told), "medsecure_out_of_scope_series_total") == 1


def test_entries_of_which_one_was_there(told: Exporter) -> None:
    """Only fresh entries are indexed frames and grow the index."""
    samples = exposed(told)
    assert value(samples, "medsecure_indexed_frames_total") == 3
    assert value(samples, "medsecure_already_indexed_frames_total") == 1
    assert value(samples, "medsecure_index_records") == 103


def test_rejects_by_stage_and_reason(told: Exporter) -> None:
    """A refused file is a reject of the scan; a failed delivery is none, and is told apart."""
    samples = exposed(told)
    rejects = {
        tuple(sorted(labels)): count
        for (name, labels), count in samples.items()
        if name == "medsecure_rejected_frames_total"
    }
    assert rejects == {
        (("reason", "empty"), ("stage", "scan")): 1,
        (("reason", "corrupt"), ("stage", "read")): 1,
        (("reason", "overflow"), ("stage", "double")): 1,
    }
    assert value(samples, "medsecure_undelivered_frames_total", ("reason", "undeliverable")) == 1


def test_a_finished_unit(told: Exporter) -> None:
    """Its seconds from admission to finished are the latency."""
    samples = exposed(told)
    assert value(samples, "medsecure_unit_seconds_count") == 1
    assert value(samples, "medsecure_unit_seconds_sum") == 3.0
    assert value(samples, "medsecure_unit_seconds_bucket", ("le", "2.5")) == 0
    assert value(samples, "medsecure_unit_seconds_bucket", ("le", "5.0")) == 1


def test_queue_depths_are_set_not_added(told: Exporter) -> None:
    """The gauge is the last depth told."""
    told.depth({"read+double": 5, "log": 0, "gather": 0})
    samples = exposed(told)
    assert value(samples, "medsecure_queue_frames", ("stage", "read+double")) == 5
    assert value(samples, "medsecure_queue_frames", ("stage", "gather")) == 0


def test_a_restarted_worker_makes_no_new_series(told: Exporter) -> None:
    """Another process in the same place counts on where the first one stopped."""
    before = exposed(told)
    told.observe(
        Measured("front", "read+double", receipt(Lap("read", 6, 6, 0.1), nbytes=60, rss_bytes=7, pid=2))
    )
    after = exposed(told)
    assert after.keys() == before.keys()
    assert value(after, "medsecure_stage_frames_total", ("stage", "read")) == 12
    assert value(after, "medsecure_worker_resident_bytes", ("stage", "read+double")) == 7


def test_every_reason_is_a_label() -> None:
    """The closed enumeration of reasons bounds the number of series."""
    exporter = Exporter(records=0)
    for reason in Reason:
        exporter.observe(rejected("read", reason))
    labels = {
        dict(labels)["reason"]
        for name, labels in exposed(exporter)
        if name == "medsecure_rejected_frames_total"
    }
    assert labels == {reason.value for reason in Reason}


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def page(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def test_served_until_closed(told: Exporter, port: int) -> None:
    """The page is there on the port that was asked for; after close the port is free again."""
    told.serve("127.0.0.1", port)
    try:
        assert "medsecure_indexed_frames_total 3.0" in page(port)
    finally:
        told.close()
    with pytest.raises(ConnectionRefusedError):
        page(port)
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_only_the_address_asked_for_is_listened_on(told: Exporter, port: int) -> None:
    """Loopback means loopback: another address of this machine refuses."""
    told.serve("127.0.0.1", port)
    try:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=10)
    finally:
        told.close()


def test_a_taken_port(told: Exporter) -> None:
    """Serving on a port that another process holds is an OSError, and close is still safe."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        with pytest.raises(OSError, match="in use"):
            told.serve("127.0.0.1", holder.getsockname()[1])
        told.close()


def test_closing_what_was_never_served(told: Exporter) -> None:
    """A run without a port closes like any other."""
    told.close()
    assert math.isfinite(value(exposed(told), "medsecure_index_records"))


@pytest.mark.parametrize("kind", Kind)
def test_names_follow_the_conventions(kind: Kind) -> None:
    """Counters end in _total; seconds and bytes are the only units; everything is ours by its prefix."""
    fits: dict[Kind, Callable[[str], bool]] = {
        Kind.COUNTER: lambda name: name.endswith("_total"),
        Kind.GAUGE: lambda name: not name.endswith("_total"),
        Kind.HISTOGRAM: lambda name: name.endswith("_seconds"),
    }
    rows = [row for row in TABLE if row.kind is kind]
    assert rows
    assert all(row.name.startswith("medsecure_") and fits[kind](row.name) for row in rows)


def test_whatever_a_stage_can_count_has_a_metric() -> None:
    """So no counter ends a run: mypy refuses one that ``Counted`` lacks."""
    exporter = Exporter(records=0)
    exporter.observe(
        Measured("side", "all", receipt(Lap("all", 1, 1, 0.1, counters=dict.fromkeys(Counted, 1))))
    )
    text = generate_latest(exporter.registry).decode()
    assert len(re.findall(r"^medsecure_(?:out_of|series_to)\w+_total 1\.0$", text, re.MULTILINE)) == len(
        Counted
    )
