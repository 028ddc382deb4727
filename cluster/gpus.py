"""The GPUs of this machine that the product computes on: asked here and nowhere else."""

from __future__ import annotations

import logging
from itertools import takewhile
from typing import Final

import torch

LEAST_CAPABILITY: Final = (8, 0)  # the first with bfloat16 in its tensor cores
_LOG: Final = logging.getLogger(__name__)


def usable_gpus() -> int:
    """How many: CUDA numbers the fastest first, so those that are too old come last and are left out.

    A driver that does not start counts as no GPU; the log says so.
    """
    try:
        capabilities = [torch.cuda.get_device_capability(one) for one in range(torch.cuda.device_count())]
    except RuntimeError as error:  # what torch raises where the driver does not start
        _LOG.warning("no GPU is used, since CUDA does not start: %s", error)
        return 0
    usable = sum(1 for _ in takewhile(lambda one: one >= LEAST_CAPABILITY, capabilities))
    if usable < len(capabilities):
        least = ".".join(map(str, LEAST_CAPABILITY))
        _LOG.warning("%d GPU(s) are not used: below compute capability %s", len(capabilities) - usable, least)
    return usable
