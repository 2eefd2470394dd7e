"""The appearance of a portrait: a picture of the face becomes a volume of features that can be turned in depth.

The published network (LivePortrait, arXiv 2407.03168, after face-vid2vid, arXiv 2011.15126) at inference: its batch
normalisations are part of the convolutions before them, see :mod:`moda.render.liveportrait.checkpoint`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AppearanceExtractor(nn.Module):
    """``widths``: of the 2-D convolutions, each but the first at half the size of the one before; the volume has
    ``channels`` channels and ``depth`` planes."""

    def __init__(self, widths: Sequence[int], channels: int, depth: int, residuals: int) -> None:
        super().__init__()
        self.volume = (channels, depth)
        self.first = nn.Conv2d(3, widths[0], 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(wide, wider, 3, padding=1) for wide, wider in pairwise(widths))
        self.second = nn.Conv2d(widths[-1], channels * depth, 1)
        self.residuals = nn.ModuleList(Residual3d(channels) for _ in range(residuals))

    def forward(self, image: Tensor) -> Tensor:
        """image: [B, 3, H, W] RGB in 0..1 -> [B, C, D, H / 4, W / 4] (two convolutions that go down)."""
        x = F.relu(self.first(image))
        for conv in self.down:
            x = F.avg_pool2d(F.relu(conv(x)), 2)
        x = self.second(x).unflatten(1, self.volume)  # [B, C, D, H / 4, W / 4]
        for residual in self.residuals:
            x = residual(x)
        return x


class Residual3d(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = Affine(channels)
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.conv1(F.relu(self.norm(x))))
        return x + self.conv2(h)


class Affine(nn.Module):
    """What a batch normalisation is at inference: a scale and a shift per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, C, D, H, W]."""
        shape = (-1, 1, 1, 1)
        return torch.addcmul(self.bias.view(shape), x, self.weight.view(shape))
