"""Emotion against time, turned into what the network can be asked: a few fixed emotions, mixed frame by frame."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from contracts import EMOTIONS, FPS, EmotionTimeline, ModaError


class EmotionError(ModaError):
    """An emotion or intensity that does not exist."""


@dataclass(frozen=True)
class EmotionMix:
    """K distinct emotions and how much of each every frame has."""

    emotions: Tensor  # [K, 9] weights over the emotion table, rows sum to 1
    weights: Tensor  # [K, T], columns sum to 1


def emotion_weights(emotion: str, intensity: float = 1.0) -> Tensor:
    """[9] weights over EMOTIONS: intensity 0 is neutral, 1 the emotion in full. Raises EmotionError."""
    if emotion not in EMOTIONS:
        raise EmotionError(f"unknown emotion {emotion!r}; choose one of {', '.join(EMOTIONS)}")
    if not 0 <= intensity <= 1:
        raise EmotionError(f"emotion intensity {intensity:g} is outside 0..1; choose one inside, as in {emotion}:0.8")
    weights = torch.zeros(len(EMOTIONS))
    weights[EMOTIONS.index("neutral")] += 1 - intensity
    weights[EMOTIONS.index(emotion)] += intensity
    return weights


def evaluate_timeline(timeline: EmotionTimeline, start: int, stop: int) -> EmotionMix:
    """The emotions of frames start .. stop - 1. Raises EmotionError.

    A key takes over in a smoothstep of ``timeline.fade`` seconds that begins at its second (at once, where that is 0);
    before the first key the face is neutral. Emotions that have no part in these frames are left out, so a stretch
    without a change yields K = 1.
    """
    seconds = torch.arange(start, stop) / FPS
    emotions = [emotion_weights("neutral")]
    weights = [torch.ones(stop - start)]
    for key in sorted(timeline.keys, key=lambda key: key.second):
        row = emotion_weights(key.emotion, key.intensity)
        fade = timeline.fade if key.second > 0 else 0.0
        s = ((seconds - key.second) / fade).clamp(0, 1) if fade > 0 else (seconds >= key.second).float()
        s = s * s * (3 - 2 * s)
        weights = [(1 - s) * weight for weight in weights]
        same = next((i for i, other in enumerate(emotions) if torch.equal(other, row)), None)
        if same is None:
            emotions.append(row)
            weights.append(s)
        else:
            weights[same] = weights[same] + s
    used = [i for i, weight in enumerate(weights) if bool((weight > 0).any())]
    return EmotionMix(torch.stack([emotions[i] for i in used]), torch.stack([weights[i] for i in used]))
