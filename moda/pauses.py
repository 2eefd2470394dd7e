"""Lips that rest where nobody speaks.

The people the embedded model learned from keep their lips a little apart in the short pauses of their footage, and so
would it in a long one. Where the audio encoder hears silence for a second or more, or at either end, the lips are
brought together; the face keeps its expression, and the head and eyes live on.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_opening, gaussian_filter1d

from contracts import KEYPOINT_VERTICES

SHORTEST = 25  # frames; in shorter pauses people keep their lips apart, ready to go on
RAMP = 1.6  # frames, standard deviation: the mouth takes about 0.2 s to shut and to open again
CONTEXT = SHORTEST + 7  # frames on either side that a gate depends on

#: How the lips share in closing a gap: y of inner lips, outer lower lip and chin (renderer's rule for parted lips).
_SHARES = {13: -0.25, 14: 0.75, 17: 0.60, 152: 0.40}
_ROWS = {vertex: 3 * KEYPOINT_VERTICES.index(vertex) + 1 for vertex in _SHARES}
_TOUCHING = 0.004  # OC


def pause_gate(silence: np.ndarray) -> np.ndarray:
    """Probability of silence [T] -> how far the lips rest [T], 0 while there is speech, 1 inside a pause."""
    edges = np.pad(silence > 0.5, SHORTEST, mode="edge")
    pauses = binary_opening(edges, np.ones(SHORTEST))[SHORTEST:-SHORTEST]
    return gaussian_filter1d(pauses.astype(np.float32), RAMP, mode="nearest")


def shut_lips(motion: np.ndarray, gate: np.ndarray) -> np.ndarray:
    """Close the inner-lip gap of motion [T, 70] (space ``mesh``) by the share ``gate`` [T]; a shut mouth stays."""
    motion = motion.copy()
    gap = motion[:, _ROWS[13]] - motion[:, _ROWS[14]]
    closing = gate * np.maximum(gap - _TOUCHING, 0)
    for vertex, row in _ROWS.items():
        motion[:, row] += _SHARES[vertex] * closing
    return motion
