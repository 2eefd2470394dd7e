"""Statistics of a motion set: what a model that is trained on it should look like in size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from contracts import BLENDSHAPES, FPS, KEYPOINT_VERTICES, LOWER_LIP, UPPER_LIP
from pipelines.training.sets import LISTEN

EYES = [BLENDSHAPES.index("eyeBlinkLeft"), BLENDSHAPES.index("eyeBlinkRight")]
SHUT_EYES = 0.5  # blendshape
POSE_LENGTH = 240  # frames: figures about head and blinks are of clips of 9.6 s and more


def statistics(rows: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Figures of the clips that ``rows`` of a manifest name in ``folder``; OC, degrees, seconds.

    They are of the clips in which the face speaks, of which there is one at least; the others are only counted.
    """
    listening = [row for row in rows if row.get("kind") == LISTEN]
    rows = [row for row in rows if row.get("kind") != LISTEN]
    expressions, gaps, speeds, heads = [], [], [], []
    for row in rows:
        with np.load(folder / f"{row['name']}.npz") as clip:
            expression, pose = clip["exp"].astype(np.float32), clip["pose"].astype(np.float32)
            blink = clip["blendshapes"][:, EYES].mean(1) / 255
        expressions.append(expression)
        gaps.append(expression[:, UPPER_LIP, 1] - expression[:, LOWER_LIP, 1])
        speeds.append(np.abs(np.diff(gaps[-1])) * FPS)
        if len(pose) >= POSE_LENGTH:
            shut = blink > SHUT_EYES
            blinks = (shut[1:] & ~shut[:-1]).sum() / len(shut) * FPS * 60
            heads.append([*pose.std(0), *np.abs(np.diff(pose, axis=0)).mean(0) * FPS, blinks])
    expression, gap, speed = (np.concatenate(parts) for parts in (expressions, gaps, speeds))
    heads_by_figure = np.quantile(heads, [0.1, 0.5, 0.9], axis=0).T if heads else []
    names = ("sd pitch", "sd yaw", "sd roll", "speed pitch", "speed yaw", "speed roll", "blinks/min")
    seconds = [(row, row["seconds"]) for row in rows]
    return {
        "clips": len(rows),
        "minutes": round(sum(row["seconds"] for row in rows) / 60, 2),
        "speakers": len({row["speaker"] for row in rows}),
        "listening_minutes": round(sum(row["seconds"] for row in listening) / 60, 2),
        "language": _minutes(seconds, "language"),
        "sex": _minutes(seconds, "sex"),
        "short": sum(row["short"] for row in rows),
        "gap": {
            **dict(zip(("p5", "median", "p95"), _rounded(np.quantile(gap, [0.05, 0.5, 0.95])), strict=True)),
            "std": round(float(gap.std()), 4),
            "speed_mean": round(float(speed.mean()), 4),
            "speed_p95": round(float(np.quantile(speed, 0.95)), 4),
        },
        "std_exp": _by_vertex(expression.std(0)),
        "mean_exp": _by_vertex(expression.mean(0)),
        "p1_p99_y": _by_vertex(np.quantile(expression[..., 1], [0.01, 0.99], axis=0).T),
        "long_clips": len(heads),
        "p10_p50_p90": {name: _rounded(row) for name, row in zip(names, heads_by_figure, strict=bool(heads))},
    }


def _minutes(seconds: list[tuple[dict[str, Any], float]], column: str) -> dict[str, float]:
    total: dict[str, float] = {}
    for row, length in seconds:
        total[row[column]] = total.get(row[column], 0.0) + length / 60
    return {name: round(value, 2) for name, value in sorted(total.items())}


def _by_vertex(table: np.ndarray) -> dict[str, list[float]]:
    return {str(vertex): _rounded(row) for vertex, row in zip(KEYPOINT_VERTICES, table, strict=True)}


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in values]
