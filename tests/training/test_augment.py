from __future__ import annotations

import pytest
import torch

from training import augment as module
from training.augment import augment


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


def test_a_square_is_cut_from_the_changed_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Image and truth lose the same; any place is cut sooner or later; a larger square changes nothing."""
    for name in ("_contrast", "_gamma", "_flare", "_blur", "_low_resolution", "_noise"):
        monkeypatch.setattr(module, name, lambda x, _: x)
    monkeypatch.setattr(module, "_warp", lambda x, _: upright(x))
    column = torch.arange(32.0).expand(4, 1, 32, 32)
    generator, starts = seeded(), set()
    for _ in range(60):
        x, truth = augment(column.expand(-1, 3, -1, -1), column, generator, 24)
        assert x.shape == (4, 3, 24, 24)
        torch.testing.assert_close(x[:, 1:2], truth)
        torch.testing.assert_close(truth.diff(dim=3), torch.ones(4, 1, 24, 23))
        starts.add(round(float(truth[0, 0, 0, 0])))
    assert starts == set(range(9))
    assert augment(column, column, generator, 48)[1].shape == (4, 1, 32, 32)


def upright(x_NCHW: torch.Tensor) -> torch.Tensor:
    """The sampling grid that changes nothing."""
    n, _, h, w = x_NCHW.shape
    still = torch.eye(2, 3).expand(n, 2, 3)
    return torch.nn.functional.affine_grid(still, [n, 1, h, w], align_corners=False)


def test_slices_are_mirrored_but_never_upside_down() -> None:
    """Half of the slices change left and right; the top stays the top in all."""
    n, side = 200, 32
    rows, columns = torch.meshgrid(torch.arange(float(side)), torch.arange(float(side)), indexing="ij")
    truth = torch.stack((rows, columns)).view(1, 2, side, side) / side
    generator = seeded()
    grids = module._warp(truth.expand(n, -1, -1, -1), generator)
    seen = torch.nn.functional.grid_sample(truth.expand(n, -1, -1, -1), grids, align_corners=False)
    down = (seen[:, 0, -8:, 8:-8].mean((1, 2)) > seen[:, 0, :8, 8:-8].mean((1, 2))).sum()
    right = (seen[:, 1, 8:-8, -8:].mean((1, 2)) > seen[:, 1, 8:-8, :8].mean((1, 2))).sum()
    assert down == n
    assert 70 < right < 130
