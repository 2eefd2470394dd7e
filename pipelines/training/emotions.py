"""Emotion of people who talk, from tracked blendshapes: labels for footage that nobody labelled.

A talking face cannot be judged as a portrait is (``encoders.emotion``): the mouth shapes are speech, and every face has
brows, lids and corners of its own. So evidence is the change of slow averages, over about two seconds, against the
speaker's own median, in channels that speech leaves alone on average: brows, lids, smile, upper lip, one-sided corners.
The prototypes are those of ``encoders.emotion`` without the parts that need the jaw. mouthFrown and mouthShrugLower are
left out too: they fire on some speakers' articulation, smiling or not, and on a raised chin.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter1d

from contracts import BLENDSHAPES, EMOTIONS, FPS, ModaError
from encoders import Prototype

if TYPE_CHECKING:
    from contracts import Array

SIGMA = 0.8 * FPS  # frames of the Gaussian that syllables are averaged out with
STATED_SHARE = 0.5  # of a label that the footage states, in the blend with what the face shows
SHOWN = 0.25  # a frame with this much of an emotion counts as showing it

#: Action unit: (blendshape, change where it begins, change where it is full). The ranges are about the 90th and the
#: 99.5th percentile of slow changes in 58 talking speakers, so that nine frames of ten show little.
ACTION_UNITS = {
    "1": ("browInnerUp", 0.15, 0.45),
    "2": ("browOuterUp", 0.12, 0.40),
    "7": ("eyeSquint", 0.10, 0.30),
    "12": ("mouthSmile", 0.20, 0.65),
}
#: Raised by more than another one rises: the inner brow than the outer, which few people can do at will, and the upper
#: lip than a smile raises it.
DIFFERENCES = {"1-2": ("browInnerUp", "browOuterUp", 0.10, 0.30), "10-12": ("mouthUpperUp", "mouthSmile", 0.10, 0.40)}
FROWN = (0.15, 0.50)  # "4": browDown up, or from a raised brow browInnerUp and browOuterUp down
WIDE = (0.01, 0.06)  # "5": eyeWide up, which narrow eyes cannot do, or a quarter of eyeSquint down
SKEW = (0.06, 0.22)  # one corner of the mouth raised more than the other: "12L-R"

PROTOTYPES = {
    "anger": Prototype(needs=(("4",),), without=("12", "10-12", "1-2")),
    "contempt": Prototype(needs=(("12L-R",),), without=("4", "12")),
    "disgust": Prototype(needs=(("10-12",), ("4", "7")), without=("12", "2")),
    "fear": Prototype(needs=(("1",), ("1-2",), ("5",)), without=("12", "4")),
    "happiness": Prototype(needs=(("12",),), without=("4",)),
    "sadness": Prototype(needs=(("1-2",),), without=("12", "2", "5")),
    "surprise": Prototype(needs=(("1",), ("2",)), without=("12", "4")),
}

#: How data sets spell MoDA's labels.
_SPELLINGS = {
    "angry": "anger", "disgusted": "disgust", "fearful": "fear", "afraid": "fear", "happy": "happiness",
    "joy": "happiness", "sad": "sadness", "surprised": "surprise", "calm": "neutral",
}  # fmt: skip


class EmotionLabelError(ModaError):
    """A label that is none of MoDA's emotions."""


def pseudo_emotion(blendshapes: Array, stated: str | None = None, rest: Array | None = None) -> Array:
    """Which emotion a talking face shows, frame by frame: float32 [T, 9] over contracts.EMOTIONS, rows sum to 1.

    blendshapes: [T, 52] in 0..1 at 25 frames a second. stated: what the footage says it is, which is blended in.
    rest: [52], see :func:`resting`; by default that of this clip alone. Neutral takes what no emotion claims, and
    "none" stays 0. Raises EmotionLabelError.
    """
    scores = emotion_scores(blendshapes, resting([blendshapes]) if rest is None else rest)
    mixture = np.zeros((len(scores), len(EMOTIONS)), np.float32)
    mixture[:, : scores.shape[1]] = scores / np.maximum(scores.sum(1, keepdims=True), 1)
    mixture[:, EMOTIONS.index("neutral")] = np.maximum(1 - mixture.sum(1), 0)
    if stated is not None:
        label = stated.strip().lower()
        label = _SPELLINGS.get(label, label)
        if label not in EMOTIONS[:-1]:
            raise EmotionLabelError(f"the emotion {stated!r} is none of {', '.join(EMOTIONS[:-1])}; correct the label")
        mixture *= 1 - STATED_SHARE
        mixture[:, EMOTIONS.index(label)] += STATED_SHARE
    return mixture


def resting(tracks: Iterable[Array]) -> Array:
    """A speaker's blendshapes at rest, float32 [52]: the median over the frames of all their clips [T, 52]."""
    return np.median(np.concatenate(list(tracks)), axis=0).astype(np.float32)


def emotion_scores(blendshapes: Array, rest: Array) -> Array:
    """Evidence 0..1 for each emotion, float32 [T, 8] in the order of contracts.EMOTIONS, neutral 0.

    A score is the geometric mean over what a prototype needs, lowered by what speaks against it.
    """
    slow = gaussian_filter1d(blendshapes.astype(np.float32), SIGMA, axis=0, mode="nearest")  # [T, 52]
    units = _action_units(slow - rest)
    scores = np.zeros((len(slow), len(EMOTIONS) - 1), np.float32)
    for emotion, prototype in PROTOTYPES.items():
        present = np.prod([np.max([units[unit] for unit in group], axis=0) for group in prototype.needs], axis=0)
        against = np.prod([1 - units[unit] for unit in prototype.without], axis=0)
        scores[:, EMOTIONS.index(emotion)] = present ** (1 / len(prototype.needs)) * against
    return scores


def shares(labels: Iterable[Array]) -> dict[str, tuple[float, float]]:
    """Of labels [T, 9] of several clips: the share of frames that each of the first eight emotions leads, and of clips
    that it leads for a second or more. An emotion leads where it is the strongest and at least SHOWN, else neutral."""
    leads = [_leading(label) for label in labels]  # [T] indices
    frames = np.concatenate(leads)
    return {
        emotion: (float((frames == i).mean()), float(np.mean([(clip == i).sum() >= FPS for clip in leads])))
        for i, emotion in enumerate(EMOTIONS[:-1])
    }


def _leading(label: Array) -> Array:
    """Index of the emotion that leads each frame of a label [T, 9]."""
    neutral = EMOTIONS.index("neutral")
    emotional = np.delete(label[:, :-1], neutral, axis=1)  # [T, 7]
    order = np.delete(np.arange(len(EMOTIONS) - 1), neutral)
    return np.where(emotional.max(1) >= SHOWN, order[emotional.argmax(1)], neutral)


def _action_units(change: Array) -> dict[str, Array]:
    """Slow changes of the blendshapes [T, 52] -> activation 0..1 [T] of each action unit."""

    def side(name: str, which: str) -> Array:
        return change[:, BLENDSHAPES.index(name + which if name + which in BLENDSHAPES else name)]

    def mean(name: str) -> Array:
        return (side(name, "Left") + side(name, "Right")) / 2

    def ramp(value: Array, low: float, high: float) -> Array:
        return np.clip((value - low) / (high - low), 0, 1)

    units = {unit: ramp(mean(name), low, high) for unit, (name, low, high) in ACTION_UNITS.items()}
    for unit, (more, less, low, high) in DIFFERENCES.items():
        units[unit] = ramp(mean(more) - np.maximum(mean(less), 0), low, high)
    raised = (np.minimum(mean("browInnerUp"), 0) + np.minimum(mean("browOuterUp"), 0)) / 2
    units["4"] = ramp(mean("browDown") - raised, *FROWN)
    units["5"] = ramp(mean("eyeWide") - np.minimum(mean("eyeSquint"), 0) / 4, *WIDE)
    left, right = side("mouthSmile", "Left"), side("mouthSmile", "Right")
    units["12L-R"] = ramp(np.minimum(np.abs(left - right), np.maximum(left, right)), *SKEW)  # raised, not lowered
    return units
