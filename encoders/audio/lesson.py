"""What the embedded audio encoder learns from, and the stretches of it that a training step hears."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from contracts import SAMPLES_PER_FRAME
from encoders.audio.augmentation import Beds, another_voice, augment
from encoders.audio.network import LiteConfig
from encoders.audio.prosody import HEARD
from encoders.audio.teachers import PHONES, Phonetics
from encoders.audio.visemes import VISEMES
from encoders.audio.wav2vec import loudness

UNKNOWN = -1
MASKED = 5  # frames of a masked span, .2 s, as in wav2vec 2.0
SETTLING = 7  # frames that a mouth takes from speech to rest, and ahead of speech from rest
SILENT = (0.0, 0.0, 0.0, float("nan"))  # prosody where nobody speaks


@dataclass(frozen=True)
class Speech:
    """One recording and what is known of it; labels that are not known are UNKNOWN or NaN."""

    waveform: np.ndarray  # int16 [640 T]
    visemes: np.ndarray  # int [T], UNKNOWN where no aligner agreed
    articulation: np.ndarray  # float32 [T, 34] standardised, NaN where no face was seen
    phones: np.ndarray  # float16 [T, 191] log posteriors of a phone recogniser
    prosody: np.ndarray  # float32 [T, 4] encoders.audio.prosody.prosody_targets
    weight: float  # how often it is drawn, of its kind
    english: bool = True  # the recogniser's own language: elsewhere it knows mouth shapes, but no phones
    origin: str = ""  # which set or source it is from


@dataclass(frozen=True)
class Lesson:
    """What there is to learn from."""

    footage: list[Speech]
    speech: list[Speech]  # without pictures
    heldout: list[Speech]
    phonetics: Phonetics
    rest: np.ndarray  # float32 [34], standardised: the articulation of a mouth at rest
    beds: Beds = field(default_factory=Beds)  # sounds that lie under what is heard

    def __len__(self) -> int:
        return len(self.footage) + len(self.speech)


@dataclass(frozen=True)
class TrainConfig:
    steps: int = 5000
    batch: int = 12
    frames: int = 100  # 4 s
    learning_rate: float = 6e-4
    warmup: int = 200  # steps, of a short training a fifth of all
    ema: float = 0.999
    shape: LiteConfig = field(default_factory=LiteConfig.large)
    unseen: float = 0.6  # share of the stretches that is speech without pictures, where there is some
    nobody: float = 0.04  # share of the stretches in which nobody speaks, where there are beds
    quiet: float = 0.15  # share of the stretches that begin or end in silence
    masked: float = 0.0  # share of the stretches of which spans are masked, to be told from the rest
    foreign: float = 0.3  # weight of the recogniser's mouth shapes outside English
    checkpoint: int = 200
    seed: int = 0
    precision: torch.dtype = torch.float32  # of the network's arithmetic; parameters and losses stay float32


def batches(lesson: Lesson, config: TrainConfig, begin: int) -> Iterator[dict[str, Any]]:
    items, odds = [*lesson.footage, *lesson.speech], _odds(lesson, config.unseen)
    for step in range(begin, config.steps):
        rng = np.random.default_rng([config.seed, step])
        chosen = [items[i] for i in rng.choice(len(odds), config.batch, p=odds)]
        rows = [_excerpt(item, config, lesson, rng) | {"masked": _mask(config, rng)} for item in chosen]
        batch: dict[str, Any] = {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]}
        yield batch | {"english": torch.tensor([item.english for item in chosen])}


def _mask(config: TrainConfig, rng: np.random.Generator) -> np.ndarray:
    """Spans of MASKED frames, about a third of a stretch: bool [frames]."""
    masked = np.zeros(config.frames, bool)
    if rng.random() < config.masked:
        for begin in rng.integers(0, config.frames, round(0.4 * config.frames / MASKED)):
            masked[begin : begin + MASKED] = True
    return masked


def _odds(lesson: Lesson, unseen: float) -> np.ndarray:
    """How likely each recording is drawn: footage first, then what has no pictures."""
    parts = [np.array([item.weight for item in part]) for part in (lesson.footage, lesson.speech)]
    if not (lesson.footage and lesson.speech):
        unseen = float(not lesson.footage)
    shares = (1 - unseen, unseen)
    return np.concatenate([share * part / max(part.sum(), 1e-9) for share, part in zip(shares, parts, strict=True)])


def _excerpt(item: Speech, config: TrainConfig, lesson: Lesson, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A random stretch at a random tempo, augmented; beyond a recording's ends it is silent, and the mouth rests."""
    frames = config.frames
    if rng.random() < config.nobody and lesson.beds:
        return _nobody(frames, lesson, rng)
    tempo = float(rng.uniform(0.85, 1.18)) if rng.random() < 0.8 else 1.0
    wanted = round(frames * tempo)
    begin = int(rng.integers(0, max(1, len(item.visemes) - wanted + 1)))
    if rng.random() < config.quiet:
        silent = int(rng.integers(SETTLING, round(0.6 * wanted)))
        begin = -silent if rng.random() < 0.5 else len(item.visemes) - wanted + silent
    at = begin - 0.5 + (np.arange(frames) + 0.5) * wanted / frames  # [frames] of the recording, between its frames
    tracks = {name: _track(getattr(item, name), at) for name in ("articulation", "phones", "prosody")}
    nearest = np.clip(np.rint(at).astype(int), 0, len(item.visemes) - 1)
    visemes = item.visemes[nearest].astype(np.int64)
    last = len(item.visemes) - 0.5
    outside = np.maximum(-0.5 - at, at - last)  # frames beyond the recording: from 0 on, as in _track
    visemes[outside >= 0] = VISEMES.index("sil")
    waveform, octaves = _sound(item, begin, wanted, frames, lesson.beds, rng)
    tracks["prosody"][:, HEARD.index("pitch")] += np.log2(wanted / frames) + octaves
    tracks["prosody"][outside >= 0] = SILENT
    tracks["articulation"][outside > SETTLING] = lesson.rest
    return {"waveform": waveform, "visemes": visemes} | tracks


def _nobody(frames: int, lesson: Lesson, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Noise or music alone, and a mouth at rest."""
    bed = augment(lesson.beds.draw(rng, frames * SAMPLES_PER_FRAME, ("noise", "music")), rng)
    return {
        "waveform": bed * np.float32(rng.uniform(0.3, 1.2)),
        "visemes": np.full(frames, VISEMES.index("sil"), np.int64),
        "articulation": np.tile(lesson.rest, (frames, 1)),
        "phones": np.full((frames, PHONES), np.nan, np.float32),
        "prosody": np.tile(np.array(SILENT, np.float32), (frames, 1)),
    }


def _track(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """What is known of a recording, [T, C], between its frames; NaN beyond them -> float32 [frames, C]."""
    inside = (at > -0.5) & (at < len(values) - 0.5)
    at = np.clip(at, 0, len(values) - 1)
    low = np.floor(at).astype(int)
    high, part = np.minimum(low + 1, len(values) - 1), (at - low)[:, None]
    value = (values[low] * (1 - part) + values[high] * part).astype(np.float32)
    value[~inside] = np.nan
    return value


def _sound(
    item: Speech, begin: int, wanted: int, frames: int, beds: Beds, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Frames begin .. begin + wanted of a recording, silent beyond its ends, augmented -> float32 [640 frames], and by
    how many octaves its pitch was moved."""
    first, last = max(0, begin), min(begin + wanted, len(item.visemes))
    sound = item.waveform[first * SAMPLES_PER_FRAME : last * SAMPLES_PER_FRAME].astype(np.float32) / 32768
    level = loudness(sound) / loudness(item.waveform.astype(np.float32) / 32768)
    pad = (first - begin) * SAMPLES_PER_FRAME
    sound = np.pad(sound, (pad, wanted * SAMPLES_PER_FRAME - len(sound) - pad))
    samples = np.linspace(0, len(sound) - 1, frames * SAMPLES_PER_FRAME)
    sound = np.interp(samples, np.arange(len(sound)), sound).astype(np.float32)
    sound, octaves = another_voice(sound, rng)
    # quiet stretches stay quiet: how much effort is in a voice shows in its level too
    return augment(sound, rng, beds) * np.float32(np.clip(level, 0.3, 2.0)), octaves
