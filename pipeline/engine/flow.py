"""How the stream flows: the bounds of every edge, what is fused, how many replicas."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Le
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated


@validated(frozen=True, config=ConfigDict(extra="forbid"))
class FlowOptions:
    """The ``[flow]`` section."""

    window_rows: Annotated[int, Ge(1), Le(65_536)] = 256
    """Most frames between admission and the end of segmentation."""
    window_bytes: Annotated[int, Ge(1_000_000)] = 512_000_000
    """Most bytes they may take in the object store, by the largest batch seen."""
    block: Annotated[int, Ge(1), Le(1024)] = 1024
    """Records in one LWE block."""
    block_age_s: Annotated[float, Gt(0)] = 30.0
    """Seconds after which a part-filled block is encrypted all the same."""
    blocks: Annotated[int, Ge(1), Le(64)] = 2
    """Most blocks between gathering and durable."""
    deliveries: Annotated[int, Ge(1), Le(1024)] = 8
    """Most series being delivered at a time."""
    object_store_bytes: Annotated[int, Ge(100_000_000)] = 1_000_000_000
    """Shared memory of a Ray session that is started on this machine."""
    hops: tuple[str, ...] = ("ingest+preprocess", "segment", "encrypt+append")
    """Stages that share a process, in stream order."""
    replicas: dict[str, Annotated[int, Ge(1), Le(1024)]] = Field(default_factory=dict)
    """Processes by stage; the append is a single writer."""
    gpu_shares: dict[str, Annotated[float, Gt(0), Le(1)]] = Field(default_factory=dict)
    """Part of a GPU for each process of a stage, on Ray; what is not named shares the rest evenly.

    Preprocessing runs on a GPU only where it is named."""
