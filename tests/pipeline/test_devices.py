from __future__ import annotations

from typing import Any

import pytest

from pipeline import devices as module
from pipeline.config import Settings
from pipeline.devices import DeviceError, Devices, device_here, devices, gpus_for


def settings(device: str, runtime: str = "auto", **flow: Any) -> Settings:
    tree: dict[str, Any] = {"run": {"device": device}, "segment": {"runtime": runtime}, "flow": flow}
    return Settings(**tree)


@pytest.mark.parametrize(
    ("device", "runtime", "gpus", "wanted"),
    [
        ("auto", "auto", 0, ("cpu", "cpu")),
        ("auto", "auto", 1, ("cuda", "cuda")),
        ("cpu", "auto", 1, ("cpu", "cpu")),
        ("cuda", "torch", 2, ("cuda", "cuda")),
        ("auto", "openvino", 1, ("cpu", "cuda")),
        ("auto", "openvino-int8", 1, ("cpu", "cuda")),
    ],
)
def test_the_device_follows_configuration_and_machine(
    device: str, runtime: str, gpus: int, wanted: tuple[str, str]
) -> None:
    """An explicit OpenVINO runtime chooses the CPU; else a GPU is used where there is one."""
    found = devices(settings(device, runtime), gpus)
    assert found == Devices("cpu", *wanted)
    assert found.on_gpu == tuple(
        name for name, here in zip(("segment", "encrypt"), wanted, strict=True) if here == "cuda"
    )


@pytest.mark.parametrize(
    ("device", "gpus", "wanted"), [("auto", 1, "cuda"), ("auto", 0, "cpu"), ("cpu", 1, "cpu")]
)
def test_preprocessing_uses_the_gpu_of_which_it_has_a_part(device: str, gpus: int, wanted: str) -> None:
    """It is named among the shares; without a GPU, or with device cpu, the share has no meaning."""
    found = devices(settings(device, gpu_shares={"preprocess": 0.25}), gpus)
    assert found.preprocess == wanted
    assert ("preprocess" in found.on_gpu) == (wanted == "cuda")


def test_a_device_and_a_runtime_that_contradict_are_refused() -> None:
    """Both were asked for by name, so neither is silently dropped."""
    with pytest.raises(
        DeviceError, match=r"segment\.runtime openvino runs on the CPU but run\.device is cuda"
    ):
        devices(settings("cuda", "openvino"), 1)


def test_a_device_that_is_not_there_is_refused() -> None:
    """A run that was to use a GPU does not crawl on the CPU."""
    with pytest.raises(DeviceError, match="there is no CUDA device here that can be used"):
        devices(settings("cuda"), 0)


def test_the_driver_is_not_asked_where_the_cpu_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """With device cpu a driver that hangs cannot hang the run."""
    monkeypatch.setattr(module, "usable_gpus", lambda: pytest.fail("asked"))
    assert gpus_for(settings("cpu")) == 0
    assert device_here(settings("cpu")) == "cpu"


def test_what_is_not_segmented_does_not_follow_its_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training uses the GPU whatever runs the stream's model."""
    monkeypatch.setattr(module, "usable_gpus", lambda: 1)
    assert device_here(settings("auto", "openvino")) == "cuda"
