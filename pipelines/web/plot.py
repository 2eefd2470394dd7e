"""A motion against time, as a drawing for the page: mouth, blinks, head, and what was heard."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from encoders.audio import VISEMES
from moda.motion import LIP_CHANNELS, PITCH, ROLL, UPPER_LIDS, YAW, lip_gap

if TYPE_CHECKING:
    from contracts import Array, Motion

WIDTH, LEFT = 720, 64  # units of the drawing; the margin holds the names
HEARD, GAP, AXIS, LINE = 22, 12, 20, 16  # heights: of the visemes, between strips, of the times, of a line of text
POINTS = 900  # of a curve; a longer motion is drawn from the extremes of its stretches
LETTER = 7.0  # width of one, about


def plot_motion(motion: Motion, visemes: Array | None = None) -> str:
    """SVG of a motion against time. Mouth: the inner-lip gap (OC), in space ``liveportrait`` how far the lips are from
    where they are on average; lids (OC, down is shut), in space ``mesh``; pitch, yaw and roll (degrees); the strongest
    of ``visemes`` [T, 15] below, where they are known. Its colours are those of the CSS variables --mouth, --lids,
    --pitch, --yaw and --roll, and --shut for sounds that close the lips; a line of class "playhead" stands at 0, over
    ``data-seconds``."""
    frames, seconds = motion.frames, len(motion) / motion.fps
    angles = {name: frames[:, at].ravel() for name, at in (("pitch", PITCH), ("yaw", YAW), ("roll", ROLL))}
    strips: list[tuple[float, str, dict[str, Array]]] = [(90, "°", angles)]
    if motion.space == "mesh":
        lids = frames[:, UPPER_LIDS].mean(axis=1)
        strips = [(70, "OC", {"mouth": lip_gap(frames)}), (46, "OC", {"lids": lids}), *strips]
    else:  # no two of its keypoints are lips that open, or lids
        lips = frames[:, LIP_CHANNELS]
        strips = [(70, "", {"mouth": np.linalg.norm(lips - lips.mean(axis=0), axis=1)}), *strips]
    top, drawn = 4.0, []
    for height, unit, curves in strips:
        low = min(float(values.min()) for values in curves.values())
        high = max(float(values.max()) for values in curves.values())
        middle, span = (high + low) / 2, max(high - low, 1e-3)
        drawn.append(f'<rect x="{LEFT}" y="{top:.1f}" width="{WIDTH - LEFT}" height="{height}" class="strip"/>')
        scale = f"{low:+.0f} to {high:+.0f}{unit}" if unit == "°" else f"{low:.2f} to {high:.2f} {unit}"
        drawn.append(f'<text x="{WIDTH - 6}" y="{top + 9:.1f}" class="range">{scale}</text>')
        for line, (curve, values) in enumerate(curves.items()):
            y = top + height / 2 - (values - middle) / span * (height - 8)
            drawn.append(f'<path d="{_path(y)}" style="stroke:var(--{curve})"><title>{curve}</title></path>')
            place = top + height / 2 + LINE * (line - (len(curves) - 1) / 2)
            colour = f'style="fill:var(--{curve})"'
            drawn.append(f'<text x="{LEFT - 8}" y="{place:.1f}" class="name" {colour}>{curve}</text>')
        top += height + GAP
    if visemes is not None:
        drawn += _heard(visemes, top)
        top += HEARD + GAP
    for second in _ticks(seconds):
        x = LEFT + (WIDTH - LEFT) * second / seconds
        drawn.append(f'<text x="{x:.1f}" y="{top + 8:.1f}" class="tick">{second:g} s</text>')
    drawn.append(f'<line x1="{LEFT}" x2="{LEFT}" y1="0" y2="{top - GAP + 4:.1f}" class="playhead"/>')
    title = f"mouth, lids and head over {seconds:.1f} seconds"
    return (
        f'<svg viewBox="0 0 {WIDTH} {top + AXIS:.0f}" role="img" aria-label="{title}" class="motion" '
        f'data-seconds="{seconds:.3f}" data-left="{LEFT}" data-width="{WIDTH}">{"".join(drawn)}</svg>'
    )


def _path(y: Array) -> str:
    """A curve over the whole width; of more points than can be seen, the lowest and the highest of each stretch."""
    x = LEFT + (WIDTH - LEFT) * (np.arange(len(y)) + 0.5) / len(y)
    if len(y) > POINTS:
        stretches = np.array_split(np.arange(len(y)), POINTS // 2)
        kept = np.unique([at[pick(y[at])] for at in stretches for pick in (np.argmin, np.argmax)])
        x, y = x[kept], y[kept]
    return "M" + " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


def _heard(visemes: Array, top: float) -> list[str]:
    """The strongest viseme of each frame as a band of boxes, named where the name fits."""
    drawn = [f'<text x="{LEFT - 8}" y="{top + HEARD / 2:.1f}" class="name">heard</text>']
    at, unit = 0, (WIDTH - LEFT) / len(visemes)
    for index, run in groupby(visemes.argmax(axis=1)):
        n = sum(1 for _ in run)
        x, width, name = LEFT + at * unit, n * unit, VISEMES[index]
        at += n
        if name == "sil":
            continue
        box = f'<rect x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{HEARD}" class="viseme {name}"/>'
        text = ""
        if width > LETTER * len(name):
            text = f'<text x="{x + width / 2:.1f}" y="{top + HEARD / 2:.1f}" class="heard">{name}</text>'
        drawn.append(f"<g><title>{name}</title>{box}{text}</g>")
    return drawn


def _ticks(seconds: float) -> list[float]:
    """Round times, ten at most."""
    step = next(step for step in (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1e9) if seconds / step <= 10)
    return [step * k for k in range(int(seconds / step) + 1)]
