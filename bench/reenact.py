"""Self-reenactment: one frame of a video is the portrait, the others are drawn from its motion and compared.

    python bench/reenact.py VIDEO... [--frames 40] [--size 512] [--out FOLDER]

The most neutral frame is the portrait, then the first; the motion counts from where its picture has the face. PSNR in
dB, mean over frames, of the head crop and of the face in it (the hull of the true landmarks), against that of the
portrait standing still. By place: face; head, which is what goes with it, hair and ears; below the chin; the rest. At
last what the face would gain had every landmark been put where it truly is: as near as a warp of one photo gets. OUT
gets a sheet per case: true, drawn, how far that is off, and how far the still photo.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from figures import SCALE, VIDEOS, Figure, draw, exact_frames, files, prepare, report, some, tracked
from scipy.spatial.transform import Rotation

from contracts import LIP_OPENING
from encoders.face.headfit import HeadFit, euler_degrees, fit_head, rotation_matrix
from encoders.face.landmarks.landmarker import FaceLandmarker
from encoders.face.portrait import CHIN, OVAL, encode_face
from encoders.face.track import NECK_PIVOT, SKULL_CENTRE
from moda.motion.layout import EXPRESSION, ROTATION, TRANSLATION, channel, lip_gap
from moda.render.mesh.warp import FACE_VERTICES

if TYPE_CHECKING:
    from contracts import Array, SourceFace
    from moda.render.mesh.renderer import MeshPortrait

FACE_GAIN = 5.5  # dB
EVERY = 5  # frames: the times that videos of 25 and of 30 frames a second have in common
HEAD = 1.6  # sizes of the face's hull
PLACES = ("all", "face", "head", "below", "around")
SHUT = 0.035  # OC: lips further apart are opened by the photo, and shut by the renderer
COLUMNS, TILE = 8, 180


def as_pictured(motion: Array, fits: dict[int, HeadFit], k: int) -> Array:
    """Motion [70] of frame ``k``, placed as its picture is: smoothed in time, a head on the move is elsewhere.

    ``fits``: of some frames of the video, and of ``k``; together they tell what the motion counts from.
    """
    size = np.median([fit.scale / motion[t, SCALE] for t, fit in fits.items()])
    turned = {t: rotation_matrix(*motion[t, ROTATION]) for t in fits}
    upright = Rotation.from_matrix([turned[t].T @ fit.rotation for t, fit in fits.items()]).mean().as_matrix()

    def off(t: int) -> Array:  # where the skull is, less where the motion has it
        fit = fits[t]
        seen = (fit.scale * fit.rotation @ SKULL_CENTRE + fit.translation) / size
        return (seen - motion[t, SCALE] * turned[t] @ upright @ (SKULL_CENTRE - NECK_PIVOT) - motion[t, TRANSLATION])[
            :2
        ]

    row = motion[k].copy()
    row[TRANSLATION][:2] += off(k) - np.median([off(t) for t in fits], axis=0)
    return row


def from_frame(motion: Array, at: Array) -> Array:
    """Motion [T, 70] of a video relative to the portrait's, ``at`` [70]."""
    moved = motion.copy()
    moved[:, EXPRESSION] -= at[EXPRESSION]
    if (gap := float(lip_gap(at))) > SHUT:  # lips are told apart from shut, wherever the portrait has them
        for vertex, share in LIP_OPENING.items():
            moved[:, channel(vertex, "y")] += share * gap
    moved[:, SCALE] = motion[:, SCALE] / at[SCALE]
    moved[:, TRANSLATION] = (motion[:, TRANSLATION] - at[TRANSLATION]) / at[SCALE]
    back = rotation_matrix(*at[ROTATION]).T
    moved[:, ROTATION] = [euler_degrees(rotation_matrix(*angles) @ back) for angles in motion[:, ROTATION]]
    return moved


def most_neutral(motion: Array, among: list[int]) -> int:
    """The frame of least expression, nearest to the median place and pose."""
    odd = np.abs(motion[:, EXPRESSION]).max(1) / 0.1 + np.abs(motion[:, ROTATION]).max(1) / 5
    odd += np.linalg.norm(motion[:, TRANSLATION], axis=1) / 0.1
    return min(among, key=lambda k: float(odd[k]))


@dataclass(frozen=True)
class Crop:
    """The portrait's head crop, as the renderer draws it."""

    face: SourceFace
    size: int

    def picture(self, image: Array) -> Array:
        x, y, side = self.face.crop
        inter = cv2.INTER_AREA if self.size < side else cv2.INTER_CUBIC
        return cv2.resize(image[y : y + side, x : x + side], (self.size, self.size), interpolation=inter)

    def places(self, points: Array) -> dict[str, Array]:
        """Masks bool [S, S] for landmarks [478, 3] px of the whole picture."""
        x, y, side = self.face.crop
        moved = ((points[:, :2] - (x, y)) * (self.size / side)).astype(np.float32)
        oval = moved[list(OVAL)]
        centre = oval.mean(0)
        face, head = (
            cv2.fillConvexPoly(np.zeros((self.size,) * 2, np.uint8), np.round(hull).astype(np.int32), 1) > 0
            for hull in (cv2.convexHull(oval)[:, 0], cv2.convexHull(centre + HEAD * (oval - centre))[:, 0])
        )
        below = np.arange(self.size)[:, None] > moved[CHIN, 1]
        return {"all": np.ones_like(face), "face": face, "head": head & ~face & ~below, "below": below & ~face,
                "around": ~head & ~face & ~below}  # fmt: skip


def psnr(a: Array, b: Array, mask: Array) -> float:
    error = ((a[mask].astype(np.float64) - b[mask]) ** 2).mean() if mask.any() else np.nan
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def put(prepared: MeshPortrait, shift: Array) -> Array:
    """The photo with every landmark shifted, [478, 3] px of the picture drawn; the surroundings stay."""
    moved = prepared.warp.rest.copy()
    moved[:FACE_VERTICES] += (shift * (1, -1, -1))[:FACE_VERTICES]
    return prepared.warp.draw(prepared.photo, moved)


def play(motion: Array, pictures: dict[int, Array], k: int, count: int, size: int) -> tuple[dict[str, Array], Array]:
    """By place, [n, 3] dB of frames drawn, still, and warped to the true landmarks; a sheet of some of them, uint8."""
    crop = Crop(encode_face(pictures[k]), size)
    prepared, portrait = prepare(crop.face, size), crop.picture(pictures[k])
    at = some(np.array(sorted(set(pictures) - {k})), count)
    with FaceLandmarker() as landmarker:
        seen = {t: landmarks[0].points for t in [k, *at.tolist()] if (landmarks := landmarker.detect(pictures[t]))}
    rest = seen[k]
    moved = from_frame(motion, as_pictured(motion, {t: fit_head(points) for t, points in seen.items()}, k))
    at = np.array([t for t in at if t in seen])
    found: dict[str, list[list[float]]] = {place: [] for place in PLACES}
    columns = []
    shown = set(some(at, COLUMNS).tolist())
    for t, frame in zip(at.tolist(), draw(prepared, moved[at]), strict=True):
        true = crop.picture(pictures[t])
        best = put(prepared, (seen[t] - rest) * (size / crop.face.crop[2]))
        for place, mask in crop.places(seen[t]).items():
            found[place].append([psnr(picture, true, mask) for picture in (frame, portrait, best)])
        if t in shown:
            off = [np.clip(3 * np.abs(true.astype(int) - other), 0, 255) for other in (frame, portrait)]
            tiles = [cv2.resize(x.astype(np.uint8), (TILE, TILE)) for x in (true, frame, *off)]
            columns.append(np.vstack(tiles))
    return {place: np.array(rows) for place, rows in found.items()}, np.hstack(columns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--frames", type=int, default=40, help="of each video")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
    figures, gains = [], []
    print(f"{'drawn (over the still photo), dB':<36}" + "".join(f"{place:>16}" for place in (*PLACES, "face at best")))
    for video in files(arguments.videos, VIDEOS):
        motion, pictures = tracked(video), exact_frames(video, EVERY)
        pictures = {k: picture for k, picture in pictures.items() if k < len(motion)}
        for name, k in (("neutral", most_neutral(motion, sorted(pictures))), ("first", min(pictures))):
            rows, sheet = play(motion, pictures, k, arguments.frames, arguments.size)
            drawn = {place: np.nanmean(row, 0) for place, row in rows.items()}
            cells = "".join(f"{d:>8.2f} ({d - s:+5.2f})" for d, s, _ in drawn.values())
            gain = {place: float(d - s) for place, (d, s, _) in drawn.items()}
            best = float(drawn["face"][2] - drawn["face"][1])
            print(f"{video.stem[:20]:<21}{f'{name} {k}':<15}{cells}{drawn['face'][2]:>8.2f} ({best:+5.2f})", flush=True)
            gains.append((gain["face"], best))
            figures.append(Figure(f"{video.stem}, {name}: whole over still, dB", gain["all"], 0))
            if arguments.out:
                path = arguments.out / f"{video.stem}_{name}.png"
                cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    gain, best = np.mean(gains, 0).tolist()
    report([*figures, Figure("mean face over still, dB", gain, FACE_GAIN, note=f"at best {best:.2f}")])


if __name__ == "__main__":
    main()
