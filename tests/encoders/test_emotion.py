"""Emotion encoder: what may be asked for, and what a face shows."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import BLENDSHAPES, EMOTIONS, EmotionKey
from encoders.emotion import AUTO_SHARE, EmotionError, estimate_emotion, parse_emotion
from encoders.face.portrait import encode_face

PORTRAIT = Path(__file__).resolve().parents[2] / "examples" / "portrait.jpg"


def shapes(**values: float) -> np.ndarray:
    """Blendshapes [52]; a name without its side sets both."""
    array = np.zeros(52, np.float32)
    for name, value in values.items():
        index = [i for i, full in enumerate(BLENDSHAPES) if full in (name, f"{name}Left", f"{name}Right")]
        assert index, name
        array[index] = value
    return array


NEUTRAL = shapes()
SMILE = shapes(mouthSmile=1)


def test_the_labels_are_the_published_ones() -> None:
    assert [EMOTIONS.index(label) for label in ("anger", "happiness", "neutral", "surprise", "none")] == [0, 4, 5, 7, 8]


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("happiness", [(0, "happiness", 1)]),
        (" Happiness : 0.8 ", [(0, "happiness", 0.8)]),
        ("none", [(0, "none", 1)]),
        ("0:neutral,2.5:happiness:0.9", [(0, "neutral", 1), (2.5, "happiness", 0.9)]),
        ("3:anger", [(0, "neutral", 1), (3, "anger", 1)]),
        ("0:fear:0, 1e1:sadness", [(0, "fear", 0), (10, "sadness", 1)]),
        ("auto", [(0, "happiness", AUTO_SHARE)]),
        ("0:auto:0.5,4:neutral", [(0, "happiness", 0.5), (4, "neutral", 1)]),
    ],
)
def test_what_may_be_asked_for(text: str, keys: list[tuple[float, str, float]]) -> None:
    assert parse_emotion(text, SMILE).keys == tuple(EmotionKey(*key) for key in keys)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("happy", r"no emotion 'happy' \(did you mean happiness\?\); choose from anger, .*surprise, none, auto"),
        ("sad", "did you mean sadness"),
        ("xyzzy", "no emotion 'xyzzy'; choose"),
        ("", "no emotion ''"),
        ("happiness:1.01", "not a number from 0 to 1"),
        ("happiness:-0.1", "not a number from 0 to 1"),
        ("happiness:nan", "not a number from 0 to 1"),
        ("happiness:much", "'much' of happiness is not a number"),
        ("happiness:", "not a number from 0 to 1"),
        ("happiness:0.5:2", "too many colons"),
        ("0:happiness:0.5:2", "too many colons"),
        ("2:anger,1:fear", "must increase"),
        ("0:anger,0:fear", "must increase"),
        ("-1:anger", "no entry of a timeline"),
        ("inf:anger", "no entry of a timeline"),
        ("1", "no entry of a timeline"),
        ("anger,fear", "no entry of a timeline"),
        ("0:anger,", "no entry of a timeline"),
    ],
)
def test_what_may_not(text: str, message: str) -> None:
    with pytest.raises(EmotionError, match=message) as refusal:
        parse_emotion(text, NEUTRAL)
    assert "\n" not in str(refusal.value)


@given(st.text(alphabet="0123456789.:,-einfa happiness", max_size=30))
def test_any_text_gives_a_sound_timeline_or_one_line(text: str) -> None:
    try:
        keys = parse_emotion(text, NEUTRAL).keys
    except EmotionError as refusal:
        assert "\n" not in str(refusal)
    else:
        assert keys[0].second == 0
        assert all(a.second < b.second < float("inf") for a, b in itertools.pairwise(keys))
        assert all(key.emotion in EMOTIONS and 0 <= key.intensity <= 1 for key in keys)


@pytest.mark.parametrize(
    ("label", "blendshapes"),
    [
        ("neutral", NEUTRAL),
        ("neutral", shapes(jawOpen=0.5, mouthUpperUp=0.2, mouthFunnel=0.4)),  # talking
        ("neutral", shapes(eyeBlink=0.9, eyeSquint=0.5)),
        ("neutral", shapes(browDown=0.8)),  # a frown alone: concentration as well as anger
        ("anger", shapes(browDown=0.7, mouthPress=0.4, eyeSquint=0.6)),
        ("contempt", shapes(mouthSmileLeft=0.5)),
        ("disgust", shapes(mouthUpperUp=0.8, browDown=0.6)),
        ("fear", shapes(browInnerUp=0.6, browOuterUp=0.5, browDown=0.2, eyeWide=0.12, mouthStretch=0.25)),
        ("happiness", SMILE),
        ("happiness", shapes(mouthSmile=0.8, mouthUpperUp=0.7, eyeSquint=0.6)),  # a broad grin is no disgust
        ("sadness", shapes(browInnerUp=0.5, browOuterUp=0.1, mouthShrugLower=0.3)),
        ("sadness", shapes(browInnerUp=0.3, mouthSmile=0.6)),  # smiling it away
        ("surprise", shapes(browInnerUp=0.6, browOuterUp=0.7, jawOpen=0.5, eyeWide=0.1)),
    ],
)
def test_prototypes(label: str, blendshapes: np.ndarray) -> None:
    estimate = estimate_emotion(blendshapes)
    assert estimate.label == label, dict(zip(EMOTIONS, estimate.scores.round(2), strict=False))
    assert estimate.scores.shape == (8,) and estimate.scores.dtype == np.float32
    assert estimate.intensity == (1 if label == "neutral" else pytest.approx(estimate.scores[EMOTIONS.index(label)]))


def test_intensity_grows_with_the_expression() -> None:
    intensities = [estimate_emotion(shapes(mouthSmile=value)).intensity for value in (0.55, 0.7, 0.85)]
    assert intensities == sorted(intensities) and intensities[0] < 0.5 < intensities[2]


@given(st.lists(st.floats(0, 1), min_size=52, max_size=52))
def test_scores_stay_in_range(values: list[float]) -> None:
    estimate = estimate_emotion(np.array(values))
    assert estimate.scores.min() >= 0 and estimate.scores.max() <= 1
    assert estimate.label in EMOTIONS[:8]


def test_the_smiling_portrait_is_happy() -> None:
    estimate = estimate_emotion(encode_face(PORTRAIT).blendshapes)
    assert estimate.label == "happiness" and estimate.intensity > 0.7
