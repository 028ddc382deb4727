"""Where the stages compute, decided once from the configuration and the GPUs there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.gpus import usable_gpus
from stages.errors import OperatorError

if TYPE_CHECKING:
    from pipeline.config import Settings


class DeviceError(OperatorError):
    """The device that was asked for is not there, or cannot run what was asked for; one sentence."""


@dataclass(frozen=True, slots=True)
class Devices:
    """The device of each stage that can have one: ``cpu`` or ``cuda``."""

    preprocess: str
    segment: str
    encrypt: str

    @property
    def on_gpu(self) -> tuple[str, ...]:
        """Names of the stages on a GPU."""
        named = {"preprocess": self.preprocess, "segment": self.segment, "encrypt": self.encrypt}
        return tuple(name for name, device in named.items() if device == "cuda")


def devices(settings: Settings, gpus: int) -> Devices:
    """By stage, on a machine or cluster with so many GPUs: an OpenVINO runtime keeps segmentation on the CPU.

    Preprocessing uses a GPU where ``flow.gpu_shares`` gives it a part of one. Raises DeviceError, also where
    ``cuda`` and such a runtime are both asked for by name.
    """
    here = _device(settings, gpus)
    before = here if "preprocess" in settings.flow.gpu_shares else "cpu"
    if not settings.segment.runtime.startswith("openvino"):
        return Devices(preprocess=before, segment=here, encrypt=here)
    if settings.run.device == "cuda":
        raise DeviceError(
            f"segment.runtime {settings.segment.runtime} runs on the CPU but run.device is cuda: "
            "choose runtime auto or torch, or device auto"
        )
    return Devices(preprocess=before, segment="cpu", encrypt=here)


def device_here(settings: Settings) -> str:
    """``cpu`` or ``cuda`` for work in this very process. Raises DeviceError."""
    return _device(settings, gpus_for(settings))


def gpus_for(settings: Settings) -> int:
    """How many of this machine's GPUs there are to use; with device cpu the driver is not even asked."""
    return 0 if settings.run.device == "cpu" else usable_gpus()


def _device(settings: Settings, gpus: int) -> str:
    wanted = settings.run.device
    if wanted == "cuda" and not gpus:
        raise DeviceError("--device cuda: there is no CUDA device here that can be used")
    return "cuda" if wanted != "cpu" and gpus else "cpu"
