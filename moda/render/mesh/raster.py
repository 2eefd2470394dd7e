"""Texture mapping on the CPU: a z-buffered displacement at half resolution, one remap, and clean silhouettes."""

from __future__ import annotations

from itertools import compress
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from contracts import Array

_HALF = np.float32(0.5)  # no displacement: the rasteriser wants its values in 0..1
_STILL = 1 / 64  # px: cv2.remap places its samples on a grid of 1/32
_TEAR = 1 / 170  # of the side: neighbouring samples whose displacements differ by more lie on two surfaces
_EDGE_BLUR = 0.9  # samples
_BORDERS: tuple[tuple[slice | int, slice | int], ...] = (
    np.s_[:, 0],
    np.s_[0, :],
    np.s_[:, -1],
    np.s_[-1, :],
)  # left, top, right, bottom
_CELL = np.ones((2, 2), np.uint8)
_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))  # (row, column) of the four samples of a cell, and of the px between them
_AROUND = tuple((i, j) for i in range(-1, 3) for j in range(-1, 3))
_INNER = [_AROUND.index(corner) for corner in _CORNERS]
_SETTINGS = (
    cv2.TriangleRasterizeSettings()
    .setCullingMode(cv2.RASTERIZE_CULLING_NONE)
    .setShadingType(cv2.RASTERIZE_SHADING_SHADED)
)


class TextureMapper:
    """Draws photos of one size on a moving mesh."""

    def __init__(self, size: int, pinned: tuple[bool, bool, bool, bool] = (True,) * 4) -> None:
        """``size``: side of the photos in px, even; ``pinned``: borders that stay, left, top, right, bottom."""
        self._size = size
        self._pinned = list(compress(_BORDERS, pinned))
        index = np.arange(self._size, dtype=np.float32) - self._size  # px, less what scaleAdd adds to 1/2
        self._columns, self._rows = np.tile(index, (self._size, 1)), np.repeat(index[:, None], self._size, axis=1)

    def __call__(self, photo: Array, vertices: Array, source: Array, triangles: Array) -> Array:
        """A new frame, uint8 [S, S, 3].

        ``photo``: uint8 [S, S, 3]; ``vertices``: float32 [N, 3] px, render frame; ``source``: float32 [N, 2] px, where
        in the photo they belong, in the render frame too; ``triangles``: int32 [M, 3]. Exact where nothing moves.
        """
        size = self._size
        shift = (source - vertices[:, :2]) * np.array([1, -1], np.float32)  # to columns and rows
        triangles = triangles[(np.abs(shift) > _STILL).any(axis=1)[triangles].any(axis=1)]
        if not len(triangles):
            return photo.copy()
        buffer, depth = rasterise(vertices, triangles, shift / np.float32(2 * size) + _HALF, size)
        for border in self._pinned:
            buffer[border] = _HALF  # its samples lie half a px inside
        moving = np.unique(triangles)
        y, x = self._around(np.concatenate([vertices[moving, :2], source[moving]]))  # the part that changes, in samples
        across, down, _ = cv2.split(buffer[y, x])
        part = np.s_[2 * y.start : 2 * y.stop, 2 * x.start : 2 * x.stop]
        shape = (2 * across.shape[1], 2 * across.shape[0])
        columns = cv2.scaleAdd(cv2.resize(across, shape), 2 * size, self._columns[part])
        rows = cv2.scaleAdd(cv2.resize(down, shape), 2 * size, self._rows[part])
        frame = photo.copy()
        # Cubic: linear would soften every frame but the resting one.
        frame[part] = cv2.remap(photo, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        self._mend(frame, photo, (across, down, depth[y, x]), (y.start, x.start))
        return frame

    def _around(self, points: Array) -> tuple[slice, slice]:
        """Rows and columns of the samples around ``points`` [n, 2] px, render frame, and two more on every side."""
        low, high = points.min(axis=0), points.max(axis=0)
        last = self._size // 2
        ends = np.array([[-high[1], -low[1]], [low[0], high[0]]]) / 2 + (-2, 3)
        (top, bottom), (left, right) = np.clip(ends, 0, last).astype(int)
        return slice(int(top), int(bottom)), slice(int(left), int(right))

    def _mend(self, frame: Array, photo: Array, planes: tuple[Array, Array, Array], corner: tuple[int, int]) -> None:
        """Redraw silhouettes, where interpolated displacements mix two surfaces: blend the two colours instead.

        ``planes``: displacements to the right and down, and depths, of samples [h, w] from row and column ``corner``.
        """
        across, down, depth = planes
        spread = cv2.max(*(cv2.morphologyEx(plane, cv2.MORPH_GRADIENT, _CELL) for plane in (across, down)))
        # OpenCV puts the result at the lower right sample of a cell. The border is left out: nothing moves there.
        y, x = np.nonzero(spread[2:-1, 2:-1] > _TEAR / 2)
        if not len(y):
            return
        y, x = y + 1, x + 1  # the upper left sample
        around = np.stack([np.stack([plane[y + i, x + j] for i, j in _AROUND]) for plane in (across, down)], axis=-1)
        inner = around[_INNER]  # [4, n, 2]
        every = np.arange(len(y))
        front = inner[np.stack([depth[y + i, x + j] for i, j in _CORNERS]).argmin(axis=0), every]  # [n, 2]
        back = inner[np.abs(inner - front).sum(axis=-1).argmax(axis=0), every]
        in_front = np.abs(around - front).sum(axis=-1) < np.abs(around - back).sum(axis=-1)  # [16, n]

        for i, j in _CORNERS:
            rows, columns = 2 * (y + corner[0]) + 1 + i, 2 * (x + corner[1]) + 1 + j
            # The edge runs where a blur of the 16 samples crosses one half: a line, not stairs.
            cover = np.clip((_px_weights(i, j) @ in_front - 0.5) * 2 + 0.5, 0, 1)[:, None]
            ahead, behind = (self._sample(photo, rows, columns, value) for value in (front, back))
            frame[rows, columns] = (behind + (ahead - behind) * cover + 0.5).astype(np.uint8)

    def _sample(self, photo: Array, rows: Array, columns: Array, value: Array) -> Array:
        """The photo's colours, float32 [n, 3], at px displaced by ``value`` [n, 2] in 0..1."""
        moved = (value - _HALF) * np.float32(2 * self._size)
        x, y = (columns + moved[:, 0]).astype(np.float32), (rows + moved[:, 1]).astype(np.float32)
        found = cv2.remap(photo, x[:, None], y[:, None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return found[:, 0].astype(np.float32)


def _px_weights(i: int, j: int) -> Array:
    """How much the 16 samples of _AROUND count for px (i, j) of the four in a cell: float32 [16], sum 1."""
    centre = np.array([0.25, 0.75])  # px centres, in samples
    rows, columns = np.array(_AROUND).T
    weight = np.exp(-((rows - centre[i]) ** 2 + (columns - centre[j]) ** 2) / (2 * _EDGE_BLUR**2))
    return (weight / weight.sum()).astype(np.float32)


def rasterise(vertices: Array, triangles: Array, values: Array, size: int) -> tuple[Array, Array]:
    """Interpolate ``values`` [N, 2] in 0..1 over triangles, the nearest one wins.

    Returns float32 [size / 2, size / 2, 3], the third channel unused, and the depths [size / 2, size / 2].
    OpenCV's rasteriser has a perspective camera: put far away, its perspective is too slight to see; further away
    still, its depths drown in rounding.
    """
    far, half = 6.0 * size, size // 2
    # 1/97 px: no vertex of the regular grid lies on the centre of a px, where the rasteriser may leave a hole
    centre = np.array([half + 1 / 97, -half - 1 / 97], np.float32)
    camera = np.empty_like(vertices)
    camera[:, 2] = vertices[:, 2] - np.float32(far)
    camera[:, :2] = (vertices[:, :2] - centre) * (camera[:, 2:] * np.float32(-1 / half))
    colours = np.column_stack([values, np.zeros(len(values), np.float32)])
    buffer = np.full((half, half, 3), _HALF, np.float32)
    depth = np.full((half, half), 2 * far, np.float32)
    view = np.eye(4, dtype=np.float32)
    cv2.triangleRasterize(camera, triangles, colours, buffer, depth, view, np.pi / 2, 1.0, 2 * far, _SETTINGS)
    return buffer, depth
