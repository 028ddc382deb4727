from __future__ import annotations

import logging

import pytest
import torch

from cluster.gpus import usable_gpus


def machine(monkeypatch: pytest.MonkeyPatch, *capabilities: tuple[int, int]) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(capabilities))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda number: capabilities[number])


@pytest.mark.parametrize(
    ("capabilities", "usable"),
    [((), 0), (((9, 0),), 1), (((8, 0), (8, 0)), 2), (((12, 0), (7, 5)), 1), (((7, 5),), 0)],
)
def test_what_cannot_compute_in_bfloat16_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capabilities: tuple[tuple[int, int], ...], usable: int
) -> None:
    """GPUs count from the fastest down to the first that is too old."""
    machine(monkeypatch, *capabilities)
    assert usable_gpus() == usable


def test_a_gpu_that_is_too_old_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An operator who has a GPU learns why it is not used."""
    machine(monkeypatch, (8, 0), (7, 5))
    with caplog.at_level(logging.WARNING):
        usable_gpus()
    assert caplog.messages == ["1 GPU(s) are not used: below compute capability 8.0"]


def test_gpus_that_are_all_used_are_no_news(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning about none that is left out would send the operator looking for it."""
    machine(monkeypatch, (9, 0), (8, 0))
    usable_gpus()
    assert caplog.messages == []


def test_a_driver_that_does_not_start_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The run goes to the CPU, and the log says why."""

    def fail(_: int) -> None:
        raise RuntimeError("CUDA driver initialization failed")

    machine(monkeypatch, (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_capability", fail)
    assert usable_gpus() == 0
    assert "CUDA driver initialization failed" in caplog.text
