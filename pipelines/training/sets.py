"""Motion sets on disk: the manifest, and which speakers are trained on, tuned on and tested on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from contracts import ModaError

PARTS = ("train", "tune", "test")


class CorpusError(ModaError):
    """The training set is missing or is not in the expected format."""


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The manifest of a set, a row a clip; pipelines/training/corpus.py describes it. Raises CorpusError."""
    manifest = folder / "manifest.jsonl"
    if not manifest.is_file():
        raise CorpusError(f"no manifest.jsonl in {folder}: give the folder of a motion set, as `moda prepare` makes it")
    try:
        return [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise CorpusError(f"{folder} is no motion set ({error}); `moda prepare` makes one") from error


def check_set(folder: Path) -> None:
    """Raise CorpusError unless there is a manifest with speakers for each part; the clips are not looked at."""
    try:
        check_speakers({row["speaker"] for row in read_rows(folder)})
    except (KeyError, TypeError) as error:
        raise CorpusError(f"{folder} is no motion set ({error!r}); `moda prepare` makes one") from error


def check_speakers(speakers: Iterable[str]) -> None:
    """Raise CorpusError unless each part has a speaker."""
    speakers = set(speakers)
    if {part(speaker) for speaker in speakers} != set(PARTS):
        raise CorpusError(
            f"{len(speakers)} speakers are too few to train on some and test on others; add more: a dozen mostly do"
        )


def part(speaker: str) -> str:
    """``train``, ``tune`` or ``test``: a sixth of the speakers each for the latter two, by a hash of the name, so that
    the split never moves."""
    return {0: "test", 4: "tune"}.get(int(hashlib.sha1(speaker.encode()).hexdigest(), 16) % 6, "train")
