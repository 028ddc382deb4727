"""Random changes a scanner or a patient could have made, on a batch of slices, in torch.

Geometry (rotation, scale, shear, shift, smooth deformation, flips) moves image and truth together;
intensity (contrast, gamma, coil flare, blur, low resolution, noise) touches the image only; neighbours are
exchanged, since files order slices either way, and dropped, so that a single image can be segmented too.
All randomness comes from one generator, which must be of the batch's device.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F  # noqa: N812  # torch's own name for it

UPSIDE_DOWN = 0.5  # share of slices turned over


def augment(x_NCHW: Tensor, truth_N1HW: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """A changed copy of the batch; the truth stays in 0..1."""
    grid_NHW2 = _warp(x_NCHW, generator)
    both = F.grid_sample(
        torch.cat((x_NCHW, truth_N1HW), 1), grid_NHW2, padding_mode="border", align_corners=False
    )
    x_NCHW, truth_N1HW = both[:, :-1], both[:, -1:]
    for change, chance in (
        (_contrast, 0.5),
        (_gamma, 0.5),
        (_flare, 0.3),
        (_blur, 0.15),
        (_low_resolution, 0.2),
        (_noise, 0.3),
        (_exchanged, 0.5),
        (_lonely, 0.25),
    ):
        hit_N = torch.rand(len(x_NCHW), generator=generator, device=generator.device) < chance
        if hit_N.any():
            x_NCHW = x_NCHW.clone()
            x_NCHW[hit_N] = change(x_NCHW[hit_N], generator)
    return x_NCHW, truth_N1HW


def _uniform(n: int, low: float, high: float, generator: Generator) -> Tensor:
    """[n, 1, 1, 1] draws between low and high."""
    draw = torch.rand(n, 1, 1, 1, generator=generator, device=generator.device)
    return low + (high - low) * draw


def _chance(n: int, share: float, generator: Generator) -> Tensor:
    """[n, 1, 1, 1] booleans, each true with this probability."""
    return _uniform(n, 0, 1, generator) < share


def _warp(x_NCHW: Tensor, generator: Generator) -> Tensor:
    """Sampling positions in -1..1, [N, H, W, 2]: an affine map, then a smooth displacement."""
    n, _, h, w = x_NCHW.shape
    angle = _uniform(n, -15, 15, generator) * math.pi / 180
    scale = torch.exp(_uniform(n, -0.25, 0.25, generator))
    stretch = torch.exp(_uniform(n, -0.1, 0.1, generator))
    shear = _uniform(n, -0.1, 0.1, generator)
    mirror = torch.where(_chance(n, 0.5, generator), -1.0, 1.0)  # left-right: anatomy allows it
    # Up-down: research files often state an orientation that is not theirs.
    upend = torch.where(_chance(n, UPSIDE_DOWN, generator), -1.0, 1.0)
    shift_x, shift_y = (_uniform(n, -0.15, 0.15, generator).flatten() for _ in range(2))
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = (
        torch.stack(((cos * stretch * mirror).flatten(), ((shear - sin) * upend).flatten(), shift_x), 1),
        torch.stack(((sin * mirror).flatten(), (cos / stretch * upend).flatten(), shift_y), 1),
    )
    grid_NHW2 = F.affine_grid(torch.stack(rows, 1), [n, 1, h, w], align_corners=False)
    nodes = torch.randn(n, 2, 5, 5, generator=generator, device=generator.device)
    bends = 0.06 * nodes * _chance(n, 0.4, generator)
    return grid_NHW2 + F.interpolate(bends, (h, w), mode="bicubic", align_corners=False).movedim(1, 3)


def _contrast(x: Tensor, generator: Generator) -> Tensor:
    return x * _uniform(len(x), 0.7, 1.4, generator) + _uniform(len(x), -0.3, 0.3, generator)


def _gamma(x: Tensor, generator: Generator) -> Tensor:
    """A power law between the slice's own extremes, half the time on the inverted image."""
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    unit = (x - low) / (high - low).clamp_min(1e-6)
    power = torch.exp(_uniform(len(x), -0.5, 0.5, generator))
    inverted = _chance(len(x), 0.5, generator)
    bent = torch.where(inverted, 1 - (1 - unit).clamp(0, 1) ** power, unit.clamp(0, 1) ** power)
    return low + bent * (high - low)


def _flare(x: Tensor, generator: Generator) -> Tensor:
    """An endorectal coil: gain that falls off from a point behind the gland, or anywhere."""
    n, _, h, w = x.shape
    row = torch.linspace(-1, 1, h, device=x.device).view(1, 1, h, 1) - _uniform(n, -0.3, 1.2, generator)
    column = torch.linspace(-1, 1, w, device=x.device).view(1, 1, 1, w) - _uniform(n, -0.6, 0.6, generator)
    reach = _uniform(n, 0.3, 1.0, generator)
    return x + _uniform(n, -1.0, 2.5, generator) * torch.exp(-(row**2 + column**2) / (2 * reach**2))


def _blur(x: Tensor, generator: Generator) -> Tensor:
    """A 5x5 binomial blur, mixed with the original."""
    tap = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=x.device) / 16
    kernel = torch.outer(tap, tap).expand(x.shape[1], 1, 5, 5)
    blurred = F.conv2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), kernel, groups=x.shape[1])
    return torch.lerp(x, blurred, _uniform(len(x), 0.3, 1.0, generator))


def _low_resolution(x: Tensor, generator: Generator) -> Tensor:
    """Down and up again by one factor for all."""
    factor = float(_uniform(1, 0.4, 0.9, generator))
    small = F.interpolate(x, scale_factor=factor, mode="bilinear", antialias=True)
    return F.interpolate(small, x.shape[-2:], mode="bilinear")


def _noise(x: Tensor, generator: Generator) -> Tensor:
    grain = torch.randn(x.shape, generator=generator, device=generator.device)
    return x + _uniform(len(x), 0, 0.25, generator) * grain


def _exchanged(x: Tensor, generator: Generator) -> Tensor:  # noqa: ARG001  # one signature for all changes
    """The neighbours change places."""
    return x.flip(1)


def _lonely(x: Tensor, generator: Generator) -> Tensor:  # noqa: ARG001  # one signature for all changes
    """The slice in place of both its neighbours, as when one image comes alone."""
    centre = x.shape[1] // 2
    return x[:, centre : centre + 1].expand_as(x)
