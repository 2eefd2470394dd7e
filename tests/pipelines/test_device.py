"""The chain on an accelerator, where there is one: the same motion as on the processor."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from contracts import Conditions, EmotionKey, EmotionTimeline
from encoders.audio.wav2vec import AudioEncoder
from moda.flow.sampler import SamplerConfig, sample
from moda.network.checkpoint import EMBEDDED, load_checkpoint

AVAILABLE = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}


def speak(device: str) -> torch.Tensor:
    sound = np.random.default_rng(0).standard_normal(4 * 16_000).astype(np.float32)
    listener = AudioEncoder.embedded(device)
    tokens = [listener.tokens(features) for features in listener.stream(sound)]
    model, space = load_checkpoint(EMBEDDED, device)
    timeline = EmotionTimeline((EmotionKey(0.0, "neutral"), EmotionKey(1.0, "happiness", 0.7)))
    conditions = Conditions(tokens, torch.zeros(63), timeline)
    return torch.cat(list(sample(model, space, conditions, SamplerConfig(), torch.Generator().manual_seed(0))))


@pytest.mark.parametrize("device", AVAILABLE)
def test_an_accelerator_draws_the_same_motion(device: str) -> None:
    if not AVAILABLE[device]():
        pytest.skip(f"no {device} device here")
    torch.testing.assert_close(speak(device), speak("cpu"), atol=5e-3, rtol=1e-2)


def test_a_seed_means_the_same_motion() -> None:
    one, two = speak("cpu"), speak("cpu")
    assert one.shape == (100, 70) and torch.equal(one, two)
