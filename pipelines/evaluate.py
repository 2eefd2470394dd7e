"""How well motion follows speech, on speakers held out of training: the figures of the model cards.

    moda evaluate SET [--samples N]

Every clip of four seconds or more of the held-out speakers is sampled; figures are means over clips, intervals are
bootstrapped over speakers. Mouth opening is the inner-lip gap in OC; a sample is compared with the person's own mouth.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from contracts import FPS, Conditions, EmotionKey, EmotionTimeline
from encoders.wav2vec import AudioEncoder
from moda.checkpoint import load_checkpoint
from moda.sampler import SamplerConfig, sample
from moda.train import lip_gap
from pipelines.corpus import Clip, CorpusError, load_corpus, part

SHUT = 0.03  # OC: lips this close count as shut
UPPER_LIDS = (34, 37)  # y of the upper lids' middles
BLINK = -0.05  # OC below the median


@dataclass(frozen=True)
class ClipScore:
    speaker: str
    figures: dict[str, float]


def evaluate(corpus: Path, encoder: Path, motion: Path, config: SamplerConfig, samples: int = 4) -> list[ClipScore]:
    """Scores of every held-out clip. Raises CorpusError, EncoderError, WeightsError."""
    clips = [clip for clip in load_corpus(corpus) if part(clip.speaker) == "test" and len(clip) >= 4 * FPS]
    if not clips:
        raise CorpusError(f"no held-out speaker of {corpus} has a clip of four seconds; add more speakers")
    listener = AudioEncoder.embedded(path=encoder)
    model, space = load_checkpoint(motion)
    scores = []
    for clip in clips:
        features = list(listener.stream(clip.waveform))
        tokens = [listener.tokens(part) for part in features]
        timeline = EmotionTimeline((EmotionKey(0.0, "neutral"),))
        conditions = Conditions(tokens, torch.from_numpy(clip.identity), timeline)
        drawn = [
            torch.cat(list(sample(model, space, conditions, config, torch.Generator().manual_seed(seed)))).numpy()
            for seed in range(samples)
        ]
        track = torch.cat([part.articulation for part in features if part.articulation is not None]).numpy()
        scores.append(ClipScore(clip.speaker, clip_figures(clip, drawn, track)))
    return scores


def clip_figures(clip: Clip, drawn: list[np.ndarray], track: np.ndarray) -> dict[str, float]:
    """drawn: samples [T, 70] in units; track: the audio encoder's articulation [T, 34]."""
    seen = clip.valid
    truth = _gap(clip.motion)[seen]
    gaps = [_gap(motion)[seen] for motion in drawn]
    first = drawn[0]
    figures = {
        "gap r, one sample": float(np.mean([np.corrcoef(gap, truth)[0, 1] for gap in gaps])),
        "gap r, mean of samples": float(np.corrcoef(np.mean(gaps, axis=0), truth)[0, 1]),
        "gap r, encoder": float(np.corrcoef(track[seen, -1], truth)[0, 1]),
        "closure AUC": float(np.mean([closure_auc(gap, truth) for gap in gaps])),
        "amplitude x": float(np.mean([gap.std() for gap in gaps]) / truth.std()),
        "speed x": float(np.mean([np.abs(np.diff(gap)).mean() for gap in gaps]) / np.abs(np.diff(truth)).mean()),
        "blinks/min": blinks(first) / len(first) * FPS * 60,
        "blinks/min, real": blinks(clip.motion) / len(first) * FPS * 60,
    }
    for name, channel in (("pitch", 67), ("yaw", 68), ("roll", 69)):
        figures[f"{name} std"] = float(first[:, channel].std())
        figures[f"{name} std, real"] = float(clip.motion[:, channel].std())
    return figures


def closure_auc(gap: np.ndarray, truth: np.ndarray) -> float:
    """Chance that a frame where the lips are really shut is drawn with the narrower gap than one where they are not."""
    shut = truth < SHUT
    if not 0 < shut.sum() < len(shut):
        return float("nan")
    ranks = np.argsort(np.argsort(-gap)) + 1
    return float((ranks[shut].sum() - shut.sum() * (shut.sum() + 1) / 2) / (shut.sum() * (~shut).sum()))


def blinks(motion: np.ndarray) -> int:
    """Times that both upper lids come down."""
    lids = motion[:, list(UPPER_LIDS)].mean(1)
    down = lids - np.median(lids) < BLINK
    return int((down[1:] & ~down[:-1]).sum())


def summarise(scores: list[ClipScore], rounds: int = 1000) -> dict[str, tuple[float, float, float]]:
    """Mean and 95 % interval of each figure; whole speakers are drawn with replacement."""
    rng = np.random.default_rng(0)
    speakers = sorted({score.speaker for score in scores})
    rows = {
        speaker: np.array([list(score.figures.values()) for score in scores if score.speaker == speaker])
        for speaker in speakers
    }
    names = list(scores[0].figures)
    means = np.array(
        [
            np.nanmean(np.concatenate([rows[speakers[i]] for i in rng.integers(0, len(speakers), len(speakers))]), 0)
            for _ in range(rounds)
        ]
    )
    centre = np.nanmean(np.concatenate(list(rows.values())), 0)
    low, high = np.nanpercentile(means, [2.5, 97.5], axis=0)
    return {name: (float(centre[i]), float(low[i]), float(high[i])) for i, name in enumerate(names)}


def _gap(motion: np.ndarray) -> np.ndarray:
    return lip_gap(torch.from_numpy(motion)).numpy()
