"""The mesh that carries the picture: face, grid and rings; what moves with the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy.spatial import Delaunay

from moda.render.mesh.geometry import MAX_TRANSLATION, NECK_PIVOT, smoothstep
from moda.render.mesh.matte import SIDE, distance_outside, head_matte
from moda.render.mesh.raster import TextureMapper
from moda.render.mesh.topology import OVAL, face_mesh

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contracts import Array
    from moda.render.base import Background
    from moda.render.mesh.geometry import HeadFit, HeadMotion

    Sides = tuple[bool, bool, bool, bool]

GRID = 34  # points along a side
RINGS = (0.07, 0.20)  # OC outside the oval
NEAR_OVAL = 0.06  # OC: grid points nearer are dropped
DEPTH_FALLOFF = 0.50  # OC, from the depth of the oval to that of the pivot; shorter tears the ears
MARGIN = 0.10  # of the side: where a pinned border holds back what is near it
HAIR_MARGIN = 0.20  # the same where hair reaches the border: that much of it stretches
HAIR_STRETCH, WALL_STRETCH = 0.50, 2.0  # OC of hair, and times the wall, that a head may leave behind stretched
NECK_STRETCH = 0.30  # OC upwards: the shoulders stay on the lower border
SLANT = 0.45  # OC where the picture goes on below: there the shoulders stay, and what lies between is slanted
THIN = 0.10  # of the height or width of the head: what of the matte is thinner is wall, not hair
MAX_SLOPE = 2.0  # depth over width; steeper, the hidden side of a face smears when it turns into view
FACE_VERTICES = 468  # of the triangulated mesh; the ten iris vertices carry no triangle
_BACK_OF_FLIPPED = 30.0  # px: flipped triangles stay, behind; culling them leaves specks


@dataclass(frozen=True)
class Warp:
    """A triangulated portrait."""

    rest: Array  # float32 [N, 3] px, render frame: 468 face vertices, then the surroundings
    triangles: Array  # int32 [M, 3]
    orientation: Array  # float32 [M], sign of the area at rest
    weight: Array  # float32 [N - 468, 1], how far the surroundings follow the head: 0 pinned, 1 rigid
    carried: Array  # float32 [N - 468, 1], how far they go along where the head takes the shoulders with it
    leeway: tuple[Array, Array]  # float32 [N - 468, 3], how far they may go against and along x, y, z
    room: Array  # float32 [2, 2] OC, how far the head may be shifted against and along x, y
    follow: Array  # float32 [N - 468, 36], how they follow the displacement of the oval
    order: Array  # float32 [N - 468] px, added to their depth when sorting
    texture: TextureMapper

    @classmethod
    def of(
        cls, photo: Array, points: Array, fit: HeadFit, background: Background = "still", others: Sequence[Array] = (),
        inner: Sides = (True,) * 4,
    ) -> Warp:  # fmt: skip
        """Build the mesh of ``photo``, uint8 [S, S, 3]; ``points``: float32 [478, 3] px, render frame.

        ``background``: ``still`` pins what is not the head, ``follow`` lets it give way; ``others``: the landmarks of
        faces that are pinned in either case; ``inner``: which borders of ``photo``, left, top, right, bottom, have
        more of the picture beyond them, and must stay. What reaches another may slide along it and leave the picture.
        """
        size, unit = photo.shape[0], fit.unit
        points = _unfold(points)
        oval = points[list(OVAL)]
        around, distance = _surroundings(oval[:, :2], size, unit)
        offsets = np.linalg.norm(around[:, None] - oval[None, :, :2], axis=-1)  # [G, 36] px
        nearness = (np.maximum(offsets, 1e-3) / unit) ** -3
        nearness /= nearness.sum(axis=1, keepdims=True)

        pivot_depth = float(fit.to_render(NECK_PIVOT)[2])
        border_depth = nearness @ oval[:, 2]
        depth = border_depth + (pivot_depth - border_depth) * (1 - np.exp(-distance / DEPTH_FALLOFF))

        attached = _free_of(others, around, distance)
        gaps = np.zeros(4)  # OC, of the wall between the head and the borders of the photo
        if background == "still":
            matte, per_unit = head_matte(photo, points, fit, others), SIDE * unit / size
            matte_distance = distance_outside(matte) / per_unit  # OC
            gaps = _gaps(matte, int(-points[152, 1] * SIDE / size)) / per_unit
            columns = np.clip(around * [1, -1] * (SIDE / size), 0, SIDE - 1).astype(int)
            outside = matte_distance[columns[:, 1], columns[:, 0]]
            attached = attached * np.exp(-((np.maximum(outside - 0.05, 0) / 0.16) ** 2))

        rigid = _rigidity(around, distance, points, fit)
        follow = nearness * (np.exp(-((distance / 0.2) ** 2)) * attached)[:, None]

        rest = np.concatenate([points[:FACE_VERTICES], np.column_stack([around, depth])]).astype(np.float32)
        triangles = _triangulate(rest[:, :2], len(around))
        rest[:, 2] = _limit_slope(rest, triangles)
        return cls(
            rest=rest,
            triangles=triangles,
            orientation=np.sign(_areas(rest, triangles)),
            weight=(rigid * attached)[:, None].astype(np.float32),
            carried=_carried(around, distance, attached, points, fit, inner[3])[:, None].astype(np.float32),
            leeway=_leeway(around, size, inner, gaps * unit / size),
            room=_room(inner, gaps),
            follow=follow.astype(np.float32),
            order=(-1.5 - 3 * unit * (1 - attached)).astype(np.float32),
            texture=TextureMapper(size, inner),
        )

    def move(self, expression: Array, motion: HeadMotion) -> Array:
        """Where all vertices go, float32 [N, 3] px, for the face's displacements ``expression``, [478, 3] px."""
        face = self.rest[:FACE_VERTICES] + expression[:FACE_VERTICES]
        around = self.rest[FACE_VERTICES:]
        shift = self.follow @ expression[list(OVAL)]
        shift += (
            self.weight * (motion(around + shift) - motion.carried - around - shift) + self.carried * motion.carried
        )
        back, forth = self.leeway
        return np.concatenate([motion(face), around + np.where(shift < 0, back, forth) * shift])

    def draw(self, photo: Array, moved: Array) -> Array:
        """``photo``, uint8 [S, S, 3], on the mesh ``moved``, float32 [N, 3] px: a new frame like it."""
        vertices, source, triangles = moved.copy(), self.rest[:, :2], self.triangles
        vertices[FACE_VERTICES:, 2] += self.order
        flipped = np.flatnonzero(np.sign(_areas(moved, triangles)) != self.orientation)
        if len(flipped):
            behind = vertices - np.array([0, 0, _BACK_OF_FLIPPED], np.float32)
            vertices, source = np.concatenate([vertices, behind]), np.concatenate([source, source])
            triangles = triangles.copy()
            triangles[flipped] += len(moved)
        return self.texture(photo, vertices, source, triangles)


def _areas(points: Array, triangles: Array) -> Array:
    a, b, c = (points[triangles[:, i], :2] for i in range(3))
    return (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])


def _surroundings(oval: Array, size: int, unit: float) -> tuple[Array, Array]:
    """Points outside the face, float32 [G, 2] px, and their distance to the face's hull, [G] OC."""
    hull = cv2.convexHull(oval.astype(np.float32))
    line = np.linspace(0, size, GRID)
    grid = np.stack(np.meshgrid(line, -line), axis=-1).reshape(-1, 2)
    centre = oval.mean(axis=0)
    outward = oval - centre
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    rings = np.concatenate([oval + outward * r * unit for r in RINGS])
    margin = 0.02 * size
    rings = rings[((rings * [1, -1] > margin) & (rings * [1, -1] < size - margin)).all(axis=1)]

    def outside(points: Array) -> Array:
        return np.array([-cv2.pointPolygonTest(hull, (float(x), float(y)), True) for x, y in points]) / unit

    distance = outside(grid)
    on_border = ((grid * [1, -1] <= 0) | (grid * [1, -1] >= size)).any(axis=1)
    grid = grid[(distance > NEAR_OVAL) | (on_border & (distance > 0))]
    rings = rings[outside(rings) > 0.02]
    ring_gap = np.linalg.norm(grid[:, None] - rings[None], axis=-1).min(axis=1) if len(rings) else np.inf
    points = np.concatenate([grid[(ring_gap > 0.3 * size / GRID) | (edge_of(grid, size) == 0)], rings])
    return points, np.maximum(outside(points), 0)


def _unfold(points: Array) -> Array:
    """``points`` [478, 3] of a face, its oval let out to the outline where a turned head hides it: a copy.

    What surrounds the face must hang on what is seen of it; else the skin between comes out twice when the head turns
    back.
    """
    unfolded = points.copy()
    oval = np.array(OVAL)
    centre = points[oval, :2].mean(axis=0)
    offset = points[:FACE_VERTICES, :2] - centre
    radius, angle = np.hypot(*offset.T), np.arctan2(offset[:, 1], offset[:, 0])
    order = oval[np.argsort(angle[oval])]
    after = np.searchsorted(angle[order], angle) % len(order)
    reach = np.interp(angle, angle[order], radius[order], period=2 * np.pi)
    beyond = np.maximum(radius / reach, 1.0)
    grown = np.ones(len(order))
    for neighbour in (after, after - 1):
        np.maximum.at(grown, neighbour, beyond)
    unfolded[order, :2] = centre + offset[order] * grown[:, None]
    return unfolded


def edge_of(points: Array, size: int) -> Array:
    """Distance of render-frame ``points`` to the border of the picture, px."""
    x, y = points[:, 0], -points[:, 1]
    return np.minimum(np.minimum(x, size - x), np.minimum(y, size - y))


def _rigidity(around: Array, distance: Array, points: Array, fit: HeadFit) -> Array:
    """How rigidly the surroundings go with the head, [G]: hair does, further away less, shoulders hardly."""
    y = around[:, 1] / fit.unit
    eyes, chin = float(points[168, 1]) / fit.unit, float(points[152, 1]) / fit.unit
    stretched = distance / (1 + 0.55 * np.clip(y - eyes, 0, 1))  # more hair on top
    head = 1 - smoothstep(stretched, 0.45, 1.5)
    return head * (1 - 0.92 * smoothstep((chin + 0.1 - y) / 0.9, 0, 1))


def _carried(around: Array, distance: Array, attached: Array, points: Array, fit: HeadFit, pinned_below: bool) -> Array:
    """How far the surroundings go where the head takes the shoulders along, [G]: the matte often misses clothes."""
    y, chin = around[:, 1] / fit.unit, float(points[152, 1]) / fit.unit
    below = smoothstep(chin - y, 0.2, 0.6)
    body = attached + below * (1 - smoothstep(distance, 0.7, 1.9)) * (1 - attached)
    if pinned_below:
        body *= smoothstep((y - y.min()) / max(chin - float(y.min()), 1e-3), 0, 1)
    return body


def _gaps(matte: Array, chin: int) -> Array:
    """px of ``matte``, bool [h, w], that are free to the left of the head, above, to the right and below: [4].

    ``chin``: the row where the head ends; what is below it leaves nothing free.
    """
    head = matte[: max(chin, 1)]
    if not head.any():
        return np.zeros(4)
    rows, columns = (np.flatnonzero(size > THIN * size.max()) for size in (head.sum(axis=1), head.sum(axis=0)))
    return np.array([columns[0], rows[0], matte.shape[1] - 1 - columns[-1], 0], np.float64)


def _room(inner: Sides, gaps: Array) -> Array:
    """How far the head may be shifted, float32 [2, 2] OC: away from a border there must be wall to stretch."""
    most = SLANT if inner[3] else MAX_TRANSLATION
    left, top, right = (
        most if holds else min(most, HAIR_STRETCH + WALL_STRETCH * gap)
        for holds, gap in zip(inner[:3], gaps[:3], strict=True)
    )
    return np.array([[right, top], [left, NECK_STRETCH]], np.float32)


def _leeway(around: Array, size: int, inner: Sides, gaps: Array) -> tuple[Array, Array]:
    """How much of a shift points ``around`` [G, 2] px may go against and along x, y, z: float32 [G, 3] each.

    Nothing crosses an inner border, or comes in from beyond the picture, where there is nothing.
    """
    x, y = around.T
    wide = np.where(inner, MARGIN, np.where(gaps > 0, np.clip(gaps, 1 / GRID, MARGIN), HAIR_MARGIN))
    left, top, right, bottom = (
        smoothstep(d / size, 0, w) for d, w in zip((x, -y, size - x, size + y), wide, strict=True)
    )
    held = np.prod([side for side, holds in zip((left, top, right, bottom), inner, strict=True) if holds], axis=0)
    ends = ((right, top, 1), (left, bottom, 1))  # what comes from the right goes against x
    back, forth = (np.stack([np.minimum(held, end) * np.ones(len(x)) for end in axis], axis=1) for axis in ends)
    return back.astype(np.float32), forth.astype(np.float32)


def _free_of(others: Sequence[Array], around: Array, distance: Array) -> Array:
    """0 at points ``around`` [G, 2] that belong to another face or its hair, 1 elsewhere: [G].

    ``distance``: theirs to the face that moves, OC.
    """
    free = np.ones(len(around))
    for other in others:
        hull = cv2.convexHull(other[list(OVAL), :2].astype(np.float32))
        width = float(np.linalg.norm(other[454, :2] - other[234, :2]))  # of the face, about 1.5 OC
        away = np.array([-cv2.pointPolygonTest(hull, (float(x), float(y)), True) for x, y in around]) * (1.5 / width)
        away = np.maximum(away, 0)
        nearer = away / np.maximum(away + distance, 1e-6)  # 0 on the other face, 1 on the one that moves
        free = np.minimum(free, np.maximum(smoothstep(nearer, 0.4, 0.7), smoothstep(away, 0.8, 1.3)))
    return free


def _limit_slope(points: Array, triangles: Array) -> Array:
    """Depths of ``points`` [N, 3]; oval and surroundings brought forward where steeper than MAX_SLOPE: [N]."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    start, end = np.concatenate([edges, edges[:, ::-1]]).T
    movable = np.isin(end, OVAL) | (end >= FACE_VERTICES)
    start, end = start[movable], end[movable]
    drop = MAX_SLOPE * np.linalg.norm(points[start, :2] - points[end, :2], axis=1)
    depth = points[:, 2].copy()
    while True:
        before = depth.copy()
        np.maximum.at(depth, end, depth[start] - drop)
        if np.allclose(before, depth, atol=1e-2):
            return depth


def _triangulate(points: Array, around: int) -> Array:
    """Face triangles plus a Delaunay triangulation of oval and surroundings: int32 [M, 3]."""
    faces = face_mesh().triangles
    index = np.concatenate([np.array(OVAL), FACE_VERTICES + np.arange(around)])
    outer = Delaunay(points[index].astype(np.float64)).simplices
    inner = (outer < len(OVAL)).all(axis=1)
    hull = points[list(OVAL)].astype(np.float32).reshape(-1, 1, 2)
    centroids = points[index][outer].mean(axis=1)
    inside = np.array([cv2.pointPolygonTest(hull, (float(x), float(y)), False) >= 0 for x, y in centroids])
    return np.concatenate([faces, index[outer[~(inner & inside)]]]).astype(np.int32)
