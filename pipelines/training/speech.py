"""Labelled speech to train the audio encoder on besides footage: who says which sound when, in many voices.

    moda train speech -o FOLDER [--minutes N]

A folder holds `manifest.jsonl`, one line a recording (name, source, language, voice, seconds), and `npz/NAME.npz`:
audio int16 [640 T] at 16 kHz, visemes int8 [T] (index into encoders.audio.visemes.VISEMES, -1 not known), rows float16
[T, 191] (hama's phone log posteriors), at 25 frames a second. A run that was interrupted, or that asks for more, goes
on where the last one stopped. pipelines/training/speakers.py has the sources; what is not installed is left out, and
said so.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock

from contracts import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, ModaError
from encoders.audio import (
    UNKNOWN,
    VISEME_INDEX,
    VISEMES,
    AudioError,
    PhoneReader,
    TeacherError,
    frame_labels,
    shape_members,
)
from moda import replacing
from pipelines.training.speakers import TAKES, SpeechSources, Spoken, Take

log = logging.getLogger(__name__)

#: Share of the minutes that each source is to give, in the order they are made: the quickest first. What was recorded
#: is taken whole, whatever the minutes: there is only so much of it.
SHARES = {"recorded": math.inf, "prompts": 0.43, "flite": 0.07, "festival": 0.07, "espeak": 0.215, "kokoro": 0.215}
FAILURES = 20  # in a row, and a source is given up
HAMA_LATE = 1  # frames, the same on recordings aligned by pocketsphinx and on all synthetic speech
SECONDS = (1.0, 60.0)  # shortest and longest recording


class Recording(NamedTuple):
    """One recording of a folder that `write_speech` made."""

    name: str
    source: str
    language: str
    voice: str
    waveform: np.ndarray  # float32 [640 T]
    visemes: np.ndarray  # int64 [T], UNKNOWN where not known
    rows: np.ndarray  # float32 [T, 191]


class SpeechError(ModaError):
    """A folder of speech that cannot be read."""


def write_speech(
    folder: Path, sources: SpeechSources, minutes: float, seed: int, only: tuple[str, ...] = tuple(SHARES)
) -> None:
    """Make `minutes` of labelled speech, each source in `only` its share. Raises TeacherError without hama."""
    reader = PhoneReader()
    reader.log_probabilities(np.zeros(SAMPLE_RATE, np.float32))  # missing? say so at once
    for source in only:
        try:
            takes = TAKES[source](sources, reader, seed)
        except TeacherError as error:
            log.warning("%s is left out: %s", source, error)
            continue
        _record(folder, source, takes, reader, 60 * minutes * SHARES[source])


def _record(folder: Path, source: str, takes: Iterator[Take], reader: PhoneReader, wanted: float) -> None:
    done = {row["name"]: row["seconds"] for row in manifest(folder) if row["source"] == source}
    seconds, failures = sum(done.values()), 0
    (folder / "npz").mkdir(parents=True, exist_ok=True)
    for name, speak in takes:
        if seconds >= wanted or failures == FAILURES:
            break
        if name in done:
            continue
        try:
            spoken = speak()
            length = _store(folder, source, name, spoken, reader)
        except (TeacherError, AudioError) as error:
            log.info("%s: %s", name, error)
            failures += 1
            continue
        seconds, failures = seconds + length, 0
    log.info("%s: %.1f minutes", source, seconds / 60)


def _store(folder: Path, source: str, name: str, spoken: Spoken, reader: PhoneReader) -> float:
    """Label and keep one recording; its seconds."""
    frames = len(spoken.waveform) // SAMPLES_PER_FRAME
    if not SECONDS[0] <= frames / FPS <= SECONDS[1]:
        raise TeacherError(f"{frames / FPS:.1f} s is no length to learn from")
    waveform = spoken.waveform[: frames * SAMPLES_PER_FRAME]
    waveform = waveform / max(1.0, float(np.abs(waveform).max()))
    visemes = frame_labels(spoken.segments, frames, FPS) if spoken.segments else [UNKNOWN] * frames
    with replacing(folder / "npz" / f"{name}.npz") as part, part.open("wb") as file:
        np.savez(
            file,
            audio=np.rint(waveform * 32767).astype(np.int16),
            visemes=np.array(visemes, np.int8),
            rows=phone_rows(reader, waveform).astype(np.float16),
        )
    row = {"name": name, "source": source, "language": spoken.language, "voice": spoken.voice}
    with FileLock(folder / ".lock"):  # another run may be at another source
        rows = [*manifest(folder), row | {"seconds": round(frames / FPS, 2)}]
        with replacing(folder / "manifest.jsonl") as part:
            part.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return frames / FPS


def phone_rows(reader: PhoneReader, waveform: np.ndarray) -> np.ndarray:
    """hama's phone log posteriors at 25 Hz: waveform float32 [640 T] -> float32 [T, 191], at least -12."""
    frames = len(waveform) // SAMPLES_PER_FRAME
    rows = reader.log_probabilities(waveform)  # 50 Hz
    rows = np.pad(rows, ((0, max(0, 2 * frames - len(rows))), (0, 0)), mode="edge")[: 2 * frames]
    return np.maximum(np.logaddexp(rows[0::2], rows[1::2]) - np.log(2), -12)


def manifest(folder: Path) -> list[dict]:
    """Rows of a folder's manifest; none where there is no folder yet. Raises SpeechError."""
    path = folder / "manifest.jsonl"
    try:
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []
    except (OSError, ValueError) as error:
        raise SpeechError(f"{path} is no manifest of speech ({error}); make the folder anew") from None


def load_speech(folder: Path) -> Iterator[Recording]:
    """The recordings of a folder, one after another. Raises SpeechError."""
    rows = manifest(folder)
    if not rows:
        raise SpeechError(f"no labelled speech in {folder}; make some with `moda train speech -o {folder}`")
    for row in rows:
        try:
            with np.load(folder / "npz" / f"{row['name']}.npz") as stored:
                waveform = stored["audio"].astype(np.float32) / 32768
                visemes, phones = stored["visemes"].astype(np.int64), stored["rows"].astype(np.float32)
            yield Recording(row["name"], row["source"], row["language"], row["voice"], waveform, visemes, phones)
        except (OSError, ValueError, KeyError) as error:
            raise SpeechError(f"a recording of {folder} cannot be read ({error}); make the folder anew") from None


class SourceSummary(NamedTuple):
    """What a folder holds of one source. Labels are compared with the phones that hama hears."""

    source: str
    recordings: int
    minutes: float
    silent: float  # share of the labelled frames
    agreement: dict[int, float]  # lag of the labels [frames] -> share of phones on the same viseme; none if unlabelled


def summarise(folder: Path, reader: PhoneReader) -> list[SourceSummary]:
    """A check of the timing of each source: agreement should be best at lag 0. Raises SpeechError."""
    members = shape_members(reader.phones)[:, : len(VISEMES)]
    found: dict[str, list[dict[int, np.ndarray]]] = {}
    frames: dict[str, list[np.ndarray]] = {}
    for item in load_speech(folder):
        frames.setdefault(item.source, []).append(item.visemes)
        lags = range(-3, 4) if (item.visemes != UNKNOWN).any() else ()
        same = {lag: _agreement(item, members, lag) for lag in lags}
        found.setdefault(item.source, []).append(same)
    return [_summary(source, frames[source], found[source]) for source in found]


def _summary(source: str, visemes: list[np.ndarray], same: list[dict[int, np.ndarray]]) -> SourceSummary:
    labelled = [item for item in same if item]
    agreement = {
        lag: float(np.concatenate([item[lag] for item in labelled]).mean()) for lag in next(iter(labelled), {})
    }
    frames = np.concatenate(visemes)
    known = frames[frames != UNKNOWN]
    silent = float((known == VISEME_INDEX["sil"]).mean()) if len(known) else float("nan")
    return SourceSummary(source, len(visemes), len(frames) / FPS / 60, silent, agreement)


def _agreement(item: Recording, members: np.ndarray, lag: int) -> np.ndarray:
    """bool [phones]: is the label `lag` frames on what hama hears? It is sure of a phone a frame after its middle."""
    heard = np.exp(item.rows) @ members  # [T, 15]
    peaks = np.flatnonzero(heard.max(1) > 0.3)
    at = peaks - HAMA_LATE + lag
    inside = (at >= 0) & (at < len(item.visemes))
    return np.asarray(item.visemes[at[inside]] == heard.argmax(1)[peaks[inside]])
