from __future__ import annotations

import pytest
import torch

from stages.segment import augment as module
from stages.segment.augment import augment


def seeded() -> torch.Generator:
    """One sequence of changes."""
    return torch.Generator().manual_seed(3)


def test_shapes_and_ranges_survive() -> None:
    """Images stay finite, the truth stays between 0 and 1, nothing is changed in place."""
    x, truth = torch.randn(32, 3, 32, 32), (torch.rand(32, 1, 32, 32) > 0.5).float()
    before = x.clone(), truth.clone()
    new_x, new_truth = augment(x, truth, seeded())
    assert new_x.shape == x.shape
    assert new_truth.shape == truth.shape
    assert bool(torch.isfinite(new_x).all())
    assert 0 <= new_truth.min() <= new_truth.max() <= 1
    assert torch.equal(x, before[0])
    assert torch.equal(truth, before[1])


def test_same_seed_same_changes() -> None:
    """All randomness comes from the generator."""
    x, truth = torch.randn(8, 3, 32, 32), torch.zeros(8, 1, 32, 32)
    assert torch.equal(augment(x, truth, seeded())[0], augment(x, truth, seeded())[0])


def test_truth_moves_with_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """With geometry alone, an image that is its own truth still is."""
    for name in ("_contrast", "_gamma", "_flare", "_blur", "_low_resolution", "_noise"):
        monkeypatch.setattr(module, name, lambda x, _: x)
    truth = torch.zeros(16, 1, 32, 32)
    truth[:, :, 8:20, 10:16] = 1
    x, moved = augment(truth.expand(-1, 3, -1, -1), truth, seeded())
    torch.testing.assert_close(x[:, 1:2], moved)
    assert not torch.equal(moved, truth)


def test_neighbours_are_exchanged_and_dropped() -> None:
    """The slice itself stays in the middle."""
    x = torch.arange(3.0).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert module._exchanged(x, seeded())[0, :, 0, 0].tolist() == [2, 1, 0]
    assert module._lonely(x, seeded())[0, :, 0, 0].tolist() == [1, 1, 1]
