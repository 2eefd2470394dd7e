"""Pseudo-labels of emotion for people who talk."""

from __future__ import annotations

import numpy as np
import pytest

from contracts import EMOTIONS
from pipelines.training.emotions import EmotionLabelError, pseudo_emotion, resting, shares
from tests.encoders.test_emotion import shapes

NEUTRAL = EMOTIONS.index("neutral")
REST = shapes(browDown=0.2, mouthSmile=0.15, jawOpen=0.05)

SHOWN = {
    "anger": shapes(browDown=0.5, eyeSquint=0.2),
    "contempt": np.where(np.arange(52) == np.flatnonzero(shapes(mouthSmileLeft=1))[0], 0.35, 0),
    "disgust": shapes(mouthUpperUp=0.5, browDown=0.3, eyeSquint=0.2),
    "fear": shapes(browInnerUp=0.4, browOuterUp=0.15, eyeWide=0.06),
    "happiness": shapes(mouthSmile=0.6, eyeSquint=0.15, mouthUpperUp=0.3),
    "sadness": shapes(browInnerUp=0.35),
    "surprise": shapes(browInnerUp=0.4, browOuterUp=0.4),
}


def talk(frames: int = 100) -> np.ndarray:
    """Changes [T, 52] of a mouth that speaks: lips and jaw move five times a second."""
    syllables = np.abs(np.sin(np.arange(frames) * 0.63))[:, None]
    return syllables * shapes(jawOpen=0.4, mouthUpperUp=0.4, mouthLowerDown=0.4, mouthPress=0.2, mouthPucker=0.5) / 2


@pytest.mark.parametrize("emotion", SHOWN)
def test_a_held_expression_is_named_while_the_mouth_speaks(emotion: str) -> None:
    label = pseudo_emotion(REST + talk() + SHOWN[emotion], rest=REST + talk().mean(0))
    assert label.shape == (100, 9) and label.dtype == np.float32
    assert EMOTIONS[label[50, :8].argmax()] == emotion
    half = pseudo_emotion(REST + talk() + 0.6 * SHOWN[emotion], rest=REST + talk().mean(0))
    assert half[50, EMOTIONS.index(emotion)] < label[50, EMOTIONS.index(emotion)]


def test_speech_alone_is_neutral() -> None:
    label = pseudo_emotion(REST + talk())
    assert label[:, NEUTRAL].min() > 0.95


def test_rows_are_mixtures_and_none_is_never_shown() -> None:
    chance = np.random.default_rng(0)
    label = pseudo_emotion(chance.random((60, 52)) * chance.random(52), rest=chance.random(52) / 2)
    np.testing.assert_allclose(label.sum(1), 1, atol=1e-5)
    assert label.min() >= 0 and not label[:, EMOTIONS.index("none")].any()


def test_rest_is_the_speakers_over_all_clips() -> None:
    smiling, plain = np.tile(REST + SHOWN["happiness"], (40, 1)), np.tile(REST, (60, 1))
    rest = resting([smiling, plain])
    np.testing.assert_allclose(rest, REST, atol=1e-6)
    assert pseudo_emotion(smiling, rest=rest)[:, EMOTIONS.index("happiness")].min() > 0.7
    assert pseudo_emotion(smiling)[:, NEUTRAL].min() == 1  # alone, it is how this face is


@pytest.mark.parametrize(("stated", "emotion"), [("fear", "fear"), (" Angry", "anger"), ("neutral", "neutral")])
def test_what_is_stated_is_blended_in(stated: str, emotion: str) -> None:
    blendshapes = np.tile(REST + SHOWN["happiness"], (30, 1))
    label, alone = pseudo_emotion(blendshapes, stated, REST), pseudo_emotion(blendshapes, rest=REST)
    expected = 0.5 * alone[0]
    expected[EMOTIONS.index(emotion)] += 0.5
    np.testing.assert_allclose(label[0], expected, atol=1e-6)


def test_a_label_that_is_no_emotion_is_refused() -> None:
    with pytest.raises(EmotionLabelError, match=r"'bored' is none of anger, .*surprise; correct the label"):
        pseudo_emotion(np.zeros((5, 52)), "bored")


def test_shares() -> None:
    happy, calm = np.zeros((50, 9)), np.zeros((150, 9))
    happy[:, EMOTIONS.index("happiness")] = 1
    calm[:, NEUTRAL] = 1
    calm[:10, EMOTIONS.index("anger")] = 0.6  # not for a second
    found = shares([happy, calm])
    assert found["happiness"] == (0.25, 0.5)
    assert found["anger"] == (0.05, 0.0)
    assert found["neutral"] == (0.7, 0.5)
