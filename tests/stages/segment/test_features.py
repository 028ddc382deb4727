from __future__ import annotations

import pytest
import torch

from stages.segment.features import Segmenter


def test_features_are_unit_vectors(tiny: Segmenter) -> None:
    """Probability in 0..1 on the grid, features of length one."""
    with torch.inference_mode():
        probability, feature, _ = tiny(torch.randn(3, 3, 32, 32))
    assert probability.shape == (3, 32, 32)
    assert 0 <= probability.min() <= probability.max() <= 1
    torch.testing.assert_close(feature.norm(dim=1), torch.ones(3))


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0])
def test_a_flat_slice_has_features_too(tiny: Segmenter, value: float) -> None:
    """A slice without anything on it, hence with an empty mask, still gets a finite unit vector."""
    with torch.inference_mode():
        _, feature, _ = tiny(torch.full((1, 3, 32, 32), value))
    torch.testing.assert_close(feature.norm(dim=1), torch.ones(1))


def test_features_do_not_depend_on_the_batch(tiny: Segmenter) -> None:
    """A slice has the same features alone and in company."""
    x = torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(tiny(x)[1][2:3], tiny(x[2:3])[1], rtol=1e-4, atol=1e-5)


def test_fitted_projection_decorrelates(tiny: Segmenter) -> None:
    """After fitting, projected training features have no mean and no correlation."""
    batches = [torch.randn(64, 3, 32, 32) for _ in range(4)]
    tiny.fit(batches)
    with torch.inference_mode():
        raw = torch.cat([tiny.raw(x)[1] for x in batches])
        y = (raw - tiny.descriptor.mean_R) @ tiny.descriptor.basis_RD
    covariance = torch.cov(y.T)
    torch.testing.assert_close(y.mean(0), torch.zeros(16), atol=1e-3, rtol=0)
    off_diagonal = covariance - torch.diag(covariance.diag())
    assert off_diagonal.abs().max() < 1e-3 * covariance.diag().max()


def test_fitted_projection_is_half_whitened(tiny: Segmenter) -> None:
    """A component's spread is the square root of what it was: few components do not decide alone."""
    torch.manual_seed(2)
    size = len(tiny.descriptor.mean_R)
    raw_NR = torch.randn(400, size) * torch.logspace(1, -1, size)
    tiny.descriptor.fit(raw_NR)
    basis_RD, centred_NR = tiny.descriptor.basis_RD, raw_NR - tiny.descriptor.mean_R
    value_D = (centred_NR @ (basis_RD / basis_RD.norm(dim=0))).var(0)
    expected_D = value_D * (value_D + 0.05 * value_D.mean()) ** -0.5
    torch.testing.assert_close((centred_NR @ basis_RD).var(0), expected_D, rtol=1e-3, atol=0)


def test_one_image_alone_is_closest_to_itself(tiny: Segmenter) -> None:
    """Queried without its neighbours, a slice is still found first among different slices."""
    torch.manual_seed(1)
    x = torch.nn.functional.interpolate(torch.randn(12, 3, 8, 8), 32, mode="bilinear")
    tiny.fit([x])
    with torch.inference_mode():
        stored, alone = tiny(x)[1], tiny(x[:, 1:2].expand(-1, 3, -1, -1))[1]
    assert (alone @ stored.T).argmax(1).tolist() == list(range(12))
