"""Painting on a part of the frame: regions, soft polygons, smooth contours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from contracts import Array

_FRACTION_BITS = 4
_FINER = 4


@dataclass(frozen=True)
class Region:
    """A rectangle of the frame: rows y0 to y1, columns x0 to x1."""

    x0: int
    y0: int
    x1: int
    y1: int

    @classmethod
    def around(cls, points: Array, margin: float, size: int) -> Region | None:
        """The rectangle around ``points`` [n, 2] (column, row), or None where nothing of it is on the picture."""
        low, high = np.floor(points.min(axis=0) - margin), np.ceil(points.max(axis=0) + margin)
        x0, y0 = (int(np.clip(v, 0, size)) for v in low)
        x1, y1 = (int(np.clip(v, 0, size)) for v in high)
        return cls(x0, y0, x1, y1) if x1 - x0 > 3 and y1 - y0 > 3 else None

    @property
    def shape(self) -> tuple[int, int]:
        return self.y1 - self.y0, self.x1 - self.x0

    def of(self, picture: Array) -> Array:
        """A view on the region of ``picture``."""
        return picture[self.y0 : self.y1, self.x0 : self.x1]

    def local(self, points: Array) -> Array:
        """``points`` [n, 2] (column, row) counted from the corner of the region."""
        return points - np.array([self.x0, self.y0], points.dtype)

    def shifted(self, affine: Array) -> Array:
        """``affine`` [2, 3] to frame px, as one to px of the region."""
        moved = affine.copy()
        moved[:, 2] -= (self.x0, self.y0)
        return moved

    def grid(self) -> tuple[Array, Array]:
        """Columns and rows of the frame over the region, float32."""
        columns = np.arange(self.x0, self.x1, dtype=np.float32)
        rows = np.arange(self.y0, self.y1, dtype=np.float32)
        return np.broadcast_to(columns, self.shape), np.broadcast_to(rows[:, None], self.shape)


def soft_polygon(region: Region, contour: Array, sigma: float) -> Array:
    """Coverage of the polygon ``contour`` [n, 2] (column, row), feathered by ``sigma`` px: float32 [h, w] in 0..1."""
    mask, fixed = _canvas(region, contour)
    cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, _FRACTION_BITS)
    return _coverage(mask, region, sigma)


def soft_line(region: Region, contour: Array, thickness: float, sigma: float) -> Array:
    """Coverage of an open polyline of ``thickness`` px: float32 [h, w] in 0..1."""
    mask, fixed = _canvas(region, contour)
    cv2.polylines(mask, [fixed], False, 255, max(1, round(thickness * _FINER)), cv2.LINE_AA, _FRACTION_BITS)
    return _coverage(mask, region, sigma)


def _canvas(region: Region, contour: Array) -> tuple[Array, Array]:
    """A finer black picture of the region, and the contour on it: OpenCV draws outlines to the px, not between."""
    mask = np.zeros((region.shape[0] * _FINER, region.shape[1] * _FINER), np.uint8)
    on_mask = (region.local(contour) + 0.5) * _FINER - 0.5
    return mask, np.round(on_mask * (1 << _FRACTION_BITS)).astype(np.int32)


def _coverage(mask: Array, region: Region, sigma: float) -> Array:
    small = cv2.resize(mask, region.shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32)
    small *= np.float32(1 / 255)
    return cv2.GaussianBlur(small, (0, 0), sigma) if sigma > 0.3 else small


def catmull_rom(points: Array, times: int = 4) -> Array:
    """A smooth curve through ``points`` [n, 2], ``times`` as dense; the ends stay."""
    p = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    a, b, c, d = p[:-3, None], p[1:-2, None], p[2:-1, None], p[3:, None]
    t = (np.arange(times) / times)[None, :, None]
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - 3 * c + d - a) * t**3)
    return np.concatenate([curve.reshape(-1, 2), points[-1:]]).astype(np.float32)


def blend(target: Array, paint: Array, alpha: Array) -> None:
    """Lay ``paint`` [h, w, 3] over the uint8 view ``target`` with ``alpha`` [h, w] in 0..1, in place."""
    below = target.astype(np.float32)
    below += (paint - below) * alpha[..., None]
    np.clip(below + 0.5, 0, 255, out=below)
    target[...] = below.astype(np.uint8)
