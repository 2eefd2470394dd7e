"""Training of the motion generator: rectified flow on real talking motion.

What the sound decides, the lips, starts from noise about what it foretells, and weighs most; what it does not
decide, head, brows, lids and gaze, starts from full noise, so that one sample follows the articulation and is free
elsewhere. Emotion labels are what the faces show, little as a rule, and act through the emotion templates, mixed into
the targets in proportion to the intensity.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from contracts import EMOTIONS, KEYPOINT_VERTICES, MIRRORED_VERTICES, MOTION_DIM
from moda.flow import OVERLAP, draw_noise, motion_from, training_point
from moda.motion import EXPRESSION, LIPS, LOWER_LIP_Y, POSE, UPPER_LIDS, UPPER_LIP_Y, MotionSpace, express, lip_gap
from moda.network import MMDiT, ModelConfig, save_checkpoint

log = logging.getLogger(__name__)

NEUTRAL, NONE = EMOTIONS.index("neutral"), EMOTIONS.index("none")
CHEEKS = slice(27, 33)
EYES = slice(33, 51)  # lids and irises
BROWS = slice(51, 63)


@dataclass(frozen=True)
class Example:
    """One recording with its motion; tokens and motion share the frame count T."""

    tokens: Tensor  # [T, A] audio tokens
    motion: Tensor  # [T, 70] in units
    valid: Tensor  # bool [T]: the face was seen
    resting: Tensor  # bool [T]: silence put before or behind, of which the mouth alone is known
    identity: Tensor  # [63]
    emotion: Tensor  # [T, 9] weights over the emotions that the face shows
    steady: bool  # the head pose is good enough to learn from
    weight: float  # how often it is drawn


@dataclass(frozen=True)
class TrainConfig:
    steps: int = 1600
    batch: int = 16
    learning_rate: float = 7e-4
    warmup: int = 200
    ema: float = 0.999
    overlap: int = OVERLAP
    drop_audio: float = 0.1
    drop_emotion: float = 0.2
    drop_identity: float = 0.1
    unmixed: float = 0.3  # windows under the label of what the face shows, without a template
    emphasis: float = 1.35  # of the lips about their mean; what can be foretold of a motion is less than the motion
    open_share: float = 0.35  # of what the sound leaves open about the lips; more of it hides what the sound decides
    checkpoint: int = 200
    seed: int = 0
    precision: torch.dtype = torch.float32  # of the network's arithmetic; parameters and losses stay float32


@dataclass(frozen=True)
class Batch:
    tokens: Tensor  # [B, T, A]
    motion: Tensor  # [B, T, 70] in units, emotion mixed in
    weight: Tensor  # [B, T, 70] what counts, 0 where nothing is known
    identity: Tensor  # [B, 63]
    emotion: Tensor  # [B, 9]
    known: Tensor  # int [B] frames of known overlap, 0 at the start of a recording


def lite_space(examples: list[Example]) -> MotionSpace:
    """Statistics of the training motion, made left-right symmetric, and the noise that each channel starts from."""
    motion = torch.cat([example.motion[example.valid & ~example.resting] for example in examples])
    motion = torch.cat([motion, mirror(motion)])
    noise = torch.ones(MOTION_DIM)
    noise[: CHEEKS.stop] = 0.25  # about what the sound foretells of the mouth: as much as is left open
    width = torch.zeros(MOTION_DIM)  # frames; about half as slow as the motion itself
    width[LIPS], width[CHEEKS], width[EYES], width[BROWS], width[POSE] = 1.0, 1.5, 1.5, 2.5, 5.0
    return MotionSpace("mesh", motion.mean(0), motion.std(0), noise, width)


def mirror(motion: Tensor) -> Tensor:
    """Left-right mirror image of motion [..., 70] in units."""
    expression = motion[..., EXPRESSION].unflatten(-1, (21, 3))
    order = list(range(21))
    for right, left in MIRRORED_VERTICES:
        a, b = KEYPOINT_VERTICES.index(right), KEYPOINT_VERTICES.index(left)
        order[a], order[b] = b, a
    flipped = expression[..., order, :] * torch.tensor([-1.0, 1.0, 1.0])
    rest = motion[..., POSE] * torch.tensor([1.0, -1.0, 1.0, 1.0, 1.0, -1.0, -1.0])  # scale, x y z, pitch yaw roll
    return torch.cat([flipped.flatten(-2), rest], dim=-1)


def emphasise(example: Example, space: MotionSpace, gain: float) -> Example:
    """The recording with its lips moved further from their mean, but where they rest."""
    motion = example.motion.clone()
    motion[:, LIPS] += (gain - 1) * (motion[:, LIPS] - space.mean[LIPS])
    return replace(example, motion=torch.where(example.resting[:, None], example.motion, motion))


@torch.no_grad()
def settle(example: Example, prior: nn.Linear, space: MotionSpace, share: float) -> Example:
    """The recording with lips that keep to what the sound foretells, but for a share of what it leaves open, and but
    where they rest."""
    foretold = space.denormalise(prior(example.tokens[:, -prior.in_features :].float()))
    motion = example.motion.clone()
    motion[:, LIPS] = foretold[:, LIPS] + share * (motion[:, LIPS] - foretold[:, LIPS])
    return replace(example, motion=torch.where(example.resting[:, None], example.motion, motion))


@torch.no_grad()
def fit_prior(prior: nn.Linear, examples: list[Example], space: MotionSpace, ridge: float = 0.03) -> None:
    """Ridge regression of the normalised mouth on the audio; what sound does not decide starts at the mean."""
    tokens = torch.cat([example.tokens[example.valid, -prior.in_features :] for example in examples]).double()
    both_sides = [(example.motion + mirror(example.motion))[example.valid] / 2 for example in examples]
    motion = space.normalise(torch.cat(both_sides)).double()
    mouth = slice(0, CHEEKS.stop)
    centre, mean = tokens.mean(0), motion[:, mouth].mean(0)
    tokens -= centre
    covariance = tokens.T @ tokens / len(tokens)
    covariance += ridge * covariance.diagonal().mean() * torch.eye(len(covariance))
    weight = torch.linalg.solve(covariance, tokens.T @ (motion[:, mouth] - mean) / len(tokens)).T
    prior.weight[mouth], prior.bias[mouth] = weight.float(), (mean - weight @ centre).float()


def channel_weights() -> Tensor:
    """[70] weight of each channel in the loss: the lips are what the product is judged by."""
    weights = torch.full((MOTION_DIM,), 0.7)
    weights[LIPS] = 2.0
    weights[[UPPER_LIP_Y, LOWER_LIP_Y]] = 5.0
    weights[UPPER_LIDS] = 2.0  # a blink is short: in the mean over frames it hardly counts
    weights[66] = 0.0  # translation in depth is not tracked
    return weights


def train_motion(
    examples: list[Example], heldout: list[Example], config: ModelConfig, out: Path, settings: TrainConfig,
    keep: Callable[[dict], None], kept: dict | None = None, progress: Callable[[int], object] = lambda steps: None,
) -> None:  # fmt: skip
    """Train from scratch, on the CPU. At every checkpoint the weights so far replace `out`, and `keep` is given all
    that a later call needs as `kept` to go on from there as if nothing had happened. `progress` is told the steps
    done, after each."""
    generator = torch.Generator().manual_seed(settings.seed)
    space = lite_space(examples)
    sets = [[emphasise(example, space, settings.emphasis) for example in part] for part in (examples, heldout)]
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        model = MMDiT(config)
    if model.prior is not None:
        fit_prior(model.prior, sets[0], space)
        sets = [[settle(example, model.prior, space, settings.open_share) for example in part] for part in sets]
    examples, heldout = sets
    average = copy.deepcopy(model).requires_grad_(False)
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    states: dict[str, Any] = {"model": model, "average": average, "optimiser": optimiser}
    begin = 0
    if kept is not None:
        begin = kept["step"]
        generator.set_state(kept["chance"])
        for name, state in states.items():
            state.load_state_dict(kept[name])
    losses: dict[str, list[float]] = {}
    began = time.monotonic()
    for step, batch in enumerate(batches(examples, config.window, settings, settings.seed, begin), begin):
        anneal = 0.52 + 0.48 * math.cos(math.pi * step / settings.steps)
        rate = settings.learning_rate * min(1, (step + 1) / settings.warmup) * anneal
        for group in optimiser.param_groups:
            group["lr"] = rate
        parts = flow_loss(model, space, batch, settings, generator)
        total = torch.stack(list(parts.values())).sum()
        optimiser.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        decay = min(settings.ema, (step + 1) / (step + 10))
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
                slow.lerp_(fast, 1 - decay)
        for name, value in parts.items():
            losses.setdefault(name, []).append(value.item())
        if step % 50 == 0:
            means = " ".join(f"{name} {np.mean(values[-50:]):.3f}" for name, values in losses.items())
            log.info("step %d %.0f s lr %.2e %s", step, time.monotonic() - began, rate, means)
        if (step + 1) % settings.checkpoint == 0 or step + 1 == settings.steps:
            with torch.no_grad():
                scores = _heldout_loss(average, space, heldout, settings)
            log.info("held out: %s", " ".join(f"{name} {value:.3f}" for name, value in scores.items()))
            notes = {"steps": str(step + 1), "seed": str(settings.seed), "licence": "Apache-2.0"}
            save_checkpoint(out, average, space, notes)
            state = {name: part.state_dict() for name, part in states.items()}
            keep(state | {"step": step + 1, "chance": generator.get_state()})
        progress(step + 1)


def flow_loss(
    model: MMDiT, space: MotionSpace, batch: Batch, settings: TrainConfig, generator: torch.Generator
) -> dict[str, Tensor]:
    """Rectified-flow loss, and on the implied motion x0 = x - sigma v its speed, acceleration and lip gap."""
    x0 = space.normalise(batch.motion)
    noise = model.start(batch.tokens, draw_noise(tuple(x0.shape), space.noise, generator, space.width))
    point = training_point(x0, noise, generator)
    drop = torch.rand(len(x0), generator=generator) < settings.drop_audio
    context = _context(x0, batch.known, space)
    with torch.autocast("cpu", settings.precision, enabled=settings.precision != torch.float32):
        found = model(point.x, point.sigma, context, batch.tokens, batch.emotion, batch.identity, drop)
    found = found.float()
    weight = batch.weight * channel_weights()
    losses = {"flow": _mean((found - point.velocity).square(), weight)}
    implied = motion_from(point.x, found, point.sigma)
    both = torch.minimum(weight[:, 1:], weight[:, :-1])
    losses["speed"] = _mean((implied.diff(dim=1) - x0.diff(dim=1)).square(), both)
    three = torch.minimum(both[:, 1:], both[:, :-1])
    losses["acceleration"] = 0.3 * _mean((implied.diff(n=2, dim=1) - x0.diff(n=2, dim=1)).square(), three)
    gap, wanted = lip_gap(space.denormalise(implied)) / 0.07, lip_gap(batch.motion) / 0.07
    excess = gap - wanted
    # a mouth that should be shut and is not is seen at once; one that is a little too shut is not
    skew = torch.where((wanted < 0.5) & (excess > 0), 3.0, 1.0)
    heard = torch.where(drop, 0.0, 1.0)[:, None] * batch.weight[..., UPPER_LIP_Y]
    losses["gap"] = _mean(skew * excess.square(), heard)
    return losses


def batches(examples: list[Example], window: int, settings: TrainConfig, seed: int, begin: int = 0) -> Iterator[Batch]:
    """The batches of steps `begin` to `settings.steps`; a batch depends on its step and the seed alone."""
    odds = np.array([example.weight for example in examples])
    odds /= odds.sum()
    for step in range(begin, settings.steps):
        rng = np.random.default_rng([seed, step])
        chosen = [examples[i] for i in rng.choice(len(examples), settings.batch, p=odds)]
        yield _stack([_window(example, window, settings, rng) for example in chosen])


def _window(example: Example, window: int, settings: TrainConfig, rng: np.random.Generator) -> Batch:
    """A random window of one recording, mirrored half the time; beyond its end it is held, and not counted."""
    begin = int(rng.integers(0, max(1, len(example.motion) - window + 1)))
    part = slice(begin, begin + window)
    missing = window - len(example.motion[part])
    tokens, motion = (
        torch.cat([track[part], track[-1:].expand(missing, -1)]).float() for track in (example.tokens, example.motion)
    )
    valid = nn.functional.pad(example.valid[part], (0, missing)).float()
    resting = nn.functional.pad(example.resting[part], (0, missing))
    if rng.random() < 0.5:
        motion = mirror(motion)
    emotion = example.emotion[part].mean(0)
    kind = rng.random()
    if kind < settings.drop_emotion:
        emotion = torch.eye(len(EMOTIONS))[NONE]
    elif kind > settings.drop_emotion + settings.unmixed:
        label = int(rng.choice([i for i in range(NONE) if i != NEUTRAL]))
        intensity = float(rng.uniform(0.2, 1.0))
        emotion = (1 - intensity) * emotion + intensity * torch.eye(len(EMOTIONS))[label]
        motion = express(motion, label, intensity)
    known = settings.overlap if rng.random() < 0.7 else 0
    weight = valid[:, None].expand(-1, MOTION_DIM).clone()
    weight[:known] = 0.0  # given, not predicted
    weight[resting, CHEEKS.stop :] = 0.0
    if not example.steady:
        weight[:, POSE] = 0.0
    identity = example.identity + torch.from_numpy(rng.normal(0, 0.01, 63).astype(np.float32))
    if rng.random() < settings.drop_identity:
        identity = torch.zeros_like(identity)
    return Batch(tokens, motion, weight, identity, emotion, torch.tensor(known))


def _stack(items: list[Batch]) -> Batch:
    fields = Batch.__dataclass_fields__
    return Batch(**{name: torch.stack([getattr(item, name) for item in items]) for name in fields})


def _context(x0: Tensor, known: Tensor, space: MotionSpace) -> Tensor:
    """Context track [B, T, 70]: the known frames and the last of them held, or the motion at rest."""
    frame = torch.arange(x0.shape[1])[None].expand(len(x0), -1)
    held = torch.minimum(frame, (known - 1).clamp(min=0)[:, None])
    track = x0.gather(1, held[..., None].expand(-1, -1, x0.shape[-1]))
    return torch.where(known[:, None, None] > 0, track, space.normalise(space.rest))


def _mean(error: Tensor, weight: Tensor) -> Tensor:
    return (error * weight).sum() / weight.sum().clamp(min=1.0)


def _heldout_loss(model: MMDiT, space: MotionSpace, examples: list[Example], settings: TrainConfig) -> dict[str, float]:
    """The training loss on held-out speakers, with the same draws every time."""
    generator = torch.Generator().manual_seed(1)
    settings = replace(settings, steps=6, drop_audio=0.0)
    parts = [
        flow_loss(model, space, batch, settings, generator)
        for batch in batches(examples, model.config.window, settings, seed=1)
    ]
    return {name: float(np.mean([part[name].item() for part in parts])) for name in parts[0]}
