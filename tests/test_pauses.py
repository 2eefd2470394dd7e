"""Lips that rest where nobody speaks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from contracts import EmotionTimeline
from encoders.media import load_audio
from encoders.wav2vec import AudioEncoder
from moda.checkpoint import load_checkpoint
from moda.pauses import CONTEXT, SHORTEST, pause_gate, shut_lips
from moda.sampler import SamplerConfig
from moda.train import lip_gap
from pipelines.perform import perform
from pipelines.talk import EMBEDDED


def test_a_pause_is_long_and_a_closure_is_not() -> None:
    silence = np.zeros(100, np.float32)
    silence[20 : 20 + SHORTEST - 1] = 1  # p, b, m
    silence[50:80] = 1
    gate = pause_gate(silence)
    assert gate[:40].max() < 0.01 and gate[90:].max() < 0.01
    assert gate[55:75].min() > 0.98
    assert np.abs(np.diff(gate)).max() < 0.3  # no pop


def test_silence_at_the_ends_counts_from_the_first_frame_to_the_last() -> None:
    silence = np.zeros(60, np.float32)
    silence[:3] = silence[-3:] = 1
    gate = pause_gate(silence)
    assert gate[0] > 0.9 and gate[-1] > 0.9 and gate[20:40].max() < 0.01


def test_a_gate_needs_no_more_than_its_context() -> None:
    silence = np.random.default_rng(0).random(400).round().repeat(3)[:400].astype(np.float32)
    whole = pause_gate(silence)
    for first, last in ((0, 64), (64, 128), (300, 400)):
        begin = max(0, first - CONTEXT)
        part = pause_gate(silence[begin : last + CONTEXT])[first - begin : last - begin]
        np.testing.assert_allclose(part, whole[first:last], atol=1e-3)


def test_lips_meet_and_the_rest_of_the_face_stays() -> None:
    motion = np.random.default_rng(0).normal(0, 0.05, (50, 70)).astype(np.float32)
    shut = shut_lips(motion, np.ones(50, np.float32))
    gap, before = (lip_gap(torch.from_numpy(m)).numpy() for m in (shut, motion))
    np.testing.assert_allclose(gap, np.minimum(before, 0.004), atol=1e-6)
    changed = np.flatnonzero(np.any(shut != motion, axis=0))
    assert set(changed) == {7, 10, 16, 25}  # y of inner lips, outer lower lip, chin
    np.testing.assert_array_equal(shut_lips(motion, np.zeros(50, np.float32)), motion)


def test_the_embedded_model_speaks_and_then_shuts_its_mouth() -> None:
    voice = load_audio(Path(__file__).parents[1] / "examples" / "voice_en.wav")[: 3 * 16_000]
    room = (1e-3 * np.random.default_rng(0).standard_normal(2 * 16_000)).astype(np.float32)
    listener, (model, space) = AudioEncoder.embedded(), load_checkpoint(EMBEDDED)
    identity, chance = np.zeros(63, np.float32), torch.Generator().manual_seed(0)
    sound = np.concatenate([voice, room])
    chunks = perform(listener, model, space, sound, identity, EmotionTimeline(), SamplerConfig(), chance)
    motion = np.concatenate(list(chunks))
    gap = lip_gap(torch.from_numpy(motion))
    assert motion.shape == (125, 70)
    assert gap[10:75].max() > 0.1
    assert gap[90:].max() < 0.02
    assert motion[90:, 67:70].std(0).min() > 0.1  # degrees: the head lives on
