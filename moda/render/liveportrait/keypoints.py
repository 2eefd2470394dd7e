"""The keypoint equations of the published renderer, and its rule for speech; that for video is in ``driving``.

LivePortrait, arXiv 2407.03168: a portrait's K = 21 keypoints are x = s (x_c R + delta) + t, of canonical keypoints
x_c, head rotation R, expression delta, scale s and translation t.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moda.motion import EXPRESSION, ROTATION, SCALE, TRANSLATION

BIN, FIRST_BIN = 3.0, -97.5  # degrees, of the head-pose bins

#: What speech drives of the expression, by keypoint: the others stay as the portrait has them.
SPOKEN = {
    1: "xyz", 2: "xyz", 3: "y", 4: "y", 5: "z", 6: "xyz", 8: "z", 9: "yz", **dict.fromkeys(range(11, 21), "xyz"),
}  # fmt: skip

SPOKEN_MASK = torch.tensor([[axis in SPOKEN.get(keypoint, "") for axis in "xyz"] for keypoint in range(21)])


@dataclass(frozen=True)
class KeypointMotion:
    """What the motion extractor sees, float32, B pictures: all that the keypoints are made of."""

    canonical: Tensor  # [B, 21, 3]
    expression: Tensor  # [B, 21, 3]
    scale: Tensor  # [B, 1]
    translation: Tensor  # [B, 3]
    degrees: Tensor  # [B, 3] pitch, yaw, roll

    @classmethod
    def of(cls, heads: Mapping[str, Tensor]) -> KeypointMotion:
        """Of the raw heads of the motion extractor."""
        angles = [degrees(heads[name].float()) for name in ("pitch", "yaw", "roll")]
        return cls(
            heads["kp"].float().unflatten(-1, (-1, 3)),
            heads["exp"].float().unflatten(-1, (-1, 3)),
            heads["scale"].float(),
            heads["t"].float(),
            torch.stack(angles, dim=-1),
        )

    @classmethod
    def of_rows(cls, canonical: Tensor, rows: Tensor) -> KeypointMotion:
        """Of motion [B, 70] in space ``liveportrait`` (see ``contracts.Motion``)."""
        expression = rows[:, EXPRESSION].unflatten(-1, (-1, 3))
        return cls(canonical, expression, rows[:, SCALE], rows[:, TRANSLATION], rows[:, ROTATION])

    @property
    def rows(self) -> Tensor:
        """The motion, [B, 70] in space ``liveportrait``."""
        return torch.cat([self.expression.flatten(1), self.scale, self.translation, self.degrees], dim=-1)

    @property
    def rotation(self) -> Tensor:
        """[B, 3, 3], applied from the right."""
        return rotation(self.degrees)

    @property
    def keypoints(self) -> Tensor:
        """Where they are, [B, 21, 3]."""
        return place(self.canonical, self.rotation, self.expression, self.scale, self.translation)


def degrees(logits: Tensor) -> Tensor:
    """The expected angle over the head-pose bins, [B, bins] -> [B]."""
    angles = BIN * torch.arange(logits.shape[-1], dtype=logits.dtype, device=logits.device) + FIRST_BIN
    return (logits.softmax(-1) * angles).sum(-1)


def rotation(angles: Tensor) -> Tensor:
    """Pitch, yaw, roll in degrees, [B, 3] -> [B, 3, 3], (Rz Ry Rx) transposed."""
    (cx, cy, cz), (sx, sy, sz) = (f(torch.deg2rad(angles)).unbind(-1) for f in (torch.cos, torch.sin))
    matrix = [
        [cy * cz, cy * sz, -sy],
        [sx * sy * cz - cx * sz, sx * sy * sz + cx * cz, sx * cy],
        [cx * sy * cz + sx * sz, cx * sy * sz - sx * cz, cx * cy],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in matrix], dim=-2)


def angles(rotation: Tensor) -> Tensor:
    """Inverse of :func:`rotation`, for a yaw within 90 degrees: [B, 3, 3] -> pitch, yaw, roll in degrees, [B, 3]."""
    pitch = torch.atan2(rotation[:, 1, 2], rotation[:, 2, 2])
    yaw = torch.asin(-rotation[:, 0, 2].clamp(-1, 1))
    roll = torch.atan2(rotation[:, 0, 1], rotation[:, 0, 0])
    return torch.rad2deg(torch.stack([pitch, yaw, roll], dim=-1))


def place(canonical: Tensor, rotation: Tensor, expression: Tensor, scale: Tensor, translation: Tensor) -> Tensor:
    """s (x_c R + delta) + t in x and y: depth is left out of the translation, as published. [B, 21, 3]."""
    flat = F.pad(translation[..., :2], (0, 1))
    return scale[..., None] * (canonical @ rotation + expression) + flat[..., None, :]


def spoken_keypoints(source: KeypointMotion, rows: Tensor) -> Tensor:
    """Where generated motion puts a portrait's keypoints, before stitching: the published rules for speech.

    source: of one portrait; rows: [B, 70] in space ``liveportrait``. Pose and translation are the generated ones, the
    scale is the portrait's, and so is the expression where SPOKEN says nothing. Returns [B, 21, 3].
    """
    driving = KeypointMotion.of_rows(source.canonical, rows)
    expression = torch.where(SPOKEN_MASK.to(rows.device, non_blocking=True), driving.expression, source.expression)
    return place(source.canonical, driving.rotation, expression, source.scale, driving.translation)


def told_keypoints(source: KeypointMotion, rows: Tensor) -> Tensor:
    """Where a portrait's keypoints are when it makes the motion [B, 70] that is its own to the last number, as
    :func:`moda.render.liveportrait.driving.carry_over` gives it: [B, 21, 3]."""
    return KeypointMotion.of_rows(source.canonical, rows).keypoints


# ---- the small networks on keypoints -------------------------------------------------------------------------------


class KeypointMLP(nn.Sequential):
    """Linear layers of the given widths with ReLU in between."""

    def __init__(self, widths: list[int]) -> None:
        layers: list[nn.Module] = []
        for wide, wider in pairwise(widths):
            layers += [nn.Linear(wide, wider), nn.ReLU()]
        super().__init__(*layers[:-1])


def stitch(network: KeypointMLP, source: Tensor, driving: Tensor) -> Tensor:
    """The driving keypoints [B, 21, 3], corrected so that shoulders and hair stay with the picture of the source's."""
    source = source.expand_as(driving)
    correction = network(torch.cat([source.flatten(1), driving.flatten(1)], dim=1))
    shape, shift = correction.split([driving[0].numel(), 2], dim=1)
    return driving + shape.view_as(driving) + F.pad(shift, (0, 1))[:, None]


def retarget(network: KeypointMLP, source: Tensor, ratios: Tensor) -> Tensor:
    """What to add to driving keypoints for eyes or lips as open as asked, [B, 21, 3].

    source: [1, 21, 3] the portrait's keypoints; ratios: opening over width; of the portrait's right and left eye and
    the one wanted, [B, 3], for the network of the eyes; of the portrait's lips and the one wanted, [B, 2], for that
    of the lips.
    """
    keypoints = source.expand(len(ratios), -1, -1)
    return network(torch.cat([keypoints.flatten(1), ratios], dim=1)).view_as(keypoints)
