"""Which vertex is what: the lists of MediaPipe's face mesh that the renderer needs, and its shipped geometry.

"Right" and "left" are the subject's: the right eye is on the left of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from contracts import Array

# fmt: off
#: The outline of the face, clockwise in the picture from the top of the forehead.
OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)
#: The inner lip contours from the right corner to the left one; the corners (first and last) are shared.
INNER_UPPER_LIP = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
INNER_LOWER_LIP = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
#: Skin that is hardly ever covered: cheeks, chin, philtrum.
SKIN = (205, 425, 50, 280, 101, 330, 199, 200, 164)
# fmt: on


@dataclass(frozen=True)
class Eye:
    """The contours of one eye, each from the picture's left to its right except the corners (outer, inner)."""

    corners: tuple[int, int]
    upper: tuple[int, ...]  # lid contours, 7 vertices each, paired
    lower: tuple[int, ...]
    above: tuple[int, ...]  # first ring above the upper lid: the crease
    orbit: tuple[int, ...]  # second ring above: the orbital skin under the brow
    below: tuple[int, ...]  # first ring below the lower lid
    iris: int
    rim: tuple[int, ...]
    keypoints: tuple[int, int, int]  # motion-space rows: upper lid, lower lid, iris


RIGHT_EYE = Eye(
    corners=(33, 133),
    upper=(246, 161, 160, 159, 158, 157, 173),
    lower=(7, 163, 144, 145, 153, 154, 155),
    above=(247, 30, 29, 27, 28, 56, 190),
    orbit=(113, 225, 224, 223, 222, 221, 189),
    below=(25, 110, 24, 23, 22, 26, 112),
    iris=468,
    rim=(469, 470, 471, 472),
    keypoints=(11, 13, 15),
)
LEFT_EYE = Eye(
    corners=(263, 362),
    upper=(398, 384, 385, 386, 387, 388, 466),
    lower=(382, 381, 380, 374, 373, 390, 249),
    above=(414, 286, 258, 257, 259, 260, 467),
    orbit=(413, 441, 442, 443, 444, 445, 342),
    below=(341, 256, 252, 253, 254, 339, 255),
    iris=473,
    rim=(474, 475, 476, 477),
    keypoints=(12, 14, 16),
)
EYES = (RIGHT_EYE, LEFT_EYE)


@dataclass(frozen=True)
class FaceMesh:
    """The shipped geometry; assets/README.md tells where it comes from."""

    triangles: Array  # int32 [898, 3]
    neutral: Array  # float32 [478, 3] OC, head frame
    expansion: Array  # float32 [63, 1434], keypoint displacements to vertex displacements


@cache
def face_mesh() -> FaceMesh:
    """Read the shipped geometry, once."""
    with np.load(Path(__file__).parent / "assets" / "face_mesh.npz") as data:
        return FaceMesh(
            triangles=data["triangles"].astype(np.int32),
            neutral=data["neutral"],
            expansion=data["expansion"].astype(np.float32),
        )
