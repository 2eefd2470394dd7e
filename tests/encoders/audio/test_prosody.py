"""How something is said."""

from __future__ import annotations

import numpy as np
import torch

from contracts import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from encoders.audio.prosody import TOLD, Prosody, prosody_targets, speech_frames


def voice(hertz: np.ndarray, level: np.ndarray) -> np.ndarray:
    """A buzz of the pitch and the level of each frame [T] -> float32 [640 T]."""
    phase = 2 * np.pi * np.cumsum(np.repeat(hertz, SAMPLES_PER_FRAME)) / SAMPLE_RATE
    buzz = sum(np.sin(k * phase) / k for k in range(1, 8))
    noise = 1e-4 * np.random.default_rng(0).standard_normal(len(phase))
    return (0.1 * np.repeat(level, SAMPLES_PER_FRAME) * buzz + noise).astype(np.float32)


def test_speech_is_what_is_loud_with_its_short_dips() -> None:
    rng = np.random.default_rng(0)
    loud = np.zeros(200)
    loud[50:150] = 1
    loud[80:85] = 0  # a stop
    loud[20] = 1  # a click
    sound = (0.1 * np.repeat(loud, SAMPLES_PER_FRAME) + 0.001) * rng.standard_normal(200 * SAMPLES_PER_FRAME)
    for level in (1.0, 0.01):
        assert np.array_equal(np.flatnonzero(speech_frames(level * sound)), np.arange(50, 150))


def test_targets_follow_voice_level_and_pitch() -> None:
    hertz, level = np.repeat([120.0, 240.0], 50), np.repeat([1.0, 0.1, 0.0, 1.0], 25)
    for gain in (1.0, 0.02):
        speaking, voicing, loudness, pitch = prosody_targets(gain * voice(hertz, level)).T
        assert np.array_equal(np.flatnonzero(speaking == 0), np.arange(50, 75))
        assert voicing[5:45].mean() > 0.9 and voicing[51:74].max() == 0
        assert abs(np.median(loudness[5:20]) - np.median(loudness[30:45]) - 0.5) < 0.01  # 20 of 40 dB
        assert abs(np.nanmedian(pitch[75:]) - np.nanmedian(pitch[:50]) - 1) < 0.05  # an octave
        assert np.isnan(pitch[voicing == 0]).all()


def heard(speaking: np.ndarray, loudness: np.ndarray, pitch: np.ndarray) -> torch.Tensor:
    chance = 12 * (2 * speaking - 1)
    return torch.from_numpy(np.column_stack([chance, chance, loudness, pitch])).float()


def test_tokens_say_what_is_above_the_usual_and_for_how_long() -> None:
    speaking = np.ones(12 * FPS)
    speaking[8 * FPS : 9 * FPS] = 0
    loudness, pitch = np.full(len(speaking), 0.6), np.full(len(speaking), -0.3)
    stress = slice(6 * FPS, 6 * FPS + 5)
    loudness[stress], pitch[stress] = 0.9, 0.2
    told = dict(zip(TOLD, Prosody()(heard(speaking, loudness, pitch)).T.numpy(), strict=True))
    assert told["loudness rise"][stress].min() > 0.25 and told["pitch rise"][stress].min() > 0.4
    assert np.abs(told["loudness rise"][FPS : 5 * FPS]).max() < 0.01
    assert told["loudness phrase"][6 * FPS + 4] > told["loudness phrase"][6 * FPS - 1] + 0.05
    assert told["spoken"][8 * FPS - 1] > 0.95 and told["spoken"][8 * FPS + 2] < 0.01 < told["paused"][8 * FPS + 2]
    assert told["paused"][9 * FPS - 1] > 0.4 and told["paused"][9 * FPS + 2] < 0.01
    higher = Prosody()(heard(speaking, loudness, pitch + 0.7)).numpy()  # another voice, the same manner
    assert np.abs(higher[2:, 4] - told["pitch rise"][2:]).max() < 1e-3


def test_tokens_go_on_from_stretch_to_stretch_and_do_not_look_ahead() -> None:
    rows = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    whole, follow = Prosody()(rows), Prosody()
    assert torch.equal(torch.cat([follow(rows[:70]), follow(rows[70:71]), follow(rows[71:])]), whole)
    assert torch.equal(Prosody()(rows[:90]), whole[:90])
