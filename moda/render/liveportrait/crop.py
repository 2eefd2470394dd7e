"""The picture that the published networks were trained to see, and the way back from it into a frame.

The rule is LivePortrait's: a square, upright from the mouth to the eyes, 2.3 times as large as the box around the
landmarks, with its middle an eighth of its side above the middle of that box. The published landmarks are InsightFace's
106 points, whose model may not be used commercially; here they are the MediaPipe vertices at the same places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from contracts import Array, SourceFace

SCALE, RISE = 2.3, 0.125
FILM_SCALE, FILM_RISE = 2.2, 0.1  # of a driving video
SIZE = 256  # px, of the picture that the networks see
MIDDLE = 0.5 + 0.5 / 512  # of the square's side: the published crop has 512 px and its middle at the centre of px 256

#: What bounds the 106 points: the cheeks and jaw from the height of the eyes down, the upper edges of the brows, and
#: nose and mouth, which stand out in profile.
HULL = (
    127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 1, 4, 48, 278, 61, 291, 0, 17,
)  # fmt: skip
EYES = (33, 133, 159, 145, 362, 263, 386, 374)  # corners and middles of the lids
MOUTH = (61, 291)
#: Top and bottom, one corner and the other: right eye, left eye, lips.
OPENINGS = ((159, 145, 33, 133), (386, 374, 263, 362), (13, 14, 61, 291))

FEATHER = 0.1  # of the side of the square, and of a frame: how wide the drawn picture fades into the photo


def to_crop(landmarks: Array, scale: float = SCALE, rise: float = RISE) -> Array:
    """The similarity that takes picture px to the unit square of the crop, float64 [2, 3].

    landmarks: [478, 2 or 3] px. Pixel centres are whole numbers in the picture, as in OpenCV; the unit square runs
    from edge to edge.
    """
    points = landmarks[:, :2].astype(np.float64)
    down = points[list(MOUTH)].mean(0) - points[list(EYES)].mean(0)
    length = np.hypot(*down)
    down = down / length if length > 1e-3 else np.array([0.0, 1.0])
    axes = np.array([[down[1], -down[0]], down])  # rows: the crop's x and y
    hull = points[list(HULL)] @ axes.T
    low, high = hull.min(0), hull.max(0)
    side = scale * (high - low).max()
    middle = (low + high) / 2 - (0, rise * side)
    return np.column_stack([axes / side, MIDDLE - middle / side])


def film_square(landmarks: Array) -> Array:
    """Middle x, y and side, px, of the crop that one picture of a driving video asks for.

    landmarks: [478, 2 or 3] px.
    """
    matrix = to_crop(landmarks, FILM_SCALE, FILM_RISE)
    return np.array([*np.linalg.solve(matrix[:, :2], MIDDLE - matrix[:, 2]), 1 / np.hypot(*matrix[:, 0])])


def film_to_crop(squares: Array) -> Array:
    """One crop for a whole driving video, as :func:`to_crop` gives it: not turned, the mean of all that is asked for.

    squares: [T, 3] of :func:`film_square`.
    """
    x, y, side = squares.mean(axis=0)
    return np.array([[1 / side, 0, MIDDLE - x / side], [0, 1 / side, MIDDLE - y / side]])


def openings(landmarks: Array) -> Array:
    """How far right eye, left eye and lips are open, as the retargeting networks have it: height over width, [3].

    landmarks: [478, 2 or 3] px.
    """
    top, bottom, one, other = landmarks[list(zip(*OPENINGS, strict=True)), :2]  # [3, 2] each
    return np.linalg.norm(top - bottom, axis=-1) / (np.linalg.norm(one - other, axis=-1) + 1e-6)


def cut(image: Array, matrix: Array, size: int = SIZE) -> Array:
    """The crop of ``image``, uint8 [H, W, 3], as uint8 [size, size, 3]; black where the picture ends.

    Read at the double size and halved, as published, or at a larger multiple where the picture is finer than that.
    """
    side = 1 / np.hypot(*matrix[:, 0])  # px in the picture
    times = max(2, int(np.ceil(side / size)))
    whole = size * times * matrix
    whole[:, 2] -= 0.5  # from edges to pixel centres
    large = cv2.warpAffine(image, whole, (size * times, size * times), flags=cv2.INTER_LINEAR)
    return cv2.resize(large, (size, size), interpolation=cv2.INTER_AREA)


def frame_grid(face: SourceFace, matrix: Array, size: int) -> Array:
    """Where in the crop each px of a frame of ``face.crop`` lies: float32 [S, S, 2] x, y in -1..1 from edge to edge,
    as ``grid_sample`` reads them with align_corners off."""
    x0, y0, side = face.crop
    steps = (np.arange(size) + 0.5) * side / size - 0.5  # px in the head crop
    x, y = np.meshgrid(steps + x0, steps + y0)
    places = np.stack([x, y, np.ones_like(x)], axis=-1) @ matrix.T
    return (2 * places - 1).astype(np.float32)


def frame_mask(face: SourceFace, grid: Array) -> Array:
    """How much of each px of a frame is drawn, float32 [S, S]: all inside, nothing at the edges of the crop, and
    nothing at the edges of the frame but where they are edges of the picture."""
    size = len(grid)
    height, width = face.image.shape[:2]
    x0, y0, side = face.crop
    steps = np.arange(size) / size
    inner = ((x0 > 0, x0 + side < width - width % 2), (y0 > 0, y0 + side < height - height % 2))
    across, along = (
        np.minimum(steps if low else 1.0, steps[::-1] if high else 1.0) * np.ones(size) for low, high in inner
    )
    to_edge = np.minimum((1 - np.abs(grid)).min(-1) / 2, np.minimum(across, along[:, None]))
    ramp = np.clip(to_edge / FEATHER, 0, 1)
    return (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)
