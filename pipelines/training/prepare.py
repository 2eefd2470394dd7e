"""Any folder of talking videos -> a motion set that the trainings and the evaluation read (see training.corpus).

    moda prepare VIDEOS -o SET

Per video: track the face (encoders.face.footage), cut (pipelines.training.takes), compare lips and sound
(pipelines.training.sync), write the clips, then a record SET/videos/KEY.json that says it is done. The key is made of
the file's contents, so that a run that was stopped goes on where it was, whatever the files are called; delete a record
to have its video done again. `manifest.jsonl` and `stats.json` are written from the records at the end of every run.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from contracts import EMOTIONS, FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, ModaError
from encoders.audio import AudioEncoder, load_audio, sound_delay
from encoders.face import FaceModelError, watch
from moda import replacing
from pipelines.training.stats import statistics
from pipelines.training.sync import Sync, check_sync, hear_opening
from pipelines.training.takes import SHORTEST, Neutral, Take, cut, make_takes, split

if TYPE_CHECKING:
    from contracts import Array

SUFFIXES = {".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv"}
SHORT = 3 * FPS  # frames: shorter clips are marked
COLUMNS = ("speaker", "sex", "language", "emotion")
FINGERPRINT = 2**20  # bytes of either end of a file that tell it from others


class PrepareError(ModaError):
    """The folder of videos or the table about them cannot be used."""


@dataclass(frozen=True)
class Person:
    """What is known of who speaks in a video."""

    speaker: str
    sex: str = "?"  # f, m or ?
    language: str = "?"  # ISO 639
    emotion: str | None = None  # one of contracts.EMOTIONS


@dataclass
class Record:
    """What became of one video."""

    path: str  # under VIDEOS
    clips: list[dict[str, Any]] = field(default_factory=list)  # rows of the manifest
    seconds: float = 0.0
    lost: dict[str, float] = field(default_factory=dict)  # seconds left out, by reason
    refusal: str = ""  # why there is no clip
    warning: str = ""


@dataclass(frozen=True)
class Step:
    """How far the preparation is: ``record`` comes once a video, at its end."""

    video: str
    index: int
    videos: int
    fraction: float = 0.0
    record: Record | None = None
    known: bool = False  # it was done in an earlier run


def prepare_set(
    videos: Path, out: Path, *, by_folder: bool = False, table: Path | None = None,
    progress: Callable[[Step], object] = lambda step: None,
) -> list[Record]:  # fmt: skip
    """Turn the videos under a folder into a motion set, and return what became of each.

    The speaker of a video is its own (one person each), or with ``by_folder`` the first folder below ``videos`` that
    it lies in; ``table``, a CSV file with the columns path (below ``videos``) and any of speaker, sex, language and
    emotion, has the last word. A video that cannot be used is reported in its record and does not stop the rest.

    Raises PrepareError, EncoderError or FaceModelError.
    """
    paths = find_videos(videos)
    people = read_table(table, videos) if table else {}
    listener = AudioEncoder.embedded()
    try:
        for folder in (out / "npz", out / "videos"):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PrepareError(f"cannot write in {out} ({error.strerror}); name another folder") from error
    records: list[Record] = []
    first: dict[str, str] = {}  # key -> path
    try:
        for index, path in enumerate(paths):
            name = path.relative_to(videos).as_posix()
            progress(Step(name, index, len(paths)))
            key, refusal = _key(path, name, first)
            if refusal:
                record, known = Record(name, refusal=refusal), False
            else:
                folders = Path(name).parts[:-1]
                speaker = folders[0] if by_folder and folders else f"{_slug(path)}_{key[:5]}"
                person = Person(**{"speaker": speaker, **people.get(name, {})})
                on_frame = partial(_report, progress, Step(name, index, len(paths)))
                record, known = _process(path, name, key, person, listener, out, on_frame)
            records.append(record)
            progress(Step(name, index, len(paths), 1.0, record, known))
    finally:  # Ctrl-C too: what is done can be used
        _write_manifest(out)
    return records


def find_videos(folder: Path) -> list[Path]:
    """The video files at any depth below a folder. Raises PrepareError."""
    if not folder.is_dir():
        raise PrepareError(f"{folder} is not a folder; name the folder that holds the videos")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise PrepareError(f"there is no video in {folder}; files of these kinds count: {' '.join(sorted(SUFFIXES))}")
    return found


def read_table(path: Path, videos: Path) -> dict[str, dict[str, str]]:
    """Rows of a CSV file by path below ``videos``: what is stated of speaker, sex, language, emotion.

    Raises PrepareError.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PrepareError(f"{path} cannot be read as a CSV file ({error}); save it as UTF-8") from error
    people = {}
    for line, row in enumerate(rows, 2):
        name = (row.get("path") or "").strip()
        if not (videos / name).is_file():
            raise PrepareError(f"{path}, line {line}: there is no video {name!r} in {videos}; correct the column path")
        stated = {column: (row.get(column) or "").strip() for column in COLUMNS}
        if stated["emotion"] and stated["emotion"] not in EMOTIONS[:-1]:
            raise PrepareError(f"{path}, line {line}: no emotion {stated['emotion']!r}; use {', '.join(EMOTIONS[:-1])}")
        people[Path(name).as_posix()] = {column: value for column, value in stated.items() if value}
    return people


def fingerprint(path: Path) -> str:
    """12 hex digits that tell a file from others by its length and both its ends."""
    digest = hashlib.sha1(str(path.stat().st_size).encode())
    with path.open("rb") as file:
        digest.update(file.read(FINGERPRINT))
        file.seek(max(path.stat().st_size - FINGERPRINT, 0))
        digest.update(file.read(FINGERPRINT))
    return digest.hexdigest()[:12]


def _key(path: Path, name: str, first: dict[str, str]) -> tuple[str, str]:
    """The key of a video, and why it should not be tracked; ``first`` are the paths by key, and gains this one."""
    try:
        key = fingerprint(path)
    except OSError as error:
        return "", f"cannot be read ({error.strerror}); make it readable and run again"
    same = first.setdefault(key, name)
    return key, "" if same == name else f"the same video as {same}"


def _process(
    path: Path, name: str, key: str, person: Person, listener: AudioEncoder, out: Path,
    on_frame: Callable[[float], None],
) -> tuple[Record, bool]:  # fmt: skip
    """The record of a video, and whether it was there already."""
    file = out / "videos" / f"{key}.json"
    known = file.is_file()
    try:
        record = Record(**json.loads(file.read_text())) if known else track(path, key, listener, out / "npz", on_frame)
    except (FaceModelError, OSError):
        raise  # the machine's fault, not the video's
    except Exception as error:  # a night's work must not end with one odd file; ModaErrors say what is wrong
        kind = "" if isinstance(error, ModaError) else f"{type(error).__name__}: "
        return Record(name, refusal=f"{kind}{error}"), False
    current = replace(record, path=name, clips=[{**row, "path": name, **asdict(person)} for row in record.clips])
    if not known or current != record:
        with replacing(file) as part:
            part.write_text(json.dumps(asdict(current)))
    return current, known


def track(path: Path, key: str, listener: AudioEncoder, folder: Path, on_frame: Callable[[float], None]) -> Record:
    """Track one video and write its clips to ``folder``. Raises VideoError, AudioError, FaceModelError."""
    waveform = _waveform(path)  # first, as it is quick to fail
    footage = watch(path, progress=on_frame)
    cutting = cut(footage)
    record = Record(
        path.name, seconds=len(footage) / FPS, lost={reason: n / FPS for reason, n in cutting.lost.items()},
        warning="the file is damaged towards its end: the rest is left out" if footage.damaged else "",
    )  # fmt: skip
    if not cutting.stretches:
        reason = max(record.lost, key=lambda reason: record.lost[reason])
        return replace(record, refusal=f"no usable take of {SHORTEST / FPS:.1f} s (mostly: {reason})")
    takes, neutral = make_takes(footage, cutting)
    gap = np.full(len(footage), np.nan)
    for take in takes:
        gap[take.start : take.start + len(take)] = np.where(take.ok, take.gap, np.nan)
    sync = check_sync(hear_opening(listener, waveform), gap)
    if sync.refusal:
        return replace(record, refusal=sync.refusal)
    heard = [pair for take in takes if (pair := with_sound(take, waveform, sync.lag_removed))]
    clips = [
        (take.part(part), sound[part.start * SAMPLES_PER_FRAME : part.stop * SAMPLES_PER_FRAME])
        for take, sound in heard
        for part in split(len(take))
    ]
    if not clips:
        return replace(record, refusal=f"no take of {SHORTEST / FPS:.1f} s has sound")
    for number, (take, sound) in enumerate(clips):
        name = f"{_slug(path)}_{key[:8]}" + (f"_{number}" if len(clips) > 1 else "")
        with replacing(folder / f"{name}.npz") as part, part.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **_arrays(take, sound, neutral))
        row = {"name": name, "blob": key, **_row(take, neutral, sync), "src_fps": round(footage.fps, 3)}
        row["sync"]["video_seconds"] = round(record.seconds, 1)
        record.clips.append(row)
    return record


def with_sound(take: Take, waveform: Array, lag: int) -> tuple[Take, Array] | None:
    """The part of a take that has sound, and that sound, when the picture comes ``lag`` frames late; None if short."""
    first = max(0, lag - take.start)
    last = min(len(take), len(waveform) // SAMPLES_PER_FRAME + lag - take.start)
    if last - first < SHORTEST:
        return None
    begin = (take.start + first - lag) * SAMPLES_PER_FRAME
    return take.part(slice(first, last)), waveform[begin : begin + (last - first) * SAMPLES_PER_FRAME]


def _waveform(path: Path) -> Array:
    """The sound at 16 kHz, beginning with the first picture."""
    waveform, late = load_audio(path), round(sound_delay(path) * SAMPLE_RATE)
    return np.pad(waveform, (late, 0)) if late > 0 else waveform[-late:]


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
        "neutral": {
            "shut_frames": neutral.shut_frames, "eye_frames": neutral.eye_frames,
            "shut_corr": round(neutral.correction, 4),
        },
        "skull_rms": round(take.misfit, 4), "pose_med": np.median(take.pose, 0).round(1).tolist(),
        "short": len(take) < SHORT,
    }  # fmt: skip


def _write_manifest(out: Path) -> None:
    """`manifest.jsonl` and `stats.json` from the records of all runs."""
    records = [json.loads(file.read_text()) for file in sorted((out / "videos").glob("*.json"))]
    rows = sorted((row for record in records for row in record["clips"]), key=lambda row: row["name"])
    with replacing(out / "manifest.jsonl") as part:
        part.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    if rows:
        with replacing(out / "stats.json") as part:
            part.write_text(json.dumps(statistics(rows, out / "npz"), indent=1))


def _report(progress: Callable[[Step], object], step: Step, fraction: float) -> None:
    progress(replace(step, fraction=fraction))


def _slug(path: Path) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "_", path.stem).strip("_")[:40] or "video"
