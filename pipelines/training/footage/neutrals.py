"""One neutral face for all videos of a speaker: against that of each alone, an emotion that is held would be lost."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from encoders.face import BLINK
from moda import replacing
from pipelines.training.footage.takes import find_neutral

if TYPE_CHECKING:
    from pathlib import Path

    from contracts import Array

Row = dict[str, Any]


def share_neutrals(records: Path, clips: Path) -> None:
    """Bring the clips of every speaker to the neutral of all their videos, in the folder ``clips``, and note it in
    their ``records``.

    Keypoints are expression and neutral together, so that a clip can be brought to another neutral at any time. The
    group of clips that a neutral is of stands in their rows, ``neutral.group``, and is written last: who is already at
    the neutral of the group is left alone, and a run that was stopped in between is made good by the next.
    """
    videos = {file: json.loads(file.read_text()) for file in sorted(records.glob("*.json"))}
    speakers: dict[str, list[Row]] = {}
    for video in videos.values():
        for row in video["clips"]:
            speakers.setdefault(row["speaker"], []).append(row)
    touched: set[str] = set()
    for rows in speakers.values():
        group = _group(rows)
        if any(row["neutral"].get("group", "") != group for row in rows):
            _bring_together(rows, clips, group)
            touched |= {row["blob"] for row in rows}
    for file, video in videos.items():
        if any(row["blob"] in touched for row in video["clips"]):
            with replacing(file) as part:
                part.write_text(json.dumps(video))


def _group(rows: list[Row]) -> str:
    """What tells a group of clips from others; empty for those of one video."""
    if len({row["blob"] for row in rows}) < 2:
        return ""
    return hashlib.sha1("\n".join(sorted(row["name"] for row in rows)).encode()).hexdigest()[:12]


def _bring_together(rows: list[Row], clips: Path, group: str) -> None:
    arrays: list[dict[str, Array]] = []
    for row in rows:
        with np.load(clips / f"{row['name']}.npz") as file:
            arrays.append(dict(file))
    keypoints = [clip["exp"].astype(np.float32) + clip["neutral"] for clip in arrays]
    pose = np.concatenate([clip["pose"].astype(np.float32) for clip in arrays])
    blink = np.concatenate([clip["blendshapes"][:, BLINK].mean(1) / 255 for clip in arrays])
    neutral = find_neutral(np.concatenate(keypoints), pose, blink)
    for row, clip, track in zip(rows, arrays, keypoints, strict=True):
        moved = {**clip, "exp": (track - neutral.keypoints).astype(np.float16), "neutral": neutral.keypoints}
        with replacing(clips / f"{row['name']}.npz") as part, part.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **moved)
        row["neutral"] = neutral.figures | ({"group": group} if group else {})
