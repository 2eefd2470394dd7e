"""The painter: warped features become a picture, normalised again and again by what they say of each place.

The published SPADE decoder (arXiv 1903.07291; LivePortrait, arXiv 2407.03168) at inference.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SpadeGenerator(nn.Module):
    """``features``: channels of the warped features; ``hidden``: of every normalisation; ``middle``: blocks before
    the first enlargement; ``widths``: channels of the blocks, at the size of the features, then after each doubling;
    ``upscale``: pixels that each of the last places is painted with, along a side."""

    def __init__(self, features: int, hidden: int, middle: int, widths: Sequence[int], upscale: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(features, widths[0], 3, padding=1)
        pairs = [*[(widths[0], widths[0])] * middle, *pairwise(widths)]
        self.blocks = nn.ModuleList(SpadeBlock(*pair, features, hidden) for pair in pairs)
        self.middle = middle
        self.last = nn.Conv2d(widths[-1], 3 * upscale**2, 3, padding=1)
        self.upscale = upscale

    def forward(self, feature: Tensor) -> Tensor:
        """feature: [B, C, H, W] -> [B, 3, S, S] RGB in 0..1, S = H * 2^doublings * upscale."""
        x = self.first(feature)
        for depth, block in enumerate(self.blocks):
            x = block(x, feature, enlarge=depth >= self.middle)
        return torch.sigmoid(F.pixel_shuffle(self.last(F.leaky_relu(x, 0.2)), self.upscale))


class SpadeBlock(nn.Module):
    """A residual block whose normalisations are steered by the features; a block that changes the number of channels
    has a steered, normalised shortcut as well."""

    def __init__(self, wide: int, out: int, features: int, hidden: int) -> None:
        super().__init__()
        narrow = min(wide, out)
        self.norm1 = Spade(wide, features, hidden)
        self.conv1 = nn.Conv2d(wide, narrow, 3, padding=1)
        self.norm2 = Spade(narrow, features, hidden)
        self.conv2 = nn.Conv2d(narrow, out, 3, padding=1)
        changes = wide != out
        self.shortcut_norm = Spade(wide, features, hidden) if changes else None
        self.shortcut = nn.Conv2d(wide, out, 1, bias=False) if changes else None

    def forward(self, x: Tensor, feature: Tensor, enlarge: bool) -> Tensor:
        """x: [B, C, H, W] -> [B, out, H, W], or twice as high and wide; feature: [B, F, h, w]."""
        plain = F.instance_norm(x)  # of the small picture: repeating its places changes neither mean nor variance
        if enlarge:
            plain = F.interpolate(plain, scale_factor=2)
        h = self.conv1(F.leaky_relu(self.norm1(plain, feature), 0.2))
        h = self.conv2(F.leaky_relu(self.norm2(F.instance_norm(h), feature), 0.2))
        if self.shortcut is not None and self.shortcut_norm is not None:
            return h + self.shortcut(self.shortcut_norm(plain, feature))
        return h + (F.interpolate(x, scale_factor=2) if enlarge else x)


class Spade(nn.Module):
    """The scale and shift of a normalised picture, told by the features, place by place."""

    def __init__(self, channels: int, features: int, hidden: int) -> None:
        super().__init__()
        self.shared = nn.Conv2d(features, hidden, 3, padding=1)
        self.affine = nn.Conv2d(hidden, 2 * channels, 3, padding=1)  # scale, then shift

    def forward(self, x: Tensor, feature: Tensor) -> Tensor:
        """x: [B, C, H, W], normalised; feature: [B, F, h, w], repeated to the size of x."""
        if feature.shape[2:] != x.shape[2:]:
            feature = F.interpolate(feature, x.shape[2:])
        scale, shift = self.affine(F.relu(self.shared(feature))).chunk(2, dim=1)
        return torch.addcmul(shift, x, scale)
