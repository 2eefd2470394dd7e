"""Whose voice it is: where a face speaks, where it listens to somebody else, and where neither can be believed.

Interviews, lessons and vlogs keep a face in the picture while another person is heard. Lips that learned from that
would learn to keep still, or to move with anything.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from contracts import FPS
from encoders.audio import VISEME_INDEX
from pipelines.training.sets import LISTEN

if TYPE_CHECKING:
    from contracts import Array
    from encoders.audio import AudioEncoder

WINDOW = 2 * FPS  # frames in which lips that speak move
STEP = 5  # frames from one window to the next
STILL = 0.03  # OC between the 5th and the 95th percentile of the gap; of 2 s of speech, under 1 % move less than .05
SPOKEN = 0.6  # share of frames with speech from which a window is judged
LONG = 6 * FPS  # frames over which lips and sound are compared within a take
#: Correlation of lips and sound, by seconds, that of real speech 1 % or less stay under; of lips under another voice,
#: half and more of 3 s do, and nine in ten of 6 s.
FOLLOWS = ((1.5, 2.0, 3.0, 4.0, 6.0), (-0.06, 0.0, 0.12, 0.16, 0.2))

TALK, ASTRAY = "talk", "astray"


@dataclass(frozen=True)
class Hearing:
    """What the audio encoder makes of a recording of N frames."""

    opening: Array  # float [N] how far the mouth opens by the sound, in standard units
    speech: Array  # bool [N]: it is no silence


@dataclass(frozen=True)
class Turn:
    """A part of a take."""

    frames: slice  # counted from the take's start
    kind: str  # TALK, LISTEN: still lips, somebody else is heard; ASTRAY: the lips move, but not with the sound


def hear(encoder: AudioEncoder, waveform: Array) -> Hearing:
    """Listen to float32 [640 N] with the embedded encoder."""
    heard = [(features.articulation, features.visemes) for features in encoder.stream(waveform)]
    opening = np.concatenate([track.cpu().numpy()[:, -1] for track, _ in heard if track is not None])
    silence = np.concatenate([track.cpu().numpy()[:, VISEME_INDEX["sil"]] for _, track in heard if track is not None])
    return Hearing(opening, silence < 0.5)


def still_lips(gap: Array, speech: Array) -> Array:
    """Where speech is heard over still lips, bool [T]; gap [T] OC, NaN where it is not known, and speech [N], both from
    second 0."""
    still = np.zeros(len(gap), bool)
    for start in range(0, min(len(gap), len(speech)) - WINDOW + 1, STEP):
        span = slice(start, start + WINDOW)
        seen = gap[span][~np.isnan(gap[span])]
        if len(seen) > WINDOW / 2 and speech[span].mean() >= SPOKEN:
            still[span] |= np.subtract(*np.quantile(seen, [0.95, 0.05])) < STILL
    return still & ~np.isnan(gap)


def agreement(hearing: Hearing, gap: Array, start: int, lag: int) -> float:
    """Correlation of the gap [T], of a video from frame ``start`` on, with the opening heard ``lag`` frames before."""
    frames = np.flatnonzero(~np.isnan(gap))
    frames = frames[(frames + start >= lag) & (frames + start - lag < len(hearing.opening))]
    x, y = hearing.opening[frames + start - lag], gap[frames]
    return float(np.corrcoef(x, y)[0, 1]) if len(frames) > 2 and x.std() > 0 and y.std() > 0 else 0.0


def find_turns(gap: Array, still: Array, hearing: Hearing, start: int, lag: int, shortest: int) -> list[Turn]:
    """The turns of a take in order, from its gap [T] and where its lips are still [T], bool.

    ``start`` is its first frame in the video and ``lag`` how many frames the picture comes late. Parts that are shorter
    than ``shortest`` frames are left out.
    """
    kinds = np.where(still, LISTEN, TALK).astype("<U6")
    for run in _runs(kinds):
        if kinds[run.start] == TALK:
            kinds[run] = _with_sound(gap[run], hearing, start + run.start, lag)
    return [Turn(run, str(kinds[run.start])) for run in _runs(kinds) if run.stop - run.start >= shortest]


def _with_sound(gap: Array, hearing: Hearing, start: int, lag: int) -> Array:
    """TALK or ASTRAY by frame, [T], of a stretch that begins at frame ``start`` of the video."""
    kinds = np.full(len(gap), TALK, "<U6")
    length = min(LONG, len(gap))
    for begin in {*range(0, len(gap) - length + 1, FPS), len(gap) - length}:
        span = slice(begin, begin + length)
        heard = slice(max(start + begin - lag, 0), max(start + begin - lag + length, 0))
        spoken = hearing.speech[heard].mean() if len(hearing.speech[heard]) else 0.0
        least = np.interp(length / FPS, *FOLLOWS)
        judged = length >= FOLLOWS[0][0] * FPS and spoken >= SPOKEN
        if judged and agreement(hearing, gap[span], start + begin, lag) < least:
            kinds[span] = ASTRAY
    return kinds


def _runs(kinds: Array) -> list[slice]:
    """The runs of one kind each."""
    edges = np.r_[0, np.flatnonzero(kinds[1:] != kinds[:-1]) + 1, len(kinds)]
    return [slice(int(a), int(b)) for a, b in itertools.pairwise(edges)]
