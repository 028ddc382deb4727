"""The tiny model and the labelled cases of the segmentation tests."""

from __future__ import annotations

from tests.stages.segment.conftest import batch_of, cases, one_thread, tiny, tiny_weights

__all__ = ["batch_of", "cases", "one_thread", "tiny", "tiny_weights"]
