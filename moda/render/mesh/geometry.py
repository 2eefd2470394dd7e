"""The plane and the head: image-frame helpers that every layer of the mesh renderer shares.

Render frame: px of the rendered square, x right, y up (so y is minus the row), z to the viewer. It is the image frame
of ``contracts.SourceFace``, moved to the crop and scaled to the output size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from contracts import Array

NECK_PIVOT = np.array([0.0, -0.56, -0.67], np.float32)  # OC, head frame: heads turn about the neck, not their middle
MAX_YAW, MAX_PITCH, MAX_ROLL = 18.0, 15.0, 15.0  # degrees from the portrait
HEAD_SHIFT = 0.10  # OC; further, the head leaves the shoulders, so they go with it
MAX_TRANSLATION = 0.80  # OC, of the head and what it takes along: people who lean aside
SCALE_RANGE = 0.08
ANYWHERE = np.full((2, 2), MAX_TRANSLATION, np.float32)
_KNEE = 0.75


def smoothstep(x: Array, low: float, high: float) -> Array:
    """0 below ``low``, 1 above ``high``, a smooth cubic between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def ramp(x: float, low: float, high: float) -> float:
    """``smoothstep`` of one number."""
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


def soft_clamp(x: float, limit: float) -> float:
    """``x`` up to three quarters of ``limit``, then bent so that it never exceeds it: no head stops dead."""
    knee = _KNEE * limit
    if abs(x) <= knee:
        return x
    return float(np.copysign(knee + (limit - knee) * np.tanh((abs(x) - knee) / (limit - knee)), x))


def rotation(pitch: float, yaw: float, roll: float) -> Array:
    """Rz(roll) Ry(yaw) Rx(pitch), float32 [3, 3]; degrees, + down, + image right, + counter-clockwise on screen."""
    (cp, cy, cr), (sp, sy, sr) = np.cos(np.radians([pitch, yaw, roll])), np.sin(np.radians([pitch, yaw, roll]))
    rx = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return (rz @ ry @ rx).astype(np.float32)


@dataclass(frozen=True)
class HeadFit:
    """Where the head frame sits in the render frame: ``unit * rotation @ vertex + origin``."""

    rotation: Array  # float32 [3, 3]
    unit: float  # px per OC
    origin: Array  # float32 [3] px
    yaw: float  # degrees, the portrait's own

    @property
    def pivot(self) -> Array:
        return self.to_render(NECK_PIVOT)

    def to_render(self, vertices: Array) -> Array:
        """float32 [..., 3] OC, head frame -> px, render frame."""
        return (vertices @ self.rotation.T * np.float32(self.unit) + self.origin).astype(np.float32)

    def to_head(self, points: Array) -> Array:
        """The inverse of ``to_render``."""
        return ((points - self.origin) @ self.rotation / np.float32(self.unit)).astype(np.float32)


@dataclass(frozen=True)
class HeadMotion:
    """A similarity of the render frame about the neck pivot."""

    rotation: Array  # float32 [3, 3], times scale
    pivot: Array  # float32 [3] px
    shift: Array  # float32 [3] px
    carried: Array  # float32 [3] px, the part of the shift that the shoulders share

    def __call__(self, points: Array) -> Array:
        """float32 [..., 3] px -> px, render frame. Exact where nothing moves."""
        return (points - self.pivot) @ self.rotation.T + (self.pivot + self.shift)

    @classmethod
    def of(cls, frame: Array, fit: HeadFit, room: Array = ANYWHERE) -> HeadMotion:
        """The head motion of one motion row, float32 [70], clamped to what a single portrait can show.

        ``room``: float32 [2, 2] OC, how far it may be shifted against and along x, y.
        """
        pitch, yaw, roll = (float(x) for x in frame[67:70])
        turned = rotation(soft_clamp(pitch, MAX_PITCH), clamp_yaw(yaw, fit.yaw), soft_clamp(roll, MAX_ROLL))
        scale = 1 + soft_clamp(float(frame[63]) - 1, SCALE_RANGE)
        x, y, z = (float(t) for t in frame[64:67])
        far = [soft_clamp(t, float(room[int(t > 0), axis])) for axis, t in enumerate((x, y))]
        way = np.array([*far, soft_clamp(z, HEAD_SHIFT)], np.float32) * np.float32(fit.unit)
        alone = np.array([soft_clamp(t, HEAD_SHIFT) for t in (x, y, z)], np.float32) * np.float32(fit.unit)
        return cls(turned * np.float32(scale), fit.pivot, shift=way, carried=way - alone)

    def affine(self, points: Array) -> Array:
        """What the motion does on the picture to the plane of three render-frame ``points``, float32 [3, 3].

        Returns float64 [2, 3], rest px -> moved px, both as (column, row).
        """
        rest = np.column_stack([pixels(points), np.ones(3)]).astype(np.float64)
        return np.linalg.solve(rest, pixels(self(points)).astype(np.float64)).T


def pixels(points: Array) -> Array:
    """Render-frame points [n, 3] as float32 [n, 2] (column, row), where integers are the centres of px."""
    return (points[:, :2] * [1, -1] - 0.5).astype(np.float32)


def clamp_yaw(yaw: float, portrait: float) -> float:
    """Yaw from the portrait, in degrees; a face already turned cannot show the cheek it hides."""
    turned = abs(portrait)
    back = yaw * portrait < 0  # towards frontal
    if turned > 20:
        limit = max(1.5, 4.0 - 0.25 * (turned - 20)) if back else 8.0
    elif turned > 8 and back:
        limit = max(4.0, MAX_YAW - 0.5 * turned)
    else:
        limit = MAX_YAW
    return soft_clamp(yaw, limit)
