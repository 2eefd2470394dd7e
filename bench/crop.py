"""How far is the crop of a portrait from the published one? A table of pictures, in px of the crop of 512 px.

    python -m pip install dlib-bin face_recognition_models
    python bench/crop.py PORTRAIT...

The published crop is a rule on the 106 landmarks of InsightFace, whose models are not for commercial use: neither is it
here, nor is this a comparison with it. LivePortrait applies the same rule to 68 landmarks as well, so a second
detector of those stands in, dlib's. Three crops are compared, by the mean distance of their corners:

- `detector`: the 68 landmarks as dlib finds them, against MediaPipe's vertices at the same places. The rule and the
  points are the same; this is what another detector makes of it.
- `points`: MediaPipe's vertices at the places of the 68, against those at the places of the 106. The detector is the
  same; this is what the choice of points makes of it.
- `crop`: the crop that is used, against the rule on dlib's landmarks: both together.

`scale`, `turn` and `middle` tell the last apart: size of the other crop over that of ours, degrees, px right and down.
(dlib's model is CC0, but has learned from pictures that are for research: it measures here, and nothing of it ships.)
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from figures import faces

from moda.render.liveportrait.crop import MIDDLE, RISE, SCALE, to_crop

if TYPE_CHECKING:
    from contracts import Array, SourceFace

CROP = 512  # px, of the published crop
LONGEST = 800  # px, of the picture in which dlib searches

#: MediaPipe's vertices at the 68 places that bound the crop or turn it: jaw, brows, nose and lips; then corners of eyes
#: and mouth.
BOUNDS = (
    127, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 4, 61, 291, 0, 17,
)  # fmt: skip
EYES, MOUTH = (33, 133, 362, 263), (61, 291)
BOUNDS_68 = (*range(27), 30, 48, 54, 51, 57)  # the same of the 68
EYES_68, MOUTH_68 = (36, 39, 42, 45), (48, 54)


def rule(bounds: Array, eyes: Array, mouth: Array) -> Array:
    """The published rule: from px to the unit square of the crop, float64 [2, 3]."""
    down = mouth.mean(0) - eyes.mean(0)
    down = down / np.hypot(*down)
    axes = np.array([[down[1], -down[0]], down])
    placed = bounds @ axes.T
    low, high = placed.min(0), placed.max(0)
    side = SCALE * (high - low).max()
    middle = (low + high) / 2 - (0, RISE * side)
    return np.column_stack([axes / side, MIDDLE - middle / side])


def of_vertices(face: SourceFace) -> Array:
    """Of MediaPipe's vertices at the places of the 68."""
    points = face.landmarks[:, :2].astype(np.float64)
    return rule(points[list(BOUNDS)], points[list(EYES)], points[list(MOUTH)])


class Dlib:
    """Another detector: dlib's, with its 68 landmarks."""

    def __init__(self) -> None:
        spec = find_spec("face_recognition_models")
        if find_spec("dlib") is None or spec is None or spec.origin is None:
            raise SystemExit("error: dlib is not here; python -m pip install dlib-bin face_recognition_models")
        import dlib

        self._find = dlib.get_frontal_face_detector()
        models = Path(spec.origin).parent / "models"
        self._predict = dlib.shape_predictor(str(models / "shape_predictor_68_face_landmarks.dat"))

    def crop(self, face: SourceFace) -> Array | None:
        """The rule on the landmarks of the face that is meant; None where it is not found."""
        times = max(1.0, max(face.image.shape[:2]) / LONGEST)
        small = cv2.resize(face.image, None, fx=1 / times, fy=1 / times, interpolation=cv2.INTER_AREA)
        middle = face.landmarks[:, :2].mean(0) / times
        boxes = [box for box in self._find(small, 1) if box.contains(round(middle[0]), round(middle[1]))]
        if not boxes:
            return None
        shape = self._predict(small, boxes[0])
        points = np.array([(point.x, point.y) for point in shape.parts()], np.float64) * times
        return rule(points[list(BOUNDS_68)], points[list(EYES_68)], points[list(MOUTH_68)])


def apart(one: Array, other: Array) -> float:
    """Mean distance of the corners of two crops, px of the first."""
    corners = np.array([[x, y, 1.0] for x in (0, 1) for y in (0, 1)])
    return float(np.hypot(*(moved(one, other, corners) - corners[:, :2]).T).mean() * CROP)


def moved(one: Array, other: Array, places: Array) -> Array:
    """Where in the unit square of ``one`` the places [N, 3] of that of ``other`` are, [N, 2]."""
    back = np.linalg.inv(np.vstack([other, [0, 0, 1]]))
    return places @ (one @ back).T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portraits", nargs="+", type=Path, help="pictures, or folders of them")
    parser.add_argument("--count", type=int, help="the first COUNT with a face that can be used")
    arguments = parser.parse_args()
    detector = Dlib()
    heads = ("detector", "points", "crop", "scale", "turn", "middle")
    print(f"{'picture':<28}" + "".join(f"{head:>10}" for head in heads))
    rows = []
    for name, face in faces(arguments.portraits, arguments.count).items():
        theirs = detector.crop(face)
        if theirs is None:
            print(f"{name:<28}  left out, dlib finds no face there")
            continue
        ours, same_points = to_crop(face.landmarks), of_vertices(face)
        across = moved(ours, theirs, np.array([[0.0, 0, 1], [1, 0, 1], [MIDDLE, MIDDLE, 1]]))
        x, y = across[1] - across[0]
        shift = (across[2] - MIDDLE) * CROP
        rows.append([
            apart(same_points, theirs), apart(ours, same_points), apart(ours, theirs),
            np.hypot(x, y), np.degrees(np.arctan2(y, x)), *shift,
        ])  # fmt: skip
        print(line(name, rows[-1]))
    if rows:
        print(line(f"median of {len(rows)}", np.median(rows, axis=0)))
        print(line("largest", np.abs(rows).max(axis=0)))


def line(name: str, row: Array | list[float]) -> str:
    *distances, scale, turn, right, down = row
    cells = "".join(f"{distance:>10.1f}" for distance in distances)
    return f"{name:<28}{cells}{scale:>10.3f}{turn:>10.1f}{right:>+6.1f}{down:>+6.1f}"


if __name__ == "__main__":
    main()
