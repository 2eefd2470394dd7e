"""The line where shut lips meet. Landmarks miss it by a few px, and then a strip of one lip rides on the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from moda.render.mesh.topology import INNER_LOWER_LIP, INNER_UPPER_LIP

if TYPE_CHECKING:
    from contracts import Array

SEARCH = 0.22  # of the height of the lips, to both sides
_ROBUST_PASSES = 2


def snap_seam(photo: Array, points: Array) -> Array:
    """Put both inner lip contours of a shut mouth on the darkest line between the lips.

    ``photo``: uint8 [S, S, 3] RGB; ``points``: float32 [478, 3] px, render frame. Returns moved points, a copy: the
    same position serves as texture coordinate and as geometry.
    """
    upper, lower = list(INNER_UPPER_LIP[1:-1]), list(INNER_LOWER_LIP[1:-1])
    lightness = cv2.GaussianBlur(cv2.cvtColor(photo, cv2.COLOR_RGB2LAB)[..., 0].astype(np.float32), (0, 0), 0.7)
    left, right = points[61, :2] * [1, -1], points[291, :2] * [1, -1]
    along = (right - left) / max(float(np.linalg.norm(right - left)), 1e-3)
    down = np.array([-along[1], along[0]])
    height = abs(float((points[17, :2] * [1, -1] - points[0, :2] * [1, -1]) @ down))

    middle = (points[upper] + points[lower]) / 2
    base = middle[:, :2] * [1, -1]
    offsets = np.linspace(-SEARCH * height, SEARCH * height, 41)
    # Nine lip pairs are few for a quartic: sample the contour between them as well.
    t = np.linspace(0, 1, 49)
    along_base = np.column_stack([np.interp(t, np.linspace(0, 1, len(base)), base[:, i]) for i in range(2)])
    samples = (along_base[:, None] + offsets[:, None] * down).astype(np.float32)
    values = cv2.remap(lightness, samples[..., 0], samples[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    values = values + 6 * (offsets / max(float(offsets[-1]), 1e-3)) ** 2  # ties go to the landmarks
    darkest = offsets[values.argmin(axis=1)]
    contrast = np.median(values, axis=1) - values.min(axis=1)

    x = (along_base - left) @ along
    x = 2 * (x - x.min()) / max(float(np.ptp(x)), 1e-3) - 1
    weight = contrast + 1e-3
    for _ in range(_ROBUST_PASSES + 1):
        quartic = np.polynomial.Polynomial.fit(x, darkest, 4, w=np.sqrt(weight), domain=[-1, 1])
        weight = (contrast + 1e-3) / (1 + ((darkest - quartic(x)) / (0.03 * height + 0.5)) ** 2)
    shift = np.interp(np.linspace(0, 1, len(base)), t, quartic(x))
    limit = SEARCH * height
    taper = np.minimum(1, np.minimum(np.arange(1, len(base) + 1), np.arange(len(base), 0, -1)) / 2)  # corners stay
    seam = base + (np.clip(shift, -limit, limit) * taper)[:, None] * down

    snapped = points.copy()
    joined = np.column_stack([seam * [1, -1], middle[:, 2]])
    snapped[upper] = joined
    snapped[lower] = joined
    return snapped
