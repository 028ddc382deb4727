"""How the stream flows: the bounds of every edge, what is fused, how many replicas."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Le
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class FlowOptions:
    """The ``[flow]`` section."""

    # frames between admission and the end of segmentation
    window_rows: Annotated[int, Ge(1), Le(65_536)] = 256
    # their bytes, by the largest batch seen
    window_bytes: Annotated[int, Ge(1_000_000)] = 512_000_000
    # records in one LWE block
    block: Annotated[int, Ge(1), Le(1024)] = 1024
    # seconds after which a part-filled block is encrypted
    block_age_s: Annotated[float, Gt(0)] = 30.0
    # blocks between gathering and durable
    blocks: Annotated[int, Ge(1), Le(64)] = 2
    # series being delivered at a time
    deliveries: Annotated[int, Ge(1), Le(1024)] = 8
    # stages that share a process, in stream order
    hops: tuple[str, ...] = ("ingest+preprocess", "segment", "encrypt+append")
    # processes by stage; append is a single writer
    replicas: dict[str, Annotated[int, Ge(1), Le(1024)]] = Field(default_factory=dict)
