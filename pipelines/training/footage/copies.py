"""Recordings that are there twice, in two encodes or under two names, found by how they sound.

Twice in a set, one person would be two speakers, and be tested on what was trained on.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from contracts import SAMPLE_RATE, SAMPLES_PER_FRAME

if TYPE_CHECKING:
    from collections.abc import Mapping

    from contracts import Array

BANDS = (200, 500, 1000, 1900, 3400)  # Hz, edges: what every codec keeps
FLOOR = 40.0  # dB under the loudest frame: quieter is silence
LONGEST = 750  # frames, 30 s from the beginning, that are compared
SHIFT = 4  # frames that a codec or a container may shift the sound by
STEPS = 4  # shifts tried within a frame
SAME = 0.965  # mean correlation of the bands from which it is the same: others stay under .96, even of one word


def sound_print(waveform: Array) -> Array:
    """How loud a recording float32 [640 N] is in each band and frame, uint8 [N, 4] steps of half a dB, of 30 s."""
    frames = waveform[: LONGEST * SAMPLES_PER_FRAME]
    frames = frames[: len(frames) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME].reshape(-1, SAMPLES_PER_FRAME)
    power = np.abs(np.fft.rfft(frames * np.hanning(SAMPLES_PER_FRAME), axis=1)) ** 2
    edges = [round(edge * SAMPLES_PER_FRAME / SAMPLE_RATE) for edge in BANDS]
    bands = np.stack([power[:, a:b].sum(1) for a, b in itertools.pairwise(edges)], 1)
    level = 10 * np.log10(bands + 1e-12)
    return np.round(2 * np.maximum(level - level.max(initial=-120.0) + FLOOR, 0)).astype(np.uint8)


def find_copy(waveform: Array, others: Mapping[str, Array]) -> str | None:
    """Which of ``others``, prints by name, is the same recording as ``waveform``, float32 [N] at 16 kHz, if one is."""
    steps = [sound_print(waveform[k * SAMPLES_PER_FRAME // STEPS :]) for k in range(STEPS)]
    near = {name: other for name, other in others.items() if abs(len(other) - len(steps[0])) <= SHIFT}
    length = min(map(len, [*steps, *near.values()])) - 2 * SHIFT
    if not near or length < SHIFT:
        return None
    table = _normal(np.stack([other[SHIFT : SHIFT + length] for other in near.values()]))  # [M, N, 4]
    views = _normal(np.stack([sound[k : k + length] for sound in steps for k in range(2 * SHIFT + 1)]))  # [36, N, 4]
    alike = (table.reshape(len(table), -1) @ views.reshape(len(views), -1).T).max(1)
    return list(near)[int(alike.argmax())] if alike.max() >= SAME else None


def _normal(prints: Array) -> Array:
    """Prints [M, N, 4] so that the product of two is the mean correlation of their bands."""
    centred = prints - prints.mean(1, keepdims=True)
    size = np.sqrt((centred**2).sum(1, keepdims=True))
    return (centred / np.maximum(size, 1e-9) / np.sqrt(prints.shape[2])).astype(np.float32)
