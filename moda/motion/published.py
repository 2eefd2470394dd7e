"""What the published MoDA network comes with besides weights: the statistics of its motion, where a portrait's motion
starts, and a last touch on the lips. All in space ``liveportrait``."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from contracts import FPS
from moda.motion.layout import LIP_CHANNELS, SCALE, TRANSLATION
from moda.motion.space import EPSILON, MotionSpace

_STATISTICS = Path(__file__).parents[1] / "assets" / "published_motion.json"

#: The published pipeline lifts the gaze a little in every frame: added to y of these keypoints.
LOOK_UP = {11: 0.0025, 15: 0.0025, 13: 0.00075, 16: 0.00075}

#: Frames of silence after the speech in the published sampling: sampled too, read by `modulate_lips`, then cut.
TAIL = 2 * FPS


def published_space() -> MotionSpace:
    """The published motion space: mean and standard deviation of ``mean.pt``, unit white noise."""
    statistics = json.loads(_STATISTICS.read_text("utf-8"))
    return MotionSpace.from_tensors("liveportrait", {name: torch.tensor(statistics[name]) for name in ("mean", "std")})


def starting_motion(rows: Tensor, space: MotionSpace) -> tuple[Tensor, float]:
    """Where a portrait's motion starts, and the portrait's size.

    rows: [70] of the portrait, as the motion extractor sees it. Returns the frame before the first, [70] in units,
    which is the portrait's at the mean size of ``space`` and without depth, and the ratio r of the portrait's size to
    that mean; what is sampled from there on is brought back by ``resize(motion, r)``.
    """
    start = rows.detach().float().cpu().clone()
    start[TRANSLATION][2] = 0.0
    ratio = float((start[SCALE] + EPSILON) / (space.mean[SCALE] + EPSILON))
    return resize(start, 1 / ratio), ratio


def resize(motion: Tensor, ratio: float) -> Tensor:
    """Scale and translation of motion [..., 70] times ``ratio``."""
    motion = motion.clone()
    motion[..., SCALE.start : TRANSLATION.stop] *= ratio
    return motion


def modulate_lips(motion: Tensor, space: MotionSpace, tail: int = TAIL) -> Tensor:
    """The published lip modulation: motion [T, 70] in units, its last ``tail`` frames under silence -> the same shape.

    The way d of the lips from their place in the silence, and |d|^2 over their 18 normalised numbers, become

        d' = (1 + w) d,   w = (sigmoid(5 |d|^2) - 1/2) / (0.1 max |d|^2 + 0.05),

    with the maximum over the clip: this needs the whole of it (25 MB for an hour), and the lips of a frame depend on
    every other. So it belongs to the published sampling alone, which then cuts the silence.
    """
    z = space.normalise(motion)[:, LIP_CHANNELS]  # [T, 18]
    way = z - z[-max(tail * 3 // 4, 1)]
    distance = way.square().sum(-1, keepdim=True)
    more = (torch.sigmoid(5 * distance) - 0.5) / (0.1 * distance.max() + 0.05)
    motion = motion.clone()
    motion[:, LIP_CHANNELS] += more * way * (space.std[LIP_CHANNELS] + EPSILON)
    return motion


def lift_gaze(motion: Tensor) -> Tensor:
    """LOOK_UP on motion [..., 70] in units."""
    motion = motion.clone()
    for keypoint, step in LOOK_UP.items():
        motion[..., 3 * keypoint + 1] += step
    return motion
