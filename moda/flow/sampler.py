"""From conditions to motion, window by window: what ties flow, solver, guidance and windows together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from contracts import Conditions
from moda.flow.guidance import Guidance, GuidedVelocity
from moda.flow.path import draw_noise, interpolate, published_sigmas, uniform_sigmas
from moda.flow.solvers import SOLVERS, Velocity
from moda.flow.windows import OVERLAP, crossfade, cut, hold
from moda.motion import LIPS, POSE, MotionError, MotionSpace, evaluate_timeline
from moda.network import MMDiT


@dataclass(frozen=True)
class SamplerConfig:
    """How to walk the flow and how to join the windows. The defaults are the house's, for its own weights; for the
    published see :meth:`for_published` and :meth:`published`."""

    steps: int = 5
    solver: Literal["euler", "ab2", "dpmpp2m", "heun"] = "ab2"
    schedule: Literal["uniform", "published"] = "uniform"
    shift: float = 2.0
    """Of the uniform schedule: above 1, steps are closer at the noisy end. The frames of a window hang together, so
    most is decided there, and a few even steps move too little."""
    guidance: Guidance = field(default_factory=lambda: Guidance(1.0, 1.5))
    """The embedded model follows the sound by itself (:meth:`MMDiT.start`); more than 1 for audio misleads it."""
    lip_temperature: float = 0.2
    """Scale of the noise that the lips start from: at 1 a sample's lips vary as people's do who say the same, towards
    0 they do what is most likely under the sound. Head, brows and eyes are drawn in full."""
    overlap: int = OVERLAP
    join: Literal["pin", "crossfade"] = "pin"
    """``pin``: the overlap is put back at every step, and a window carries on from it (:func:`carry_on`).
    ``crossfade``: windows are drawn apart and blended linearly over the overlap."""
    padding: Literal["hold", "zeros"] = "hold"
    """Audio beyond the end of the clip."""
    smooth_pose: bool = False
    """Scale, translation and rotation through a mean of three frames, each window before it is cross-faded and then the
    whole clip."""

    @classmethod
    def published(cls, guidance: float = 1.2) -> Self:
        """What the published MoDA does."""
        return cls(
            steps=10, solver="euler", schedule="published", guidance=Guidance(guidance, guidance), lip_temperature=1.0,
            join="crossfade", padding="zeros", smooth_pose=True,
        )  # fmt: skip

    @classmethod
    def for_published(cls) -> Self:
        """The house's own way with the published weights: 8 evaluations of a branch for every 20 of :meth:`published`.

        Five steps of order 2 keep the spread of the motion better than ten of Euler, whose last is lost, and guidance
        is left out where little is decided by it, at the first and at the last step. The windows are still drawn apart
        and blended: the network is told one frame of the past, as it was trained, and would not quite carry on from
        frames that are put back; what it drew next would be off by a shift, to be made up for within two frames, as
        its noise is white. Blended windows of one sound, told of one frame, differ little. The three-frame mean of the
        pose is the published one, too: it waits for one frame.
        """
        return cls(
            shift=1.5, guidance=Guidance(1.2, 1.2, (0.3, 0.9)), lip_temperature=1.0, join="crossfade", smooth_pose=True
        )

    @property
    def sigmas(self) -> list[float]:
        return published_sigmas(self.steps) if self.schedule == "published" else uniform_sigmas(self.steps, self.shift)


def sample(
    model: MMDiT,
    space: MotionSpace,
    conditions: Conditions,
    config: SamplerConfig,
    generator: torch.Generator,
    start: Tensor | None = None,
) -> Iterator[Tensor]:
    """Motion for a stretch of speech: chunks [n, 70] in the units of ``space``, float32 on the CPU, as they are ready.

    There is an empty chunk after every step of the solver, so that whoever takes them need not wait for a whole window
    to stop. The chunks add up to as many frames as the audio. ``start`` is the motion [70] of the frame before the
    first, by default the face at rest. Runs on the device of the model and in its dtype; every chance is the
    generator's. Raises MotionError where the audio tokens are not of the model's width, and EmotionError.
    """
    device = model.null_audio.device
    scale, width = space.noise.to(device).clone(), space.width.to(device)
    scale[LIPS] *= config.lip_temperature
    shape = (1, model.config.window, model.config.motion_dim)
    noise = (draw_noise(shape, scale, generator, width) for _ in count())
    before = space.normalise(space.rest if start is None else start.float().cpu())
    easing = 2 + 3 * width  # what moves slowly has long to come round
    for chunk in sample_normalised(model, conditions, config, noise, before.to(device), easing):
        yield space.denormalise(chunk.cpu())


def sample_normalised(
    model: MMDiT, conditions: Conditions, config: SamplerConfig, noise: Iterable[Tensor], start: Tensor,
    easing: Tensor | None = None,
) -> Iterator[Tensor]:  # fmt: skip
    """:func:`sample` in the normalised space, on the noise [1, T, 70] of each window and a normalised ``start``;
    ``easing`` [70] in frames is that of :func:`carry_on`."""
    joined = _pinned if config.join == "pin" else _crossfaded
    chunks = joined(_windows(model, conditions, config, noise, start, easing), config.overlap)
    return _smoothed(chunks) if config.smooth_pose else chunks


def sample_window(
    velocity: Velocity, noise: Tensor, config: SamplerConfig, known: Tensor | None = None
) -> Iterator[Tensor]:
    """One window: noise [B, T, 70] (scaled) -> [B, T, 70] after every step, the last of which is the motion; ``known``
    [B, k, 70] are its first frames, pinned."""

    def pin(x: Tensor, sigma: float) -> Tensor:
        if known is None:
            return x
        k = known.shape[1]
        return torch.cat([interpolate(known, noise[:, :k], sigma), x[:, k:]], dim=1)

    return SOLVERS[config.solver](velocity, noise, config.sigmas, pin)


def carry_on(z: Tensor, known: int, easing: Tensor) -> Tensor:
    """Let a window [B, T, 70] carry on where its first ``known`` frames leave off, in place and in speed.

    In a few steps the network does not quite meet what it is given: what it draws next is off by a shift, which shows
    as a jerk. The shift is taken out at the border, and given back within ``easing`` [70] frames along a Hermite cubic.
    """
    before, after = z[:, known - 1] - z[:, known - 2], z[:, known + 1] - z[:, known]  # speeds on either side
    shift, bend = z[:, known - 1] + (before + after) / 2 - z[:, known], easing * (before - after)
    u = (torch.arange(z.shape[1] - known, device=z.device)[:, None] / easing).clamp(max=1)  # [T - known, 70]
    eased = (1 + 2 * u) * (1 - u) ** 2 * shift[:, None] + u * (1 - u) ** 2 * bend[:, None]
    return torch.cat([z[:, :known], z[:, known:] + eased], dim=1)


@torch.inference_mode()
def _windows(
    model: MMDiT, conditions: Conditions, config: SamplerConfig, noise: Iterable[Tensor], start: Tensor,
    easing: Tensor | None,
) -> Iterator[Tensor]:  # fmt: skip
    """The windows of a clip one by one, [n, 70] without padding, each told of the one before; nothing [0, 70] after
    every step."""
    frames, stride = model.config.window, model.config.window - config.overlap
    device = model.null_audio.device
    identity = conditions.identity.to(device)[None]
    before = start[None, None]  # [1, 1, 70] the frame before the window
    known = before[:, :0]  # [1, 0 or overlap, 70] the first frames of the window
    for window, epsilon in zip(cut(conditions.audio, frames, config.overlap, config.padding), noise, strict=False):
        width, expected = window.audio.shape[-1], model.config.audio_dim
        if width != expected:
            raise MotionError(
                f"audio tokens of width {width} for a motion model that hears {expected}; use the audio encoder it was "
                "trained with"
            )
        context = hold(known if known.shape[1] and model.config.context == "overlap" else before, frames)
        mix = evaluate_timeline(conditions.emotion, window.start, window.start + frames)
        velocity = GuidedVelocity(model, config.guidance, window.audio.to(device)[None], identity, context, mix)
        epsilon = model.start(window.audio.to(device)[None], epsilon)
        z = epsilon
        for z in sample_window(velocity, epsilon, config, known if config.join == "pin" else None):
            yield z[0, :0]
        if easing is not None and config.join == "pin" and known.shape[1] > 1:
            z = carry_on(z, known.shape[1], easing)
        if config.smooth_pose and config.join == "crossfade":
            z = smooth_pose(z)
        before, known = z[:, stride - 1 : stride], z[:, stride:]
        yield z[0, : window.frames]


def _pinned(windows: Iterable[Tensor], overlap: int) -> Iterator[Tensor]:
    """Windows whose overlap repeats the one before -> chunks."""
    begun = False
    for z in windows:
        yield z[overlap:] if begun else z
        begun = begun or len(z) > 0


def _crossfaded(windows: Iterable[Tensor], overlap: int) -> Iterator[Tensor]:
    """Windows that differ over the overlap -> chunks, each without its overlap until the next window is there."""
    tail = None
    for z in windows:
        if not len(z):
            yield z
            continue
        if tail is not None:
            later = crossfade(overlap).to(z)[:, None]
            z = torch.cat([(1 - later) * tail + later * z[:overlap], z[overlap:]])
        done = max(len(z) - overlap, 0)
        if done:
            yield z[:done]
        tail = z[done:]
    if tail is not None and len(tail):
        yield tail


def _smoothed(chunks: Iterable[Tensor]) -> Iterator[Tensor]:
    """:func:`smooth_pose` over a whole clip, one frame behind its chunks."""
    held, begun = None, False  # the last two frames: one that has gone, one that waits
    for chunk in chunks:
        if not len(chunk):
            yield chunk
            continue
        x = chunk if held is None else torch.cat([held, chunk])
        ready = smooth_pose(x)[1 if begun else 0 : -1]
        if len(ready):
            yield ready
            begun = True
        held = x[-2:]
    if held is not None:
        yield smooth_pose(held)[-1:]


def smooth_pose(x: Tensor) -> Tensor:
    """Mean of three frames (of two at the ends) of scale, translation and rotation: [..., T, 70] -> the same."""
    pose = F.avg_pool1d(x[..., POSE].mT, 3, stride=1, padding=1, count_include_pad=False).mT
    return torch.cat([x[..., : POSE.start], pose], dim=-1)
