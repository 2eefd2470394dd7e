"""Training of the two embedded networks, from a motion set (pipelines/training/corpus.py) to shipped weights.

    moda train encoder SET... -o FILE  the audio encoder (hama, pocketsphinx and a TCN as teachers)
    moda train motion SET... -o FILE   the motion generator, on the features of that encoder

Everything random follows from the seed. Teacher labels are kept under --work and made once. The labelled speech that
the former may be given is that of pipelines/training/speech.py.
"""

from __future__ import annotations

import hashlib
import io
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
    AudioEncoder,
    Beds,
    Lesson,
    PhoneReader,
    Phonetics,
    Speech,
    TrainConfig,
    frame_labels,
    prosody_targets,
    train_encoder,
)
from moda import Example, replacing, train_motion
from moda import TrainConfig as MotionTrainConfig
from moda.network import ModelConfig
from pipelines.training.corpus import Clip, Retake, load_corpus, retake, speaker_weights, split
from pipelines.training.recordings import BEDS
from pipelines.training.sets import CorpusError, Progress
from pipelines.training.speech import load_speech, manifest, phone_rows
from pipelines.training.tcn import Tcn, TcnConfig, TcnExample, mel_features, train_tcn

log = logging.getLogger(__name__)

#: How often each clip is heard in another room and at another tempo.
VARIANTS = 5
#: How often a clip begins, and how often it ends, in silence when the generator hears it.
QUIET = 0.35
#: Networks that label speech with mouths, each taught by the footage of all speakers but every third.
FOLDS = 3
#: Weight of what they think of a speaker they do not know, beside how that speaker moved: people say the same in many
#: ways, and what cannot be heard cannot be learnt.
TEACHER_SHARE = 0.5
#: Share of the audio encoder's training that is speech without pictures.
SPEECH_SHARE = 0.6


class Resume:
    """The state of a training beside the weights it writes, so that one that was stopped goes on where it was."""

    def __init__(self, out: Path, recipe: object) -> None:
        """recipe: all that the training depends on, told apart by its ``repr``."""
        self.path, self.recipe = out.with_suffix(".state"), hashlib.sha256(repr(recipe).encode()).hexdigest()

    @property
    def kept(self) -> dict | None:
        """The state of a training of the same recipe, None without one."""
        if not self.path.is_file():
            return None
        stored = torch.load(self.path, weights_only=True)
        if stored.get("recipe") != self.recipe:
            log.warning("%s belongs to another recipe: training begins anew", self.path)
            return None
        log.info("going on from step %d", stored["step"])
        return stored

    def keep(self, state: dict) -> None:
        buffer = io.BytesIO()  # written by us, a full disk is an OSError, which the command line explains
        torch.save(state | {"recipe": self.recipe}, buffer)
        with replacing(self.path) as part:
            part.write_bytes(buffer.getbuffer())

    def __enter__(self) -> Resume:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:  # done
            self.path.unlink(missing_ok=True)


def fit_encoder(
    corpora: Sequence[Path], speech: Sequence[Path], work: Path, out: Path, config: TrainConfig,
    progress: Progress = lambda what, done, total: None, beds: Beds | None = None,
) -> None:  # fmt: skip
    """Train the audio encoder on motion sets and folders of labelled speech (`moda train speech`).

    With beds (`load_beds`), they and what the other recordings say lie under what is heard."""
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
    teachers = []
    for k in range(FOLDS):
        others, recipe = [c for c in training if folds[c.speaker] != k], TcnConfig(seed=k)
        tell = partial(_tell, progress, f"training teacher {k + 1} of {FOLDS}", recipe.steps)
        teachers.append(train_teacher(others, phones, recipe, tell))

    def recorded(clip: Clip, weight: float, share: float) -> Speech:
        track = (clip.articulation - mean) / std
        if share:
            thought = teachers[folds[clip.speaker]].predict(teacher_features(clip.waveform, phones[clip.name]))
            track += share * ((thought - mean) / std - track)
        track[~clip.valid] = np.nan
        visemes, rows = labels[clip.name]
        prosody = known_prosody(clip.waveform, work)
        english = clip.language.startswith("en")
        sound, track, rows = pcm(clip.waveform), track.astype(np.float32), rows.astype(np.float16)
        return Speech(sound, visemes, track, rows, prosody, weight, english)

    items = [
        recorded(clip, weight, TEACHER_SHARE) for clip, weight in zip(training, speaker_weights(training), strict=True)
    ]
    watched = [recorded(clip, 1.0, 0.0) for clip in tuning]
    if speech:
        total = sum(item.weight for item in items)
        labelling = partial(progress, "labelling speech")
        items += labelled_speech(speech, phonetics, teachers, mean, std, total, work, labelling)
    log.info("%d recordings to train on, %d of other speakers to watch", len(items), len(watched))
    tell = partial(_tell, progress, "training the encoder", config.steps)
    company = [] if beds is None else [len(sound) for kind in BEDS for sound in beds.of(kind)]
    if beds is not None:
        beds = replace(beds, babble=[*beds.babble, *(item.waveform for item in items)])
    with Resume(out, (config, [(len(item.waveform), item.weight) for item in items], company)) as resume:
        rest = ((0 - mean) / std).astype(np.float32)
        train_encoder(Lesson(items, watched, phonetics, rest, beds), out, config, resume.keep, resume.kept, tell)


def _tell(progress: Progress, what: str, total: int, done: int) -> None:
    progress(what, done, total)


def by_speaker(clips: list[Clip]) -> dict[str, int]:
    """Fold of each speaker, 0 to FOLDS - 1; the folds are of about the same length. Raises CorpusError."""
    seconds: dict[str, int] = {}
    for clip in clips:
        seconds[clip.speaker] = seconds.get(clip.speaker, 0) + len(clip)
    if len(seconds) < 2:
        raise CorpusError("one speaker to train on leaves nobody to learn from what others would do; add more")
    longest_first = sorted(seconds, key=lambda speaker: (-seconds[speaker], speaker))
    return {speaker: place % FOLDS for place, speaker in enumerate(longest_first)}


def fit_motion(
    corpora: Sequence[Path], out: Path, encoder_weights: Path, config: MotionTrainConfig,
    progress: Progress = lambda what, done, total: None,
) -> None:  # fmt: skip
    """Train the motion generator on motion sets, heard through the audio encoder in `encoder_weights`."""
    progress("reading the sets", 0, 0)
    training, tuning, _ = split(load_corpus(*corpora, progress=partial(progress, "reading the sets")))
    listener = AudioEncoder.embedded(path=encoder_weights)
    hear = partial(progress, "hearing the clips")
    examples, watched = motion_examples(training, listener, config.seed, hear), motion_examples(tuning, listener)
    log.info("%d examples, %d of other speakers", len(examples), len(watched))
    shape = ModelConfig.lite(audio_dim=listener.token_dim)
    heard = hashlib.sha256(encoder_weights.read_bytes()).hexdigest(), [(clip.name, len(clip)) for clip in training]
    tell = partial(_tell, progress, "training the motion generator", config.steps)
    with Resume(out, (config, shape, heard)) as resume:
        train_motion(examples, watched, shape, out, config, resume.keep, resume.kept, tell)


def train_teacher(
    clips: list[Clip], phones: dict[str, np.ndarray], config: TcnConfig,
    progress: Callable[[int], object] = lambda steps: None,
) -> Tcn:  # fmt: skip
    """A network that hears log-mel and phones, and tells the mouth: it labels speech that nobody filmed.

    phones: [T, 40] of each clip by name; they are those of the clean recording, whatever room it is heard in.
    """
    rng = np.random.default_rng(config.seed)
    examples = [
        tcn_example(take, teacher_features(take.waveform, take.track(phones[clip.name])), weight)
        for _ in range(VARIANTS)
        for clip, weight in zip(clips, speaker_weights(clips), strict=True)
        for take in [retake(clip, rng)]
    ]
    return train_tcn(examples, config, progress)


def teacher_features(waveform: np.ndarray, phones: np.ndarray) -> Tensor:
    """waveform [640 T] and phones [T, 40] -> [T, 200]"""
    return torch.cat([mel_features(waveform), torch.from_numpy(phones)], dim=1)


def tcn_example(take: Retake, features: Tensor, weight: float) -> TcnExample:
    track = torch.from_numpy(take.track(take.clip.articulation))
    return TcnExample(features, track, torch.from_numpy(take.valid), weight)


def labelled_speech(
    folders: Sequence[Path], phonetics: Phonetics, teachers: list[Tcn], mean: np.ndarray, std: np.ndarray, total: float,
    work: Path, progress: Callable[[int, int], object] = lambda done, total: None,
) -> list[Speech]:  # fmt: skip
    """Speech without pictures under the mouth that the teachers think goes with it, standardised by mean and std [34].

    Recordings are drawn in proportion to their length, all together as SPEECH_SHARE of what is drawn when footage
    weighs `total`.
    """
    rows = [row for folder in folders for row in manifest(folder)]
    share = SPEECH_SHARE / (1 - SPEECH_SHARE) * total / max(1, sum(row["seconds"] for row in rows))
    items: list[Speech] = []
    for item in chain.from_iterable(map(load_speech, folders)):
        progress(len(items), len(rows))
        heard = teacher_features(item.waveform, phonetics(item.rows))
        track = ((np.mean([teacher.predict(heard) for teacher in teachers], axis=0) - mean) / std).astype(np.float32)
        weight = share * len(item.visemes) / FPS
        sound, rows16, prosody = pcm(item.waveform), item.rows.astype(np.float16), known_prosody(item.waveform, work)
        english = item.language.startswith("en")
        items.append(Speech(sound, item.visemes, track, rows16, prosody, weight, english))
    return items


def motion_examples(
    clips: list[Clip], listener: AudioEncoder, seed: int | None = None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> list[Example]:  # fmt: skip
    """Clips as the generator hears them; with a seed, VARIANTS times, in another room and at another tempo each."""
    if seed is None:
        takes = [Retake(clip, clip.waveform, np.arange(len(clip)), np.zeros(len(clip))) for clip in clips]
    else:
        rng = np.random.default_rng(seed)
        takes = [retake(clip, rng, QUIET) for _ in range(VARIANTS) for clip in clips]
    weights = {clip.name: weight for clip, weight in zip(clips, speaker_weights(clips), strict=True)}
    examples = []
    for done, take in enumerate(takes):
        progress(done, len(takes))
        example = Example(
            tokens=listener.hear(take.waveform).half(),
            motion=torch.from_numpy(take.motion),
            valid=torch.from_numpy(take.valid),
            resting=torch.from_numpy(take.silent > 0),
            identity=torch.from_numpy(take.clip.identity),
            emotion=torch.from_numpy(take.track(take.clip.emotion)),
            steady=take.clip.steady,
            weight=weights[take.clip.name],
        )
        examples.append(example)
    return examples


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
    path = work / "prosody" / f"{hashlib.sha256(pcm(waveform).tobytes()).hexdigest()[:24]}.npy"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part, part.open("wb") as file:
            np.save(file, prosody_targets(waveform).astype(np.float16))
    return np.load(path).astype(np.float32)


def pcm(waveform: np.ndarray) -> np.ndarray:
    """float32 [N] -> int16 [N]"""
    return np.rint(np.clip(waveform, -1, 1) * 32767).astype(np.int16)
