"""Motion sets on disk: their manifests, and which speakers are trained on, tuned on and tested on."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts import FPS, ModaError

PARTS = ("train", "tune", "test")
JUDGED = 4 * FPS  # frames of a clip that is judged
LISTEN = "listen"  # kind of a clip in which somebody else is heard: a listening face, whose lips tell nothing

#: Told what is being done, how many items of it are done, and of how many; 0 of 0 where that is not known.
Progress = Callable[[str, int, int], object]


class CorpusError(ModaError):
    """The training set is missing or is not in the expected format."""


@dataclass(frozen=True)
class Row:
    """A line of a manifest."""

    set: str  # its folder's name; with a number where two sets are called the same
    name: str  # of the clip, unique across sets
    path: Path  # of its arrays
    known: dict[str, Any]

    @property
    def listens(self) -> bool:
        return self.known.get("kind") == LISTEN


def read_sets(folders: Sequence[Path], *, listening: bool = False) -> list[Row]:
    """The manifests of one or more sets, a row a clip; pipelines/training/corpus.py describes them.

    A name that two sets have is led by that of its set. Clips of kind ``listen`` are left out, unless ``listening``.
    Raises CorpusError.
    """
    manifests = [read_manifest(folder) for folder in folders]
    labels = [folder.resolve().name for folder in folders]
    labels = [f"{label}-{i}" if labels.count(label) > 1 else label for i, label in enumerate(labels, 1)]
    times = Counter(row["name"] for rows in manifests for row in rows)
    found = []
    for folder, label, rows in zip(folders, labels, manifests, strict=True):
        for row in rows:
            name = f"{label}.{row['name']}" if times[row["name"]] > 1 else row["name"]
            found.append(Row(label, name, folder / "npz" / f"{row['name']}.npz", row))
    return [row for row in found if listening or not row.listens]


def read_manifest(folder: Path) -> list[dict[str, Any]]:
    """The manifest of one set. Raises CorpusError."""
    manifest = folder / "manifest.jsonl"
    if not manifest.is_file():
        raise CorpusError(f"no manifest.jsonl in {folder}: give the folder of a motion set, as `moda prepare` makes it")
    try:
        rows = [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]
        if not all(isinstance(row, dict) and {"name", "speaker"} <= row.keys() for row in rows):
            raise ValueError("a line has no name or no speaker")
    except (OSError, ValueError) as error:
        raise CorpusError(f"{folder} is no motion set ({error}); `moda prepare` makes one") from error
    return rows


def check_sets(folders: Sequence[Path], judged: str = "") -> None:
    """Raise CorpusError unless the sets together have speakers for each part, and a clip of four seconds of the part
    ``judged``, if one is. Only manifests are read."""
    for i, folder in enumerate(folders):
        if any(folder.resolve() == other.resolve() for other in folders[:i]):
            raise CorpusError(f"{folder} is given twice; give each set once")
    rows = read_sets(folders)
    check_speakers(row.known["speaker"] for row in rows)
    long = {row.known["speaker"] for row in rows if row.known.get("frames", JUDGED) >= JUDGED}
    if judged and judged not in {part(speaker) for speaker in long}:
        raise CorpusError(f"no {judged} speaker has a clip of four seconds; add more speakers, or longer videos")


def check_speakers(speakers: Iterable[str]) -> None:
    """Raise CorpusError unless each part has a speaker."""
    speakers = set(speakers)
    missing = [name for name in PARTS if name not in {part(speaker) for speaker in speakers}]
    if missing:
        count = "1 speaker is" if len(speakers) == 1 else f"{len(speakers)} speakers are"
        raise CorpusError(
            f"{count} too few: by their names, nobody is left to {' or to '.join(missing)} on; "
            "add videos of other people: 12 speakers mostly do, 20 nearly always"
        )


def part(speaker: str) -> str:
    """``train``, ``tune`` or ``test``: a sixth of the speakers each for the latter two, by a hash of the name, so that
    the split never moves."""
    return {0: "test", 4: "tune"}.get(int(hashlib.sha1(speaker.encode()).hexdigest(), 16) % 6, "train")
