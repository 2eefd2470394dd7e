"""Does anything appear at once? Sweeps of single channels in steps of 1/40, through the picture at rest.

    python bench/pops.py SET... --portraits PORTRAIT... [--count 3] [--size 512]

The 1st and 99th percentiles of the motion sets are the range of each channel; PORTRAIT pictures or folders of them. A
layer that is switched on, or a patch that jumps, shows as one step that changes the picture by more than the others:
the greatest over the median of the steps that change it at all. Besides single channels, the mouth opens, and both eyes
shut and glance. Steps that change the mean pixel by less than VISIBLE are all one.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from figures import Figure, draw, faces, prepare, report, still

from contracts import KEYPOINT_VERTICES, LIP_OPENING, MOTION_DIM
from moda.motion.layout import channel
from pipelines.training.corpus import load_corpus

if TYPE_CHECKING:
    from contracts import Array
    from moda.render.mesh.renderer import MeshPortrait

STEPS = 40
VISIBLE = 0.01  # of 255, mean over the frame
TARGET = 1.8
WORST = 12  # sweeps listed
POSE = ("scale", "shift x", "shift y", "shift z", "pitch", "yaw", "roll")
NAMES = (*(f"{vertex} {axis}" for vertex in KEYPOINT_VERTICES for axis in "xyz"), *POSE)


@dataclass(frozen=True)
class Sweep:
    """What a portrait does while one direction of motion space is walked."""

    name: str
    values: Array  # [n] where each step ends, in units of the direction
    steps: Array  # [n] mean absolute difference of the frames, of 255

    @property
    def ratio(self) -> float:
        """The greatest step over the median of those that move; 1 where nothing does."""
        moving = self.steps[self.steps > VISIBLE]
        return float(moving.max() / np.median(moving)) if len(moving) else 1.0

    @property
    def worst(self) -> float:
        """Where the greatest step ends."""
        return float(self.values[self.steps.argmax()])


def directions(motion: Array) -> dict[str, tuple[Array, float, float]]:
    """Name -> direction [70] and the range to walk along it, for motion [N, 70]."""
    low, high = np.percentile(motion - still(), (1, 99), axis=0)
    found = {
        name: (row, float(low[i]), float(high[i]))
        for i, (name, row) in enumerate(zip(NAMES, np.eye(MOTION_DIM, dtype=np.float32), strict=True))
    }
    opening = {channel(vertex, "y"): share for vertex, share in LIP_OPENING.items()}
    lids = dict.fromkeys((channel(159, "y"), channel(386, "y")), 1.0)
    for axis in "xy":
        irises = dict.fromkeys((channel(468, axis), channel(473, axis)), 1.0)
        found[f"glance {axis}"] = (_row(irises), *found[f"468 {axis}"][1:])
    gap = motion[:, channel(13, "y")] - motion[:, channel(14, "y")]
    found["mouth opens"] = (_row(opening), 0.0, float(np.percentile(gap, 99)))
    found["eyes shut"] = (_row(lids), *found["159 y"][1:])
    return found


def _row(shares: dict[int, float]) -> Array:
    row = np.zeros(MOTION_DIM, np.float32)
    row[list(shares)] = list(shares.values())
    return row


def sweep(prepared: MeshPortrait, name: str, direction: Array, low: float, high: float) -> Sweep:
    """Walk from ``low`` to ``high`` in steps of 1/40 of that, one of which ends at rest."""
    step = max((high - low) / STEPS, 1e-9)
    values = step * np.arange(np.floor(min(low, 0) / step), np.ceil(max(high, 0) / step) + 1)
    frames = draw(prepared, still(len(values)) + (values[:, None] * direction).astype(np.float32))
    before = next(frames).astype(np.int16)
    steps = []
    for frame in frames:
        after = frame.astype(np.int16)
        steps.append(np.abs(after - before).mean())
        before = after
    return Sweep(name, values[1:], np.array(steps))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, nargs="+")
    parser.add_argument("--portraits", type=Path, nargs="+", required=True)
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--size", type=int, default=512)
    arguments = parser.parse_args()
    walks = directions(np.concatenate([clip.motion[clip.valid] for clip in load_corpus(*arguments.sets)]))
    walks = {name: walk for name, walk in walks.items() if walk[2] - walk[1] > 1e-4}  # what motion sets never move
    figures = []
    for portrait, face in faces(arguments.portraits, arguments.count, spotless=True).items():
        prepared = prepare(face, arguments.size)
        sweeps = sorted((sweep(prepared, name, *walk) for name, walk in walks.items()), key=lambda s: -s.ratio)
        print(f"{portrait}: {sum(s.ratio > TARGET for s in sweeps)} of {len(sweeps)} sweeps over {TARGET}; the worst:")
        for found in sweeps[:WORST]:
            at = f"greatest step {found.steps.max():.3f} at {found.worst:+.4f}"
            print(f"  {found.name:<14}{found.ratio:6.2f}  {at}", flush=True)
        figures.append(Figure(f"greatest over median step, {portrait}", sweeps[0].ratio, TARGET, most=True))
    report(figures)


if __name__ == "__main__":
    main()
