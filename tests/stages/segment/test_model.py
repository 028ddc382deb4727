from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from stages.segment.model import AttentionUNet, SqueezeExcite, fold_norms
from stages.segment.options import ModelConfig

SMALL = ModelConfig(channels=(8, 16, 24), blocks=(1, 1, 2))


@pytest.mark.parametrize("attention", [False, True])
def test_logits_lie_on_the_input_grid(attention: bool) -> None:
    """Any field whose sides are multiples of the stride comes back in its own size."""
    config = ModelConfig(channels=(8, 16, 24), blocks=(1, 1, 2), attention=attention)
    maps = AttentionUNet(config).eval()(torch.zeros(2, 3, 32, 48))
    assert maps.logit_N1HW.shape == (2, 1, 32, 48)
    assert maps.deep.shape == (2, 24, 4, 6)
    assert maps.decoded.shape == (2, 16, 8, 12)


def test_coarse_heads_answer_in_training_only() -> None:
    """Deep supervision costs nothing at inference."""
    net = AttentionUNet(SMALL)
    x = torch.zeros(2, 3, 32, 32)
    assert [c.shape for c in net.train()(x).coarse] == [(2, 1, 8, 8)]
    assert net.eval()(x).coarse == ()


def test_attention_is_what_the_switch_says() -> None:
    """Without attention there is no squeeze-excitation anywhere."""
    off = ModelConfig(channels=SMALL.channels, blocks=SMALL.blocks, attention=False)
    found = [sum(isinstance(m, SqueezeExcite) for m in AttentionUNet(c).modules()) for c in (SMALL, off)]
    assert found == [4, 0]


def test_default_model_has_the_documented_size() -> None:
    """As many parameters as the documentation says."""
    text = (Path(__file__).resolve().parents[3] / "docs" / "segmentation.md").read_text(encoding="utf-8")
    millions = re.findall(r"([\d.]+) million parameters", text)
    count = sum(p.numel() for p in AttentionUNet(ModelConfig()).parameters())
    assert millions == [f"{count / 1e6:.1f}"]


def test_folded_norms_change_nothing() -> None:
    """Folding normalisation into convolutions keeps the answer, with statistics that are not trivial."""
    torch.manual_seed(0)
    net = AttentionUNet(SMALL)
    x = 3 * torch.randn(4, 3, 32, 32) + 1
    for _ in range(5):
        net.train()(x)
    net.eval()
    with torch.no_grad():
        expected = net(x).logit_N1HW
        fold_norms(net)
        assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in net.modules())
        torch.testing.assert_close(net(x).logit_N1HW, expected, rtol=1e-4, atol=1e-4)


def test_every_parameter_learns() -> None:
    """A gradient reaches every weight."""
    torch.manual_seed(0)  # some seeds give narrow bottlenecks that no input wakes
    net = AttentionUNet(SMALL).train()
    maps = net(torch.randn(2, 3, 32, 32))
    (maps.logit_N1HW.square().sum() + sum(c.square().sum() for c in maps.coarse)).backward()
    still = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_impossible_shape_is_refused() -> None:
    """Channels and blocks must tell of the same stages."""
    with pytest.raises(ValueError, match="one entry per stage"):
        ModelConfig(channels=(8, 16), blocks=(1,))
