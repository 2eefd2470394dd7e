"""Lips that meet: on p, b and m, where nobody speaks, and in the first and the last frame.

A network that draws lips smoothly leaves many a closure a little open, so where the audio encoder hears a bilabial the
lips are made to touch, after all smoothing (a hard rule as of JALI, Edwards et al. 2016, doi 10.1145/2897824.2925984).
And the people the embedded model learned from keep their lips a little apart in the short pauses of their footage, as
the model would in a long one: in silence of three seconds or more (two at either end) the lips are brought together.
A video begins and ends with the lips shut, even in the middle of a word: it is seen before and after it plays. The rest
of the face keeps its expression, and head and eyes live on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_opening, gaussian_filter1d, maximum_filter1d

from contracts import LIP_OPENING
from moda.motion.layout import channel, lip_gap

SHORTEST = 75  # frames; in shorter pauses people keep their lips apart, ready to go on
AT_ENDS = 50  # frames; silence that opens or ends a recording counts from here
RAMP = 1.6  # frames, standard deviation: the mouth takes about 0.2 s to shut and to open again
CONTEXT = SHORTEST + 7  # frames on either side that a frame depends on
TOUCHING = 0.002  # OC: the renderer shows nothing between lips under .003

#: How far a video's first frames, and its last ones, are shut.
_AT_EDGE = np.array([1.0, 0.75, 0.4, 0.1], np.float32)
#: How far a closure has come on the frames beside it: about 80 ms to shut, as long to open.
_CLOSING = {0: 1.0, 1: 0.5, 2: 0.15}

_OPENING = {channel(vertex, "y"): share for vertex, share in LIP_OPENING.items()}


@dataclass(frozen=True)
class SealRule:
    """Where a bilabial is certain enough to seal the lips; chosen on the tuning speakers by `bench/closures.py`."""

    threshold: float = 0.15
    """Least peak of the posterior of viseme PP."""
    approach: float = 0.065
    """OC: lips that come no closer than this near the peak are not meant to meet."""
    lead: int = 2
    """Frames that the lips meet before the posterior peaks."""
    reach: int = 2
    """Frames about that in which the lips meet, where they are closest anyway."""


def close_lips(
    motion: np.ndarray, silence: np.ndarray, bilabial: np.ndarray, rule: SealRule | None = None, *,
    begins: bool = True, ends: bool = True,
) -> np.ndarray:  # fmt: skip
    """Motion [T, 70] (space ``mesh``) with the lips shut in pauses and sealed on bilabials; no more is changed.

    silence, bilabial: posteriors of the visemes sil and PP, [T]. A stretch that ``begins`` a video has its first frame
    shut, one that ``ends`` it the last.
    """
    seals = seal_gate(bilabial, lip_gap(motion), rule or SealRule())
    gate = np.maximum(pause_gate(silence), seals)
    for edge, shut in ((gate, begins), (gate[::-1], ends)):
        if shut:
            near = edge[: len(_AT_EDGE)]  # a view
            np.maximum(near, _AT_EDGE[: len(near)], out=near)
    return shut_lips(motion, gate)


def pause_gate(silence: np.ndarray) -> np.ndarray:
    """Probability of silence [T] -> how far the lips rest [T], 0 while there is speech, 1 inside a pause."""
    beyond = SHORTEST - AT_ENDS
    edges = np.pad(silence > 0.5, beyond, mode="edge")
    pauses = binary_opening(edges, np.ones(SHORTEST))[beyond:-beyond]
    return gaussian_filter1d(pauses.astype(np.float32), RAMP, mode="nearest")


def seal_gate(bilabial: np.ndarray, gap: np.ndarray, rule: SealRule) -> np.ndarray:
    """Probability of a bilabial [T], inner-lip gap [T] in OC -> how far the lips are sealed [T], 1 for a frame each."""
    gate = np.zeros(len(gap), np.float32)
    peaks = (bilabial > rule.threshold) & (bilabial == maximum_filter1d(bilabial, 2 * rule.reach + 1))
    for peak in np.flatnonzero(peaks) - rule.lead:
        begin = max(0, int(peak) - rule.reach)
        near = gap[begin : max(0, int(peak) + rule.reach + 1)]
        if not len(near) or near.min() > rule.approach:
            continue
        touch = begin + int(near.argmin())
        for offset, closed in _CLOSING.items():
            for frame in {touch - offset, touch + offset}:
                if 0 <= frame < len(gate):
                    gate[frame] = max(gate[frame], closed)
    return gate


def shut_lips(motion: np.ndarray, gate: np.ndarray) -> np.ndarray:
    """Close the inner-lip gap of motion [T, 70] (space ``mesh``) by the share ``gate`` [T]; a shut mouth stays."""
    motion = motion.copy()
    closing = gate * np.maximum(lip_gap(motion) - TOUCHING, 0)
    for row, share in _OPENING.items():
        motion[:, row] -= share * closing
    return motion
