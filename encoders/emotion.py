"""Emotion encoder: what the user asks for, or what the portrait shows -> a timeline of MoDA's labels.

The estimate reads FACS action units off MediaPipe's blendshapes and compares them with the prototypes of P. Ekman,
W. V. Friesen and J. C. Hager, "Facial Action Coding System: Investigator's Guide" (2002), table 10-1 (the prototypes
that EMFACS scores). Four blendshapes that the prototypes would like (cheekPuff, cheekSquint, jawForward, noseSneer)
never fire in MediaPipe's model and mouthFrown hardly does, so the cheek raiser (6), nose wrinkler (9) and lip corner
depressor (15) have to be done without.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from typing import TYPE_CHECKING

from contracts import BLENDSHAPES, EMOTIONS, EmotionKey, EmotionTimeline, ModaError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contracts import Array

AUTO = "auto"

#: Share of the estimated intensity that ``auto`` asks for: the rest is in the portrait already.
AUTO_SHARE = 0.4
WEAK = 0.35  # a strongest score under this is called neutral

#: Action unit: (blendshapes, of which the left-right mean is taken; values where it begins and where it is full).
#: The ranges are about the 75th and 99th percentile of natural speech (90 speakers), so that speaking itself shows
#: no emotion.
ACTION_UNITS = {
    "1": ("browInnerUp", 0.10, 0.60),
    "2": ("browOuterUp", 0.25, 0.75),
    "4": ("browDown", 0.30, 0.75),
    "5": ("eyeWide", 0.03, 0.15),
    "7": ("eyeSquint", 0.45, 0.75),
    "10": ("mouthUpperUp", 0.30, 0.85),
    "12": ("mouthSmile", 0.30, 0.90),
    "15": ("mouthFrown", 0.02, 0.10),
    "17": ("mouthShrugLower", 0.08, 0.36),
    "20": ("mouthStretch", 0.06, 0.24),
    "24": ("mouthPress", 0.15, 0.40),
    "26": ("jawOpen", 0.15, 0.50),
}


@dataclass(frozen=True)
class Prototype:
    """Each group of ``needs`` must show one of its action units; each unit of ``without`` speaks against."""

    needs: tuple[tuple[str, ...], ...]
    without: tuple[str, ...] = ()


#: "1-2" is the inner brow raised without the outer, which few people can do at will: it outweighs a smile.
#: "12L-R" is a smile or dimple on one side alone.
PROTOTYPES = {
    "anger": Prototype(needs=(("4",), ("7", "24", "17")), without=("12",)),
    "contempt": Prototype(needs=(("12L-R",),), without=("4",)),
    "disgust": Prototype(needs=(("10",), ("4", "7", "17")), without=("12", "2")),
    "fear": Prototype(needs=(("1",), ("5",), ("20", "26"), ("4", "20")), without=("12",)),
    "happiness": Prototype(needs=(("12",),), without=("1-2", "4")),
    "sadness": Prototype(needs=(("1-2", "15"),), without=("26",)),
    "surprise": Prototype(needs=(("1",), ("2",), ("26",)), without=("12", "4")),
}


class EmotionError(ModaError):
    """An emotion asked for does not exist, or its timeline makes no sense."""


@dataclass(frozen=True)
class EmotionEstimate:
    """The emotion a face shows."""

    label: str  # one of the first eight of contracts.EMOTIONS
    intensity: float  # 0..1
    scores: Array  # float32 [8] in 0..1, in the order of contracts.EMOTIONS; they need not sum to 1


def estimate_emotion(blendshapes: Array | Sequence[float]) -> EmotionEstimate:
    """The emotion that blendshapes, float [52] in 0..1, show; neutral when nothing shows clearly.

    A score is the geometric mean over what a prototype needs, lowered by what speaks against it.
    """
    units = _action_units(dict(zip(BLENDSHAPES, map(float, blendshapes), strict=True)))
    scores = {}
    for emotion, prototype in PROTOTYPES.items():
        present = math.prod(max(units[unit] for unit in group) for group in prototype.needs)
        scores[emotion] = present ** (1 / len(prototype.needs)) * math.prod(1 - units[u] for u in prototype.without)
    strongest = max(scores, key=lambda emotion: scores[emotion])
    scores["neutral"] = 1 - scores[strongest]
    label, intensity = (strongest, scores[strongest]) if scores[strongest] >= WEAK else ("neutral", 1.0)
    import numpy as np  # here, as what is asked for in words is checked without it

    return EmotionEstimate(label, intensity, np.array([scores[emotion] for emotion in EMOTIONS[:8]], np.float32))


def parse_emotion(text: str, blendshapes: Array | Sequence[float]) -> EmotionTimeline:
    """The timeline that ``--emotion`` asks for.

    ``text`` is ``EMOTION`` or ``EMOTION:INTENSITY``, for the whole video, or a comma-separated list of
    ``SECOND:EMOTION[:INTENSITY]``; before the first second it is neutral. EMOTION is one of contracts.EMOTIONS or
    ``auto``: what the portrait's ``blendshapes`` [52] show.

    Raises EmotionError.
    """
    entries = [entry.strip() for entry in text.split(",")]
    keys = [_parse_entry(entry, blendshapes, timed=len(entries) > 1) for entry in entries]
    seconds = [key.second for key in keys]
    if any(later <= earlier for earlier, later in pairwise(seconds)):
        raise EmotionError(f"the seconds of the emotion timeline {text!r} must increase")
    if seconds[0] > 0:
        keys.insert(0, EmotionKey(0.0, "neutral"))
    return EmotionTimeline(tuple(keys))


def _parse_entry(entry: str, blendshapes: Array | Sequence[float], *, timed: bool) -> EmotionKey:
    fields = [field.strip().lower() for field in entry.split(":")]
    second = 0.0
    if timed or not math.isnan(_number(fields[0])):
        second = _number(fields.pop(0))
        if not 0 <= second < math.inf or not fields:
            raise EmotionError(f"{entry!r} is no entry of a timeline; write SECOND:EMOTION, as in 2.5:happiness")
    label, *rest = fields
    if label != AUTO and label not in EMOTIONS:
        near = get_close_matches(label, EMOTIONS, n=1, cutoff=0.5)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise EmotionError(f"there is no emotion {label!r}{hint}; choose from {', '.join((*EMOTIONS, AUTO))}")
    if len(rest) > 1:
        raise EmotionError(f"{entry!r} has too many colons; write SECOND:EMOTION:INTENSITY, as in 2.5:happiness:0.8")
    intensity = _number(rest[0]) if rest else None
    if intensity is not None and not 0 <= intensity <= 1:
        raise EmotionError(f"the intensity {rest[0]!r} of {label} is not a number from 0 to 1")
    if label == AUTO:
        estimate = estimate_emotion(blendshapes)
        return EmotionKey(second, estimate.label, AUTO_SHARE * estimate.intensity if intensity is None else intensity)
    return EmotionKey(second, label, 1.0 if intensity is None else intensity)


def _number(text: str) -> float:
    """The number that ``text`` is, NaN if it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _action_units(shapes: dict[str, float]) -> dict[str, float]:
    """Activation 0..1 of each action unit and of the two combinations the prototypes name."""

    def side(name: str, which: str) -> float:
        return shapes.get(name + which, shapes.get(name, 0.0))

    def ramp(value: float, low: float, high: float) -> float:
        return min(max((value - low) / (high - low), 0.0), 1.0)

    def mean(name: str) -> float:
        return (side(name, "Left") + side(name, "Right")) / 2

    def skew(name: str) -> float:
        return abs(side(name, "Left") - side(name, "Right"))

    units = {unit: ramp(mean(name), low, high) for unit, (name, low, high) in ACTION_UNITS.items()}
    units["1-2"] = ramp(mean("browInnerUp") - mean("browOuterUp"), 0.05, 0.25)
    units["12L-R"] = ramp(max(skew("mouthSmile"), skew("mouthDimple")), 0.15, 0.50)
    return units
