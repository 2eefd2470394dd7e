"""What was found clip by clip, and what follows for a set of clips, with intervals: numbers in, numbers out.

A figure of a set of clips is a statistic of items (clips, pauses, speakers) that each belong to a speaker. Intervals
are bootstrapped: whole speakers are drawn with replacement, and an item weighs as often as its speaker was drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

ROUNDS = 2000  # of the bootstrap
ONE, SHOWN, REAL = "moda", "moda, as shown", "real"
BESIDE, BESIDE_SHOWN = "beside", "beside, as shown"
ENCODER = "encoder"  # its own articulation track
FRONT_END = "TCN, encoder"  # the baseline that hears what the generator hears


class Estimate(NamedTuple):
    mean: float
    low: float  # 95 % interval
    high: float


@dataclass(frozen=True)
class Take:
    """The lips of one system in one clip, and the person's own."""

    gap: np.ndarray  # [S, T] OC, a row a sample
    real: np.ndarray  # [T] OC
    valid: np.ndarray  # bool [T]: the real face was seen
    silent: np.ndarray  # bool [T]: nobody speaks, by loudness (pipelines/evaluation/rest.py)


@dataclass(frozen=True)
class ClipScore:
    """What one system scored on one clip."""

    speaker: str
    figures: dict[str, float]
    set: str = ""
    seconds: float = 0.0
    language: str = "?"
    sex: str = "?"
    take: Take | None = field(default=None, repr=False)


Values = Sequence[float] | np.ndarray  # [N] of the items
Statistic = Callable[[np.ndarray], np.ndarray]  # weights [R, N] -> [R]


@dataclass(frozen=True)
class Figure:
    """A statistic of a set of items, and whose each of them is."""

    owners: list[str]  # [N] speakers
    statistic: Statistic

    def estimate(self, rounds: int = ROUNDS) -> Estimate:
        """NaN where there is no item, or where the statistic has no value; of one speaker, there is no interval."""
        if not self.owners:
            return Estimate(*[float("nan")] * 3)
        speakers, owner = np.unique(self.owners, return_inverse=True)
        (centre,) = self.statistic(np.ones((1, len(owner))))
        if len(speakers) < 2:
            return Estimate(float(centre), float("nan"), float("nan"))
        drawn = self.statistic(draws(len(speakers), rounds)[:, owner].astype(np.float64))
        return Estimate(float(centre), *interval(drawn))

    def __sub__(self, other: Figure) -> Figure:
        """The difference, under the same draws. Both must be of the same items."""
        if self.owners != other.owners:
            raise ValueError("figures of different items cannot be paired")
        return Figure(self.owners, lambda weights: self.statistic(weights) - other.statistic(weights))


def draws(speakers: int, rounds: int) -> np.ndarray:
    """How often each speaker is drawn, [rounds, speakers]; the same for every system."""
    return np.random.default_rng(0).multinomial(speakers, np.full(speakers, 1 / speakers), rounds)


def interval(drawn: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of what has a value, of [R]."""
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return float("nan"), float("nan")
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def ratio_of_sums(above: Values, below: Values) -> Statistic:
    """sum of above / sum of below; of ones below, a mean."""
    top, bottom = np.asarray(above, np.float64), np.asarray(below, np.float64)
    return lambda weights: weights @ top / (weights @ bottom)


def median(values: Values) -> Statistic:
    """The median, of an even number of items the mean of the middle two."""
    order = np.argsort(values)
    ordered = np.asarray(values, np.float64)[order]

    def statistic(weights: np.ndarray) -> np.ndarray:
        reached = np.cumsum(weights[:, order], axis=1)
        half = reached[:, -1:] / 2
        low, high = (reached >= half).argmax(1), (reached > half).argmax(1)
        return (ordered[low] + ordered[high]) / 2

    return statistic


def pearson(first: Values, second: Values) -> Statistic:
    """Correlation of two values of each item."""
    x, y = (np.asarray(values, np.float64) - np.mean(values) for values in (first, second))

    def statistic(weights: np.ndarray) -> np.ndarray:
        share = weights / weights.sum(1, keepdims=True)
        mean_x, mean_y = share @ x, share @ y
        variance_x, variance_y = share @ x**2 - mean_x**2, share @ y**2 - mean_y**2
        varies = (variance_x > 1e-12) & (variance_y > 1e-12)
        spread = np.sqrt(np.where(varies, variance_x * variance_y, np.nan))
        return (share @ (x * y) - mean_x * mean_y) / spread

    return statistic


def geometric_mean(values: Values) -> Statistic:
    """Of values from 0 on, those under a millionth as a millionth."""
    mean = ratio_of_sums(np.log(np.maximum(values, 1e-6)), np.ones(len(values)))
    return lambda weights: np.exp(mean(weights))


def summarise(scores: list[ClipScore], rounds: int = ROUNDS) -> dict[str, Estimate]:
    """Mean over clips of each figure, with its interval."""
    names, speakers = list(scores[0].figures), sorted({score.speaker for score in scores})
    table = np.array([list(score.figures.values()) for score in scores])  # [clips, figures]
    own = np.array([[score.speaker == speaker for score in scores] for speaker in speakers], np.float64)
    sums, counts = own @ np.nan_to_num(table), own @ np.isfinite(table)  # [speakers, figures]
    times = draws(len(speakers), rounds)
    with np.errstate(invalid="ignore"):  # a figure that no clip has is 0 / 0
        centre, means = sums.sum(0) / counts.sum(0), (times @ sums) / (times @ counts)
    return {name: Estimate(float(centre[i]), *interval(means[:, i])) for i, name in enumerate(names)}


def compare(scores: list[ClipScore], others: list[ClipScore]) -> dict[str, Estimate]:
    """Difference of two systems in the figures that both have, clip by clip, with its interval."""
    differences = [
        ClipScore(a.speaker, {name: a.figures[name] - b.figures[name] for name in a.figures if name in b.figures})
        for a, b in zip(scores, others, strict=True)
    ]
    return summarise(differences)


def mean_figures(rows: list[dict[str, float]]) -> dict[str, float]:
    """Mean of each figure over the rows that have it."""
    table = np.array([list(row.values()) for row in rows])
    counts = np.isfinite(table).sum(0)
    sums = np.nansum(table, axis=0)
    return {name: float(sums[i] / counts[i]) if counts[i] else float("nan") for i, name in enumerate(rows[0])}
