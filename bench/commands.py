"""Do the frames show what was commanded, and the same person? Driven by videos, drawn, and tracked again.

    python bench/commands.py VIDEOS PORTRAIT... [--count N] [--frames 50] [--size 512] [--sheet OUT.png]

Commanded is what the renderer means to draw after its clamps, the displaced mesh; mesh and tracked landmarks are
measured alike (encoders/face/headfit.py). Of the lips and lids the gap counts, in OC, the distance of the outer eye
corners; of the head pitch, yaw and roll.

The tracker errs on real heads too, so the videos' own frames, undrawn, say what it can tell: tracked as they are and
mirrored, the same heads must be seen alike. A channel is judged on the videos where that correlation reaches the
target; lips that hardly part fall below it. What all videos come to stands beside, as a mean and as one long clip. Lips
and brows that move are tracked as a turn of the head as well: the head is therefore also moved alone.

Identity: with the head alone turned, the shape of the face in its own frame must not change; the rms change of all
landmarks against the tracked frame at rest, in % of OC. Beside it stands that of the heads in the videos per as many
degrees of pitch; most of either is depth, which the tracker does not see but guesses.

VIDEOS is a video or a folder of them, PORTRAIT pictures or folders; those of which something is warned are left out.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from figures import VIDEOS, Figure, draw, exact_frames, faces, files, meant, prepare, report, some, still, tracked

from encoders.face.headfit import HeadFit, fit_head
from encoders.face.landmarks.landmarker import FaceLandmarker
from moda.motion.layout import EXPRESSION, PITCH
from pipelines.evaluation.metrics import correlation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from contracts import Array
    from moda.render.mesh.renderer import MeshPortrait

TARGETS = {"mouth": 0.98, "lids": 0.94, "pitch": 0.95, "yaw": 0.94, "roll": 0.97}  # correlations
MIRRORED = (1, 1, 1, -1, -1)  # what a mirror makes of them
AXES = ("pitch", "yaw", "roll")
EVERY = 5  # frames: the times that videos of 25 and of 30 frames a second have in common
TURN = 8.0  # degrees
DRIFT = 3.0  # % of OC
TILE = 200  # px


def measures(fit: HeadFit) -> list[float]:
    """Lip gap and mean lid gap (OC), pitch, yaw and roll (degrees): the order of TARGETS."""
    y = fit.vertices[:, 1]
    return [float(y[13] - y[14]), float(y[159] - y[145] + y[386] - y[374]) / 2, *fit.pose]


@dataclass(frozen=True)
class Track:
    """A clip on a portrait: commanded and seen measures of its frames, [n, 5] each."""

    commanded: Array
    seen: Array  # not a number where no face is found

    @classmethod
    def joined(cls, tracks: Iterable[Track]) -> Track:
        commanded, seen = zip(*((track.commanded, track.seen) for track in tracks), strict=True)
        return cls(np.concatenate(commanded), np.concatenate(seen))

    @property
    def kept(self) -> tuple[Array, Array]:
        found = ~np.isnan(self.seen[:, 0])
        return self.commanded[found], self.seen[found]

    @property
    def r(self) -> Array:
        return np.array([correlation(x, y) for x, y in zip(*(part.T for part in self.kept), strict=True)])

    @property
    def slope(self) -> Array:
        a, b = (part - part.mean(0) for part in self.kept)
        return (a * b).sum(0) / np.maximum((a**2).sum(0), 1e-9)

    @property
    def error(self) -> Array:
        a, b = (part - part.mean(0) for part in self.kept)
        return np.abs(b - a).mean(0)


def look(landmarker: FaceLandmarker, frame: Array) -> HeadFit | None:
    found = landmarker.detect(frame)
    return fit_head(found[0].points) if found else None


def follow(prepared: MeshPortrait, motion: Array, landmarker: FaceLandmarker) -> Track:
    commanded = [measures(meant(prepared, row)) for row in motion]
    fits = [look(landmarker, frame) for frame in draw(prepared, motion)]
    seen = [[np.nan] * len(TARGETS) if fit is None else measures(fit) for fit in fits]
    return Track(np.array(commanded), np.array(seen))


def undrawn(video: Path, count: int, landmarker: FaceLandmarker) -> tuple[Track, float]:
    """A video's own frames, tracked as they are and mirrored; and the change of shape with pitch, % of OC per TURN."""
    straight, mirrored = [], []
    for picture in some(np.stack(list(exact_frames(video, EVERY).values())), count):
        fits = look(landmarker, picture), look(landmarker, picture[:, ::-1])
        if fits[0] is not None and fits[1] is not None:
            straight.append(fits[0])
            mirrored.append(np.array(measures(fits[1])) * MIRRORED)
    return Track(np.array([measures(fit) for fit in straight]), np.array(mirrored)), drift_with_pitch(straight)


def drift_with_pitch(fits: list[HeadFit]) -> float:
    """Rms change of the shape per TURN degrees of pitch, % of OC, of a face that speaks and turns: by regression on
    the pose and on what moves most, lips, mouth corners, lids and brows."""
    shapes = np.stack([fit.vertices for fit in fits])  # [n, 478, 3]
    y = shapes[..., 1]
    moves = [y[:, 13] - y[:, 14], y[:, 61] + y[:, 291], y[:, 159] - y[:, 145] + y[:, 386] - y[:, 374]]
    moves.append(y[:, [105, 107, 334, 336]].sum(1))
    known = np.column_stack([[fit.pose for fit in fits], *moves])
    known -= known.mean(0)
    change = np.linalg.lstsq(known, (shapes - shapes.mean(0)).reshape(len(fits), -1), rcond=None)[0][0]
    return float(100 * TURN * np.sqrt((change.reshape(-1, 3) ** 2).sum(1).mean()))


def turns() -> tuple[list[str], Array]:
    """The head alone, TURN degrees about each axis, either way: names and motion [6, 70]."""
    names, motion = [], still(6)
    for i, axis in enumerate(AXES):
        for k, degrees in enumerate((-TURN, TURN)):
            names.append(f"{axis} {degrees:+.0f}")
            motion[2 * i + k, PITCH.start + i] = degrees
    return names, motion


def drift(prepared: MeshPortrait, landmarker: FaceLandmarker) -> tuple[Array, list[Array]]:
    """Change of the face's shape at each of :func:`turns`, [6, 2] % of OC, in all and without the depth, which the
    tracker guesses; and the frames, the one at rest first."""
    frames = list(draw(prepared, np.concatenate([still(), turns()[1]])))
    fits = [look(landmarker, frame) for frame in frames]
    shapes = np.stack([np.full((478, 3), np.nan) if fit is None else fit.vertices for fit in fits])
    squares = (shapes[1:] - shapes[0]) ** 2  # [6, 478, 3]
    return 100 * np.sqrt(np.stack([squares[..., :axes].sum(-1).mean(-1) for axes in (3, 2)], axis=1)), frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("portraits", type=Path, nargs="+")
    parser.add_argument("--count", type=int, help="portraits; all")
    parser.add_argument("--frames", type=int, default=50, help="of each video")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--sheet", type=Path, help="a picture of the turned heads")
    arguments = parser.parse_args()
    portraits = faces(arguments.portraits, arguments.count, spotless=True)
    prepared = {name: prepare(face, arguments.size) for name, face in portraits.items()}
    tracks: dict[tuple[str, str], Track] = {}  # of video and portrait
    own_tracks: dict[str, Track] = {}  # of a video's own frames
    alone, drifts, heads, own = [], [], [], []
    print(f"{'correlation (slope)':<48}" + "".join(f"{name:>14}" for name in TARGETS) + f"{'lost':>6}")
    with FaceLandmarker() as landmarker:
        for video in files([arguments.videos], VIDEOS):
            mirrored, drifted = undrawn(video, arguments.frames, landmarker)
            own_tracks[video.stem] = mirrored
            own.append(drifted)
            show(video.stem, "itself, mirrored", mirrored)
            motion = some(tracked(video), arguments.frames)
            head = motion.copy()
            head[:, EXPRESSION] = 0
            for name, portrait in prepared.items():
                tracks[video.stem, name] = follow(portrait, motion, landmarker)
                show(video.stem, name, tracks[video.stem, name])
                alone.append(follow(portrait, head, landmarker))
                show("", "the head alone", alone[-1])
        print("\n% of OC (without depth)  " + "".join(f"{name:>13}" for name in turns()[0]))
        for name, portrait in prepared.items():
            changed, frames = drift(portrait, landmarker)
            drifts.append(changed)
            heads.append(np.hstack([cv2.resize(frame, (TILE, TILE), interpolation=cv2.INTER_AREA) for frame in frames]))
            cells = "".join(f"{whole:>6.2f} ({flat:4.2f})" for whole, flat in changed)
            print(f"{name[:23]:<24}" + cells, flush=True)
    if arguments.sheet:
        cv2.imwrite(str(arguments.sheet), cv2.cvtColor(np.vstack(heads), cv2.COLOR_RGB2BGR))

    figures = correlations(tracks, own_tracks, alone)
    lost = sum(len(track.seen) - len(track.kept[0]) for track in [*tracks.values(), *alone])
    figures.append(Figure("frames lost", lost, 0, most=True))
    for i, axis in enumerate(AXES):
        whole, flat = np.moveaxis(np.array(drifts)[:, 2 * i : 2 * i + 2], -1, 0)
        note = f"greatest {whole.max():.2f}" + (f"; in the videos {np.mean(own):.2f}" if axis == "pitch" else "")
        figures.append(Figure(f"identity drift, {axis} {TURN:.0f}, mean %", whole.mean(), DRIFT, True, note))
        note = f"mean {flat.mean():.2f}"
        figures.append(Figure("  the same without depth, greatest %", flat.max(), DRIFT, True, note))
    report(figures)


def correlations(tracks: dict[tuple[str, str], Track], own: dict[str, Track], alone: list[Track]) -> list[Figure]:
    """A line per channel over the clips it is judged on, over all clips of a portrait together, and the head alone.

    ``own``: of each video, its own frames as they are and mirrored.
    """
    tells = {video: track.r >= list(TARGETS.values()) for video, track in own.items()}
    all_own = Track.joined(own.values()).r
    every, slopes, errors = (np.array([getattr(t, of) for t in tracks.values()]) for of in ("r", "slope", "error"))
    portraits = dict.fromkeys(name for _, name in tracks)
    whole = [Track.joined(t for (_, on), t in tracks.items() if on == name).r for name in portraits]
    figures = []
    for i, (name, target) in enumerate(TARGETS.items()):
        judged = every[[bool(tells[video][i]) for video, _ in tracks], i]
        worst, mean = (judged.min(), judged.mean()) if len(judged) else (np.nan, np.nan)
        pooled = f"all clips as one {np.mean([r[i] for r in whole]):.3f}, the videos' own {all_own[i]:.3f}"
        note = f"worst {worst:.2f}; all {every[:, i].mean():.3f}; {pooled}"
        note += f"; slope {slopes[:, i].mean():.2f}, error {errors[:, i].mean():.3f}"
        figures.append(Figure(f"{name}, mean r over {len(judged)} of {len(every)}", mean, target, note=note))
        if name in AXES:
            r, slope = (np.array([getattr(track, of)[i] for track in alone]) for of in ("r", "slope"))
            note = f"worst {r.min():.2f}; slope {slope.mean():.2f}"
            figures.append(Figure(f"{name}, the head alone, mean r over {len(r)}", r.mean(), target, note=note))
    return figures


def show(video: str, name: str, track: Track) -> None:
    found = zip(track.r, track.slope, strict=True)
    cells = "".join(f"{x:>7.3f} ({y:4.2f})" if np.isfinite(x) else f"{'-':>14}" for x, y in found)
    print(f"{video[:23]:<24}{name[:23]:<24}{cells}{len(track.seen) - len(track.kept[0]):>6}", flush=True)


if __name__ == "__main__":
    main()
