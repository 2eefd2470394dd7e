"""The network learns: one clip by heart, and then speaks it from noise."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from contracts import Conditions, EmotionTimeline
from moda.flow.guidance import Guidance
from moda.flow.path import training_point
from moda.flow.sampler import SamplerConfig, sample
from moda.flow.windows import hold
from moda.motion.space import MotionSpace
from moda.motion.timeline import emotion_weights
from moda.network.config import ModelConfig
from moda.network.model import MMDiT
from tests.moda.model_support import generator


@pytest.mark.slow
def test_one_clip_is_learnt_by_heart() -> None:
    """200 steps on one clip of 80 frames; the voice tells the frames apart, so nothing is left to chance."""
    g = generator()
    seconds = torch.arange(80)[:, None] / 25
    frequency = torch.rand(70, generator=g) * 3
    clip = torch.sin(2 * torch.pi * (seconds * frequency + torch.rand(70, generator=g)))  # [80, 70]
    audio = torch.randn(80, 8, generator=g)
    identity = torch.randn(63, generator=g)
    emotion = emotion_weights("neutral")
    model = MMDiT(replace(ModelConfig.tiny(), hidden=96))  # wide enough to carry 70 channels of noise through
    model.initialise(g)
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, 200)
    batch, rest = 8, torch.zeros(1, 1, 70)
    losses = []
    for _ in range(200):
        point = training_point(clip.expand(batch, -1, -1), torch.randn(batch, 80, 70, generator=g), g)
        v = model(
            point.x, point.sigma, hold(rest, 80).expand(batch, -1, -1), audio.expand(batch, -1, -1),
            emotion.expand(batch, -1), identity.expand(batch, -1),
        )  # fmt: skip
        loss = (v - point.velocity).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(1.5, abs=0.2), (
        "a new model predicts nothing, so the loss is the target's variance"
    )
    assert sum(losses[-20:]) / 20 < 0.2

    space = MotionSpace("mesh", torch.zeros(70), torch.ones(70) - 1e-5, torch.ones(70))
    conditions = Conditions([audio], identity, EmotionTimeline())
    spoken = torch.cat(
        list(
            sample(
                model.eval(), space, conditions, SamplerConfig(guidance=Guidance()), generator(1), start=torch.zeros(70)
            )
        )
    )
    assert (spoken - clip).square().mean() < 0.05
