"""Folders of recordings that somebody collected: speech to learn from, and beds of sound that lie under it.

A folder holds `manifest.jsonl`, one line a recording, and the files it names:

    name      told apart by it, also from those of other folders
    file      path below the folder
    kind      noise, babble or music: a bed; sung: speech without labels of visemes; anything else: speech
    language  two letters, as in `en` (speech only; empty where there are no words)
    speaker   whoever it is, empty where nobody knows (speech only)
    style     noise of a style that begins with `babble` is babble

Further columns, such as a licence, are for the reader. A folder of beds may do without a manifest: all sound in it then
counts as music.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from contracts import ModaError

BEDS = ("noise", "babble", "music")
SUNG = "sung"
SOUNDS = {".flac", ".g722", ".gsm", ".m4a", ".mp3", ".ogg", ".opus", ".wav"}  # suffixes


class RecordingsError(ModaError):
    """A folder of recordings that cannot be used."""


@dataclass(frozen=True)
class Listed:
    """A line of the manifest."""

    name: str
    path: Path
    kind: str
    language: str
    speaker: str

    @property
    def bed(self) -> bool:
        return self.kind in BEDS


def read_recordings(folders: Sequence[Path]) -> list[Listed]:
    """The manifests of folders, one after another. Raises RecordingsError."""
    found = [item for folder in folders for item in _read(folder)]
    names = set()
    for item in found:
        if item.name in names:
            raise RecordingsError(f"{item.name} is listed twice; give every recording a name of its own")
        names.add(item.name)
    return found


def find_beds(folders: Sequence[Path]) -> list[Listed]:
    """The beds in folders, by their manifests or, without one, all sound files. Raises RecordingsError."""
    found = []
    for folder in folders:
        if (folder / "manifest.jsonl").is_file():
            beds = [item for item in read_recordings([folder]) if item.bed]
        else:
            files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SOUNDS)
            beds = [Listed(path.stem, path, "music", "", "") for path in files]
        if not beds:
            raise RecordingsError(f"no noise, babble or music in {folder}; name a folder that holds some")
        found += beds
    return found


def _read(folder: Path) -> list[Listed]:
    path = folder / "manifest.jsonl"
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        reason = "is no text" if isinstance(error, ValueError) else f"cannot be read ({error.strerror})"
        raise RecordingsError(f"{path} {reason}; docs/training.md says what a folder of recordings holds") from None
    return [_listed(folder, line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]


def _listed(folder: Path, line: str, where: str) -> Listed:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise RecordingsError(f"{where} is no JSON ({error}); repair it or take it out") from None
    if not isinstance(row, dict):
        raise RecordingsError(f"{where} is no row of a manifest; repair it or take it out")
    known = {"language": "", "speaker": "", "style": ""} | row
    for key in ("name", "file", "kind", "language", "speaker", "style"):
        if not isinstance(known.get(key), str):
            raise RecordingsError(f"{where} has no text {key!r}; every line needs name, file and kind")
    if known["name"] in ("", ".", "..") or Path(known["name"]).name != known["name"]:  # it becomes a file's
        raise RecordingsError(f"{where}: {known['name']!r} cannot be the name of a file; change the name")
    babbles = known["kind"] == "noise" and known["style"].startswith("babble")
    kind = "babble" if babbles else known["kind"]
    return Listed(known["name"], folder / known["file"], kind, known["language"], known["speaker"])
