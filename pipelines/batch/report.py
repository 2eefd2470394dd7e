"""The output folder of a batch and its report.jsonl, so that no video is lost or made twice, whenever it is killed.

What is made is written to a hidden folder of the run. When it is whole, its entry is laid beside it, both go where they
belong, the entry is added to the report, and then the one laid aside goes. The next run finds what was left of that and
carries it through. Only the batch that holds the folder's lock does this; its workers write to the hidden folder alone,
so that one which outlives its batch cannot do harm. A file counts as made if it is still what the report says it was.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from contracts import ModaError
from moda import replacing, sha256

REPORT, LOCK, HIDDEN = "report.jsonl", ".lock", ".batch-"
#: What of an entry is no text.
_KINDS: dict[str, tuple[type, ...]] = {
    "warnings": (list,), "frames": (int,), "seconds": (int, float), "hashes": (dict,), "line": (int,),
    "settings": (dict,), "attempts": (int,),
}  # fmt: skip


class ReportError(ModaError):
    """An output folder that a batch cannot use."""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Entry:
    """A line of the report: what became of a job."""

    status: Literal["done", "error"]
    output: str = ""  # under the folder; empty where a row of the manifest is too broken to have one
    error: str = ""
    warnings: tuple[str, ...] = ()
    frames: int = 0
    seconds: float = 0.0  # that it took
    hashes: Mapping[str, str] = field(default_factory=dict)  # SHA-256, hex, of each file made, by name under the folder
    source: str = ""  # the manifest
    line: int = 0
    portrait: str = ""
    audio: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)  # all of TalkOptions
    key: str = ""  # SHA-256, hex, of all that the video depends on
    attempts: int = 1
    finished: str = field(default_factory=_now)  # ISO 8601

    @property
    def identity(self) -> tuple[str, ...]:
        """Of the entries with the same one, the last counts."""
        return (self.output,) if self.output else (self.source, str(self.line))

    def to_json(self) -> str:
        """One line; what of a file's name is no text is escaped, as `\\udce9`, and comes back from it."""
        return json.dumps(asdict(self), ensure_ascii=False).encode("utf-8", "backslashreplace").decode()

    @classmethod
    def from_json(cls, text: str) -> Entry:
        """Raises ValueError."""
        try:
            row = json.loads(text)
        except RecursionError as error:
            raise ValueError("no entry of a report") from error
        if not isinstance(row, dict) or row.get("status") not in ("done", "error"):
            raise ValueError("no entry of a report")
        given = {f.name: row[f.name] for f in fields(cls) if f.name in row}
        for name, value in given.items():
            if not isinstance(value, _KINDS.get(name, str)) or isinstance(value, bool):
                raise ValueError(f"{name} is of another kind")
        entry = cls(**given)
        if not all(isinstance(text, str) for text in (*entry.hashes.values(), *entry.warnings)):
            raise ValueError("hashes and warnings are text")
        for path in (Path(entry.output), *map(Path, entry.hashes)):
            if path.is_absolute() or ".." in path.parts or "\0" in str(path):
                raise ValueError("a file outside the folder")
        return entry


class Report:
    """An output folder, locked for one batch while it is open as a context.

    Raises:
        ReportError: another batch is at work in it; its report.jsonl is not of a batch.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).absolute()
        self.path = self.folder / REPORT
        self.entries: dict[tuple[str, ...], Entry] = {}  # by identity, in the order they were made
        self.run = self.folder / f"{HIDDEN}{uuid.uuid4().hex[:8]}"  # of this batch alone
        self._lock = FileLock(self.folder / LOCK)

    def __enter__(self) -> Report:
        if self.folder.exists() and not self.folder.is_dir():
            raise ReportError(f"{self.folder} is not a folder; name one for the videos")
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise ReportError(
                f"another batch is at work in {self.folder}; wait until it has ended, or name another folder"
            ) from None
        try:
            self._read()
            for leftover in self.folder.glob(f"{HIDDEN}*"):
                self._clear(leftover)
            self.run.mkdir()
        except BaseException:
            self._unlock()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._clear(self.run)
            self._compact()
        finally:
            self._unlock()

    def made(self, output: str, key: str) -> Entry | None:
        """The entry of a video that was made of the very same and is still there, with all that belongs to it."""
        entry = self.entries.get((output,))
        return entry if entry and entry.status == "done" and entry.key == key and self._holds(entry) else None

    def names(self) -> set[str]:
        """All outputs that batches ever made in the folder, or failed to make."""
        return {name for entry in self.entries.values() for name in (entry.output, *entry.hashes)}

    def add(self, entry: Entry) -> None:
        """Append a line that is on the disk when this returns, and take away what an earlier line was about."""
        old = self.entries.pop(entry.identity, None)
        self.entries[entry.identity] = entry
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            os.write(file, f"{entry.to_json()}\n".encode())
            os.fsync(file)
        finally:
            os.close(file)
        for name in set(old.hashes if old else ()) - set(entry.hashes):
            (self.folder / name).unlink(missing_ok=True)

    def publish(self, entry: Entry, parts: Sequence[Path]) -> None:
        """Give the files of ``parts``, in the run's folder, the names of ``entry.hashes``, and add the entry."""
        aside = parts[0].with_suffix(".json")
        with replacing(aside) as part:
            part.write_text(json.dumps({"entry": entry.to_json(), "parts": [path.name for path in parts]}), "utf-8")
        self._move(zip(entry.hashes, parts, strict=True))
        self.add(entry)
        aside.unlink()

    def _move(self, parts: Iterable[tuple[str, Path]]) -> None:
        for name, part in parts:
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(part, target)

    def _clear(self, run: Path) -> None:
        """Finish what was being published when a run ended, and remove its folder."""
        for aside in run.glob("*.json"):
            with suppress(ValueError, KeyError, TypeError, RecursionError):  # half of it is there, or it is not ours
                stored = json.loads(aside.read_text("utf-8"))
                entry, parts = Entry.from_json(stored["entry"]), [run / name for name in stored["parts"]]
                named = zip(entry.hashes.items(), parts, strict=True)
                self._move((name, p) for (name, digest), p in named if p.exists() and sha256(p) == digest)
                if self.made(entry.output, entry.key) is None and self._holds(entry):
                    self.add(entry)
        shutil.rmtree(run, ignore_errors=True)

    def _holds(self, entry: Entry) -> bool:
        """Whether the files of an entry are still what it says they are."""
        files = {self.folder / name: digest for name, digest in entry.hashes.items()}
        return all(path.is_file() and sha256(path) == digest for path, digest in files.items())

    def _read(self) -> None:
        lines = self.path.read_text("utf-8", errors="replace").split("\n") if self.path.exists() else []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                entry = Entry.from_json(line)
            except ValueError:
                if number == len(lines):  # half a line: the machine went down
                    continue
                raise ReportError(
                    f"{self.path}, line {number}: not of a batch; move it away, or name another folder"
                ) from None
            self.entries.pop(entry.identity, None)
            self.entries[entry.identity] = entry
        self._compact()

    def _compact(self) -> None:
        """One line per job."""
        before = self.path.read_bytes() if self.path.exists() else b""
        after = "".join(f"{entry.to_json()}\n" for entry in self.entries.values()).encode()
        if after != before:
            with replacing(self.path) as part, part.open("wb") as file:
                file.write(after)
                file.flush()
                os.fsync(file.fileno())

    def _unlock(self) -> None:
        with suppress(OSError):
            (self.folder / LOCK).unlink()
        self._lock.release()
