"""Folds and swellings of a face that moves: the light that a warp alone would leave as the photo has it.

Every fold is drawn once per portrait as the logarithm of a gain on the photo, in the frame of the mean face, where the
mesh lays it on the portrait; per frame the folds are added up, each as strong as the displacement that makes it, and
the photo is multiplied with the result before it is warped. So folds move with the skin, darken dark skin and grey
photos alike, and are nothing in a face at rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy.spatial import cKDTree

from moda.render.mesh.geometry import ramp, smoothstep
from moda.render.mesh.layers import Region, catmull_rom
from moda.render.mesh.light import LUMA
from moda.render.mesh.raster import rasterise
from moda.render.mesh.topology import OVAL, face_mesh

if TYPE_CHECKING:
    from contracts import Array
    from moda.render.mesh.expression import FaceShape
    from moda.render.mesh.geometry import HeadFit
    from moda.render.mesh.light import Light

FINEST = 64.0  # px per OC of the maps: the sharpest fold is 1/50 OC wide
_REACH = 4.0  # OC that the rasteriser's values 0..1 span
_WARM = np.array([0.85, 1.0, 1.12], np.float32)  # powers of a gain in R, G, B: skin scatters red into its shadows

# Paths in OC on the mean face as seen from the front: distance from the midline, height. The skin overhangs, and
# catches the light, on the left of a path as it runs on the subject's right side.
_NASOLABIAL = ((0.215, -0.10), (0.28, -0.18), (0.345, -0.265), (0.405, -0.36), (0.43, -0.46), (0.42, -0.55))
_UNDER_LID = ((0.58, 0.165), (0.49, 0.125), (0.39, 0.115), (0.29, 0.135), (0.20, 0.19))
_CROWS_FEET = (
    ((0.60, 0.32), (0.68, 0.365), (0.76, 0.42)),
    ((0.61, 0.275), (0.70, 0.275), (0.79, 0.28)),
    ((0.60, 0.225), (0.67, 0.18), (0.74, 0.13)),
)
_NOSE = (
    ((0.0, 0.335), (0.06, 0.325), (0.11, 0.30)),
    ((0.03, 0.255), (0.08, 0.23), (0.135, 0.18)),
    ((0.04, 0.18), (0.09, 0.15), (0.145, 0.10)),
)
_GLABELLA = (((0.065, 0.64), (0.06, 0.55), (0.075, 0.46)),)
_FOREHEAD = tuple(
    ((-0.05, y - 0.01), (0.10, y), (0.26, y + 0.015), (0.42, y + 0.005), (0.56, y - 0.03))
    for y in (0.735, 0.815, 0.895)
)
_APPLE, _APPLE_SIZE = (0.45, -0.05), (0.16, 0.13)  # OC, centre and radii of the raised cheek
_DIMPLE = (0.36, -0.50)


class Shading:
    """The folds of one portrait."""

    def __init__(self, photo: Array, points: Array, fit: HeadFit, light: Light, rest: Array) -> None:
        """``points``: float32 [478, 3] px, render frame; ``rest``: the same in the head frame, OC."""
        self._photo, self._rest, self._grey = photo, rest, light.grey
        oval = points[list(OVAL), :2] * [1, -1]
        region = Region.around(oval, 0, photo.shape[0])
        self._region = region if region is not None else Region(0, 0, *photo.shape[:2])
        x, y, holds = self._on_mean_face(points, fit)
        right, left = (smoothstep(side * x, -0.06, 0.06) for side in (-1, 1))
        x = np.abs(x)
        lamp = float(np.clip(1.5 * light.slope, -1, 1))  # from where the light falls: + from the image right

        smile = _fold(x, y, _NASOLABIAL, 0.036, 0.23, 0.30) - 0.12 * _blob(x, y, _DIMPLE, (0.04, 0.06))
        apple = _blob(x, y, _APPLE, _APPLE_SIZE)
        upwards = apple * (y - _APPLE[1]) / _APPLE_SIZE[1]  # slope of the swelling: what looks up is lit
        outwards = apple * (x - _APPLE[0]) / _APPLE_SIZE[0]
        cheek = [0.04 * apple + 0.10 * upwards + 0.08 * side * lamp * outwards for side in (-1, 1)]
        lid = _fold(x, y, _UNDER_LID, 0.032, 0.14, 0.1)
        crow = sum(_fold(x, y, path, 0.014, 0.10, 0.5) for path in _CROWS_FEET)
        nose = sum(_fold(x, y, path, 0.018, 0.16, 0.6) for path in _NOSE)
        glabella = sum(_fold(x, y, path, 0.030, 0.14, 0.2) for path in _GLABELLA)
        forehead = sum(_fold(x, y, path, 0.020, 0.09, 0.6) for path in _FOREHEAD)
        inner = 1 - smoothstep(x, 0.12, 0.36)
        maps = [
            smile * right, smile * left, (cheek[0] + lid) * right, (cheek[1] + lid) * left, crow * right, crow * left,
            nose * right, nose * left, glabella, forehead * inner,
            forehead * (1 - inner) * right, forehead * (1 - inner) * left,
        ]  # fmt: skip
        self._maps = (np.stack(maps) * holds).astype(np.float32).reshape(len(maps), -1)  # [K, h * w]
        self._shape = x.shape

    def __call__(self, shape: FaceShape) -> Array:
        """The photo in the light of a face of this ``shape``, uint8 [S, S, 3]."""
        strength = self._strengths(shape.vertices - self._rest)
        if not strength.any():
            return self._photo
        log = (strength @ self._maps).reshape(self._shape)
        gain = cv2.merge([cv2.exp(log * power) for power in (np.ones(3, np.float32) if self._grey else _WARM)])
        gain = cv2.resize(gain, self._region.shape[::-1], interpolation=cv2.INTER_LINEAR)
        lit = self._photo.copy()
        self._region.of(lit)[...] = cv2.multiply(self._region.of(self._photo), gain, dtype=cv2.CV_8U)
        return lit

    @staticmethod
    def _strengths(moved: Array) -> Array:
        """How much of each fold a face shows whose vertices ``moved`` [478, 3] OC from the photo's: float32 [K]."""
        sides = ((61, 40, 205, 145, 107, 105, -1), (291, 270, 425, 374, 336, 334, 1))
        smile, cheek, crow, nose, frown, inner, outer = [], [], [], [], [], [], []
        for corner, quarter, apple, lid, brow_in, brow_out, outwards in sides:
            grin = ramp(0.75 * float(moved[corner, 1]) + 0.5 * outwards * float(moved[corner, 0]), 0.01, 0.13)
            sneer = ramp(float(moved[quarter, 1]) - 0.6 * max(float(moved[corner, 1]), 0.0), 0.02, 0.09)
            raised = ramp(float(moved[apple, 1]), 0.008, 0.06)
            lowered = ramp(-float(moved[brow_in, 1]), 0.015, 0.09)
            smile.append(1 - (1 - grin) * (1 - 0.8 * sneer))
            cheek.append(raised)
            crow.append(raised * ramp(float(moved[lid, 1]), 0.0, 0.02))
            nose.append(sneer * (0.3 + 0.7 * lowered))
            frown.append(lowered)
            inner.append(ramp(float(moved[brow_in, 1]), 0.02, 0.10))
            outer.append(ramp(float(moved[brow_out, 1]), 0.02, 0.10))
        return np.array([*smile, *cheek, *crow, *nose, sum(frown) / 2, sum(inner) / 2, *outer], np.float32)

    def _on_mean_face(self, points: Array, fit: HeadFit) -> tuple[Array, Array, Array]:
        """Where on the mean face the px of the maps lie, [h, w] each: x and y in OC, and how well folds show there."""
        size = self._photo.shape[0]
        small = 2 * round(size * min(1.0, 2 * FINEST / fit.unit) / 2)
        scale = small / size
        mesh = face_mesh()
        count = int(mesh.triangles.max()) + 1
        values = mesh.neutral[:count, :2] / np.float32(_REACH) + np.float32(0.5)
        buffer, _ = rasterise(points[:count] * np.float32(scale), mesh.triangles, values, small)  # of half the side
        scale /= 2
        found = np.dstack([(buffer[..., :2] - np.float32(0.5)) * np.float32(_REACH), buffer[..., 0] != 0.5])

        region = self._region
        height, width = (max(round(side * scale), 2) for side in region.shape)
        down, across = (side / n for side, n in zip(region.shape, (height, width), strict=True))
        affine = np.array(
            [
                [across * scale, 0, (region.x0 + across / 2) * scale - 0.5],
                [0, down * scale, (region.y0 + down / 2) * scale - 0.5],
            ]
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        found = cv2.warpAffine(found.astype(np.float32), affine, (width, height), flags=flags)
        # The mesh bends lines at its edges: smooth the coordinates, over the face alone.
        per_px = 1 / (fit.unit * scale)
        found = cv2.GaussianBlur(found, (0, 0), 0.03 / per_px)
        x, y, cover = np.moveaxis(found, -1, 0)
        x, y = x / np.maximum(cover, 1e-3), y / np.maximum(cover, 1e-3)
        facing = per_px / np.maximum(np.abs(np.gradient(x, axis=1)), 1e-4)  # 1 seen from the front, 0 from the side
        holds = smoothstep(facing, 0.3, 0.7) * smoothstep(cover, 0.6, 1.0)
        return x, y, holds * self._plain(x.shape, per_px)

    def _plain(self, shape: tuple[int, int], per_px: float) -> Array:
        """How far the skin is free of beard, hair and glasses, [h, w] in 0..1, times the depth of the photo's light."""
        log = np.log(self._region.of(self._photo).astype(np.float32) @ LUMA + 8)
        oc = self._region.shape[0] / (shape[0] * per_px)  # px
        fine = (log - cv2.GaussianBlur(log, (0, 0), 0.03 * oc)) ** 2
        fine, log = (cv2.resize(x, shape[::-1], interpolation=cv2.INTER_AREA) for x in (fine, log))
        rough = np.sqrt(cv2.GaussianBlur(fine, (0, 0), 0.05 / per_px))
        bare = max(float(np.percentile(rough, 30)), 0.015)  # a face is skin, by a third at least
        depth = float(np.std(cv2.GaussianBlur(log, (0, 0), 0.08 / per_px)))  # flat drawings have flat light
        return (1 - 0.8 * smoothstep(rough / bare, 3.0, 7.0)) * min(max(depth / 0.25, 0.5), 1.0)


def _fold(x: Array, y: Array, path: tuple[tuple[float, float], ...], width: float, depth: float, bank: float) -> Array:
    """Log gain of a fold along ``path`` (OC): a line ``width`` wide and ``depth`` deep, soft on the side that overhangs
    and beyond that lit by ``bank`` of the depth; it runs out at both ends."""
    line = catmull_rom(np.array(path, np.float32), 24)
    tangent = np.gradient(line, axis=0)
    distance, at = cKDTree(line).query(np.stack([x, y], axis=-1).reshape(-1, 2), distance_upper_bound=8 * width)
    near = np.isfinite(distance)
    at = np.where(near, at, 0)
    offset = np.stack([x.ravel(), y.ravel()], axis=-1) - line[at]
    side = np.sign(tangent[at, 0] * offset[:, 1] - tangent[at, 1] * offset[:, 0])
    d = np.where(near, distance * side, 0) / width
    t = at / (len(line) - 1)
    ends = smoothstep(t, 0, 0.25) * (1 - smoothstep(t, 0.65, 1))
    dark = 0.6 * np.exp(-(d**2)) + 0.4 * np.exp(-(((d - 1) / 2.2) ** 2))
    lit = bank * np.exp(-(((d - 4) / 2) ** 2))
    return (depth * near * ends * (lit - dark)).reshape(x.shape)


def _blob(x: Array, y: Array, centre: tuple[float, float], radii: tuple[float, float]) -> Array:
    return np.exp(-(((x - centre[0]) / radii[0]) ** 2) - ((y - centre[1]) / radii[1]) ** 2)
