"""One video to clips: tracked, cut, held against its sound, and written."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from contracts import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from encoders.audio import load_audio, sound_delay
from encoders.face import watch
from moda import replacing
from pipelines.training.footage.sync import Sync, check_sync
from pipelines.training.footage.takes import SHORTEST, Neutral, Take, cut, make_takes, one_person, split
from pipelines.training.footage.turns import ASTRAY, TALK, agreement, find_turns, hear, still_lips

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from contracts import Array
    from encoders.audio import AudioEncoder
    from encoders.face import Footage
    from pipelines.training.footage.turns import Hearing

SHORT = 3 * FPS  # frames: shorter clips are marked
DARK = 0.8  # share of the looks in which the eyes are dark all around: sunglasses


@dataclass
class Record:
    """What became of one video."""

    path: str  # under VIDEOS
    clips: list[dict[str, Any]] = field(default_factory=list)  # rows of the manifest
    seconds: float = 0.0
    lost: dict[str, float] = field(default_factory=dict)  # seconds left out, by reason
    refusal: str = ""  # why there is no clip
    warning: str = ""
    shortest: int = SHORTEST  # frames: what it was cut with


def sound_of(path: Path) -> Array:
    """The sound at 16 kHz, beginning with the first picture. Raises AudioError."""
    waveform, late = load_audio(path), round(sound_delay(path) * SAMPLE_RATE)
    return np.pad(waveform, (late, 0)) if late > 0 else waveform[-late:]


def track(
    path: Path, key: str, waveform: Array, listener: AudioEncoder, folder: Path, shortest: int,
    on_frame: Callable[[float], None],
) -> Record:  # fmt: skip
    """Track one video, whose sound is ``waveform``, and write its clips to ``folder``.

    Raises VideoError, AudioError, FaceModelError.
    """
    footage = watch(path, progress=on_frame)
    cutting = one_person(footage, cut(footage, shortest))
    record = Record(path.name, seconds=len(footage) / FPS, shortest=shortest, warning=remarks(footage))
    if not cutting.stretches:
        lost = cutting.lost.most_common(1)[0][0]
        return replace(
            record, lost=_seconds(cutting.lost), refusal=f"no usable take of {shortest / FPS:.1f} s (mostly: {lost})"
        )
    takes, neutral = make_takes(footage, cutting)
    hearing = hear(listener, waveform)
    gap = np.full(len(footage), np.nan)
    for take in takes:
        gap[take.start : take.start + len(take)] = np.where(take.ok, take.gap, np.nan)
    still = still_lips(gap, hearing.speech)
    sync = check_sync(hearing.opening, np.where(still, np.nan, gap))
    if sync.refusal:
        return replace(record, lost=_seconds(cutting.lost), refusal=sync.refusal)
    pieces, astray = take_turns(takes, gap, still, hearing, sync, shortest)
    record.lost = _seconds(cutting.lost + astray)
    heard = [(pair, kind) for take, kind in pieces if (pair := with_sound(take, waveform, sync.lag_removed, shortest))]
    if not any(kind == TALK for _, kind in heard):
        return replace(record, refusal=f"no take of {shortest / FPS:.1f} s in which the lips go with the sound")
    clips = [
        (take.part(part), sound[part.start * SAMPLES_PER_FRAME : part.stop * SAMPLES_PER_FRAME], kind)
        for (take, sound), kind in heard
        for part in split(len(take))
    ]
    for number, (take, sound, kind) in enumerate(clips):
        name = f"{slug(path)}_{key[:8]}" + (f"_{number}" if len(clips) > 1 else "")
        with replacing(folder / f"{name}.npz") as part, part.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **_arrays(take, sound, neutral))
        row = {"name": name, "blob": key, "kind": kind, **_row(take, neutral, sync), "src_fps": round(footage.fps, 3)}
        row["sync"]["r_clip"] = round(agreement(hearing, take.gap, take.start, sync.lag_removed), 3)
        row["sync"]["video_seconds"] = round(record.seconds, 1)
        record.clips.append(row | {"eyes_hidden": footage.dark_eyes >= DARK})
    return record


def take_turns(
    takes: list[Take], gap: Array, still: Array, hearing: Hearing, sync: Sync, shortest: int
) -> tuple[list[tuple[Take, str]], Counter[str]]:
    """The takes by who speaks, each part with its kind, and the frames that are left out, by reason.

    ``gap`` and ``still`` are those of the whole video, [T].
    """
    pieces: list[tuple[Take, str]] = []
    lost: Counter[str] = Counter()
    for take in takes:
        span = slice(take.start, take.start + len(take))
        turns = find_turns(gap[span], still[span], hearing, take.start, sync.lag_removed, shortest)
        pieces += [(take.part(turn.frames), turn.kind) for turn in turns if turn.kind != ASTRAY]
        astray = sum(turn.frames.stop - turn.frames.start for turn in turns if turn.kind == ASTRAY)
        lost["lips do not go with the sound"] += astray
        lost["too short"] += len(take) - sum(turn.frames.stop - turn.frames.start for turn in turns)
    return pieces, +lost


def remarks(footage: Footage) -> str:
    """What to say of a video that is usable for all that."""
    said = []
    if footage.damaged:
        said.append("the file is damaged towards its end, and the rest is left out: copy it again")
    if footage.dark_eyes >= DARK:
        said.append(
            "dark glasses seem to hide the eyes, so that lids and gaze are guessed: leave it out if they matter"
        )
    return "; ".join(said)


def with_sound(take: Take, waveform: Array, lag: int, shortest: int = SHORTEST) -> tuple[Take, Array] | None:
    """The part of a take that has sound, and that sound, when the picture comes ``lag`` frames late; None if short."""
    first = max(0, lag - take.start)
    last = min(len(take), len(waveform) // SAMPLES_PER_FRAME + lag - take.start)
    if last - first < shortest:
        return None
    begin = (take.start + first - lag) * SAMPLES_PER_FRAME
    return take.part(slice(first, last)), waveform[begin : begin + (last - first) * SAMPLES_PER_FRAME]


def slug(path: Path) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "_", path.stem).strip("_")[:40] or "video"


def _seconds(frames: Counter[str]) -> dict[str, float]:
    return {reason: count / FPS for reason, count in frames.items()}


def _arrays(take: Take, sound: Array, neutral: Neutral) -> dict[str, Array]:
    return {
        "audio": np.clip(np.round(sound * 32768), -32768, 32767).astype(np.int16),
        "exp": take.expression.astype(np.float16),
        "pose": take.pose.astype(np.float16),
        "translation": take.translation.astype(np.float16),
        "scale": take.scale.astype(np.float16),
        "blendshapes": np.round(take.blendshapes.clip(0, 1) * 255).astype(np.uint8),
        "ok": take.ok,
        "ap": take.aperture.astype(np.float16),
        "neutral": neutral.keypoints,
        "fps": np.array(FPS),
    }


def _row(take: Take, neutral: Neutral, sync: Sync) -> dict[str, Any]:
    figures = {name: round(value, 3) for name, value in asdict(sync).items() if name != "refusal"}
    return {
        "start_frame": take.start, "frames": len(take), "seconds": len(take) / FPS, "sync": figures,
        "face_px": round(take.face_px),
        "neutral": neutral.figures,
        "skull_rms": round(take.misfit, 4), "pose_med": np.median(take.pose, 0).round(1).tolist(),
        "short": len(take) < SHORT,
    }  # fmt: skip
