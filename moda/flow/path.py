r"""Rectified flow: straight lines from motion to noise, and the schedules that walk them back.

    x_\sigma = (1 - \sigma) x_0 + \sigma n,   n = S \epsilon,   v = dx/d\sigma = n - x_0,   \sigma from 1 to 0

(Liu et al., arXiv 2209.03003; the convention of SD3 and MoDA.) S scales the noise of each channel. Shapes: x, v, motion
x_0 and noise n [B, T, D]; sigma a number or [B].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class FlowPoint:
    """A point on the way: where it is and which way it goes."""

    x: Tensor  # [B, T, D]
    sigma: Tensor  # [B]
    velocity: Tensor  # [B, T, D]

    @classmethod
    def between(cls, motion: Tensor, noise: Tensor, sigma: Tensor) -> FlowPoint:
        return cls(interpolate(motion, noise, sigma), sigma, noise - motion)


def interpolate(motion: Tensor, noise: Tensor, sigma: Tensor | float) -> Tensor:
    sigma = _rows(sigma)
    return (1 - sigma) * motion + sigma * noise


def motion_from(x: Tensor, velocity: Tensor, sigma: Tensor | float) -> Tensor:
    return x - _rows(sigma) * velocity


def draw_noise(
    shape: tuple[int, ...], scale: Tensor, generator: torch.Generator, width: Tensor | None = None
) -> Tensor:
    """S epsilon on the device of ``scale`` [D]; drawn on the generator's own, so that a seed means the same anywhere.

    ``width`` [D] makes the noise of a channel smooth in time: white noise under a Gaussian of that standard deviation
    in frames, again of unit variance at every frame; 0 leaves it white. Shape [B, T, D].
    """
    noise = torch.randn(shape, generator=generator, device=generator.device).to(scale.device)
    if width is not None:
        frame = torch.arange(shape[1], device=scale.device)
        for value in width[width > 0].unique().tolist():
            kernel = torch.exp(-0.5 * ((frame[:, None] - frame) / value) ** 2)  # [T, T]
            kernel /= kernel.norm(dim=1, keepdim=True)
            chosen = width == value
            noise[..., chosen] = kernel @ noise[..., chosen]
    return noise * scale


def training_point(motion: Tensor, noise: Tensor, generator: torch.Generator) -> FlowPoint:
    """A random point per row between ``motion`` and ``noise`` [B, T, D]; its ``velocity`` is the network's target.

    The noise levels are uniform and stratified over the batch, which lowers the variance of the loss.
    """
    batch = len(motion)
    strata = torch.randperm(batch, generator=generator, device=generator.device)
    sigma = (strata + torch.rand(batch, generator=generator, device=generator.device)) / batch
    return FlowPoint.between(motion, noise, sigma.to(motion))


def uniform_sigmas(steps: int, shift: float = 1.0) -> list[float]:
    """steps + 1 levels from 1 to 0. A ``shift`` above 1 lays them closer at the noisy end (SD3, arXiv 2403.03206)."""
    return [shift * t / (1 + (shift - 1) * t) for t in (1 - i / steps for i in range(steps))] + [0.0]


def published_sigmas(steps: int = 10) -> list[float]:
    """The published timesteps linspace(1000, 1, steps) / 1000, then 0: the last evaluation moves x by .001 v only."""
    return [*(torch.linspace(1000, 1, steps, dtype=torch.float64) / 1000).tolist(), 0.0]


def _rows(sigma: Tensor | float) -> Tensor | float:
    """[B] -> [B, 1, 1]."""
    return sigma[:, None, None] if isinstance(sigma, Tensor) else sigma
