"""Figures that compare two motions of one recording, and those that judge a set of samples. Numbers in, numbers out.

Mouth opening is the inner-lip gap in OC, y(v13) - y(v14). A figure without meaning on a clip (no closure in it, a
channel that never moves) is NaN and does not count.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import find_peaks
from scipy.stats import rankdata

from contracts import FPS
from moda.motion import EXPRESSION, LIPS, LONGEST, PITCH, ROLL, ROTATION, UPPER_LIDS, YAW, channel, find_blinks, lip_gap

SHUT = 0.03  # OC, a sixth of a loud syllable: tracked lips come closer on 68 % of spoken p, b, m and 22 % of the rest
# (bench/closures.py, training speakers of both sets)
CLOSURE_TOLERANCE = 1  # frames that a closure may be early or late
OPENING = 0.03  # OC, prominence of a local maximum that counts as an opening: a sixth of a loud syllable; about 1.8 a
# second of speech are found in the footage, where people speak 3 to 5 syllables a second
OPENING_TOLERANCE = 2  # frames: from 80 ms on, viewers notice that sound and lips part (ITU-R BT.1359: 45 to 125 ms)
MAX_LAG = 5  # frames


POSE = {"pitch": PITCH.start, "yaw": YAW.start, "roll": ROLL.start}
#: Channels that say whether the rest of the face follows: (plus, minus), each a mean over channels.
NAMED_CHANNELS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "width": ((channel(291, "x"),), (channel(61, "x"),)),
    "jaw": ((channel(152, "y"),), ()),
    "pucker": ((channel(0, "z"), channel(17, "z")), ()),
    "smile": ((channel(61, "y"), channel(291, "y")), ()),
    "brow": ((channel(107, "y"), channel(336, "y")), ()),
    "blink": (tuple(UPPER_LIDS), ()),
}
#: Parts of the face whose diversity is told apart: where the sound decides, and where it does not.
PARTS = {"lips": LIPS, "brows": slice(channel(107, "x"), EXPRESSION.stop), "head": ROTATION}


def clip_figures(truth: np.ndarray, predicted: np.ndarray, speech: np.ndarray, valid: np.ndarray) -> dict[str, float]:
    """Figures of a prediction against how the person moved.

    truth, predicted: motion [T, 70] in units of space ``mesh``; speech, valid: bool [T], frames with speech
    (:func:`encoders.audio.speech_frames`) and frames where the real face was seen. A channel that a system says nothing
    about, that is always the same, has no figure.
    """
    real, found = lip_gap(truth), lip_gap(predicted)
    inside = speech & valid
    lag, lagged = best_lag(real, found, valid)
    recall, precision, f1 = closures(real, found, inside)
    figures = {
        "gap r": correlation(real[valid], found[valid]),
        "gap r in speech": correlation(real[inside], found[inside]),
        "lag": lag,
        "gap r at lag": lagged,
        "lag within 1": float(abs(lag) <= 1) if np.isfinite(lag) else float("nan"),
        "closure recall": recall,
        "closure precision": precision,
        "closure F1": f1,
        "closure AUC": closure_auc(real[inside], found[inside]),
        "opening F1": opening_f1(real, found, inside),
        "amplitude x": _ratio(found[valid].std(), real[valid].std()),
        "speed x": _ratio(_speed(found, valid), _speed(real, valid)),
    }
    for name in NAMED_CHANNELS:
        wanted, drawn = named(truth, name)[valid], named(predicted, name)[valid]
        figures[f"{name} r"] = correlation(wanted, drawn) if np.ptp(drawn) else float("nan")
    return figures


def life(motion: np.ndarray) -> dict[str, float]:
    """What is judged without a partner: head motion (degrees) and blinks of a motion [T, 70]."""
    figures = {f"{name} std": float(motion[:, channel].std()) for name, channel in POSE.items()}
    return figures | {"blinks/min": blinks(motion) / len(motion) * FPS * 60}


def sample_figures(truth: np.ndarray, samples: np.ndarray, valid: np.ndarray) -> dict[str, float]:
    """Figures of samples [S, T, 70] as a set; of a single one, that is of a regression, only the CRPS has a meaning.

    Diversity is the spread between samples over the spread in time of the real motion, each a root mean square over the
    channels of a part: 0 is a regression, 1 differs from sample to sample as much as a person does from time to time.
    """
    figures = {"gap CRPS": float(crps(lip_gap(samples)[:, valid], lip_gap(truth)[valid]).mean())}
    if len(samples) < 2:
        return figures
    for name, part in PARTS.items():
        between = samples[..., part].var(0, ddof=1).mean()
        figures[f"{name} diversity"] = _ratio(np.sqrt(between), np.sqrt(truth[valid, part].var(0).mean()))
    figures["gap spread / error"] = spread_error(lip_gap(samples)[:, valid], lip_gap(truth)[valid])
    return figures


def named(motion: np.ndarray, name: str) -> np.ndarray:
    """One of NAMED_CHANNELS of motion [..., 70], OC."""
    plus, minus = NAMED_CHANNELS[name]
    value = motion[..., list(plus)].mean(-1)
    return value - motion[..., list(minus)].mean(-1) if minus else value


def correlation(real: np.ndarray, found: np.ndarray) -> float:
    """Pearson's r of a real track and a found one: NaN where the real one does not move, 0 where only the other does
    not."""
    if len(real) < 3 or real.std() < 1e-6:
        return float("nan")
    return float(np.corrcoef(real, found)[0, 1]) if found.std() > 1e-6 else 0.0


def best_lag(real: np.ndarray, found: np.ndarray, valid: np.ndarray) -> tuple[float, float]:
    """Frames within +-MAX_LAG by which ``found`` trails ``real`` (negative: it leads), and r at that lag."""
    scores: dict[int, float] = {}
    for lag in sorted(range(-MAX_LAG, MAX_LAG + 1), key=abs):  # of equals, the smaller
        early, late = slice(max(0, -lag), len(real) - max(0, lag)), slice(max(0, lag), len(real) - max(0, -lag))
        scores[lag] = correlation(real[early][valid[early]], found[late][valid[early]])
    if not np.isfinite(list(scores.values())).any():
        return float("nan"), float("nan")
    lag = max(scores, key=lambda key: np.nan_to_num(scores[key], nan=-2.0))
    return float(lag), scores[lag]


def closures(real: np.ndarray, found: np.ndarray, inside: np.ndarray) -> tuple[float, float, float]:
    """Recall, precision and F1 of the runs of frames ``inside`` speech [T] in which the lips are shut.

    A real closure is found where the other mouth is shut on some frame of it or within CLOSURE_TOLERANCE; a predicted
    one is right on the same terms. A mouth that never opens has both at 1: read them with the AUC and the amplitude.
    """
    real_shut, found_shut = real < SHUT, found < SHUT
    recall = _share_met(runs(real_shut & inside), found_shut)
    precision = _share_met(runs(found_shut & inside), real_shut)
    if np.isnan(recall):
        return recall, precision, float("nan")
    if np.isnan(precision):
        return recall, precision, 0.0
    return recall, precision, _ratio(2 * recall * precision, recall + precision, empty=0.0)


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Stretches of True in bool [T]: [begin, end)."""
    edges = np.flatnonzero(np.diff(np.pad(flags, 1).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _share_met(events: list[tuple[int, int]], shut: np.ndarray) -> float:
    if not events:
        return float("nan")
    met = [shut[max(0, begin - CLOSURE_TOLERANCE) : end + CLOSURE_TOLERANCE].any() for begin, end in events]
    return float(np.mean(met))


def closure_auc(real: np.ndarray, found: np.ndarray) -> float:
    """Chance that a frame where the lips are really shut is drawn with the narrower gap than one where they are not."""
    shut = real < SHUT
    positives, negatives = int(shut.sum()), int((~shut).sum())
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(-found)
    return float((ranks[shut].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def opening_f1(real: np.ndarray, found: np.ndarray, inside: np.ndarray) -> float:
    """F1 of the local maxima of the gap inside speech, matched one to one within OPENING_TOLERANCE."""
    wanted, drawn = (peaks[inside[peaks]] for peaks in (_openings(real), _openings(found)))
    if not len(wanted):
        return float("nan")
    hits = i = j = 0
    while i < len(wanted) and j < len(drawn):  # both in order: taking the first that fits loses no match
        if abs(wanted[i] - drawn[j]) <= OPENING_TOLERANCE:
            hits, i, j = hits + 1, i + 1, j + 1
        elif wanted[i] < drawn[j]:
            i += 1
        else:
            j += 1
    return 2 * hits / (len(wanted) + len(drawn))


def _openings(gap: np.ndarray) -> np.ndarray:
    return find_peaks(gap, prominence=OPENING)[0]


def crps(samples: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Continuous ranked probability score of samples [S, T] against truth [T], frame by frame: [T], smaller is better.

    mean |x - y| - mean |x - x'| / 2 over pairs of different samples, which does not depend on how many there are
    (Ferro 2014, doi 10.1002/qj.2270); of a single sample it is the absolute error.
    """
    error = np.abs(samples - truth).mean(0)
    count = len(samples)
    if count < 2:
        return error
    order = 2 * np.arange(1, count + 1) - count - 1  # sum over pairs |x - x'| = 2 sum (2 i - S - 1) x_(i)
    return error - order @ np.sort(samples, axis=0) / (count * (count - 1))


def spread_error(samples: np.ndarray, truth: np.ndarray) -> float:
    """Spread between samples [S, T] over the error of their mean against truth [T]; 1 is calibrated, less is too sure
    (Fortin et al. 2014, doi 10.1175/JHM-D-14-0008.1)."""
    spread = np.sqrt((1 + 1 / len(samples)) * samples.var(0, ddof=1).mean())
    return _ratio(spread, np.sqrt(np.square(samples.mean(0) - truth).mean()))


def blinks(motion: np.ndarray) -> int:
    """Times that both upper lids come down and are up again within .6 s."""
    return sum(last - begin < LONGEST for begin, last in find_blinks(motion[:, UPPER_LIDS].mean(1)))


def _speed(gap: np.ndarray, valid: np.ndarray) -> float:
    """Mean change of the gap from frame to frame, OC."""
    both = valid[1:] & valid[:-1]
    return float(np.abs(np.diff(gap))[both].mean()) if both.any() else float("nan")


def _ratio(a: float, b: float, empty: float = float("nan")) -> float:
    return float(a / b) if b > 1e-9 else empty
