"""Talking-head footage reduced to sound and tracked motion: what both trainings read.

A set is a folder with `manifest.jsonl` (one clip a line: name, speaker, language, face_px, pose_med, ...; kind is
`listen` where somebody else is heard) and `npz/NAME.npz` (audio int16 at 16 kHz, exp [T, 21, 3], pose [T, 3] degrees,
translation [T, 2], scale [T], blendshapes uint8 [T, 52], ok bool [T], neutral [21, 3]) at 25 frames a second.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d

from contracts import FPS, MOTION_DIM, SAMPLES_PER_FRAME
from encoders.audio import SETTLING, Beds, another_voice, augment
from moda.motion import lip_gap
from pipelines.training.emotions import pseudo_emotion, resting
from pipelines.training.sets import CorpusError, check_speakers, part, read_sets

if TYPE_CHECKING:
    from pipelines.training.sets import Row

STEADY = 100  # px of face from which its head motion is believed

MOUTH_KEYPOINTS = 11  # the first 11 of the 21: lips, chin, cheeks


@dataclass(frozen=True)
class Clip:
    """One stretch of talk. Units are those of the motion space `mesh`; the pose is relative to the clip's median."""

    name: str
    speaker: str
    language: str
    waveform: np.ndarray  # float32 [640 T]
    motion: np.ndarray  # float32 [T, 70]
    blendshapes: np.ndarray  # float32 [T, 52]
    valid: np.ndarray  # bool [T]: the face was seen
    identity: np.ndarray  # float32 [63]
    emotion: np.ndarray  # float32 [T, 9] what the face shows, and what the footage says if it does
    steady: bool  # the face is large enough for its head motion to be believed
    set: str = ""  # what its set is called
    sex: str = "?"
    listens: bool = False  # somebody else is heard: the lips tell nothing

    def __len__(self) -> int:
        return len(self.motion)

    @property
    def articulation(self) -> np.ndarray:
        """[T, 34]: the 11 mouth keypoints and the inner-lip gap, OC."""
        return np.column_stack([self.motion[:, : 3 * MOUTH_KEYPOINTS], lip_gap(self.motion)])


def load_corpus(
    *folders: Path, listening: bool = False, progress: Callable[[int, int], object] = lambda done, total: None
) -> list[Clip]:
    """All clips of one or more sets; those of listening faces too if ``listening``. Raises CorpusError.

    ``progress`` is told how many clips are read, and of how many. A name may mean somebody else in the next set.
    """
    rows = read_sets(folders, listening=listening)
    row: Row | None = None
    try:
        arrays = {}
        for row in rows:
            arrays[row.name] = _arrays(row.path)
        people: dict[tuple[str, str], list[Row]] = {}
        for row in rows:
            people.setdefault((row.set, row.known["speaker"]), []).append(row)
        clips: dict[str, Clip] = {}
        for theirs in people.values():
            talking = [row for row in theirs if not row.listens]
            rest = resting([_blendshapes(arrays[row.name]) for row in talking or theirs])
            for row in theirs:
                clips[row.name] = _clip(row, arrays[row.name], rest)
                progress(len(clips), len(rows))
        return [clips[row.name] for row in rows]
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise CorpusError(
            f"{row.path if row else folders[0]} is no clip of a motion set ({error}); "
            "pipelines/training/corpus.py describes the format"
        ) from error


class Split(NamedTuple):
    train: list[Clip]
    tune: list[Clip]
    """Speakers that settings are chosen on."""
    test: list[Clip]
    """Speakers that figures are reported on, and nothing else."""


def split(clips: list[Clip]) -> Split:
    """Clips by the part their speaker belongs to. Raises CorpusError where a part is empty."""
    check_speakers(clip.speaker for clip in clips)
    return Split(*([clip for clip in clips if part(clip.speaker) == name] for name in Split._fields))


def speaker_weights(clips: list[Clip]) -> list[float]:
    """How often to draw each clip: a speaker counts as the root of their seconds, a clip as its share of that."""
    seconds: dict[str, float] = {}
    for clip in clips:
        seconds[clip.speaker] = seconds.get(clip.speaker, 0.0) + len(clip) / FPS
    return [len(clip) / FPS / np.sqrt(seconds[clip.speaker]) for clip in clips]


@dataclass(frozen=True)
class Retake:
    """A clip as if recorded again: in another room, through another microphone, spoken a little faster or slower, and
    silent for a while before or after."""

    clip: Clip
    waveform: np.ndarray  # float32 [640 T']
    at: np.ndarray  # [T'] the frame of the clip, between frames, that each frame shows; the nearest where it is silent
    silent: np.ndarray  # [T'] frames to the nearest frame of the clip: 0 in it

    def track(self, values: np.ndarray) -> np.ndarray:
        """What was known of the clip, [T, C] -> float32 [T', C]."""
        low = np.floor(self.at).astype(int)
        share = (self.at - low)[:, None]
        high = np.minimum(low + 1, len(values) - 1)
        return (values[low] * (1 - share) + values[high] * share).astype(np.float32)

    @property
    def motion(self) -> np.ndarray:
        """float32 [T', 70]: a mouth that comes to rest where it is silent; the rest of the face is held there."""
        motion = self.track(self.clip.motion)
        motion[:, : 3 * MOUTH_KEYPOINTS] *= 0.5 + 0.5 * np.cos(np.pi * np.minimum(self.silent / SETTLING, 1))[:, None]
        return motion

    @property
    def valid(self) -> np.ndarray:
        return self.clip.valid[np.rint(self.at).astype(int)] | (self.silent > 0)


def retake(clip: Clip, rng: np.random.Generator, quiet: float = 0.0, beds: Beds | None = None) -> Retake:
    """The clip at a random tempo, 0.88 to 1.14 times as fast, under :func:`encoders.audio.augment`, above
    beds if there are any; before it and after it, with the chance ``quiet`` each, .4 to 2 s of silence."""
    frames = round(len(clip) / rng.uniform(0.88, 1.14))
    samples = np.linspace(0, len(clip.waveform) - 1, frames * SAMPLES_PER_FRAME)
    waveform = np.interp(samples, np.arange(len(clip.waveform)), clip.waveform).astype(np.float32)
    around = (rng.random(2) < quiet) * rng.integers(10, 50, 2)
    waveform = np.pad(another_voice(waveform, rng)[0], around * SAMPLES_PER_FRAME)
    at = np.pad(np.linspace(0, len(clip) - 1, frames), around, mode="edge")
    place = np.arange(len(at))
    silent = np.maximum(np.maximum(around[0] - place, place - (around[0] + frames - 1)), 0)
    return Retake(clip, augment(waveform, rng, beds), at, silent)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


def _blendshapes(arrays: dict[str, np.ndarray]) -> np.ndarray:
    return arrays["blendshapes"].astype(np.float32) / 255


def _clip(row: Row, arrays: dict[str, np.ndarray], rest: np.ndarray) -> Clip:
    frames = len(arrays["exp"])
    motion = np.zeros((frames, MOTION_DIM), np.float32)
    motion[:, :63] = arrays["exp"].reshape(frames, 63)
    # Scale and translation hold where the person sat; only their quick part belongs to talking.
    motion[:, 63] = np.clip(1 + _quick(arrays["scale"].astype(np.float32)), 0.95, 1.05)
    motion[:, 64:66] = np.clip(_quick(arrays["translation"].astype(np.float32)), -0.1, 0.1)
    pose = arrays["pose"].astype(np.float32) - np.asarray(row.known["pose_med"], np.float32)
    motion[:, 67:70] = gaussian_filter1d(pose, 1.5, axis=0)  # the tracker's jitter, worst on small faces
    audio = np.zeros(frames * SAMPLES_PER_FRAME, np.float32)
    heard = arrays["audio"][: len(audio)].astype(np.float32) / 32768
    audio[: len(heard)] = heard
    return Clip(
        name=row.name, speaker=row.known["speaker"], language=row.known["language"], waveform=audio, motion=motion,
        blendshapes=_blendshapes(arrays), valid=arrays["ok"].astype(bool),
        identity=arrays["neutral"].astype(np.float32).reshape(63),
        emotion=pseudo_emotion(_blendshapes(arrays), row.known.get("emotion"), rest),
        steady=row.known["face_px"] >= STEADY, set=row.set, listens=row.listens, sex=row.known.get("sex") or "?",
    )  # fmt: skip


def _quick(track: np.ndarray) -> np.ndarray:
    """The part of a track [T, ...] faster than about four seconds, free of tracker jitter."""
    smooth = gaussian_filter1d(track, 1.5, axis=0)
    return smooth - gaussian_filter1d(smooth, 50, axis=0, mode="nearest")
