"""The product's stream: which stages, in which order, wired to which folders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.engine.graph import Graph
from stages.batches import Entries, Features, Located, Segmented
from stages.deliver.stage import Deliver
from stages.encrypt.stage import Encrypt
from stages.index.stage import Append
from stages.ingest.stage import Ingest
from stages.preprocess.stage import Preprocess
from stages.segment.checkpoint import describe
from stages.segment.stage import Segment

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.config import Settings
    from pipeline.devices import Devices


def stream(
    settings: Settings, keys: Path, index: Path, results: Path, devices: Devices
) -> Graph[Located, Entries]:
    """The graph: ingest, preprocess, segment (beside it deliver), gather, encrypt, append."""
    front = (
        Graph.of(Ingest(settings.ingest, keys))
        .then(Preprocess(settings.preprocess, devices.preprocess))
        .then(Segment(settings.segment, devices.segment))
    )
    return onward(front, settings, keys, index, results, devices)


def onward(
    front: Graph[Located, Segmented],
    settings: Settings,
    keys: Path,
    index: Path,
    results: Path,
    devices: Devices,
) -> Graph[Located, Entries]:
    """What follows segmentation, by whatever stages that is done."""
    model = describe(settings.segment.weights)
    deliver = Deliver(
        settings.deliver,
        results,
        keys,
        f"weights {model.digest[:16]}",
        settings.ingest,
        settings.segment.largest_component,
    )
    return (
        front.beside(Graph.of(deliver), join=Segmented.join, apart=folders)
        .gather(narrow=features, join=Features.join)
        .then(Encrypt(settings.encrypt, keys, devices.encrypt))
        .then(Append(settings.index, index, keys, bytes.fromhex(model.digest), model.feature_dim))
    )


def folders(piece: Located) -> frozenset[bytes]:
    """What delivery writes of these rows: a folder for each series."""
    return frozenset(piece.series)


def features(segmented: Segmented) -> Features:
    """The part that is passed to encryption: masks stay with the clinic."""
    return Features(segmented.rows, segmented.feature_ND)
