"""Any folder of talking videos -> a motion set that the trainings and the evaluation read (see training.corpus).

    moda prepare VIDEOS -o SET

Per video: hear whether it is there already (copies), track the face (encoders.face.footage), cut (takes), compare lips
and sound (sync), tell who speaks (turns), write the clips (clips), then a record SET/videos/KEY.json that says it is
done. The key is made of the file's contents, so that a run that was stopped goes on where it was, whatever the files
are called; delete a record to have its video done again. At the end of every run the videos of one speaker are brought
to one neutral (neutrals), and `manifest.jsonl` and `stats.json` are written from the records.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from contracts import FPS, ModaError
from encoders.audio import AudioEncoder, AudioError
from encoders.face import FaceModelError
from moda import replacing
from pipelines.training.footage.clips import Record, slug, sound_of, track
from pipelines.training.footage.copies import find_copy, sound_print
from pipelines.training.footage.neutrals import share_neutrals
from pipelines.training.footage.sources import (
    MEASURED,
    PrepareError,
    Table,
    find_videos,
    fingerprint,
    read_table,
    say_absent,
)
from pipelines.training.footage.stats import statistics
from pipelines.training.footage.takes import SHORTEST
from pipelines.training.sets import LISTEN

if TYPE_CHECKING:
    from contracts import Array


@dataclass(frozen=True)
class Person:
    """What is known of who speaks in a video."""

    speaker: str
    sex: str = "?"  # f, m or ?
    language: str = "?"  # ISO 639
    emotion: str | None = None  # one of contracts.EMOTIONS


@dataclass(frozen=True)
class Step:
    """How far the preparation is: ``record`` comes once a video, at its end."""

    video: str
    index: int
    videos: int
    fraction: float = 0.0
    record: Record | None = None
    known: bool = False  # it was done in an earlier run


@dataclass(frozen=True)
class Outcome:
    """What became of each video, and what else there is to say."""

    records: list[Record]
    remarks: list[str]


def prepare_set(
    videos: Path, out: Path, *, by_folder: bool = False, table: Path | None = None, shortest: float = SHORTEST / FPS,
    progress: Callable[[Step], object] = lambda step: None,
) -> Outcome:  # fmt: skip
    """Turn the videos under a folder into a motion set.

    The speaker of a video is its own (one person each), or with ``by_folder`` the first folder below ``videos`` that
    it lies in; ``table``, a CSV file with the columns path (below ``videos``) and any of speaker, sex, language and
    emotion, has the last word, and its further columns come along. Takes under ``shortest`` seconds are left out. A
    video that cannot be used is reported in its record and does not stop the rest.

    Raises PrepareError, EncoderError or FaceModelError.
    """
    paths, passed_over = find_videos(videos)
    stated = read_table(table, videos) if table else Table()
    try:
        for folder in ("npz", "videos", "sounds"):
            (out / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PrepareError(f"cannot write in {out} ({error.strerror}); name another folder") from error
    work = _Work(videos, out, by_folder, stated.stated, round(shortest * FPS), AudioEncoder.embedded())
    work.recall(paths)
    records: list[Record] = []
    try:
        for index, path in enumerate(paths):
            step = Step(work.name(path), index, len(paths))
            progress(step)
            record, known = work.do(path, partial(_report, progress, step))
            records.append(record)
            progress(replace(step, fraction=1.0, record=record, known=known))
    finally:  # Ctrl-C too: what is done can be used
        share_neutrals(out / "videos", out / "npz")
        _write_manifest(out)
    remarks = [passed_over, say_absent(table, stated.absent) if table and stated.absent else ""]
    return Outcome(records, [remark for remark in remarks if remark])


@dataclass
class _Work:
    """The work on one folder of videos."""

    videos: Path
    out: Path
    by_folder: bool
    stated: dict[str, dict[str, str]]
    shortest: int  # frames
    listener: AudioEncoder
    first: dict[str, str] = field(default_factory=dict)  # key -> name of the first file with it
    sounds: dict[str, Array] = field(default_factory=dict)  # name -> sound print, of the videos that gave clips

    def name(self, path: Path) -> str:
        return path.relative_to(self.videos).as_posix()

    def record_of(self, key: str) -> Path:
        return self.out / "videos" / f"{key}.json"

    def recall(self, paths: list[Path]) -> None:
        """What the videos of earlier runs sound like, so that theirs stay and copies go."""
        for path in paths:
            try:
                file = self.record_of(key := fingerprint(path))
                if file.is_file() and Record(**json.loads(file.read_text())).clips:
                    self.sounds.setdefault(self.name(path), self._print(key, path))
            except (OSError, AudioError):
                continue  # said when its turn comes

    def _print(self, key: str, path: Path) -> Array:
        file = self.out / "sounds" / f"{key}.npy"
        if not file.is_file():  # sets of earlier versions have none
            self._keep_print(key, sound_of(path))
        return np.load(file)

    def _keep_print(self, key: str, waveform: Array) -> Array:
        sound = sound_print(waveform)
        with replacing(self.out / "sounds" / f"{key}.npy") as part, part.open("wb") as file:
            np.save(file, sound)
        return sound

    def do(self, path: Path, on_frame: Callable[[float], None]) -> tuple[Record, bool]:
        """The record of a video, and whether it was there already."""
        name = self.name(path)
        try:
            key = fingerprint(path)
        except OSError as error:
            return Record(name, refusal=f"cannot be read ({error.strerror}); make it readable and run again"), False
        if (same := self.first.setdefault(key, name)) != name:
            return Record(name, refusal=f"the same video as {same}, which is kept"), False
        try:
            record, known = self._known(key), True
            if record is None:
                record, known = self._new(path, key, on_frame), False
        except (FaceModelError, OSError):
            raise  # the machine's fault, not the video's
        except Exception as error:  # a night's work must not end with one odd file; ModaErrors say what is wrong
            kind = "" if isinstance(error, ModaError) else f"{type(error).__name__}: "
            return Record(name, refusal=f"{kind}{error}"), False
        if record.path == "":  # a copy: no record, as the other may go
            return replace(record, path=name), False
        clips = [{**_measured(row), "path": name, **self._person(path, key)} for row in record.clips]
        current = replace(record, path=name, clips=clips)
        if not known or current != record:
            with replacing(self.record_of(key)) as part:
                part.write_text(json.dumps(asdict(current)))
        return current, known

    def _known(self, key: str) -> Record | None:
        """The record of an earlier run, unless it was cut otherwise."""
        file = self.record_of(key)
        record = Record(**json.loads(file.read_text())) if file.is_file() else None
        if record is None or record.shortest == self.shortest:
            return record
        file.unlink()
        for row in record.clips:
            (self.out / "npz" / f"{row['name']}.npz").unlink(missing_ok=True)
        return None

    def _new(self, path: Path, key: str, on_frame: Callable[[float], None]) -> Record:
        """Track a video, unless it is a copy: then the record has no path. Raises ModaError."""
        name = self.name(path)
        waveform = sound_of(path)  # first, as it is quick to fail
        others = {
            other: sound for other, sound in self.sounds.items() if other != name and not self._apart(name, other)
        }
        if copy := find_copy(waveform, others):
            return Record("", refusal=f"the same recording as {copy}, which is kept")
        record = track(path, key, waveform, self.listener, self.out / "npz", self.shortest, on_frame)
        if record.clips:
            self.sounds[name] = self._keep_print(key, waveform)
        return record

    def _apart(self, name: str, other: str) -> bool:
        """Whether the table says that two videos are of two people, as two cameras at one talk are."""
        one, two = (self.stated.get(video, {}).get("speaker") for video in (name, other))
        return one is not None and two is not None and one != two

    def _person(self, path: Path, key: str) -> dict[str, str | None]:
        """What is stated of who speaks, with all further columns."""
        name = self.name(path)
        folders = Path(name).parts[:-1]
        speaker = folders[0] if self.by_folder and folders else f"{slug(path)}_{key[:5]}"
        return {**asdict(Person(speaker)), **self.stated.get(name, {})}


def _measured(row: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in row.items() if name in MEASURED}


def _write_manifest(out: Path) -> None:
    """`manifest.jsonl` and `stats.json` from the records of all runs."""
    records = [json.loads(file.read_text()) for file in sorted((out / "videos").glob("*.json"))]
    rows = sorted((row for record in records for row in record["clips"]), key=lambda row: row["name"])
    with replacing(out / "manifest.jsonl") as part:
        part.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    if any(row.get("kind") != LISTEN for row in rows):
        with replacing(out / "stats.json") as part:
            part.write_text(json.dumps(statistics(rows, out / "npz"), indent=1))


def _report(progress: Callable[[Step], object], step: Step, fraction: float) -> None:
    progress(replace(step, fraction=fraction))
