"""More blinks, fewer, or none.

A blink is found in the upper lids: both come down together and are up again within 0.6 s. What is drawn over for one
that goes, and copied for one that is added, is the lids' way between the frames before and after.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np

from contracts import MOTION_DIM
from moda.motion.layout import LIDS, UPPER_LIDS

DEPTH = 0.05  # OC below the usual: lids that come this low are down
LONGEST = 15  # frames down; longer is a look down, or shut eyes
SKIRT = 4  # frames that lids take to come down, and to go up
USUAL = 25  # frames on either side, of the median that is the lids' usual height
APART = 5  # frames between an added blink and any other
DELAY = (20, 70)  # frames from the end of a blink to its copy

_REACH = USUAL + LONGEST + 2 * SKIRT  # frames on either side that it takes to say whether a frame is in a blink
_WHOLE = LONGEST + 2 * SKIRT
AHEAD = _REACH + _WHOLE + 2 * APART
"""Frames, about 3 s, that motion is held back while blinks are changed."""


def find_blinks(lids: np.ndarray) -> list[tuple[int, int]]:
    """Height [T] of the upper lids in OC -> first and last frame of each time they are down, longer ones too.

    What follows within the skirts of another is one with it.
    """
    from scipy.ndimage import find_objects, label, median_filter

    down = lids - median_filter(lids, 2 * USUAL + 1, mode="nearest") < -DEPTH
    found: list[tuple[int, int]] = []
    for (run,) in find_objects(label(down)[0]):
        begin = found.pop()[0] if found and run.start - found[-1][1] <= 2 * SKIRT else run.start
        found.append((begin, run.stop - 1))
    return found


def change_blinks(chunks: Iterable[np.ndarray], rate: float, chance: np.random.Generator) -> Iterator[np.ndarray]:
    """Motion chunks [n, 70] with ``rate`` times the blinks; the same frames however they are cut into chunks. For each
    that comes one goes out, perhaps an empty one.

    Of n blinks floor(n rate), give or take one, remain: below 1 some are drawn over, spread evenly; above 1 some are
    followed, within 1 to 3 s, by a copy of their own, unless the motion ends first.
    """
    motion, track = np.zeros((0, MOTION_DIM), np.float32), np.zeros(0)  # frames from `first`, and how their lids were
    first = done = known = 0  # frame numbers: kept from, given out up to, searched for blinks up to
    quota = float(chance.random())
    taken: list[tuple[int, int]] = []  # frames that are down, or have been given a copy
    copies: list[tuple[int, int, np.ndarray]] = []  # heap: from when, which, what
    for chunk in chain(chunks, [None]):
        if chunk is not None:
            motion = np.concatenate([motion, chunk])
            track = np.concatenate([track, chunk[:, UPPER_LIDS].mean(1)])
        end = first + len(track)
        sure = end if chunk is None else max(known, end - _REACH)
        for begin, last in find_blinks(track) if sure > known else ():
            a, b = first + begin, first + last
            if not known <= a < sure:
                continue
            taken.append((a, min(b, a + LONGEST)))
            if b - a >= LONGEST:
                continue
            before, after = max(a - SKIRT, 0) - first, min(b + SKIRT, end - 1) - first
            lids = motion[before : after + 1, LIDS]
            bridge = np.linspace(lids[0], lids[-1], len(lids), dtype=np.float32)
            wanted, quota = int(quota + rate), (quota + rate) % 1
            if wanted == 0:
                motion[before : after + 1, LIDS] = bridge
            elif wanted == 2:
                heapq.heappush(copies, (b + int(chance.integers(*DELAY)), a, lids - bridge))
        known = sure
        while copies and copies[0][0] + _WHOLE + APART <= sure:
            at, which, way = heapq.heappop(copies)
            last = at + len(way) - 1
            clash = [b for a, b in taken if a - APART <= last and at <= b + APART]
            if clash:
                heapq.heappush(copies, (max(clash) + APART + 1, which, way))
            else:
                motion[at - first : last + 1 - first, LIDS] += way
                taken.append((at, last))
        ready = end if chunk is None else max(done, end - AHEAD)
        yield motion[done - first : ready - first]
        done = ready
        drop = max(done - 2 * _REACH - first, 0)
        motion, track, first = motion[drop:], track[drop:], first + drop
        taken = [(a, b) for a, b in taken if b + APART >= done - _REACH]
