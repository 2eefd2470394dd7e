"""Head pose and pose-free face shape from landmarks: a similarity fit on the rigid part of the face."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from encoders.face.landmarks import canonical_vertices

if TYPE_CHECKING:
    from contracts import Array

#: Vertices that expression hardly moves, and their weights: forehead, nose bridge, eye corners, temples, face sides,
#: nose base, upper cheeks. Jaw and cheeks stay out, or a grin would read as pitch.
SKULL = {
    **dict.fromkeys((10, 151, 9, 8), 1.0),
    **dict.fromkeys((168, 6, 197), 1.5),
    195: 1.0,
    **dict.fromkeys((33, 263, 133, 362), 1.5),
    **dict.fromkeys((127, 356), 1.0),
    **dict.fromkeys((234, 454, 162, 389, 21, 251, 67, 297, 54, 284, 103, 332, 109, 338), 0.7),
    5: 0.7,
    4: 0.5,
    **dict.fromkeys((98, 327, 2), 0.4),
    **dict.fromkeys((93, 323, 116, 345), 0.3),
}


@dataclass(frozen=True)
class HeadFit:
    """x = scale * rotation @ vertex + translation, with x = (x, -y, -z) of a landmark in px."""

    rotation: Array  # float32 [3, 3] head frame -> image frame
    scale: float  # px per OC
    translation: Array  # float32 [3] px
    vertices: Array  # float32 [V, 3] OC, head frame: the landmarks with the pose taken out, exactly
    rms: float  # OC, weighted misfit of the skull vertices

    @property
    def pose(self) -> tuple[float, float, float]:
        """Pitch (+ down), yaw (+ image right), roll (+ counter-clockwise), degrees."""
        return euler_degrees(self.rotation)


def fit_head(points: Array) -> HeadFit:
    """Fit the canonical skull to landmarks, [V, 3] px (x right, y down, z away).

    Weighted least-squares similarity: S. Umeyama, "Least-squares estimation of transformation parameters between two
    point patterns", IEEE TPAMI 13(4), 1991.
    """
    skull, weights, template = _skull()
    image = points.astype(np.float64) * (1, -1, -1)  # [V, 3]
    x_mean = weights @ image[skull]
    h_mean = weights @ template
    x, h = image[skull] - x_mean, template - h_mean
    u, singular, vt = np.linalg.svd((weights[:, None] * x).T @ h)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * sign) @ vt
    scale = float(singular @ sign / (weights @ (h**2).sum(1)))
    translation = x_mean - scale * rotation @ h_mean
    rms = float(np.sqrt(weights @ ((x / scale - h @ rotation.T) ** 2).sum(1)))
    vertices = (image - translation) @ rotation / scale
    as_float = [array.astype(np.float32) for array in (rotation, translation, vertices)]
    return HeadFit(as_float[0], scale, as_float[1], as_float[2], rms)


def euler_degrees(rotation: Array) -> tuple[float, float, float]:
    """Pitch, yaw, roll in degrees with rotation = Rz(roll) Ry(yaw) Rx(pitch)."""
    r = rotation.astype(np.float64)
    pitch = np.arctan2(r[2, 1], r[2, 2])
    yaw = -np.arcsin(np.clip(r[2, 0], -1, 1))
    roll = np.arctan2(r[1, 0], r[0, 0])
    return float(np.degrees(pitch)), float(np.degrees(yaw)), float(np.degrees(roll))


def rotation_matrix(pitch: float, yaw: float, roll: float) -> Array:
    """Rz(roll) Ry(yaw) Rx(pitch), float64 [3, 3], from degrees: the inverse of :func:`euler_degrees`."""
    (cp, cy, cr), (sp, sy, sr) = np.cos(a := np.radians((pitch, yaw, roll))), np.sin(a)
    rx = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return rz @ ry @ rx


@lru_cache(maxsize=1)
def _skull() -> tuple[Array, Array, Array]:
    index = np.array(list(SKULL))
    weights = np.array(list(SKULL.values()))
    return index, weights / weights.sum(), canonical_vertices()[index]
