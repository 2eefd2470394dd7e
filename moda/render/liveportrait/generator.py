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
        """x: [B, C, H, W], normalised; feature: [B, F, h, w], each place repeated to the size of x."""
        steered = repeated_conv(self.shared, feature, times=x.shape[-1] // feature.shape[-1])
        scale, shift = self.affine(F.relu(steered)).chunk(2, dim=1)
        return torch.addcmul(shift, x, scale)


def repeated_conv(conv: nn.Conv2d, x: Tensor, times: int) -> Tensor:
    """A 3 x 3 convolution, padded with zeros, of x [B, C, H, W] with each place repeated ``times`` along both sides.

    Repeated places give equal products, so that each tap of the kernel is multiplied with x as it is, and the products
    are added up as they meet: a ``times``-squared part of the multiplications. Returns [B, out, H times, W times].
    """
    if times == 1:
        return conv(x)
    kernel = conv.weight.permute(2, 3, 0, 1).flatten(0, 2)[..., None, None]  # [3 * 3 * out, C, 1, 1]
    taps = F.conv2d(x, kernel).unflatten(1, (3, 3, -1))  # [B, 3 rows, 3 columns, out, H, W]
    for axis in (-2, -1):
        before, here, after = taps.unbind(1)  # of the kernel: they meet the place before, the place, the one after;
        inside = before + here + after  # within the repetitions of a place, all three meet that place
        first = neighbours(before, axis, -1) + here + after
        last = before + here + neighbours(after, axis, 1)
        taps = torch.stack([first, *[inside] * (times - 2), last], dim=axis).flatten(axis - 1, axis)
    return taps if conv.bias is None else taps + conv.bias.view(-1, 1, 1)


def neighbours(x: Tensor, axis: int, step: int) -> Tensor:
    """x [..., H, W] with the place ``step`` (-1 or 1) further along ``axis`` (-2 or -1) in each place's stead, or 0."""
    padding = [0, 0, 0, 0]
    padding[2 * (-1 - axis) + (step > 0)] = 1
    return F.pad(x, padding).narrow(axis, int(step > 0), x.shape[axis])
