"""How the lips rest while nobody speaks: in pauses by their length, and at either end of a clip.

Pauses are those of the sound (:func:`encoders.audio.speech_frames`), never of the mouth that is judged.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from contracts import FPS
from encoders.audio import speech_frames
from moda.motion import lip_gap
from pipelines.evaluation.metrics import SHUT, runs
from pipelines.evaluation.scores import ClipScore, Figure, Take, median, ratio_of_sums
from pipelines.training import JUDGED, Clip

#: Lengths of pauses: name -> seconds from, and below. A stop consonant is silent for .15 s at most.
LENGTHS = {"0.3 to 0.5 s": (0.3, 0.5), "0.5 to 1 s": (0.5, 1.0), "1 to 3 s": (1.0, 3.0), "3 s and more": (3.0, 1e9)}
#: Where a clip begins or ends in silence: its first or last frames.
ENDS = {"begin": (slice(0, 3), 0), "end": (slice(-3, None), -1)}
SHORTEST = round(0.3 * FPS)  # frames


class RealRest(NamedTuple):
    """How people rest in pauses of one length."""

    pauses: int
    speakers: int
    shut: float  # share of frames
    gap: float  # median over pauses of the median gap, OC
    low: float  # 25th percentile of that over pauses
    high: float  # 75th percentile

    def place(self, gap: float) -> str:
        """Where a median gap lies: below, inside or above the middle half of the pauses."""
        return "below" if gap < self.low else "above" if gap > self.high else "inside"


class Pause(NamedTuple):
    length: str  # of LENGTHS
    frames: slice


def silence(clip: Clip) -> np.ndarray:
    """Frames of silence of .3 s and more, bool [T]."""
    return ~speech_frames(clip.waveform, SHORTEST)


def find_pauses(silent: np.ndarray) -> list[Pause]:
    """Pauses in bool [T]. Silence at either end is cut short, and counts only where it lasts three seconds anyway."""
    found = []
    for begin, end in runs(silent):
        length = next((name for name, (low, high) in LENGTHS.items() if low * FPS <= end - begin < high * FPS), None)
        inside = begin > 0 and end < len(silent)
        if length is not None and (inside or length == list(LENGTHS)[-1]):
            found.append(Pause(length, slice(begin, end)))
    return found


def rest_figures(scores: list[ClipScore]) -> dict[str, Figure]:
    """For each length of a pause the share of frames with shut lips, and the median over pauses of the median gap, OC;
    the same of the first and the last frame of clips that begin or end in silence. Each sample counts."""
    takes = [(score.speaker, score.take) for score in scores if score.take is not None]
    figures: dict[str, Figure] = {}
    for length in LENGTHS:
        items = [item for speaker, take in takes for item in _pause_items(speaker, take, length)]
        figures |= _figures(f"pause {length}", items)
    for end, (silent, frame) in ENDS.items():
        items = [
            (speaker, gap[[frame]])
            for speaker, take in takes
            if take.silent[silent].all() and take.valid[frame]
            for gap in take.gap
        ]
        figures |= _figures(end, items)
    return figures


def _pause_items(speaker: str, take: Take, length: str) -> list[tuple[str, np.ndarray]]:
    """Gaps in each pause of one length, of each sample."""
    pauses = [pause.frames for pause in find_pauses(take.silent) if pause.length == length]
    return [
        (speaker, gap[frames][take.valid[frames]]) for frames in pauses if take.valid[frames].any() for gap in take.gap
    ]


def _figures(name: str, items: list[tuple[str, np.ndarray]]) -> dict[str, Figure]:
    owners = [speaker for speaker, _ in items]
    shut, frames = [float((gap < SHUT).sum()) for _, gap in items], [float(len(gap)) for _, gap in items]
    gaps = [float(np.median(gap)) for _, gap in items]
    return {f"{name} shut": Figure(owners, ratio_of_sums(shut, frames)), f"{name} gap": Figure(owners, median(gaps))}


def real_rest(clips: list[Clip]) -> dict[str, RealRest]:
    """How the people of clips of four seconds and more rest, by the length of the pause."""
    found = {}
    takes = [
        (clip.speaker, Take(lip_gap(clip.motion)[None], lip_gap(clip.motion), clip.valid, silence(clip)))
        for clip in clips
        if len(clip) >= JUDGED
    ]
    for length in LENGTHS:
        items = [item for speaker, take in takes for item in _pause_items(speaker, take, length)]
        if items:
            medians = [np.median(gap) for _, gap in items]
            low, middle, high = (float(value) for value in np.quantile(medians, [0.25, 0.5, 0.75]))
            shut = float(np.mean(np.concatenate([gap for _, gap in items]) < SHUT))
            found[length] = RealRest(len(items), len({speaker for speaker, _ in items}), shut, middle, low, high)
    return found
