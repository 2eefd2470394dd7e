"""How well motion follows speech, how lips rest, and how well the head lives, on speakers held out of training.

    moda evaluate SET... [--part tune] [--samples 16] [--noise 10] [--beside FOLDER] [--json FILE]

Every clip of four seconds or more is sampled, neutral, and compared with the person's own motion: as the generator
draws it, and with the lips brought together in pauses and on bilabials as `moda talk` does (moda/motion/closures.py),
where the people of the footage often hold them apart. Figures of a clip (pipelines/evaluation/metrics.py, effort.py)
are taken of each sample and averaged over samples, then averaged over clips; those of pauses and of speakers (rest.py,
effort.py) are of all samples. Intervals are bootstrapped over speakers. The baselines
(pipelines/evaluation/baselines.py) are fitted on the training speakers of the same set, in the same run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from contracts import FPS, Conditions, EmotionKey, EmotionTimeline
from encoders.audio import UNKNOWN, AudioEncoder, PhoneReader, TeacherError, speech_frames
from moda.flow import SamplerConfig, sample
from moda.motion import MotionSpace, close_lips, lip_gap
from moda.network import MMDiT, load_checkpoint
from pipelines.evaluation import baselines
from pipelines.evaluation.baselines import Predictor, Recording
from pipelines.evaluation.effort import distances, gap_figures, rounding, rounding_followed
from pipelines.evaluation.metrics import POSE, clip_figures, life, sample_figures
from pipelines.evaluation.noise import under_noise
from pipelines.evaluation.report import Report
from pipelines.evaluation.rest import RealRest, real_rest, silence
from pipelines.evaluation.scores import (
    BESIDE,
    BESIDE_SHOWN,
    ENCODER,
    FRONT_END,
    ONE,
    REAL,
    SHOWN,
    ClipScore,
    Take,
    mean_figures,
)
from pipelines.training import JUDGED, Clip, CorpusError, Progress, TcnConfig, load_corpus, split, teacher_labels

log = logging.getLogger(__name__)

LONG = 240  # frames, 9.6 s: in shorter clips people have no time to turn or to blink
ENOUGH = 10  # long clips; where there are fewer, shorter ones count too
NEUTRAL = EmotionTimeline((EmotionKey(0.0, "neutral"),))


@dataclass(frozen=True)
class Generator:
    listener: AudioEncoder
    model: MMDiT
    space: MotionSpace
    config: SamplerConfig

    @classmethod
    def load(cls, encoder: Path, motion: Path, config: SamplerConfig) -> Generator:
        """Raises EncoderError, WeightsError."""
        return cls(AudioEncoder.embedded(path=encoder), *load_checkpoint(motion), config)

    def draw(self, recording: Recording, samples: int) -> tuple[np.ndarray, np.ndarray]:
        """Samples [S, T, 70] as drawn and as shown, seeds 0 to S - 1."""
        conditions = Conditions([recording.tokens], torch.from_numpy(recording.clip.identity), NEUTRAL)
        chances = (torch.Generator().manual_seed(seed) for seed in range(samples))
        drawn = [
            torch.cat(list(sample(self.model, self.space, conditions, self.config, chance))).numpy()
            for chance in chances
        ]
        return np.stack(drawn), np.stack([close_lips(motion, *recording.cues) for motion in drawn])


@dataclass(frozen=True)
class Systems:
    """All that are judged."""

    own: Generator
    beside: Generator | None
    predictors: dict[str, Predictor]
    samples: int

    def motions(self, clip: Clip) -> dict[str, np.ndarray]:
        """What each makes of the sound of a clip: [S, T, 70]."""
        recording = Recording(clip, self.own.listener)
        drawn, shown = self.own.draw(recording, self.samples)
        found = {ONE: drawn, SHOWN: shown}
        if self.samples > 1:
            found[f"mean of {self.samples}"] = drawn.mean(0, keepdims=True)
        if self.beside is not None:
            other = Recording(clip, self.beside.listener)
            found[BESIDE], found[BESIDE_SHOWN] = self.beside.draw(other, self.samples)
        return found | {name: predict(recording)[None] for name, predict in self.predictors.items()}

    def live(self, clip: Clip, lookahead: int) -> dict[str, np.ndarray]:
        """The same, of those that hear through the encoder, which hears so many frames beyond each and no more."""
        recording = Recording(clip, self.own.listener, lookahead)
        drawn, shown = self.own.draw(recording, self.samples)
        return {ONE: drawn, SHOWN: shown, ENCODER: self.predictors[ENCODER](recording)[None]}


def evaluate_sets(
    corpora: Sequence[Path], encoder: Path, motion: Path, config: SamplerConfig, part: str = "test", samples: int = 16,
    with_baselines: bool = True, tcn: TcnConfig | None = None, beside: tuple[Path, Path] | None = None,
    noise: float | None = None, lookaheads: Sequence[int] = (), work: Path = Path("runs"),
    progress: Progress = lambda what, done, total: None,
) -> Report:  # fmt: skip
    """Judge the weights in `encoder` and `motion` on the speakers of one part, `beside` another encoder and motion
    generator, under pink noise that the speech is `noise` dB louder than, and with the encoder hearing no more than
    each of `lookaheads` frames beyond a frame. Labels of vowels are kept in `work`. Raises CorpusError, EncoderError,
    WeightsError; what lacks its packages is left out, and logged."""
    progress("reading the sets", 0, 0)
    parts = split(load_corpus(*corpora, progress=partial(progress, "reading the sets")))
    judged = [clip for clip in getattr(parts, part) if len(clip) >= JUDGED]
    if not judged:
        raise CorpusError(f"no {part} speaker has a clip of four seconds; add more speakers, or longer videos")
    own = Generator.load(encoder, motion, config)
    training = [Recording(clip, own.listener) for clip in parts.train]
    systems = Systems(
        own, beside and Generator.load(*beside, config),
        _predictors(training, with_baselines, tcn or TcnConfig(), progress), samples,
    )  # fmt: skip
    visemes = label_vowels(judged, work, progress)
    ranges = real_ranges([clip for clip in [*parts.train, *parts.tune] if clip not in judged])
    scores: dict[str, list[ClipScore]] = {}
    noisy: dict[str, list[ClipScore]] = {}
    live: dict[int, dict[str, list[ClipScore]]] = {frames: {} for frames in lookaheads}
    ends = np.cumsum([len(clip) for clip in judged])  # clips differ in length, and take as long
    for number, clip in enumerate(judged, 1):
        progress(f"sampling the clips: {number} of {len(judged)}", int(ends[number - 1]) - len(clip), int(ends[-1]))
        log.info("clip %d of %d, %.0f s", number, len(judged), len(clip) / FPS)
        judge = Judge(clip, visemes.get(clip.name, np.full(len(clip), UNKNOWN)), ranges)
        for name, motions in systems.motions(clip).items():
            scores.setdefault(name, []).append(judge.score(motions, alive=name in (ONE, BESIDE)))
        scores.setdefault(REAL, []).append(judge.real())
        if noise is not None:
            for name, motions in systems.motions(replace(clip, waveform=under_noise(clip, noise))).items():
                noisy.setdefault(name, []).append(judge.score(motions))
        for frames, found in live.items():
            for name, motions in systems.live(clip, frames).items():
                found.setdefault(name, []).append(judge.score(motions))
    return Report(part, samples, scores, ranges, _rest(parts.train + parts.tune + parts.test), noise, noisy, live)


def _rest(clips: list[Clip]) -> dict[str, dict[str, RealRest]]:
    """How people rest: "" for all of them, and by set where there are several."""
    sets = sorted({clip.set for clip in clips})
    found = {"": real_rest(clips)}
    if len(sets) > 1:
        found |= {name: real_rest([clip for clip in clips if clip.set == name]) for name in sets}
    return found


def label_vowels(clips: list[Clip], work: Path, progress: Progress) -> dict[str, np.ndarray]:
    """Visemes [T] of the English clips by name, read off the sound by a phone recogniser; none without its packages."""
    reader, labels = PhoneReader(), {}
    english = [clip for clip in clips if clip.language == "en"]
    for done, clip in enumerate(english):
        progress("reading phones off the sound", done, len(english))
        try:
            labels[clip.name], _ = teacher_labels(clip, reader, work)
        except TeacherError as error:
            log.warning("without the rounding of vowels: %s", error)
            return {}
    return labels


def _predictors(
    training: list[Recording], with_baselines: bool, config: TcnConfig, progress: Progress
) -> dict[str, Predictor]:
    systems = {ENCODER: baselines.articulation(training)}
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


class Judge:
    """What the motions of every system are held against in one clip: the same for all."""

    def __init__(self, clip: Clip, visemes: np.ndarray, ranges: dict[str, tuple[float, float]]) -> None:
        """visemes [T] of the sound, or UNKNOWN; ranges of :func:`real_ranges`."""
        self.clip, self.visemes, self.ranges = clip, visemes, ranges
        self.speech, self.silent, self.gap = speech_frames(clip.waveform), silence(clip), lip_gap(clip.motion)

    def score(self, motions: np.ndarray, alive: bool = False) -> ClipScore:
        """Of the motions [S, T, 70] that a system has for the clip; of its head and eyes too where they are alive."""
        figures = mean_figures([self._figures(motion) for motion in motions])
        figures |= sample_figures(self.clip.motion, motions, self.clip.valid)
        if alive:
            figures |= mean_figures([_alive(motion, self.ranges) for motion in motions])
        return self._score(figures, lip_gap(motions))

    def real(self) -> ClipScore:
        """Of the person: what is judged without a partner."""
        clip = self.clip
        figures = gap_figures(self.gap, self.speech, clip.valid) | rounding(clip.motion, self.visemes, clip.valid)
        return self._score(figures | _alive(clip.motion, self.ranges), self.gap[None])

    def _figures(self, motion: np.ndarray) -> dict[str, float]:
        clip, gap = self.clip, lip_gap(motion)
        return (
            clip_figures(clip.motion, motion, self.speech, clip.valid)
            | gap_figures(gap, self.speech, clip.valid)
            | distances(self.gap, gap, clip.valid)
            | rounding(motion, self.visemes, clip.valid)
            | rounding_followed(clip.motion, motion, self.visemes, clip.valid)
        )

    def _score(self, figures: dict[str, float], gap: np.ndarray) -> ClipScore:
        clip = self.clip
        take = Take(gap, self.gap, clip.valid, self.silent)
        return ClipScore(clip.speaker, figures, clip.set, len(clip) / FPS, clip.language, clip.sex, take)


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
