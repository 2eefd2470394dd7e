"""How well motion follows speech and how well the head lives, on speakers held out of training.

    moda evaluate SET... [--part tune] [--samples 16] [--json FILE]

Every clip of four seconds or more is sampled, neutral, and compared with the person's own motion: as the generator
draws it, and with the lips brought together in pauses and on bilabials as `moda talk` does (moda/motion/closures.py),
where the people of the footage often hold them apart. Figures (pipelines/evaluation/metrics.py) are taken per clip, of
each sample and averaged over samples, then averaged over clips; intervals are bootstrapped over speakers. The baselines
(pipelines/evaluation/baselines.py) are fitted on the training speakers of the same set, in the same run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from contracts import FPS, Conditions, EmotionKey, EmotionTimeline
from encoders.audio import AudioEncoder, TeacherError, speech_frames
from moda.flow import SamplerConfig, sample
from moda.motion import MotionSpace, close_lips
from moda.network import MMDiT, load_checkpoint
from pipelines.evaluation import baselines
from pipelines.evaluation.baselines import Predictor, Recording
from pipelines.evaluation.metrics import POSE, clip_figures, life, sample_figures
from pipelines.training import JUDGED, Clip, CorpusError, Progress, TcnConfig, load_corpus, split

log = logging.getLogger(__name__)

LONG = 240  # frames, 9.6 s: in shorter clips people have no time to turn or to blink
ENOUGH = 10  # long clips; where there are fewer, shorter ones count too
NEUTRAL = EmotionTimeline((EmotionKey(0.0, "neutral"),))
ONE, SHOWN, REAL = "moda", "moda, as shown", "real"
FRONT_END = "TCN, encoder"  # the baseline that hears what the generator hears


class Estimate(NamedTuple):
    mean: float
    low: float  # 95 % interval
    high: float


@dataclass(frozen=True)
class ClipScore:
    speaker: str
    figures: dict[str, float]
    set: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Report:
    """What one run found."""

    part: str
    samples: int
    scores: dict[str, list[ClipScore]]
    """By system; clips in the same order everywhere."""
    ranges: dict[str, tuple[float, float]]
    """10th and 90th percentile of head motion and blinks in the footage that is not judged."""

    @property
    def clips(self) -> list[ClipScore]:
        """Of any system: whose, of which set and how long."""
        return next(iter(self.scores.values()))

    @property
    def seconds(self) -> float:
        return sum(clip.seconds for clip in self.clips)

    def by_set(self) -> dict[str, Report]:
        """The same of each set alone, where there are several; none of one that has no clip."""
        names = sorted({clip.set for clip in self.clips})
        parts = {
            name: {system: [score for score in scores if score.set == name] for system, scores in self.scores.items()}
            for name in names
        }
        return {name: replace(self, scores=scores) for name, scores in parts.items()} if len(names) > 1 else {}

    @cached_property
    def summary(self) -> dict[str, dict[str, Estimate]]:
        """By system and figure."""
        return {system: summarise(scores) for system, scores in self.scores.items()}


def evaluate_sets(
    corpora: Sequence[Path], encoder: Path, motion: Path, config: SamplerConfig, part: str = "test", samples: int = 16,
    with_baselines: bool = True, tcn: TcnConfig | None = None, progress: Progress = lambda what, done, total: None,
) -> Report:  # fmt: skip
    """Judge the weights in `encoder` and `motion` on the speakers of one part. Raises CorpusError, EncoderError,
    WeightsError; a baseline that lacks its packages is left out, and logged."""
    progress("reading the sets", 0, 0)
    parts = split(load_corpus(*corpora, progress=partial(progress, "reading the sets")))
    judged = [clip for clip in getattr(parts, part) if len(clip) >= JUDGED]
    if not judged:
        raise CorpusError(f"no {part} speaker has a clip of four seconds; add more speakers, or longer videos")
    listener = AudioEncoder.embedded(path=encoder)
    model, space = load_checkpoint(motion)
    training = [Recording(clip, listener) for clip in parts.train]
    systems = _systems(training, with_baselines, tcn or TcnConfig(), progress)
    ranges = real_ranges([clip for clip in [*parts.train, *parts.tune] if clip not in judged])
    scores: dict[str, list[ClipScore]] = {}

    def note(system: str, clip: Clip, figures: dict[str, float]) -> None:
        scores.setdefault(system, []).append(ClipScore(clip.speaker, figures, clip.set, len(clip) / FPS))

    ends = np.cumsum([len(clip) for clip in judged])  # clips differ in length, and take as long
    for number, clip in enumerate(judged, 1):
        progress(f"sampling the clips: {number} of {len(judged)}", int(ends[number - 1]) - len(clip), int(ends[-1]))
        log.info("clip %d of %d, %.0f s", number, len(judged), len(clip) / FPS)
        recording = Recording(clip, listener)
        drawn = _draw(recording, model, space, config, samples)
        shown = np.stack([close_lips(motion, *recording.cues) for motion in drawn])
        predicted = {ONE: drawn, SHOWN: shown, f"mean of {samples}": drawn.mean(0, keepdims=True)}
        predicted |= {name: system(recording)[None] for name, system in systems.items()}
        for name, motions in predicted.items():
            figures = _judge(clip, motions)
            if name == ONE:
                figures |= _mean([_alive(motion, ranges) for motion in motions])
            note(name, clip, figures)
        note(REAL, clip, _alive(clip.motion, ranges))
    return Report(part, samples, scores, ranges)


def _systems(
    training: list[Recording], with_baselines: bool, config: TcnConfig, progress: Progress
) -> dict[str, Predictor]:
    systems = {"encoder": baselines.articulation(training)}
    if not with_baselines:
        return systems
    for done, recording in enumerate(training):
        progress("hearing the training speakers", done, len(training))
        _ = recording.tokens  # which it keeps
    log.info("fitting the baselines on %d recordings", len(training))
    fits: dict[str, Callable[[], Predictor]] = {
        "loudness": partial(baselines.loudness, training),
        "viseme rules": partial(baselines.viseme_rules, training),
        "ridge": partial(baselines.ridge, training),
        "TCN, log-mel": partial(baselines.tcn_from_mel, training, config),
        "TCN, log-mel and hama": partial(baselines.tcn_from_phones, training, config),
        FRONT_END: partial(baselines.tcn_from_tokens, training, config),
    }
    for done, (name, fit) in enumerate(fits.items()):
        progress(f"fitting the baselines: {name}", done, len(fits))
        try:
            systems[name] = fit()
        except TeacherError as error:
            log.warning("without %s: %s", name, error)
    return systems


def _draw(
    recording: Recording, model: MMDiT, space: MotionSpace, config: SamplerConfig, samples: int
) -> np.ndarray:  # fmt: skip
    """Samples [S, T, 70], seeds 0 to S - 1."""
    conditions = Conditions([recording.tokens], torch.from_numpy(recording.clip.identity), NEUTRAL)
    chances = (torch.Generator().manual_seed(seed) for seed in range(samples))
    return np.stack([torch.cat(list(sample(model, space, conditions, config, chance))).numpy() for chance in chances])


def _judge(clip: Clip, motions: np.ndarray) -> dict[str, float]:
    """Figures of one clip from the motions [S, T, 70] that a system has for it."""
    speech = speech_frames(clip.waveform)
    each = [clip_figures(clip.motion, motion, speech, clip.valid) for motion in motions]
    return _mean(each) | sample_figures(clip.motion, motions, clip.valid)


def real_ranges(clips: list[Clip]) -> dict[str, tuple[float, float]]:
    """10th and 90th percentile over clips of :func:`life`; the head's from faces that are large enough."""
    lives = [(clip.steady, life(clip.motion)) for clip in _long_enough(clips)]
    everyone = [figures for _, figures in lives]
    steady = [figures for steady, figures in lives if steady] or everyone
    judged = {f"{name} std": steady for name in POSE} | {"blinks/min": everyone}
    ranges = {name: np.quantile([figures[name] for figures in of], [0.1, 0.9]) for name, of in judged.items()}
    return {name: (float(low), float(high)) for name, (low, high) in ranges.items()}


def _long_enough(clips: list[Clip]) -> list[Clip]:
    long = [clip for clip in clips if len(clip) >= LONG]
    return long if len(long) >= ENOUGH else [clip for clip in clips if len(clip) >= JUDGED] or clips


def _alive(motion: np.ndarray, ranges: dict[str, tuple[float, float]]) -> dict[str, float]:
    """:func:`life`, and whether it lies in the real ranges; those are of long clips, and so judged on long ones."""
    figures = life(motion)
    inside = {f"{name} inside": float(low <= figures[name] <= high) for name, (low, high) in ranges.items()}
    return figures | (inside if len(motion) >= LONG else dict.fromkeys(inside, float("nan")))


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    """Mean of each figure over the rows that have it."""
    table = np.array([list(row.values()) for row in rows])
    counts = np.isfinite(table).sum(0)
    sums = np.nansum(table, axis=0)
    return {name: float(sums[i] / counts[i]) if counts[i] else float("nan") for i, name in enumerate(rows[0])}


def summarise(scores: list[ClipScore], rounds: int = 2000) -> dict[str, Estimate]:
    """Mean over clips and 95 % interval of each figure; whole speakers are drawn with replacement."""
    rng = np.random.default_rng(0)  # the same draws for every system
    names, speakers = list(scores[0].figures), sorted({score.speaker for score in scores})
    table = np.array([list(score.figures.values()) for score in scores])  # [clips, figures]
    own = np.array([[score.speaker == speaker for score in scores] for speaker in speakers], np.float64)
    sums, counts = own @ np.nan_to_num(table), own @ np.isfinite(table)  # [speakers, figures]
    times = rng.multinomial(len(speakers), np.full(len(speakers), 1 / len(speakers)), rounds)
    with np.errstate(invalid="ignore"):  # a figure that no clip has is 0 / 0
        centre, means = sums.sum(0) / counts.sum(0), (times @ sums) / (times @ counts)
    found = {}
    for i, name in enumerate(names):
        drawn = means[np.isfinite(means[:, i]), i]
        low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (np.nan, np.nan)
        found[name] = Estimate(float(centre[i]), float(low), float(high))
    return found


def compare(scores: list[ClipScore], others: list[ClipScore]) -> dict[str, Estimate]:
    """Difference of two systems in the figures that both have, clip by clip, with its interval."""
    differences = [
        ClipScore(a.speaker, {name: a.figures[name] - b.figures[name] for name in a.figures if name in b.figures})
        for a, b in zip(scores, others, strict=True)
    ]
    return summarise(differences)
