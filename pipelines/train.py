"""Training of the two embedded networks, from a motion set (pipelines/corpus.py) to shipped weights.

    moda train encoder SET -o FILE     the audio encoder (hama, pocketsphinx, espeak-ng as teachers)
    moda train motion SET -o FILE      the motion generator, on the features of that encoder

Everything random follows from the seed. Teacher labels are kept under --work and made once.
"""

from __future__ import annotations

import hashlib
import logging
import re
from pathlib import Path

import numpy as np
import torch
from scipy.interpolate import interp1d

from contracts import FPS, SAMPLES_PER_FRAME
from encoders.teachers import Espeak, PhoneReader, TeacherError
from encoders.train import PHONETIC, UNKNOWN, Speech, TrainConfig, augment, train_encoder
from encoders.visemes import frame_labels
from encoders.wav2vec import ARTICULATION_CHANNELS, AudioEncoder
from moda.config import ModelConfig
from moda.files import replacing
from moda.train import Example, train_motion
from moda.train import TrainConfig as MotionTrainConfig
from pipelines.corpus import Clip, load_corpus, part, split

log = logging.getLogger(__name__)

#: espeak-ng voice and folder of Debian's fortunes (plain sentences) per language.
SYNTHETIC_VOICES = {"en-us": "", "es": "es", "de": "de"}
#: How often each recording is heard in another room and at another tempo.
VARIANTS = 4

SYNTHETIC_VARIANTS = ("", "+f1", "+f2", "+f3", "+f4", "+f5", "+m1", "+m2", "+m3", "+m4", "+m5", "+m6", "+m7")


def encoder(corpus: Path, work: Path, out: Path, texts: Path, minutes: float, config: TrainConfig) -> None:
    """Train the audio encoder on a motion set plus `minutes` of synthesised speech reading `texts`."""
    clips = load_corpus(corpus)
    split(clips)  # refuse a set that cannot be split before the teachers are asked
    speech = _recorded_speech(clips, work)
    heldout = [item for clip, item in zip(clips, speech, strict=True) if part(clip.speaker) == "tune"]
    training = [item for clip, item in zip(clips, speech, strict=True) if part(clip.speaker) == "train"]
    if minutes:
        training += synthesised_speech(texts, minutes, np.random.default_rng(config.seed))
    log.info("%d recordings to train on, %d held out", len(training), len(heldout))
    train_encoder(training, heldout, out, config)


def motion(corpus: Path, out: Path, encoder_weights: Path, config: MotionTrainConfig) -> None:
    """Train the motion generator on a motion set, heard through the audio encoder in `encoder_weights`."""
    clips = load_corpus(corpus)
    training, heldout, _ = split(clips)
    listener = AudioEncoder.embedded(path=encoder_weights)
    rng = np.random.default_rng(config.seed)
    examples = [example for clips_ in [training] * VARIANTS for example in _examples(clips_, listener, rng)]
    log.info("%d recordings, %d examples, %d held out", len(training), len(examples), len(heldout))
    shape = ModelConfig.lite(audio_dim=listener.token_dim)
    train_motion(examples, _examples(heldout, listener, None), shape, out, config)


def _examples(clips: list[Clip], listener: AudioEncoder, rng: np.random.Generator | None) -> list[Example]:
    """Clips as the generator hears them; with a generator of chance, in another room and at another tempo each time."""
    examples = []
    for clip, weight in zip(clips, speaker_weights(clips), strict=True):
        waveform, motion_, valid = clip.waveform, clip.motion, clip.valid
        if rng is not None:
            frames = round(len(clip) / rng.uniform(0.9, 1.12))
            at = np.linspace(0, len(clip) - 1, frames)
            motion_ = interp1d(np.arange(len(clip)), motion_, axis=0)(at).astype(np.float32)
            valid = valid[np.rint(at).astype(int)]
            samples = np.linspace(0, len(waveform) - 1, frames * SAMPLES_PER_FRAME)
            waveform = augment(np.interp(samples, np.arange(len(waveform)), waveform).astype(np.float32), rng)
        tokens = torch.cat([listener.tokens(features) for features in listener.stream(waveform)])
        examples.append(
            Example(
                tokens.half(),
                torch.from_numpy(motion_),
                torch.from_numpy(valid),
                torch.from_numpy(clip.identity),
                clip.steady,
                weight,
            )
        )
    return examples


def speaker_weights(clips: list[Clip]) -> list[float]:
    """How often to draw each clip: a speaker counts as the root of their seconds, a clip as its share of that."""
    seconds: dict[str, float] = {}
    for clip in clips:
        seconds[clip.speaker] = seconds.get(clip.speaker, 0.0) + len(clip) / FPS
    return [len(clip) / FPS / np.sqrt(seconds[clip.speaker]) for clip in clips]


def _recorded_speech(clips: list[Clip], work: Path) -> list[Speech]:
    reader = PhoneReader()
    labels = [_teacher_labels(clip, reader, work) for clip in clips]
    known = [part(clip.speaker) == "train" for clip in clips]  # statistics are taken from the training speakers
    tracks = np.concatenate([clip.articulation[clip.valid] for clip, use in zip(clips, known, strict=True) if use])
    mean, std = tracks.mean(0), tracks.std(0)
    posteriors = np.concatenate([rows for (_, rows), use in zip(labels, known, strict=True) if use])
    centre = posteriors.mean(0)
    _, _, axes = np.linalg.svd((posteriors - centre)[::4], full_matrices=False)
    spread = ((posteriors - centre) @ axes[:PHONETIC].T).std(0)
    speech = []
    for clip, weight, (visemes, rows) in zip(clips, speaker_weights(clips), labels, strict=True):
        track = (clip.articulation - mean) / std
        track[~clip.valid] = np.nan
        phonetic = ((rows - centre) @ axes[:PHONETIC].T / spread).astype(np.float32)
        speech.append(Speech(clip.waveform, visemes, track.astype(np.float32), phonetic, weight))
    return speech


def _teacher_labels(clip: Clip, reader: PhoneReader, work: Path) -> tuple[np.ndarray, np.ndarray]:
    """Aligned visemes [T] and phone log posteriors at 25 Hz [T, 191] of a clip, kept in `work`."""
    digest = hashlib.sha256(clip.waveform.tobytes()).hexdigest()[:16]  # names recur between sets
    path = work / "teachers" / f"{clip.name}.{digest}.npz"
    if not path.is_file():
        segments = reader.segments(clip.waveform) if clip.language in ("en", "?") else []
        visemes = np.array(frame_labels(segments, len(clip), FPS)) if segments else np.full(len(clip), UNKNOWN)
        rows = reader.log_probabilities(clip.waveform)  # 50 Hz
        rows = np.pad(rows, ((0, max(0, 2 * len(clip) - len(rows))), (0, 0)), mode="edge")[: 2 * len(clip)]
        rows = np.logaddexp(rows[0::2], rows[1::2]) - np.log(2)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part, part.open("wb") as file:
            np.savez(file, visemes=visemes.astype(np.int64), rows=np.maximum(rows, -12).astype(np.float16))
    with np.load(path) as stored:
        return stored["visemes"], stored["rows"].astype(np.float32)


def synthesised_speech(texts: Path, minutes: float, rng: np.random.Generator) -> list[Speech]:
    """espeak-ng reading random sentences in random voices; a fifth as likely to be drawn as recorded speech."""
    espeak = Espeak()
    sentences = {voice: _sentences(texts / folder) for voice, folder in SYNTHETIC_VOICES.items()}
    speech: list[Speech] = []
    frames = 0
    while frames < minutes * 60 * FPS:
        voice = str(rng.choice(list(sentences)))
        text = " ".join(rng.choice(sentences[voice], 2))
        said = espeak.speak(
            text, voice + str(rng.choice(SYNTHETIC_VARIANTS)), int(rng.integers(120, 220)),
            int(rng.integers(20, 85)), int(rng.integers(30, 80)),
        )  # fmt: skip
        count = len(said.waveform) // SAMPLES_PER_FRAME
        if not FPS <= count <= 20 * FPS:
            continue
        speech.append(
            Speech(
                waveform=said.waveform[: count * SAMPLES_PER_FRAME],
                visemes=np.array(frame_labels(said.segments, count, FPS)),
                articulation=np.full((count, ARTICULATION_CHANNELS), np.nan, np.float32),
                phonetic=np.full((count, PHONETIC), np.nan, np.float32),
                weight=count / FPS * 0.08,
            )
        )
        frames += count
    return speech


def _sentences(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise TeacherError(f"no texts to read in {folder}; name a folder with --texts, or train with --minutes 0")
    found: list[str] = []
    for file in sorted(folder.iterdir()):
        if not file.is_file() or file.suffix in (".dat", ".u8"):
            continue
        for entry in re.split(r"^%$", file.read_text("utf-8", "ignore"), flags=re.MULTILINE):
            text = " ".join(entry.split())
            plain = sum(c.isalpha() or c in " ,.'!?" for c in text)
            if 30 <= len(text) <= 120 and plain > 0.97 * len(text):
                found.append(text)
    return found
