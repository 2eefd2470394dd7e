"""The motion of a filmed face carried over to a portrait, by the published rules for driving video."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from moda.motion import EYE_KEYPOINTS, LIP_KEYPOINTS
from moda.render.liveportrait.keypoints import SPOKEN_MASK, KeypointMotion, angles, retarget

if TYPE_CHECKING:
    from torch import Tensor

    from contracts import Array, Driving
    from moda.render.liveportrait.networks import LivePortrait


def carry_over(networks: LivePortrait, source: KeypointMotion, open_now: Array, rows: Tensor, how: Driving) -> Tensor:
    """The motion [T, 70] that a portrait makes when it is driven by that of a filmed face, ``rows`` [T, 70].

    source: of the portrait; open_now: its own ``openings`` [3].

    Relative motion adds to the portrait what has changed since the first frame, in scale too. Absolute motion takes
    over the pose, the translation and the expression that speech moves, as generated motion does. Retargeting adds
    what the networks say; in relative motion it takes the place of the driving face's own eyes or lips, which would
    else move twice. (The published pipeline then lets nothing move but them; where nothing else moves, both agree.)
    """
    film = KeypointMotion.of_rows(source.canonical, rows)
    expression, degrees, scale, translation = film.expression, film.degrees, source.scale, film.translation
    if how.relative:
        first = KeypointMotion.of_rows(source.canonical, rows[:1])
        expression = source.expression + film.expression - first.expression
        degrees = angles(film.rotation @ first.rotation.mT @ source.rotation)
        translation = source.translation + film.translation - first.translation
        if how.region == "all":
            scale = source.scale * film.scale / first.scale
    if how.region not in ("all", "pose"):
        degrees, translation = source.degrees, source.translation
    count = len(rows)
    driven = KeypointMotion(
        source.canonical,
        torch.where(_moving(how).to(rows.device), expression, source.expression),
        scale.expand(count, -1),
        translation.expand(count, -1),
        degrees.expand(count, -1),
    )
    right, left, lips = (float(ratio) for ratio in open_now)
    for network, now, wanted in ((networks.eyes, (right, left), how.eyes), (networks.lips, (lips,), how.lips)):
        if wanted is not None:
            ratios = torch.tensor([[*now, ratio] for ratio in wanted.tolist()]).to(rows)
            step = retarget(network, source.keypoints, ratios) / driven.scale[..., None]
            driven = replace(driven, expression=driven.expression + step)
    return driven.rows


def _moving(how: Driving) -> Tensor:
    """Which coordinates of the expression the driving face moves, bool [21, 3]."""
    moving = torch.zeros(21, 3, dtype=torch.bool)
    if how.region in ("all", "expression"):
        moving = torch.ones_like(moving) if how.relative else SPOKEN_MASK.clone()
    elif how.region != "pose":
        moving[list(LIP_KEYPOINTS if how.region == "lips" else EYE_KEYPOINTS)] = True
    if how.relative:
        for keypoints, wanted in ((EYE_KEYPOINTS, how.eyes), (LIP_KEYPOINTS, how.lips)):
            if wanted is not None:
                moving[list(keypoints)] = False
    return moving
