"""Lips that meet where nobody speaks, and on p, b and m."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import maximum_filter1d

from contracts import EmotionTimeline
from encoders.audio.media import load_audio
from encoders.audio.visemes import VISEME_INDEX
from encoders.audio.wav2vec import AudioEncoder
from moda.flow.sampler import SamplerConfig
from moda.motion.closures import (
    AT_ENDS,
    CONTEXT,
    SHORTEST,
    TOUCHING,
    SealRule,
    close_lips,
    pause_gate,
    seal_gate,
    shut_lips,
)
from moda.motion.layout import lip_gap
from moda.network.checkpoint import EMBEDDED, load_checkpoint
from pipelines.perform import perform


def test_a_pause_is_long_and_a_closure_is_not() -> None:
    silence = np.zeros(200, np.float32)
    silence[20 : 20 + SHORTEST - 1] = 1  # a breath
    silence[100 : 100 + SHORTEST] = 1
    gate = pause_gate(silence)
    assert gate[:90].max() < 0.01 and gate[110 + SHORTEST :].max() < 0.01
    assert gate[105 : 95 + SHORTEST].min() > 0.98
    assert np.abs(np.diff(gate)).max() < 0.3  # no pop


def test_silence_at_the_ends_counts_sooner() -> None:
    silence = np.zeros(200, np.float32)
    silence[:AT_ENDS] = silence[-AT_ENDS:] = 1
    gate = pause_gate(silence)
    assert gate[0] > 0.99 and gate[-1] > 0.99 and gate[AT_ENDS + 10 : -AT_ENDS - 10].max() < 0.01
    silence[AT_ENDS - 1] = silence[-AT_ENDS] = 0
    assert not pause_gate(silence).any()


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
    np.testing.assert_allclose(gap, np.minimum(before, TOUCHING), atol=1e-6)
    changed = np.flatnonzero(np.any(shut != motion, axis=0))
    assert set(changed) == {7, 10, 16, 25}  # y of inner lips, outer lower lip, chin
    np.testing.assert_array_equal(shut_lips(motion, np.zeros(50, np.float32)), motion)


RULE = SealRule(threshold=0.4, approach=0.1, lead=1, reach=2)


def bilabial(frames: int, *peaks: int) -> np.ndarray:
    posterior = np.full(frames, 0.01, np.float32)
    for peak in peaks:
        posterior[peak - 1 : peak + 2] = 0.3, 0.8, 0.3
    return posterior


def speaking(gap: np.ndarray) -> np.ndarray:
    """Motion [T, 70] whose inner lips are this far apart."""
    motion = np.zeros((len(gap), 70), np.float32)
    motion[:, 7], motion[:, 10] = 0.3 * gap, -0.7 * gap
    return motion


def test_a_bilabial_seals_the_lips_and_nothing_else_does() -> None:
    gap = 0.09 + 0.04 * np.cos(0.5 * np.arange(100))  # closest, .05, at 6.3, 18.8, 31.4, 44, ...
    motion, silence = speaking(gap), np.zeros(100, np.float32)
    shut = close_lips(motion, silence, bilabial(100, 20, 45), RULE, begins=False, ends=False)
    found = lip_gap(torch.from_numpy(shut)).numpy()
    assert set(np.flatnonzero(found <= TOUCHING + 1e-6)) == {19, 44}  # where they are closest about a frame ahead
    touched = {frame + offset for frame in (19, 44) for offset in range(-2, 3)}
    assert set(np.flatnonzero(np.abs(shut - motion).max(1) > 0)) == touched
    assert np.abs(np.diff(found)).max() < 0.06  # no snap: a mouth opens .06 OC a frame at 1.5 OC/s
    np.testing.assert_array_equal(
        close_lips(motion, silence, bilabial(100), RULE, begins=False, ends=False), motion
    )  # fmt: skip


def test_a_video_begins_and_ends_shut_even_in_the_middle_of_a_word() -> None:
    motion, speech = speaking(np.full(50, 0.15)), np.zeros(50, np.float32)
    gap = lip_gap(close_lips(motion, speech, speech))
    assert gap[0] == gap[-1] == pytest.approx(TOUCHING, abs=1e-6) and (gap[4:-4] == gap[25]).all()
    assert np.abs(np.diff(gap)).max() < 0.06  # no snap
    parts = [
        close_lips(motion[a:b], speech[a:b], speech[a:b], begins=a == 0, ends=b == 50) for a, b in ((0, 20), (20, 50))
    ]
    np.testing.assert_array_equal(lip_gap(np.concatenate(parts)), gap)
    for frames in (1, 2, 5):
        assert lip_gap(close_lips(motion[:frames], speech[:frames], speech[:frames]))[[0, -1]].max() < 0.003


def test_lips_that_do_not_approach_are_not_forced() -> None:
    """A wide open mouth under a doubtful posterior is a mistake of the ear, not a closure."""
    gate = seal_gate(bilabial(50, 20), np.full(50, 0.2), RULE)
    assert not gate.any()


def test_a_bilabial_at_either_end() -> None:
    gap = np.full(12, 0.05)
    for peak in (1, 10):
        gate = seal_gate(bilabial(12, peak), gap, RULE)
        assert gate.max() == 1
    assert not seal_gate(np.r_[0.9, np.zeros(11)].astype(np.float32), gap, SealRule(lead=4, reach=2)).any()


def test_frames_need_no_more_than_their_context() -> None:
    rng = np.random.default_rng(0)
    gap, posterior = rng.uniform(0, 0.2, 400), rng.uniform(0, 0.6, 400).astype(np.float32)
    silence = rng.random(140).round().repeat(3)[:400].astype(np.float32)
    whole = close_lips(speaking(gap), silence, posterior, RULE)
    for first, last in ((0, 64), (64, 128), (300, 400)):
        part = slice(max(0, first - CONTEXT), last + CONTEXT)
        closed = close_lips(
            speaking(gap)[part], silence[part], posterior[part], RULE, begins=part.start == 0, ends=part.stop >= 400
        )
        np.testing.assert_allclose(closed[first - part.start :][: last - first], whole[first:last], atol=1e-3)


def test_the_embedded_model_touches_where_it_hears_a_bilabial() -> None:
    listener, (model, space) = AudioEncoder.embedded(), load_checkpoint(EMBEDDED)
    voice = load_audio(Path(__file__).parents[3] / "examples" / "voice_en.wav")[: 5 * 16_000]
    identity, chance, rule = np.zeros(63, np.float32), torch.Generator().manual_seed(0), SealRule()
    speech = listener.stream(voice)
    chunks = perform(listener, model, space, speech, identity, EmotionTimeline(), SamplerConfig(), chance)
    gap = lip_gap(torch.from_numpy(np.concatenate(list(chunks)))).numpy()
    (features,) = listener.stream(voice)
    posterior = features.visemes[:, VISEME_INDEX["PP"]].numpy()
    peaks = np.flatnonzero(
        (posterior > rule.threshold) & (posterior == maximum_filter1d(posterior, 2 * rule.reach + 1))
    )
    centres = peaks - rule.lead
    closest = np.array([gap[max(0, at - rule.reach) : at + rule.reach + 1].min() for at in centres])
    assert len(peaks) >= 3
    assert ((closest <= TOUCHING + 1e-6) | (closest > rule.approach)).all()
    assert (closest <= TOUCHING + 1e-6).mean() > 0.5


def test_the_embedded_model_speaks_and_then_shuts_its_mouth() -> None:
    voice = load_audio(Path(__file__).parents[3] / "examples" / "voice_en.wav")[: 3 * 16_000]
    room = (1e-3 * np.random.default_rng(0).standard_normal(3 * 16_000)).astype(np.float32)
    listener, (model, space) = AudioEncoder.embedded(), load_checkpoint(EMBEDDED)
    identity, chance = np.zeros(63, np.float32), torch.Generator().manual_seed(0)
    sound = np.concatenate([voice, room])
    speech = listener.stream(sound)
    chunks = perform(listener, model, space, speech, identity, EmotionTimeline(), SamplerConfig(), chance)
    motion = np.concatenate(list(chunks))
    gap = lip_gap(torch.from_numpy(motion))
    assert motion.shape == (150, 70)
    assert gap[10:75].max() > 0.1
    assert gap[95:].max() < 0.02
    assert motion[90:, 67:70].std(0).min() > 0.1  # degrees: the head lives on
