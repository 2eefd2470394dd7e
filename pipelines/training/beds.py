"""Folders of noise, babble and music, decoded to lie under speech in training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from contracts import SAMPLE_RATE
from encoders.audio import AudioError, Beds
from pipelines.training.recordings import BEDS, RecordingsError, find_beds
from pipelines.training.speakers import decode

log = logging.getLogger(__name__)


def load_beds(folders: Sequence[Path]) -> Beds:
    """The beds of all folders, int16 at 16 kHz: two megabytes a minute. A file that cannot be read is left out, and a
    line says so.

    Raises RecordingsError, also where no file can be read.
    """
    sounds: dict[str, list[np.ndarray]] = {kind: [] for kind in BEDS}
    for item in find_beds(folders):
        try:
            sounds[item.kind].append(np.rint(32767 * np.clip(decode(item.path), -1, 1)).astype(np.int16))
        except AudioError as error:
            log.warning("left out: %s", error)
    if not any(sounds.values()):
        raise RecordingsError(f"no bed in {', '.join(map(str, folders))} can be read; name other folders")
    minutes = {kind: sum(map(len, found)) / SAMPLE_RATE / 60 for kind, found in sounds.items()}
    log.info("beds: %s", ", ".join(f"{len(sounds[kind])} of {kind}, {minutes[kind]:.1f} minutes" for kind in BEDS))
    return Beds(**sounds)
