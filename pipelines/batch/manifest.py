"""What a batch is to make: the rows of a manifest, or two folders crossed, checked before anything is made.

A manifest is CSV with a header row, its cells apart by commas, semicolons or tabs, or JSON lines. ``portrait`` and
``audio`` are paths, relative ones from the manifest's folder, or from the current one where the manifest is a pipe;
``output`` names the video within the output folder; every other column is a field of TalkOptions. Of these,
``head_from`` is a path as ``portrait`` is, and ``weights`` where it names a folder; ``save_motion`` is a name as
``output`` is. An empty cell leaves the choice to the default.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import types
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from io import StringIO
from pathlib import Path, PurePosixPath
from typing import Any, Union, get_args, get_origin

from contracts import ModaError
from pipelines.options import HINTS, TalkOptions
from pipelines.weights import WEIGHTS

COLUMNS = ("portrait", "audio", "output", *HINTS)
SOUNDS = {
    ".aac", ".aif", ".aiff", ".flac", ".m4a", ".mka", ".mkv", ".mov", ".mp3", ".mp4", ".oga", ".ogg", ".opus", ".wav",
    ".webm", ".wma",
}  # fmt: skip
SEPARATORS = ",;\t"
LONGEST_NAME = 200  # bytes of one name: beyond, file systems refuse
_YES, _NO = ("true", "yes", "1"), ("false", "no", "0")


@dataclass(frozen=True)
class Fault:
    """Why a row cannot be made."""

    line: int  # of the manifest, from 1, and 0 for all of it; of crossed folders the number of the pair
    text: str


class ManifestError(ModaError):
    """A manifest that cannot be carried out as it is; ``faults`` are all that is wrong with its rows."""

    def __init__(self, source: str, faults: Sequence[Fault]) -> None:
        self.source, self.faults = source, tuple(faults)
        super().__init__("; ".join(self.lines))

    @property
    def lines(self) -> list[str]:
        return [f"{self.source}{f', line {f.line}' if f.line else ''}: {f.text}" for f in self.faults]


@dataclass(frozen=True)
class Job:
    """One video to make."""

    line: int
    portrait: Path
    audio: Path
    output: str  # under the output folder, as is options.save_motion
    options: TalkOptions

    @property
    def outputs(self) -> tuple[str, ...]:
        motion = self.options.save_motion
        return (self.output,) if motion is None else (self.output, str(motion))


@dataclass(frozen=True)
class Plan:
    """All rows: those that can be made, and what is wrong with the others."""

    source: str
    jobs: tuple[Job, ...]
    faults: tuple[Fault, ...] = ()

    def check(self) -> None:
        """Raise ManifestError where there are faults."""
        if self.faults:
            raise ManifestError(self.source, self.faults)


def read_manifest(path: str | Path, defaults: Mapping[str, Any] | None = None) -> Plan:
    """The rows of a manifest; ``defaults`` stand in for cells that are empty.

    Raises ManifestError where the file as a whole cannot be used; what is wrong with single rows is in the plan.
    """
    path, defaults = Path(path), _filled(defaults or {})
    _check(defaults, "the defaults", path.parent)
    try:
        text = path.read_text("utf-8-sig")
        rows = list(_json_rows(text) if text.lstrip().startswith("{") else _csv_rows(text, path.name))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ManifestError(
            str(path), [Fault(0, f"cannot be read ({reason}); name a CSV or JSON-lines file")]
        ) from error
    if not rows:
        raise ManifestError(str(path), [Fault(0, "has no rows; give portrait and audio of each video")])
    folder = Path() if path.is_fifo() else path.parent
    return _plan(path.name, ((line, {**defaults, **cells}, wrong) for line, cells, wrong in rows), folder)


def cross(
    portraits: str | Path, voices: str | Path, emotions: Iterable[str] = (), defaults: Mapping[str, Any] | None = None
) -> Plan:
    """Every portrait of one folder with every recording of another, each with every emotion.

    Raises ManifestError where a folder is missing or holds nothing of use, or an emotion or a default is none.
    """
    portraits, voices, defaults = Path(portraits), Path(voices), _filled(defaults or {})
    moods: list[dict[str, Any]] = [{**defaults, "emotion": emotion} for emotion in emotions] or [defaults]
    for mood in moods:
        _check(mood, "the emotions or defaults", portraits)
    from PIL import Image  # here, as a manifest is read without it

    pictures = _files(portraits, {*Image.registered_extensions()}, "picture")
    sounds = [os.path.relpath(sound, portraits) for sound in _files(voices, SOUNDS, "recording")]
    pairs = [{"portrait": p.name, "audio": a, **mood} for p in pictures for a in sounds for mood in moods]
    rows: list[Row] = [(number, pair, []) for number, pair in enumerate(pairs, 1)]
    return _plan(f"{portraits.name} x {voices.name}", rows, portraits)


def _files(folder: Path, suffixes: set[str], what: str) -> list[Path]:
    found: list[Path] = []
    if folder.is_dir():
        found = sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes and p.name[0] != "." and p.is_file())
    if not found:
        raise ManifestError(str(folder), [Fault(0, f"there is no {what} in it; name a folder of them")])
    return found


Row = tuple[int, dict[str, Any], list[str]]  # line, cells by column, what is wrong with the line itself


def _json_rows(text: str) -> Iterator[Row]:
    for line, entry in enumerate(text.split("\n"), 1):
        if entry.strip():
            try:
                cells = json.loads(entry)
            except (ValueError, RecursionError) as error:
                yield line, {}, [f"is not JSON ({error}); write one object a line"]
                continue
            if isinstance(cells, dict):
                yield line, _filled(cells), []
            else:
                yield line, {}, ['is not an object; write {"portrait": ..., "audio": ...}']


def _csv_rows(text: str, source: str) -> Iterator[Row]:
    header = next(iter(text.splitlines()), "")
    separator = max(SEPARATORS, key=header.count)  # no name of a column holds one
    reader = csv.DictReader(StringIO(text, newline=""), delimiter=separator)
    if wrong := _wrong_columns([_column(name) for name in reader.fieldnames or []]):
        raise ManifestError(source, [Fault(1, text) for text in wrong])
    for cells in reader:
        wrong = ["has more cells than the header has columns"] if None in cells else []
        yield reader.line_num, _filled({name: cell for name, cell in cells.items() if name is not None}), wrong


def _wrong_columns(names: list[str]) -> list[str]:
    """What is wrong with the header row of a table."""
    wrong = [_unknown(name) for name in names if name not in COLUMNS]
    wrong += [f"there is no column {name}; add it" for name in ("portrait", "audio") if name not in names]
    return wrong + [f"column {name!r} is there twice" for name in dict.fromkeys(names) if names.count(name) > 1]


def _column(name: str) -> str:
    return name.strip().lower().replace("-", "_")


def _filled(cells: Mapping[str, Any]) -> dict[str, Any]:
    """The cells by column, without those that are empty."""
    texts = {_column(name): cell.strip() if isinstance(cell, str) else cell for name, cell in cells.items()}
    return {name: cell for name, cell in texts.items() if cell is not None and cell != ""}


def _unknown(name: str) -> str:
    near = get_close_matches(name, COLUMNS, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"there is no column {name!r}{hint}; known are {', '.join(COLUMNS)}"


def _plan(source: str, rows: Iterable[Row], folder: Path) -> Plan:
    jobs, faults = [], []
    taken: dict[str, int] = {}  # names of outputs, as file systems tell them apart -> line
    for line, cells, wrong in rows:
        job: Job | None = None
        if not wrong:
            job, wrong = _job(line, cells, folder)
        if job is not None:
            for name in map(_alike, job.outputs):
                if name in taken:
                    wrong.append(f"its output {name} is that of line {taken[name]} too; name another output")
                taken.setdefault(name, line)
        if job is not None and not wrong:
            jobs.append(job)
        faults += [Fault(line, text) for text in wrong]
    return Plan(source, tuple(jobs), tuple(faults))


def _alike(name: str) -> str:
    """What file systems that ignore case, or how accents are written, make of a name."""
    return unicodedata.normalize("NFC", name).casefold()


@dataclass
class _Cells:
    """The cells of a row by column, and what was found wrong with them."""

    given: Mapping[str, Any]
    folder: Path
    wrong: list[str] = field(default_factory=list)

    def value(self, column: str) -> Any:
        """A cell as what its column holds, None where it is empty or wrong."""
        if column not in self.given:
            return None
        cell = self.given[column]
        if isinstance(cell, dict | list):
            self.wrong.append(f"{column} is no single value")
            return None
        text = cell if isinstance(cell, str) else json.dumps(cell)
        if column in ("portrait", "audio", "head_from"):
            return self._input(column, self.folder / text)
        if column == "weights":
            return text if text in WEIGHTS else str(self.folder / text)
        if column in ("output", "save_motion"):
            return self._name(column, text, ".mp4" if column == "output" else ".npz")
        kind = _kind(HINTS[column])
        try:
            if kind is bool and text.lower() not in _YES + _NO:
                raise ValueError
            return text.lower() in _YES if kind is bool else kind(text)
        except ValueError:
            wanted = {bool: "true or false", int: "a whole number"}.get(kind, "a number")
            self.wrong.append(f"{column} {text!r} is not {wanted}")
            return None

    def _input(self, column: str, path: Path) -> Path:
        try:
            missing, closed = not path.is_file(), not os.access(path, os.R_OK)
        except (OSError, ValueError):  # a name too long, or with a null
            missing, closed = True, False
        if missing or closed:
            self.wrong.append(f"{column} {path} {'is not a file' if missing else 'may not be read'}; check the path")
        return path

    def _name(self, column: str, text: str, suffix: str) -> str:
        path = PurePosixPath(text)
        if path.suffix.lower() != suffix:
            self.wrong.append(f"{column} {text!r} does not end in {suffix}; name it {path.stem}{suffix}")
        elif path.is_absolute() or any(part.startswith(".") for part in path.parts) or not text.isprintable():
            self.wrong.append(f"{column} {text!r} is no name within the output folder; use one such as anna/1{suffix}")
        elif any(len(part.encode()) > LONGEST_NAME for part in path.parts):
            self.wrong.append(f"{column} {text[:40]!r}... is too long a name; use {LONGEST_NAME} bytes at most")
        return str(path)


def _kind(hint: Any) -> Any:
    """int, float, bool or str: what turns text into a value of type ``hint``; choices are text."""
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(kind for kind in get_args(hint) if kind is not types.NoneType)
    return hint if hint in (bool, int, float) else str


def _options(cells: _Cells) -> tuple[TalkOptions | None, dict[str, Any]]:
    """The options of a row, None where there is something wrong with the row, and the values of the other columns."""
    cells.wrong += [_unknown(name) for name in cells.given if name not in COLUMNS]
    values = {column: value for column in COLUMNS if (value := cells.value(column)) is not None}
    others = {column: values.pop(column, None) for column in ("portrait", "audio", "output")}
    try:
        options = TalkOptions(**values)
    except ModaError as error:
        cells.wrong.append(str(error))
    return None if cells.wrong else options, others


def _check(defaults: Mapping[str, Any], source: str, folder: Path) -> None:
    """Raises ManifestError where one of ``defaults`` is wrong: once, and not with every row. ``folder``: where relative
    paths start."""
    _options(cells := _Cells(defaults, folder))
    if cells.wrong:
        raise ManifestError(source, [Fault(0, text) for text in cells.wrong])


def _job(line: int, given: Mapping[str, Any], folder: Path) -> tuple[Job | None, list[str]]:
    """The job of a row, and all that is wrong with it."""
    cells = _Cells(given, folder)
    cells.wrong += [f"there is no {name}; name a file" for name in ("portrait", "audio") if name not in given]
    options, files = _options(cells)
    if options is None:
        return None, cells.wrong
    portrait, audio = files["portrait"], files["audio"]
    output = files["output"] or _default_name(
        os.path.relpath(portrait, folder), os.path.relpath(audio, folder), options
    )
    return Job(line, portrait, audio, output, options), []


def _default_name(portrait: str, audio: str, options: TalkOptions) -> str:
    """A name that says what the video is; its digits are of the paths and the options, so that none is twice, and
    of nothing else, so that it stays the same when all is moved."""
    chosen = {f.name: str(value) for f in fields(options) if (value := getattr(options, f.name)) != f.default}
    digits = hashlib.sha256(json.dumps([portrait, audio, chosen], sort_keys=True).encode()).hexdigest()[:8]
    words = [Path(portrait).stem, Path(audio).stem, options.emotion]
    slugs = [re.sub(r"[^\w.-]+", "-", word).strip("-.")[:40] for word in words]
    return "_".join([*filter(None, slugs), digits]) + ".mp4"
