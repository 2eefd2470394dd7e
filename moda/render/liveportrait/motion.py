"""The motion of a face: where its keypoints are at rest, how the head is held, how the expression moves them.

The published network is ConvNeXt V2 tiny (arXiv 2301.00808) with seven linear heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KEYPOINTS = 21
POSE_BINS = 66  # of 3 degrees, from -97.5 on

#: Heads in the published order, and their widths.
HEADS = {
    "kp": 3 * KEYPOINTS,
    "scale": 1,
    "pitch": POSE_BINS,
    "yaw": POSE_BINS,
    "roll": POSE_BINS,
    "t": 3,
    "exp": 3 * KEYPOINTS,
}


class MotionExtractor(nn.Module):
    """``widths`` and ``depths``: of the four stages, each but the first at half the size of the one before."""

    def __init__(self, widths: Sequence[int], depths: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 4, stride=4)
        self.stem_norm = nn.LayerNorm(widths[0], eps=1e-6)
        self.down = nn.ModuleList(Down(wide, wider) for wide, wider in pairwise(widths))
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(width) for _ in range(depth))) for width, depth in zip(widths, depths, strict=True)
        )
        self.norm = nn.LayerNorm(widths[-1], eps=1e-6)
        self.heads = nn.ModuleDict({name: nn.Linear(widths[-1], width) for name, width in HEADS.items()})

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """image: [B, 3, H, W] RGB in 0..1 -> the raw heads, [B, width] each."""
        x = normalised(self.stem_norm, self.stem(image))
        for down, stage in zip([nn.Identity(), *self.down], self.stages, strict=True):
            x = stage(down(x))
        x = self.norm(x.mean((-2, -1)))  # [B, C]
        return {name: head(x) for name, head in self.heads.items()}


class Down(nn.Module):
    def __init__(self, wide: int, wider: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(wide, eps=1e-6)
        self.conv = nn.Conv2d(wide, wider, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(normalised(self.norm, x))


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.expand = nn.Linear(width, 4 * width)
        self.response = GlobalResponseNorm(4 * width)
        self.project = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.depthwise(x).permute(0, 2, 3, 1)  # [B, H, W, C]
        h = self.project(self.response(F.gelu(self.expand(self.norm(h)))))
        return x + h.permute(0, 3, 1, 2)


class GlobalResponseNorm(nn.Module):
    """Channels compete: each is weighed by its share of the energy of the whole picture."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, H, W, C]."""
        energy = x.norm(dim=(1, 2), keepdim=True)  # [B, 1, 1, C]
        share = energy / (energy.mean(-1, keepdim=True) + 1e-6)
        return torch.addcmul(self.bias, x, torch.addcmul(torch.ones_like(share), self.weight, share))


def normalised(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """A layer normalisation over the channels of x [B, C, H, W]."""
    return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
