from __future__ import annotations

import pytest
import torch
from torch import Tensor

from stages.segment.model import AttentionUNet
from tests.stages.segment.conftest import TINY
from training.gradients import Gradients, GraphedGradients
from training.loss import segmentation_loss


def batch(side: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Blobs and noise, and where the blobs are."""
    generator = torch.Generator().manual_seed(side)
    coarse = torch.randn(4, 3, side // 8, side // 8, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=side, mode="bilinear")
    noisy = smooth + 0.3 * torch.randn(smooth.shape, generator=generator)
    return noisy.to(device), (smooth[:, 1:2] > 0.5).float().to(device)


def seeded() -> AttentionUNet:
    """The same network every time."""
    torch.manual_seed(0)
    return AttentionUNet(TINY).train()


def test_gradients_of_the_weights_are_the_losses_own() -> None:
    """A second call leaves nothing of the first."""
    net, twin = seeded(), seeded()
    gradients = Gradients(net)
    gradients.of_weights(*batch(32))
    twin(batch(32)[0])  # so that both have seen it
    loss = gradients.of_weights(*batch(16))
    x, truth = batch(16)
    wanted = segmentation_loss(twin(x), truth)
    wanted.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert not loss.requires_grad
    torch.testing.assert_close(loss, wanted.detach())
    for one, other in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_gradient_of_the_input_changes_nothing() -> None:
    """It raises the loss when followed; weights' gradients and statistics are as before."""
    net = seeded()
    x, truth = batch(32)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    slope = Gradients(net).of_input(x, truth)
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert net.training
    assert not x.requires_grad
    net.eval()
    with torch.no_grad():
        rising, falling = (segmentation_loss(net(x + s * slope.sign()), truth) for s in (0.01, -0.01))
    assert rising > falling


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_graphs_replay_what_would_be_launched() -> None:
    """Over steps that change the weights, with two shapes in turn and attacks between them."""
    losses = []
    for kind in (GraphedGradients, Gradients):
        net = seeded().to("cuda", memory_format=torch.channels_last)  # type: ignore[call-overload]  # stub gap
        gradients = kind(net, compiled=False)
        optimizer = torch.optim.SGD(net.parameters(), 0.05)
        for side in (32, 16, 32, 16, 32, 32):
            x, truth = batch(side, "cuda")
            attacked = x + 0.1 * gradients.of_input(x, truth).sign()
            losses.append(float(gradients.of_weights(attacked, truth)))
            optimizer.step()
    half = len(losses) // 2
    assert losses[:half] == pytest.approx(losses[half:], rel=0.03)
    assert losses[half - 1] < losses[0]
