"""Guidance and emotion timelines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from contracts import EMOTIONS, EmotionKey, EmotionTimeline
from moda.flow.guidance import Guidance, GuidedVelocity
from moda.motion.timeline import EmotionError, EmotionMix, emotion_weights, evaluate_timeline
from moda.network.model import NULL_EMOTION, MMDiT
from tests.moda.model_support import random_inputs, random_model

SIGMA = 0.6


class Calls:
    """A model that notes the batch of each call of ``velocity``."""

    def __init__(self, model: MMDiT) -> None:
        self.model, self.batches = model, []

    def __getattr__(self, name: str) -> object:
        return getattr(self.model, name)

    def velocity(self, x: torch.Tensor, *rest: object) -> torch.Tensor:
        self.batches.append(len(x))
        return self.model.velocity(x, *rest)


@pytest.fixture
def calls() -> Iterator[Calls]:
    with torch.no_grad():
        yield Calls(random_model())


def single(emotion: str = "happiness", intensity: float = 1.0) -> EmotionMix:
    return EmotionMix(emotion_weights(emotion, intensity)[None], torch.ones(1, 80))


def guided(model: object, guidance: Guidance, mix: EmotionMix, inputs: dict[str, torch.Tensor]) -> GuidedVelocity:
    return GuidedVelocity(model, guidance, inputs["audio"], inputs["identity"], inputs["context"], mix)


def branch(model: MMDiT, inputs: dict[str, torch.Tensor], emotion: torch.Tensor, silent: bool = False) -> torch.Tensor:
    """One branch by a call of its own."""
    drop = torch.full((len(inputs["x"]),), silent)
    embedded = model.embed(inputs["audio"], emotion.expand(len(drop), -1), inputs["identity"], drop)
    return model.velocity(inputs["x"], torch.full((len(drop),), SIGMA), inputs["context"], embedded)


def branches(model: MMDiT, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    null = torch.eye(9)[NULL_EMOTION]
    return (
        branch(model, inputs, emotion_weights("happiness")),
        branch(model, inputs, null),
        branch(model, inputs, null, silent=True),
    )


def test_scales_of_one_call_the_net_once(calls: Calls) -> None:
    inputs = random_inputs(calls.model.config)
    v = guided(calls, Guidance(), single(), inputs)(inputs["x"], SIGMA)
    assert calls.batches == [2]
    assert torch.equal(v, branches(calls.model, inputs)[0])


def test_equal_scales_are_the_published_formula(calls: Calls) -> None:
    inputs = random_inputs(calls.model.config)
    v = guided(calls, Guidance(1.7, 1.7), single(), inputs)(inputs["x"], SIGMA)
    assert calls.batches == [4], "two branches of two rows in one call"
    both, _, nothing = branches(calls.model, inputs)
    torch.testing.assert_close(v, nothing + 1.7 * (both - nothing), rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("audio", "emotion", "rows"), [(1.5, 2.5, 6), (1.0, 2.0, 4), (1.5, 0.0, 4), (1.0, 0.0, 2), (0, 0, 2)]
)
def test_separate_scales(calls: Calls, audio: float, emotion: float, rows: int) -> None:
    inputs = random_inputs(calls.model.config)
    v = guided(calls, Guidance(audio, emotion), single(), inputs)(inputs["x"], SIGMA)
    assert calls.batches == [rows]
    both, heard, nothing = branches(calls.model, inputs)
    expected = (1 - audio) * nothing + (audio - emotion) * heard + emotion * both
    torch.testing.assert_close(v, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("guidance", [Guidance(1.5, 2.0, (0.3, 0.8)), Guidance(1.5, 0.0, (0.3, 0.8))])
def test_outside_the_interval_only_the_conditional_branch(calls: Calls, guidance: Guidance) -> None:
    inputs = random_inputs(calls.model.config)
    plain = guided(calls, Guidance(), single(), inputs)
    bounded = guided(calls, guidance, single(), inputs)
    calls.batches.clear()
    for sigma in (1.0, 0.81, 0.3, 0.1):
        torch.testing.assert_close(bounded(inputs["x"], sigma), plain(inputs["x"], sigma), rtol=0, atol=2e-5)
    assert set(calls.batches) == {2}
    assert (bounded(inputs["x"], 0.8) - plain(inputs["x"], 0.8)).abs().max() > 0.05


def test_emotions_are_mixed_frame_by_frame(calls: Calls) -> None:
    inputs = random_inputs(calls.model.config)
    emotions = torch.stack([emotion_weights("happiness"), emotion_weights("anger", 0.5)])
    share = torch.linspace(0, 1, 80)
    v = guided(calls, Guidance(1.3, 2.0), EmotionMix(emotions, torch.stack([1 - share, share])), inputs)(
        inputs["x"], SIGMA
    )
    assert calls.batches == [8]
    happy, heard, nothing = branches(calls.model, inputs)
    angry = branch(calls.model, inputs, emotions[1])
    mixed = (1 - share)[:, None] * happy + share[:, None] * angry
    torch.testing.assert_close(v, -0.3 * nothing - 0.7 * heard + 2.0 * mixed, rtol=0, atol=2e-5)


# ---- timelines ------------------------------------------------------------------------------------------------------


def timeline(*keys: tuple[float, str, float], fade: float = 0.6) -> EmotionTimeline:
    return EmotionTimeline(tuple(EmotionKey(*key) for key in keys), fade)


def per_frame(line: EmotionTimeline, start: int, stop: int) -> torch.Tensor:
    mix = evaluate_timeline(line, start, stop)
    return mix.weights.T @ mix.emotions  # [T, 9]


def test_a_single_emotion_is_one_branch() -> None:
    mix = evaluate_timeline(timeline((0, "happiness", 0.8)), 0, 80)
    assert mix.emotions.tolist() == [emotion_weights("happiness", 0.8).tolist()]
    assert (mix.weights == 1).all()


def test_a_change_is_a_smoothstep_from_its_second() -> None:
    mix = evaluate_timeline(timeline((0, "neutral", 1), (1.0, "sadness", 1), fade=0.8), 0, 80)
    assert len(mix.emotions) == 2
    assert (mix.weights[0, :26] == 1).all() and (mix.weights[1, 45:] == 1).all()
    assert mix.weights[1, 35] == pytest.approx(0.5, abs=1e-5)
    assert (mix.weights[1].diff() >= 0).all()


def test_only_windows_with_a_change_cost_more() -> None:
    line = timeline((0, "neutral", 1), (4.0, "anger", 1), (12.0, "anger", 0.5))
    branches = [len(evaluate_timeline(line, start, start + 80).emotions) for start in range(0, 400, 64)]
    assert branches == [1, 2, 1, 1, 2, 1, 1]


def test_a_window_sees_what_the_clip_sees() -> None:
    line = timeline((0.3, "happiness", 0.7), (0.6, "fear", 1), (0.8, "happiness", 0.7), (3, "none", 1))
    whole = per_frame(line, 0, 200)
    torch.testing.assert_close(whole.sum(-1), torch.ones(200))
    torch.testing.assert_close(torch.cat([per_frame(line, 0, 77), per_frame(line, 77, 200)]), whole)
    assert whole[0].argmax() == EMOTIONS.index("neutral")
    assert len(evaluate_timeline(line, 0, 60).emotions) == 3, "an emotion that comes back is the same branch"


def test_intensity_zero_is_neutral_and_shares_its_branch() -> None:
    assert len(evaluate_timeline(timeline((0, "neutral", 1), (1, "anger", 0)), 0, 80).emotions) == 1


@pytest.mark.parametrize(
    ("emotion", "intensity", "message"), [("joy", 1, "happiness"), ("anger", 1.2, "0..1"), ("anger", -1, "0..1")]
)
def test_what_is_no_emotion_is_named(emotion: str, intensity: float, message: str) -> None:
    with pytest.raises(EmotionError, match=message):
        evaluate_timeline(timeline((0, emotion, intensity)), 0, 10)
