"""What there is to prepare: the videos of a folder, and the table that says who speaks in them."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from contracts import EMOTIONS, ModaError

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = {
    ".3g2", ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts",
    ".webm", ".wmv",
}  # fmt: skip
#: What moda measures, and writes in the row of a clip; the rest is stated.
MEASURED = frozenset({
    "name", "blob", "path", "kind", "start_frame", "frames", "seconds", "sync", "face_px", "src_fps", "neutral",
    "skull_rms", "pose_med", "short", "eyes_hidden",
})  # fmt: skip
FINGERPRINT = 2**20  # bytes of either end of a file that tell it from others
NAMED = 3  # files that a remark names


class PrepareError(ModaError):
    """The folder of videos or the table about them cannot be used."""


@dataclass(frozen=True)
class Table:
    """What is stated of videos."""

    stated: dict[str, dict[str, str]] = field(default_factory=dict)  # by path below the folder; empty cells left out
    absent: tuple[str, ...] = ()  # paths without a video


def find_videos(folder: Path) -> tuple[list[Path], str]:
    """The video files at any depth below a folder, and what to say of files of other kinds, if anything.

    Raises PrepareError.
    """
    if not folder.is_dir():
        raise PrepareError(f"{folder} is not a folder; name the folder that holds the videos")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    found = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not found:
        raise PrepareError(f"there is no video in {folder}; files of these kinds count: {' '.join(sorted(SUFFIXES))}")
    others = Counter(path.suffix.lower() or "without an ending" for path in files if path not in set(found))
    if not others:
        return found, ""
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common())
    return found, f"passed over, as their names are not those of videos: {kinds}"


def read_table(path: Path, videos: Path) -> Table:
    """The rows of a CSV file: path, below ``videos``, and what is stated: speaker, sex, language, emotion or anything.

    Raises PrepareError.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PrepareError(f"{path} cannot be read as a CSV file ({error}); save it as UTF-8") from error
    if rows and "path" not in rows[0]:
        raise PrepareError(f"{path} has no column path; add one with the videos' paths below {videos}")
    if taken := sorted((MEASURED - {"path"}).intersection(rows[0] if rows else ())):
        raise PrepareError(f"{path}: moda itself writes {', '.join(taken)} for every clip; call the column otherwise")
    stated: dict[str, dict[str, str]] = {}
    absent = []
    for line, row in enumerate(rows, 2):
        cells = {name: (cell or "").strip() for name, cell in row.items() if name and not isinstance(cell, list)}
        name = cells.pop("path").replace("\\", "/").removeprefix("./")
        if (emotion := cells.get("emotion")) and emotion not in EMOTIONS[:-1]:
            raise PrepareError(f"{path}, line {line}: no emotion {emotion!r}; use {', '.join(EMOTIONS[:-1])}")
        if not (videos / name).is_file():
            absent.append(name)
            continue
        stated[name] = {column: cell for column, cell in cells.items() if cell}
    return Table(stated, tuple(absent))


def say_absent(table: Path, absent: tuple[str, ...]) -> str:
    """A remark on the rows of a table that have no video."""
    rows = "1 row names a video that is" if len(absent) == 1 else f"{len(absent)} rows name videos that are"
    more = ", ..." if len(absent) > NAMED else ""
    return f"{table}: {rows} not there: {', '.join(absent[:NAMED])}{more}; correct the column path"


def fingerprint(path: Path) -> str:
    """12 hex digits that tell a file from others by its length and both its ends."""
    digest = hashlib.sha1(str(path.stat().st_size).encode())
    with path.open("rb") as file:
        digest.update(file.read(FINGERPRINT))
        file.seek(max(path.stat().st_size - FINGERPRINT, 0))
        digest.update(file.read(FINGERPRINT))
    return digest.hexdigest()[:12]
