"""Training of the embedded audio encoder: what motion sets and labelled speech tell about sound.

    moda train encoder SET... -o FILE  (hama, pocketsphinx and TCNs as teachers)

Everything random follows from the seed. Teacher labels are kept under --work and made once. The labelled speech is that
of pipelines/training/speech.py.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from contracts import FPS
from encoders.audio import (
    UNKNOWN,
    Beds,
    Lesson,
    PhoneReader,
    Phonetics,
    Speech,
    TrainConfig,
    frame_labels,
    load_lite,
    prosody_targets,
    train_encoder,
)
from moda import replacing
from pipelines.training.corpus import Clip, Retake, load_corpus, retake, speaker_weights, split
from pipelines.training.recordings import BEDS
from pipelines.training.resume import Resume
from pipelines.training.sets import CorpusError, Progress
from pipelines.training.speech import load_speech, manifest, phone_rows
from pipelines.training.tcn import Tcn, TcnConfig, TcnExample, mel_features, train_tcn

log = logging.getLogger(__name__)

#: How often a teacher hears each clip in another room and at another tempo.
VARIANTS = 5
#: Teachers that label speech with mouths, each taught by the footage of all speakers but every third.
FOLDS = 3
#: Networks of a teacher, which differ in their seeds. One that hears log-mel alone makes their mean worse.
NETWORKS = 2
#: Weight of what they think of a speaker they do not know, beside how that speaker moved: people say the same in many
#: ways, and what cannot be heard cannot be learnt.
TEACHER_SHARE = 0.5


def fit_encoder(
    corpora: Sequence[Path], speech: Sequence[Path], work: Path, out: Path, config: TrainConfig,
    progress: Progress = lambda what, done, total: None, beds: Beds | None = None, former: Path | None = None,
) -> None:  # fmt: skip
    """Train the audio encoder on motion sets and, if given, folders of labelled speech (`moda train speech`), from
    scratch or on from a ``former`` one.

    With beds (`load_beds`), they and what the other recordings say lie under what is heard. Raises CorpusError where
    the former does not fit, EncoderError where it cannot be read."""
    begun = None if former is None else load_lite(former)
    if begun is not None and not config.shape.goes_on_from(begun.config):
        raise CorpusError(f"{former} is of other widths than what is trained, or deeper; leave it out to begin anew")
    lesson = read_lesson(corpora, speech, work, progress, beds, config.precision)
    log.info("%d recordings to train on, %d of other speakers to watch", len(lesson), len(lesson.heldout))
    company = [len(sound) for kind in BEDS for sound in lesson.beds.of(kind)]
    heard = [(len(item.waveform), item.weight) for item in (*lesson.footage, *lesson.speech)]
    tell = partial(progress, "training the encoder")
    with Resume(out, (config, heard, company, former and _digest(former.read_bytes()))) as resume:
        train_encoder(lesson, out, config, resume.keep, resume.kept, lambda done: tell(done, config.steps), begun)


def read_lesson(
    corpora: Sequence[Path], speech: Sequence[Path], work: Path, progress: Progress, beds: Beds | None = None,
    precision: torch.dtype = torch.float32,
) -> Lesson:  # fmt: skip
    """What there is to learn from: footage of the training speakers, speech without pictures, the tuning speakers to
    watch, and beds. The teachers are trained in ``precision``."""
    progress("reading the sets", 0, 0)
    training, tuning, _ = split(load_corpus(*corpora, progress=partial(progress, "reading the sets")))
    folds = by_speaker(training)
    reader = PhoneReader()
    labels = {}
    for done, clip in enumerate(training + tuning):
        progress("reading phones off the sound", done, len(training + tuning))
        labels[clip.name] = teacher_labels(clip, reader, work)
    phonetics = Phonetics.fit(np.concatenate([labels[clip.name][1] for clip in training]), reader.phones)
    tracks = np.concatenate([clip.articulation[clip.valid] for clip in training])
    mean, std = tracks.mean(0), tracks.std(0)
    phones = {name: phonetics(rows) for name, (_, rows) in labels.items()}
    teachers = read_teachers(training, folds, phones, work, progress, precision)

    def recorded(clip: Clip, weight: float, share: float) -> Speech:
        visemes, rows = labels[clip.name]
        track = (clip.articulation - mean) / std
        if share:
            thought = teachers[folds[clip.speaker]].think(teacher_features(clip.waveform, phonetics(rows)))
            track += share * ((thought - mean) / std - track)
        track[~clip.valid] = np.nan
        return Speech(
            pcm(clip.waveform), visemes, track.astype(np.float32), rows.astype(np.float16),
            known_prosody(clip.waveform, work), weight, clip.language.startswith("en"), clip.set,
        )  # fmt: skip

    weights = speaker_weights(training)
    footage = [recorded(clip, weight, TEACHER_SHARE) for clip, weight in zip(training, weights, strict=True)]
    watched = [recorded(clip, 1.0, 0.0) for clip in tuning]
    unseen = labelled_speech(speech, phonetics, teachers, mean, std, work, partial(progress, "labelling speech"))
    if beds is not None:
        beds = replace(beds, babble=[*beds.babble, *(item.waveform for item in footage + unseen)])
    return Lesson(footage, unseen, watched, phonetics, ((0 - mean) / std).astype(np.float32), beds or Beds())


class Teacher:
    """Networks that tell the mouth from log-mel and phones; the mean of what they say follows lips better than one."""

    def __init__(self, networks: Sequence[Tcn]) -> None:
        self.networks = networks

    def think(self, features: Tensor) -> np.ndarray:
        """:func:`teacher_features` [T, 200] -> articulation [T, 34] in units"""
        return np.asarray(np.mean([network.predict(features) for network in self.networks], axis=0))

    @classmethod
    def taught(
        cls, examples: list[TcnExample], recipes: Sequence[TcnConfig], progress: Callable[[int, int], object]
    ) -> Teacher:
        total, networks = sum(recipe.steps for recipe in recipes), list[Tcn]()
        for recipe in recipes:

            def tell(done: int, before: int = len(networks) * recipe.steps) -> None:
                progress(before + done, total)

            networks.append(train_tcn(examples, recipe, tell))
        return cls(networks)

    def save(self, path: Path) -> None:
        """Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            torch.save([network.state_dict() for network in self.networks], part)

    @classmethod
    def load(cls, path: Path, recipes: Sequence[TcnConfig]) -> Teacher:
        """What :meth:`save` wrote."""
        networks = []
        for recipe, state in zip(recipes, torch.load(path, weights_only=True), strict=True):
            features, channels = len(state["enter.0.weight"]), len(state["mean"])
            networks.append(Tcn(recipe, features, torch.zeros(channels), torch.ones(channels)).eval())
            networks[-1].load_state_dict(state)
        return cls(networks)


def read_teachers(
    training: list[Clip], folds: dict[str, int], phones: dict[str, np.ndarray], work: Path, progress: Progress,
    precision: torch.dtype,
) -> list[Teacher]:  # fmt: skip
    """A teacher for each fold, taught by the others, kept in `work`; phones: [T, 40] of each clip by name."""
    taught = [(_digest(clip.waveform, clip.articulation, clip.valid), folds[clip.speaker]) for clip in training]
    teachers: list[Teacher] = []
    examples: list[TcnExample] = []
    owners = [clip.speaker for _ in range(VARIANTS) for clip in training]
    for k in range(FOLDS):
        recipes = [TcnConfig(seed=k + FOLDS * n, precision=precision) for n in range(NETWORKS)]
        path = work / f"teacher-{_digest(repr((k, recipes, VARIANTS, taught)).encode())}.pt"
        if not path.is_file():
            progress("hearing the footage for the teachers", 0, 0)
            examples = examples or teacher_examples(training, phones, np.random.default_rng(0))
            others = [one for one, speaker in zip(examples, owners, strict=True) if folds[speaker] != k]
            Teacher.taught(others, recipes, partial(progress, f"training teacher {k + 1} of {FOLDS}")).save(path)
        teachers.append(Teacher.load(path, recipes))
    return teachers


def by_speaker(clips: list[Clip]) -> dict[str, int]:
    """Fold of each speaker, 0 to FOLDS - 1; the folds are of about the same length. Raises CorpusError."""
    seconds: dict[str, int] = {}
    for clip in clips:
        seconds[clip.speaker] = seconds.get(clip.speaker, 0) + len(clip)
    if len(seconds) < 2:
        raise CorpusError("one speaker to train on leaves nobody to learn from what others would do; add more")
    longest_first = sorted(seconds, key=lambda speaker: (-seconds[speaker], speaker))
    return {speaker: place % FOLDS for place, speaker in enumerate(longest_first)}


def teacher_examples(clips: list[Clip], phones: dict[str, np.ndarray], rng: np.random.Generator) -> list[TcnExample]:
    """Clips VARIANTS times, round after round, as a network hears them that tells the mouth of log-mel and phones.

    phones: [T, P] of each clip by name; they are those of the clean recording, whatever room it is heard in.
    """
    return [
        tcn_example(take, teacher_features(take.waveform, take.track(phones[clip.name])).half(), weight)
        for _ in range(VARIANTS)
        for clip, weight in zip(clips, speaker_weights(clips), strict=True)
        for take in [retake(clip, rng)]
    ]


def teacher_features(waveform: np.ndarray, phones: np.ndarray) -> Tensor:
    """waveform [640 T] and phones [T, P] -> [T, 160 + P]"""
    return torch.cat([mel_features(waveform), torch.from_numpy(phones)], dim=1)


def tcn_example(take: Retake, features: Tensor, weight: float) -> TcnExample:
    track = torch.from_numpy(take.track(take.clip.articulation))
    return TcnExample(features, track, torch.from_numpy(take.valid), weight)


def labelled_speech(
    folders: Sequence[Path], phonetics: Phonetics, teachers: list[Teacher], mean: np.ndarray, std: np.ndarray,
    work: Path, progress: Callable[[int, int], object] = lambda done, total: None,
) -> list[Speech]:  # fmt: skip
    """Speech without pictures under the mouth that the teachers think goes with it, standardised by mean and std [34].
    Recordings are drawn in proportion to their length."""
    total = sum(len(manifest(folder)) for folder in folders)
    items: list[Speech] = []
    for item in chain.from_iterable(map(load_speech, folders)):
        progress(len(items), total)
        features = teacher_features(item.waveform, phonetics(item.rows))
        thought = np.mean([teacher.think(features) for teacher in teachers], axis=0)
        track = ((thought - mean) / std).astype(np.float32)
        speech = Speech(
            pcm(item.waveform), item.visemes, track, item.rows.astype(np.float16), known_prosody(item.waveform, work),
            len(item.visemes) / FPS, item.language.startswith("en"), item.source,
        )  # fmt: skip
        items.append(speech)
    return items


def teacher_labels(clip: Clip, reader: PhoneReader, work: Path) -> tuple[np.ndarray, np.ndarray]:
    """Aligned visemes [T] and phone log posteriors at 25 Hz [T, 191] of a clip, kept in `work`."""
    digest = hashlib.sha256(clip.waveform.tobytes()).hexdigest()[:16]  # names recur between sets
    path = work / "teachers" / f"{clip.name}.{digest}.npz"
    if not path.is_file():
        segments = reader.segments(clip.waveform) if clip.language in ("en", "?") else []
        visemes = np.array(frame_labels(segments, len(clip), FPS)) if segments else np.full(len(clip), UNKNOWN)
        rows = phone_rows(reader, clip.waveform)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part, part.open("wb") as file:
            np.savez(file, visemes=visemes.astype(np.int64), rows=rows.astype(np.float16))
    with np.load(path) as stored:
        return stored["visemes"], stored["rows"].astype(np.float32)


def known_prosody(waveform: np.ndarray, work: Path) -> np.ndarray:
    """:func:`encoders.audio.prosody_targets` of a recording, kept in `work`."""
    path = work / "prosody" / f"{_digest(pcm(waveform))}.npy"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part, part.open("wb") as file:
            np.save(file, prosody_targets(waveform).astype(np.float16))
    return np.load(path).astype(np.float32)


def pcm(waveform: np.ndarray) -> np.ndarray:
    """float32 [N] -> int16 [N]"""
    return np.rint(np.clip(waveform, -1, 1) * 32767).astype(np.int16)


def _digest(*contents: bytes | np.ndarray) -> str:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content.tobytes() if isinstance(content, np.ndarray) else content)
    return digest.hexdigest()[:24]
