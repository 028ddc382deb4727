"""Random changes a scanner or a patient could have made, on a batch of slices, in torch.

Geometry (rotation, scale, shear, shift, smooth deformation, left-right mirroring) moves image and truth
together; slices are never turned upside down, since ingest takes the orientation from the file;
intensity (contrast, gamma, coil flare, blur, low resolution, noise) touches the image only; neighbours are
exchanged, since files order slices either way, and dropped, so that a single image can be segmented too.
All choices come from one CPU generator, so that they are the same on any device and a GPU never waits for
them; only noise is drawn where the batch lies.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F  # noqa: N812  # torch's own name for it


def augment(
    x_NCHW: Tensor, truth_N1HW: Tensor, generator: Generator, side: int | None = None
) -> tuple[Tensor, Tensor]:
    """A changed copy of the batch; the truth stays in 0..1.

    With ``side``, the copy is a square cut of that side in pixels: [N, C, side, side], [N, 1, side, side].
    """
    grid_NHW2 = _warp(x_NCHW, generator)
    if side is not None and side < min(x_NCHW.shape[-2:]):
        grid_NHW2 = _window(grid_NHW2, side, generator)
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
        hit = torch.nonzero(torch.rand(len(x_NCHW), generator=generator) < chance)[:, 0]
        if len(hit):
            rows = _on(hit, x_NCHW.device)
            x_NCHW = x_NCHW.index_copy(0, rows, change(x_NCHW.index_select(0, rows), generator))
    return x_NCHW, truth_N1HW


def beside(x: Tensor, generator: Generator) -> Generator:
    """A generator on the tensor's device, seeded from the CPU's generator."""
    return Generator(x.device).manual_seed(int(torch.randint(1 << 62, (), generator=generator)))


def _on(drawn: Tensor, device: torch.device) -> Tensor:
    """Copies small draws to the batch's device without waiting."""
    return drawn.to(device, non_blocking=True)


def _draw(n: int, low: float, high: float, generator: Generator) -> Tensor:
    """[n, 1, 1, 1] draws between low and high, on the CPU."""
    return low + (high - low) * torch.rand(n, 1, 1, 1, generator=generator)


def _uniform(x: Tensor, low: float, high: float, generator: Generator) -> Tensor:
    """One draw for every slice of ``x``, beside it."""
    return _on(_draw(len(x), low, high, generator), x.device)


def _chance(n: int, share: float, generator: Generator) -> Tensor:
    """[n, 1, 1, 1] booleans, each true with this probability, on the CPU."""
    return _draw(n, 0, 1, generator) < share


def _warp(x_NCHW: Tensor, generator: Generator) -> Tensor:
    """Sampling positions in -1..1, [N, H, W, 2]: an affine map, then a smooth displacement."""
    n, _, h, w = x_NCHW.shape
    angle = _draw(n, -15, 15, generator) * math.pi / 180
    scale = torch.exp(_draw(n, -0.25, 0.25, generator))
    stretch = torch.exp(_draw(n, -0.1, 0.1, generator))
    shear = _draw(n, -0.1, 0.1, generator)
    mirror = torch.where(_chance(n, 0.5, generator), -1.0, 1.0)  # left-right: anatomy allows it
    shift_x, shift_y = (_draw(n, -0.15, 0.15, generator).flatten() for _ in range(2))
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = (
        torch.stack(((cos * stretch * mirror).flatten(), (shear - sin).flatten(), shift_x), 1),
        torch.stack(((sin * mirror).flatten(), (cos / stretch).flatten(), shift_y), 1),
    )
    affine_N23 = _on(torch.stack(rows, 1), x_NCHW.device)
    grid_NHW2 = F.affine_grid(affine_N23, [n, 1, h, w], align_corners=False)
    nodes = torch.randn(n, 2, 5, 5, generator=generator)
    bends = _on(0.06 * nodes * _chance(n, 0.4, generator), x_NCHW.device)
    return grid_NHW2 + F.interpolate(bends, (h, w), mode="bicubic", align_corners=False).movedim(1, 3)


def _window(grid_NHW2: Tensor, side: int, generator: Generator) -> Tensor:
    """One square anywhere on the field, the same for all slices."""
    top, left = (int(torch.randint(n - side + 1, (), generator=generator)) for n in grid_NHW2.shape[1:3])
    return grid_NHW2[:, top : top + side, left : left + side]


def _contrast(x: Tensor, generator: Generator) -> Tensor:
    return x * _uniform(x, 0.7, 1.4, generator) + _uniform(x, -0.3, 0.3, generator)


def _gamma(x: Tensor, generator: Generator) -> Tensor:
    """A power law between the slice's own extremes, half the time on the inverted image."""
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    unit = (x - low) / (high - low).clamp_min(1e-6)
    power = torch.exp(_uniform(x, -0.5, 0.5, generator))
    inverted = _on(_chance(len(x), 0.5, generator), x.device)
    bent = torch.where(inverted, 1 - (1 - unit).clamp(0, 1) ** power, unit.clamp(0, 1) ** power)
    return low + bent * (high - low)


def _flare(x: Tensor, generator: Generator) -> Tensor:
    """An endorectal coil: gain that falls off from a point behind the gland, or anywhere."""
    h, w = x.shape[-2:]
    row = torch.linspace(-1, 1, h, device=x.device).view(1, 1, h, 1) - _uniform(x, -0.3, 1.2, generator)
    column = torch.linspace(-1, 1, w, device=x.device).view(1, 1, 1, w) - _uniform(x, -0.6, 0.6, generator)
    reach = _uniform(x, 0.3, 1.0, generator)
    return x + _uniform(x, -1.0, 2.5, generator) * torch.exp(-(row**2 + column**2) / (2 * reach**2))


def _blur(x: Tensor, generator: Generator) -> Tensor:
    """A 5x5 binomial blur, mixed with the original."""
    tap = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    kernel = _on(torch.outer(tap, tap), x.device).expand(x.shape[1], 1, 5, 5)
    blurred = F.conv2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), kernel, groups=x.shape[1])
    return torch.lerp(x, blurred, _uniform(x, 0.3, 1.0, generator))


def _low_resolution(x: Tensor, generator: Generator) -> Tensor:
    """Down and up again by one factor for all."""
    factor = float(_draw(1, 0.4, 0.9, generator))
    small = F.interpolate(x, scale_factor=factor, mode="bilinear", antialias=True)
    return F.interpolate(small, x.shape[-2:], mode="bilinear")


def _noise(x: Tensor, generator: Generator) -> Tensor:
    grain = torch.randn(x.shape, generator=beside(x, generator), device=x.device)
    return x + _uniform(x, 0, 0.25, generator) * grain


def _exchanged(x: Tensor, generator: Generator) -> Tensor:  # noqa: ARG001  # one signature for all changes
    """The neighbours change places."""
    return x.flip(1)


def _lonely(x: Tensor, generator: Generator) -> Tensor:  # noqa: ARG001  # one signature for all changes
    """The slice in place of both its neighbours, as in a single image."""
    centre = x.shape[1] // 2
    return x[:, centre : centre + 1].expand_as(x)
