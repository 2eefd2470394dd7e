"""How far the mouth goes: how gap and speed are distributed, whether the more eager speaker is drawn more eagerly, and
whether vowels round the lips.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import wasserstein_distance

from contracts import FPS
from encoders.audio import VISEME_INDEX
from pipelines.evaluation.metrics import SHUT, correlation, named
from pipelines.evaluation.scores import ClipScore, Figure, Take, geometric_mean, pearson

WIDE_OPEN = 95  # percentile of the gap
ROUNDED, SPREAD = (tuple(VISEME_INDEX[name] for name in names) for names in (("O", "U"), ("E", "I")))
VOWELS = (VISEME_INDEX["aa"], *ROUNDED, *SPREAD)
FEWEST = 5  # frames of a kind of vowel that a clip must have


def gap_figures(gap: np.ndarray, speech: np.ndarray, valid: np.ndarray) -> dict[str, float]:
    """How a gap [T] is distributed: median and share of shut lips in speech, 95th percentile of the clip (OC)."""
    inside = gap[speech & valid]
    return {
        "gap median": float(np.median(inside)) if len(inside) else float("nan"),
        "gap shut": float(np.mean(inside < SHUT)) if len(inside) else float("nan"),
        "gap p95": float(np.percentile(gap[valid], WIDE_OPEN)) if valid.any() else float("nan"),
    }


def distances(real: np.ndarray, found: np.ndarray, valid: np.ndarray) -> dict[str, float]:
    """Wasserstein distance of a clip's gaps (OC) and of their speeds (OC/s) to the real ones; when is all the same."""
    speeds = speed(real, valid), speed(found, valid)
    if not len(speeds[0]):
        return dict.fromkeys(("gap distance", "speed distance"), float("nan"))
    return {
        "gap distance": float(wasserstein_distance(real[valid], found[valid])),
        "speed distance": float(wasserstein_distance(*speeds)),
    }


def speed(gap: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Speeds of a gap [..., T] between frames that are both valid, OC/s."""
    return np.abs(np.diff(gap, axis=-1))[..., valid[1:] & valid[:-1]] * FPS


def effort_figures(scores: list[ClipScore]) -> dict[str, Figure]:
    """Whether effort is that of the person: correlation over clips of the 95th percentile of the gap and of the median
    speed; and, as geometric means over speakers, drawn over real standard deviation and mean speed of the gap."""
    takes = [(score.speaker, score.take) for score in scores if score.take is not None]
    takes = [(speaker, take) for speaker, take in takes if speed(take.real, take.valid).size]
    if not takes:
        return {}
    owners = [speaker for speaker, _ in takes]
    wide = [_both(take, lambda gap, valid: np.percentile(gap[:, valid], WIDE_OPEN, axis=1)) for _, take in takes]
    fast = [_both(take, lambda gap, valid: np.median(speed(gap, valid), axis=1)) for _, take in takes]
    figures = {}
    for name, pairs in (("gap p95 over clips r", wide), ("speed over clips r", fast)):
        real, drawn = zip(*pairs, strict=True)
        figures[name] = Figure(owners, pearson(real, drawn))
    people = {
        speaker: _ratios([take for own, take in takes if own == speaker]) for speaker in dict.fromkeys(sorted(owners))
    }
    for i, name in enumerate(("amplitude of speakers x", "speed of speakers x")):
        known = {speaker: ratios[i] for speaker, ratios in people.items() if np.isfinite(ratios[i])}
        figures[name] = Figure(list(known), geometric_mean(list(known.values())))
    return figures


def _both(take: Take, of: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> tuple[float, float]:
    """A number of the real gap and, the mean over samples, of the drawn one."""
    return float(of(take.real[None], take.valid)[0]), float(np.mean(of(take.gap, take.valid)))


def _ratios(takes: list[Take]) -> tuple[float, float]:
    """Drawn over real standard deviation and mean speed of the gap in all clips of a speaker."""
    real, drawn = (
        np.concatenate(gaps, axis=-1)
        for gaps in ([take.real[None, take.valid] for take in takes], [take.gap[:, take.valid] for take in takes])
    )
    slow, quick = (
        np.concatenate([speed(gap, take.valid) for gap, take in pairs], axis=-1)
        for pairs in ([(take.real[None], take) for take in takes], [(take.gap, take) for take in takes])
    )
    with np.errstate(invalid="ignore", divide="ignore"):  # a face that never moved
        return float(drawn.std(1).mean() / real.std()), float(quick.mean() / slow.mean())


def rounding(motion: np.ndarray, visemes: np.ndarray, valid: np.ndarray) -> dict[str, float]:
    """How much wider and how much further forward the lips are on O and U than on E and I, OC: means over frames.

    motion [T, 70], visemes [T] of the sound.
    """
    figures = {}
    kinds = [np.isin(visemes, kind) & valid for kind in (ROUNDED, SPREAD)]
    for name in ("width", "pucker"):
        track = named(motion, name)
        enough = np.ptp(track) > 0 and all(kind.sum() >= FEWEST for kind in kinds)
        figures[f"{name} of rounded"] = (
            float(track[kinds[0]].mean() - track[kinds[1]].mean()) if enough else float("nan")
        )
    return figures


def rounding_followed(
    real: np.ndarray, found: np.ndarray, visemes: np.ndarray, valid: np.ndarray
) -> dict[str, float]:  # fmt: skip
    """Correlation of width and protrusion of the lips on the frames of vowels; real, found: motion [T, 70]."""
    on = np.isin(visemes, VOWELS) & valid
    figures = {}
    for name in ("width", "pucker"):
        wanted, drawn = named(real, name), named(found, name)
        enough = np.ptp(drawn) > 0 and on.sum() >= FEWEST
        figures[f"{name} on vowels r"] = correlation(wanted[on], drawn[on]) if enough else float("nan")
    return figures
