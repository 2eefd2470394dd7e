"""The shipped weights over time: windows join, seeds differ where they may, nothing drifts, knobs do as they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from contracts import FPS, SAMPLE_RATE, EmotionTimeline
from encoders.audio.media import load_audio
from encoders.audio.wav2vec import AudioEncoder
from moda.flow.sampler import SamplerConfig
from moda.motion.knobs import Knobs
from moda.network.checkpoint import EMBEDDED, load_checkpoint
from pipelines.perform import perform

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
SECONDS = 64
PARTS = {"lips": slice(0, 27), "brows": slice(51, 63), "lids": slice(33, 45), "head": slice(67, 70)}
HEAD = PARTS["head"]


def run(seed: int, seconds: float = SECONDS, knobs: Knobs | None = None) -> np.ndarray:
    """Motion [T, 70] under both example voices, one after the other, again and again."""
    voices = np.concatenate([load_audio(path) for path in sorted(EXAMPLES.glob("voice_*.wav"))])
    sound = np.resize(voices, round(seconds * SAMPLE_RATE))
    listener, (model, space) = AudioEncoder.embedded(), load_checkpoint(EMBEDDED)
    chance, identity = torch.Generator().manual_seed(seed), np.zeros(63, np.float32)
    speech = listener.stream(sound)
    chunks = perform(listener, model, space, speech, identity, EmotionTimeline(), SamplerConfig(), chance, knobs)
    return np.concatenate(list(chunks))


@pytest.fixture(scope="module")
def motion() -> np.ndarray:
    return run(0)


def gap(motion: np.ndarray) -> np.ndarray:
    return motion[:, 7] - motion[:, 10]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("order", [1, 2], ids=["speed", "acceleration"])
def test_windows_join_unseen(motion: np.ndarray, part: str, order: int) -> None:
    rate = np.linalg.norm(np.diff(motion[:, PARTS[part]], n=order, axis=0), axis=1)
    borders = np.zeros(len(motion), bool)
    for first in range(80, len(motion), 64):
        borders[first : first + 2] = True
    at = borders[order:]
    assert at.sum() >= 40
    assert rate[at].mean() <= np.quantile(rate[~at], 0.95)


def test_other_seeds_move_the_head_otherwise_and_the_lips_alike(motion: np.ndarray) -> None:
    other = run(1)
    assert np.corrcoef(gap(motion), gap(other))[0, 1] >= 0.9
    assert np.mean([np.corrcoef(motion[:, i], other[:, i])[0, 1] for i in range(67, 70)]) < 0.5
    assert np.abs(motion[:, HEAD] - other[:, HEAD]).mean() > 1  # degrees


def test_the_head_does_not_wander_off(motion: np.ndarray) -> None:
    quarter = len(motion) // 4
    first, last = motion[:quarter, HEAD], motion[-quarter:, HEAD]
    assert (np.abs(last.mean(0) - first.mean(0)) < 2 * motion[:, HEAD].std(0)).all()


def test_a_still_shut_unblinking_face_and_the_same_seed() -> None:
    short = run(0, 10)
    still = run(0, 10, Knobs(head_motion=0, blink_rate=0, mouth=0, expression=0))
    assert np.ptp(still[:, 63:], axis=0).max() == 0 and np.ptp(still[:, 51:63], axis=0).max() == 0
    assert np.abs(gap(still)).max() < 1e-6
    assert len(still) == len(short) == 10 * FPS
    np.testing.assert_array_equal(run(0, 10, Knobs()), short)
