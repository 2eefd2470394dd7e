"""Do the lips belong to the sound, and do they come at the same time?

A lag is the number of frames that the picture comes after the sound. It is sought where the opening of the mouth that
the audio encoder's articulation head hears goes best with the opening that was tracked. The encoder needs no training
on the footage at hand; it was trained on lips in step with their sound, so that it has no lag of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from contracts import FPS

if TYPE_CHECKING:
    from contracts import Array

REACH = 15  # frames searched on either side
BELIEVED = 6  # frames: a larger lag is taken for an accident, or for another voice
WORTH = 0.03  # what moving must add to the correlation
#: A lag of more than a frame must stand out this far. Singing to music, for one, goes with any.
CONFIDENT = 0.25
MOVES = 0.05  # OC between the 5th and the 95th percentile of the gap: with less, nobody speaks
#: Correlation at the best lag that is asked of a video of more than these seconds: in a short one, chance finds more.
LEAST = ((20.0, 0.20), (6.0, 0.25), (0.0, 0.30))


@dataclass(frozen=True)
class Sync:
    """How lips and sound of one video fit."""

    r: float  # correlation at the best lag
    lag_found: int  # frames
    lag_removed: int  # frames; 0 where moving gains too little
    r_at_0: float
    conf: float  # r above the median over all lags
    refusal: str = ""  # why the video should not be used; empty if it may


def check_sync(heard: Array, gap: Array) -> Sync:
    """Compare the opening heard [N] with the one tracked [T], NaN where it was not, both from second 0 of a video."""
    if np.isnan(gap).all():
        return Sync(0.0, 0, 0, 0.0, 0.0, "somebody is heard all the time, but not by these lips, which are still")
    curve = lag_curve(heard, gap)
    best = int(np.argmax(curve)) - REACH
    r, r_at_0 = float(curve[best + REACH]), float(curve[REACH])
    removed = best if r - r_at_0 >= WORTH else 0
    conf = r - float(np.median(curve))
    seconds = float((~np.isnan(gap)).sum()) / FPS
    least = next(limit for longer, limit in LEAST if seconds > longer or not longer)
    low, high = np.nanquantile(gap, [0.05, 0.95])
    if high - low < MOVES:
        refusal = f"the mouth hardly moves ({high - low:.3f} of {MOVES} OC); use a video in which this person speaks"
    elif r < least:
        refusal = (
            f"lips and sound do not go together (r {r:.2f}, {least:.2f} needed), as under music, a dub or a narrator; "
            "use the original sound"
        )
    elif abs(removed) > BELIEVED:
        refusal = (
            f"lips and sound are {abs(removed)} frames apart, and {BELIEVED} are mended; export the video again in step"
        )
    elif abs(removed) > 1 and conf < CONFIDENT:
        refusal = (
            f"lips and sound seem {abs(removed)} frames apart, which is doubtful ({conf:.2f}, {CONFIDENT} needed); "
            "a longer piece of the video may tell"
        )
    else:
        refusal = ""
    return Sync(r, best, removed, r_at_0, conf, refusal)


def lag_curve(heard: Array, gap: Array) -> Array:
    """Correlation of the two if the picture came -15 .. 15 frames after the sound, [31]; 0 where there is none."""
    frames = np.flatnonzero(~np.isnan(gap))
    curve = np.zeros(2 * REACH + 1)
    for index, lag in enumerate(range(-REACH, REACH + 1)):
        pairs = frames[(frames >= lag) & (frames - lag < len(heard))]
        x, y = heard[pairs - lag], gap[pairs]
        if len(pairs) > 2 and x.std() > 0 and y.std() > 0:
            curve[index] = np.corrcoef(x, y)[0, 1]
    return curve
