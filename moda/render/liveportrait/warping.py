"""The warp: moves the feature volume of a portrait from the source keypoints to the driving ones.

The published network (LivePortrait, arXiv 2407.03168, after face-vid2vid, arXiv 2011.15126) at inference. Each of the
K keypoints proposes to shift the whole volume by its own displacement, and the background not to; a network over the
shifted volumes weighs the proposals voxel by voxel. Positions are x, y, z in -1..1 over the volume.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KEYPOINT_VARIANCE = 0.01  # of the Gaussian that marks a keypoint in the volume


class Warping(nn.Module):
    """``volume``: channels and planes of the feature volume; ``keypoints``: K; ``compressed``: channels in which the
    proposals are judged; ``widths``: of the hourglass, from the full size down; ``out``: channels of the result."""

    def __init__(
        self, volume: tuple[int, int], keypoints: int, compressed: int, widths: Sequence[int], out: int
    ) -> None:
        super().__init__()
        channels, depth = volume
        self.dense_motion = DenseMotion(channels, depth, keypoints, compressed, widths)
        self.third = nn.Conv2d(channels * depth, out, 3, padding=1)
        self.fourth = nn.Conv2d(out, out, 1)

    def forward(self, feature: Tensor, driving: Tensor, source: Tensor) -> Tensor:
        """feature: [B or 1, C, D, H, W]; driving, source: float32 [B, K, 3] keypoints -> [B, out, H, W]."""
        deformation, occlusion = self.dense_motion(feature, driving, source)
        # Places are too fine for a half-precision number.
        volume = feature.float().expand(len(driving), -1, -1, -1, -1)
        warped = F.grid_sample(volume, deformation, align_corners=False).to(feature.dtype)
        x = F.leaky_relu(self.third(warped.flatten(1, 2)), 0.01)
        return self.fourth(x) * occlusion


class DenseMotion(nn.Module):
    def __init__(self, channels: int, depth: int, keypoints: int, compressed: int, widths: Sequence[int]) -> None:
        super().__init__()
        judged = (keypoints + 1) * (compressed + 1)
        self.compress = nn.Conv3d(channels, compressed, 1)
        self.hourglass = Hourglass(judged, widths)
        out = self.hourglass.out_channels
        self.mask = nn.Conv3d(out, keypoints + 1, 7, padding=3)
        self.occlusion = nn.Conv2d(out * depth, 1, 7, padding=3)

    def forward(self, feature: Tensor, driving: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        """Where each voxel comes from, float32 [B, D, H, W, 3] for ``grid_sample``, and how much of it is seen,
        [B, 1, H, W]. Arguments as in :class:`Warping`."""
        axes = [torch.linspace(-1, 1, length, device=driving.device) for length in feature.shape[2:]]  # z, y, x
        shift = F.pad(source - driving, (0, 0, 1, 0))  # [B, 1 + K, 3], the background first
        compressed = F.relu(self.compress(feature))
        heat = F.pad(gaussians(driving, axes) - gaussians(source, axes), (0, 0, 0, 0, 0, 0, 1, 0))
        proposals = shifted(compressed, shift, axes)  # [B, 1 + K, c, D, H, W]
        x = self.hourglass(torch.cat([heat[:, :, None].to(feature.dtype), proposals], dim=2).flatten(1, 2))
        mask = self.mask(x).float().softmax(dim=1)  # [B, 1 + K, D, H, W]
        # The weights add up to one, so that the shifts alone need weighing.
        here = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=-1)  # [D, H, W, 3] x, y, z
        deformation = here + torch.einsum("bkzyx,bkc->bzyxc", mask, shift)
        return deformation, torch.sigmoid(self.occlusion(x.flatten(1, 2)))


class Hourglass(nn.Module):
    """A U-Net over [B, C, D, H, W] that halves H and W, never D. ``widths``: of its levels, the outermost first."""

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        outer, *deeper = widths
        self.out_channels = outer + channels
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        width = channels
        for wider in deeper:
            self.down.append(nn.Conv3d(width, wider, 3, padding=1))
            width = wider
        for level, wide in enumerate([*deeper[-2::-1], outer]):
            skip = deeper[-1 - level] if level else 0
            self.up.append(nn.Conv3d(width + skip, wide, 3, padding=1))
            width = wide
        self.last = nn.Conv3d(self.out_channels, self.out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        skips = [x]
        for conv in self.down:
            depth, height, width = skips[-1].shape[2:]
            x = F.relu(conv(skips[-1]))
            skips.append(F.adaptive_avg_pool3d(x, (depth, height // 2, width // 2)))  # unlike avg_pool3d, in any dtype
        x = skips.pop()
        for conv in self.up:
            x = F.relu(conv(F.interpolate(x, scale_factor=(1, 2, 2))))
            x = torch.cat([x, skips.pop()], dim=1)
        return F.relu(self.last(x))


def gaussians(keypoints: Tensor, axes: Sequence[Tensor]) -> Tensor:
    """A Gaussian about each keypoint [B, K, 3] over a volume with the axes z, y, x: [B, K, D, H, W]."""
    z, y, x = (
        torch.exp(-0.5 / KEYPOINT_VARIANCE * (axis - centre[..., None]) ** 2)
        for axis, centre in zip(axes, keypoints.flip(-1).unbind(-1), strict=True)
    )
    return torch.einsum("bkz,bky,bkx->bkzyx", z, y, x)


def shifted(volume: Tensor, shift: Tensor, axes: Sequence[Tensor]) -> Tensor:
    """The volume [B, C, D, H, W] read at every voxel + each shift [B, K, 3] (x, y, z): [B, K, C, D, H, W].

    ``grid_sample`` on K whole grids, as published, in less: a shift is the same for all voxels, so that trilinear
    reading is a linear map along each axis in turn. Outside the volume is 0, as there.
    """
    z, y, x = (
        taps(axis, offset).to(volume.dtype) for axis, offset in zip(axes, shift.flip(-1).unbind(-1), strict=True)
    )
    volume = torch.einsum("bczyx,bkwx->bkczyw", volume, x)
    volume = torch.einsum("bkczyx,bkhy->bkczhx", volume, y)
    return torch.einsum("bkczyx,bkdz->bkcdyx", volume, z)


def taps(axis: Tensor, offset: Tensor) -> Tensor:
    """The linear map that reads an axis [N] at ``axis + offset``, offset [B, K]: [B, K, N, N].

    The published grid puts -1 and 1 at the centres of the outermost voxels, and reads them as the outer edges.
    """
    count = len(axis)
    position = ((axis + offset[..., None] + 1) * count - 1) / 2  # [B, K, N] in voxels
    return F.relu(1 - (position[..., None] - torch.arange(count, device=axis.device)).abs())
