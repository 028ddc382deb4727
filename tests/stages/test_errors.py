from __future__ import annotations

import pytest
import torch

from stages.errors import is_of_device


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("an illegal memory access was encountered"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling cublasLtMatmul"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"),
    ],
    ids=repr,
)
def test_a_failure_of_the_accelerator_is_one_of_the_world(error: Exception) -> None:
    """Torch's own classes, and what its libraries raise as plain RuntimeError."""
    assert is_of_device(error)


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("CUDA error"), KeyError()]
)
def test_a_bug_is_none(error: Exception) -> None:
    """What another process would raise again ends the run."""
    assert not is_of_device(error)
