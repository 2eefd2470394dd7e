"""Do the frames show what was commanded, and the same person? Driven by videos, drawn, and tracked again.

    python bench/commands.py VIDEOS PORTRAIT... [--frames 50] [--size 512] [--sheet OUT.png]

Commanded is what the renderer means to draw after its clamps, the displaced mesh; mesh and tracked landmarks are
measured alike (encoders/headfit.py). Of the lips and lids the gap counts, in OC, the distance of the outer eye corners;
of the head pitch, yaw and roll. A clip that hardly moves tells little: each by itself, and all together. Identity: with
the head alone turned, the shape of the face in its own frame must not change; the rms change of all landmarks against
the tracked frame at rest, in % of OC. VIDEOS is a video or a folder of them, PORTRAIT pictures or folders; those of
which something is warned are left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from figures import VIDEOS, Figure, draw, faces, files, meant, prepare, report, some, still, tracked

from encoders.headfit import fit_head
from encoders.landmarker import FaceLandmarker
from moda.motion import PITCH
from pipelines.metrics import correlation

if TYPE_CHECKING:
    from contracts import Array
    from encoders.headfit import HeadFit
    from moda.render.mesh.renderer import MeshPortrait

TARGETS = {"mouth": 0.98, "lids": 0.94, "pitch": 0.95, "yaw": 0.94, "roll": 0.97}  # correlations
TURN = 8.0  # degrees
DRIFT = 3.0  # % of OC
TILE = 200  # px


def measures(fit: HeadFit) -> list[float]:
    """Lip gap and mean lid gap (OC), pitch, yaw and roll (degrees): the order of TARGETS."""
    y = fit.vertices[:, 1]
    return [float(y[13] - y[14]), float(y[159] - y[145] + y[386] - y[374]) / 2, *fit.pose]


def look(landmarker: FaceLandmarker, frame: Array) -> HeadFit | None:
    found = landmarker.detect(frame)
    return fit_head(found[0].points) if found else None


def follow(prepared: MeshPortrait, motion: Array, landmarker: FaceLandmarker) -> tuple[Array, Array]:
    """Commanded and seen measures of each frame, both [n, 5]; not a number where no face is found."""
    commanded = [measures(meant(prepared, row)) for row in motion]
    fits = [look(landmarker, frame) for frame in draw(prepared, motion)]
    seen = [[np.nan] * len(TARGETS) if fit is None else measures(fit) for fit in fits]
    return np.array(commanded), np.array(seen)


def turns() -> tuple[list[str], Array]:
    """The head alone, TURN degrees about each axis, either way: names and motion [6, 70]."""
    names, motion = [], still(6)
    for i, axis in enumerate(("pitch", "yaw", "roll")):
        for k, degrees in enumerate((-TURN, TURN)):
            names.append(f"{axis} {degrees:+.0f}")
            motion[2 * i + k, PITCH.start + i] = degrees
    return names, motion


def drift(prepared: MeshPortrait, landmarker: FaceLandmarker) -> tuple[Array, list[Array]]:
    """Change of the face's shape at each of :func:`turns`, [6] % of OC, and the frames, the one at rest first."""
    frames = list(draw(prepared, np.concatenate([still(), turns()[1]])))
    fits = [look(landmarker, frame) for frame in frames]
    shapes = [np.full((478, 3), np.nan) if fit is None else fit.vertices for fit in fits]
    return np.array([100 * np.sqrt(((shape - shapes[0]) ** 2).sum(1).mean()) for shape in shapes[1:]]), frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("portraits", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=6, help="portraits")
    parser.add_argument("--frames", type=int, default=50, help="of each video")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--sheet", type=Path, help="a picture of the turned heads")
    arguments = parser.parse_args()
    portraits = faces(arguments.portraits, arguments.count, spotless=True)
    prepared = {name: prepare(face, arguments.size) for name, face in portraits.items()}
    rows, drifts, heads = [], [], []
    whole: dict[str, list[tuple[Array, Array]]] = {name: [] for name in prepared}
    print(f"{'correlation (slope)':<48}" + "".join(f"{name:>14}" for name in TARGETS) + f"{'lost':>6}")
    with FaceLandmarker() as landmarker:
        for video in files([arguments.videos], VIDEOS):
            motion = some(tracked(video), arguments.frames)
            for name, portrait in prepared.items():
                commanded, seen = follow(portrait, motion, landmarker)
                kept = ~np.isnan(seen[:, 0])
                a, b = commanded[kept], seen[kept]
                whole[name].append((a, b))
                r = [correlation(x, y) for x, y in zip(a.T, b.T, strict=True)]
                slope = ((a - a.mean(0)) * (b - b.mean(0))).sum(0) / ((a - a.mean(0)) ** 2).sum(0)
                error = np.abs((b - b.mean(0)) - (a - a.mean(0))).mean(0)
                rows.append((r, slope, error, (~kept).sum()))
                cells = "".join(f"{x:>7.3f} ({y:4.2f})" for x, y in zip(r, slope, strict=True))
                print(f"{video.stem[:23]:<24}{name[:23]:<24}{cells}{(~kept).sum():>6}", flush=True)
        print("\nchange of shape, % of OC" + "".join(f"{name:>12}" for name in turns()[0]))
        for name, portrait in prepared.items():
            changed, frames = drift(portrait, landmarker)
            drifts.append(changed)
            heads.append(np.hstack([cv2.resize(frame, (TILE, TILE), interpolation=cv2.INTER_AREA) for frame in frames]))
            print(f"{name[:23]:<24}" + "".join(f"{change:>12.2f}" for change in changed), flush=True)
    if arguments.sheet:
        cv2.imwrite(str(arguments.sheet), cv2.cvtColor(np.vstack(heads), cv2.COLOR_RGB2BGR))
    r, slopes, errors = (np.mean([row[i] for row in rows], 0) for i in range(3))
    clips = [tuple(np.concatenate(part) for part in zip(*parts, strict=True)) for parts in whole.values()]
    together = np.mean([[correlation(x, y) for x, y in zip(a.T, b.T, strict=True)] for a, b in clips], 0)
    figures = []
    for i, (name, target) in enumerate(TARGETS.items()):
        note = f"slope {slopes[i]:.2f}, error {errors[i]:.3f}"
        figures.append(Figure(f"{name}, mean r over {len(rows)}", r[i], target, note=note))
        figures.append(Figure(f"{name}, r over all clips, mean of {len(clips)}", together[i], target))
    figures.append(Figure("frames lost", sum(row[3] for row in rows), 0, most=True))
    for i, axis in enumerate(("pitch", "yaw", "roll")):
        of_axis = np.array(drifts)[:, 2 * i : 2 * i + 2]
        note = f"greatest {of_axis.max():.2f}"
        figures.append(Figure(f"identity drift, {axis} {TURN:.0f}, mean %", of_axis.mean(), DRIFT, True, note))
    report(figures)


if __name__ == "__main__":
    main()
