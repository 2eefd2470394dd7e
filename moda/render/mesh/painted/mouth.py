"""The inside of the mouth: cavity, tongue, two rows of teeth, and the photo's own teeth where it shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from moda.render.mesh.geometry import pixels, ramp, smoothstep
from moda.render.mesh.layers import Region, blend, catmull_rom, soft_line, soft_polygon
from moda.render.mesh.light import LUMA
from moda.render.mesh.painted.teeth import Row, lower_row, upper_row
from moda.render.mesh.topology import INNER_LOWER_LIP, INNER_UPPER_LIP

if TYPE_CHECKING:
    from contracts import Array
    from moda.render.mesh.expression import FaceShape
    from moda.render.mesh.geometry import HeadFit, HeadMotion
    from moda.render.mesh.light import Light

_CAVITY, _TONGUE = (
    np.array([0.30, 0.15, 0.16], np.float32),
    np.array([0.95, 0.56, 0.57], np.float32),
)  # RGB, times the level of a tooth
_WARM = np.array([0.8, 1.1, 1.35], np.float32)  # powers of a shadow per channel: neutral shadows look like dirty teeth
_EDGE, _JAW_EDGE = 0.034, 0.014  # OC below the seam: biting edges of the upper and lower teeth when the jaw is shut
_TEETH_DEPTH, _JAW_DEPTH = 0.10, 0.13  # OC behind the seam
_MAX_SHOWN, _SOFTLY = 0.16, 0.04  # OC of upper teeth and gum under a lifted lip; nearer than that, they give way
_JAW_SLACK = 0.022  # OC the chin drops before the rows part: a clenched grin is full of teeth
_JAW_OPENS, _LIP_COVERS = (0.04, 0.12), 0.055  # OC of chin; as it drops, no more of the lower teeth rise over their lip
_LINING = 0.03  # OC, half of it seen: the inside of the upper lip; without, pale lips go over into the teeth
_OWN_TEETH_GAP, _OWN_TEETH_LUMA = 0.05, 0.55


class Mouth:
    """Paints the mouth of one portrait."""

    def __init__(self, photo: Array, points: Array, fit: HeadFit, light: Light, shut: Array, is_open: bool) -> None:
        """``shut``: the shape whose lips meet, float32 [478, 3] OC; ``is_open``: the portrait's lips are apart."""
        self._fit, self._light, self._is_open = fit, light, is_open
        self._seam = shut[[13, 14]].mean(axis=0)
        self._own = _own_teeth(photo, points, fit, light) if is_open else None
        self._edge = float(self._seam[1]) - _EDGE  # OC, y of the upper biting edge
        if self._own is not None:  # painted teeth then only continue the photo's upwards
            lips = fit.to_head(points)[[13, 14], 1]
            self._edge = float(max(lips[1] + 0.02, lips[0] - 0.05))
        colour = light.tooth() if self._own is None else self._own[2]
        scale = float(np.clip(1.5 * fit.unit, 96, 320))
        self._upper = upper_row(light, colour, scale)
        self._lower = None if self._own is not None else lower_row(light, colour, scale)
        self._cavity, self._tongue = (light.tint(light.teeth * c) for c in (_CAVITY * 0.62, _TONGUE * 0.92))
        self._warm = np.ones(3, np.float32) if light.grey else _WARM
        lips = _patch_colour(photo, points)
        self._line = light.tint(lips * np.array([0.62, 0.48, 0.48], np.float32))

    def paint(self, frame: Array, shape: FaceShape, moved: Array, motion: HeadMotion) -> None:
        """Paint into ``frame``, uint8 [S, S, 3]; ``moved``: float32 [468+, 3] px, the face in its place."""
        unit = self._fit.unit
        upper = catmull_rom(pixels(moved[list(INNER_UPPER_LIP)]))
        lower = catmull_rom(pixels(moved[list(INNER_LOWER_LIP)]))
        contour = np.concatenate([upper, lower[-2:0:-1]])
        region = Region.around(contour, 0.06 * unit, frame.shape[0])
        if region is None:
            return
        if self._is_open and shape.gap < 0.06:  # a strip of what was between the lips is left: put the seam there
            seam = (upper + lower) / 2
            line = soft_line(region, seam, 0.017 * unit, 0.008 * unit)
            covered = np.maximum(soft_polygon(region, contour, 0.004 * unit), line)
            blend(region.of(frame), self._line, covered * (1 - ramp(shape.gap, 0.02, 0.06)))
        fade = ramp(shape.gap, 0.003, 0.024)
        if fade == 0:
            return
        mask = soft_polygon(region, contour, 0.006 * unit)
        paint = self._inside(region, shape, moved, motion)
        lining = soft_line(region, upper, _LINING * unit, 0.008 * unit)[..., None]
        paint += (1.2 * self._line - paint) * (0.8 * lining)
        if self._light.blur:
            paint = cv2.GaussianBlur(paint, (0, 0), self._light.blur)
        paint += region.of(self._light.grain) * np.minimum(paint * (1 / 128), 1)  # no grain in the dark
        blend(region.of(frame), paint, np.minimum(1.4 * mask, 1) * fade)

    def _inside(self, region: Region, shape: FaceShape, moved: Array, motion: HeadMotion) -> Array:
        """What shows between the lips, float32 [h, w, 3]."""
        unit = self._fit.unit
        shade = self._shade(region, moved)
        grin = ramp(shape.width, 1.0, 1.14)
        dark = ((0.25 + 0.8 * shade)[..., None]) ** self._warm
        lit = (np.minimum(0.72 + 0.18 * grin + 0.28 * shade, 1.0)[..., None]) ** self._warm

        paint = self._cavity * dark
        columns, rows = region.grid()
        floor = pixels(moved[[14]])[0]
        u = (columns - floor[0]) / (0.29 * unit * min(shape.width, 1.0))
        v = (rows - floor[1]) / max(0.85 * shape.gap * unit, 1e-3)
        tongue = 0.95 * (1 - smoothstep(np.sqrt(u * u + v * v), 0.5, 1.1))
        back = 1 - 0.55 * np.clip(-v, 0, 1) ** 2  # the mound darkens where it turns away from the light
        paint += (self._tongue * (dark * 0.75 + 0.27) * back[..., None] - paint) * tongue[..., None]

        if self._lower is not None:
            self._place(paint, self._lower, region, self._lower_edge(shape), _JAW_DEPTH, -1.0, motion, lit)
        self._place(paint, self._upper, region, self._upper_edge(shape), _TEETH_DEPTH, 1.0, motion, lit)
        if self._own is not None:
            patch, alpha, _ = self._own
            affine = region.shifted(motion.affine(self._fit.to_render(self._seam + _PLANE)))
            size = region.shape[::-1]
            own = cv2.warpAffine(patch, affine, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            cover = cv2.warpAffine(alpha, affine, size, flags=cv2.INTER_LINEAR)
            paint += (own - paint) * cover[..., None]
        return paint.astype(np.float32)

    def _shade(self, region: Region, moved: Array) -> Array:
        """How much light falls in, [h, w]: less near the lips, least under the upper one."""
        unit = self._fit.unit
        ring = [*INNER_UPPER_LIP, *INNER_LOWER_LIP[-2:0:-1]]
        mask = soft_polygon(region, pixels(moved[ring]), 0.030 * unit)
        down = round(0.018 * unit)
        shifted = np.concatenate([np.zeros((down, mask.shape[1]), np.float32), mask])[: mask.shape[0]]
        return smoothstep(0.55 * mask + 0.45 * shifted, 0.22, 0.95)

    def _upper_edge(self, shape: FaceShape) -> float:
        """Height of the upper biting edge in the head frame, OC: fixed to the skull, but never out of sight."""
        lip = float(shape.vertices[13, 1])
        shown = ramp(shape.gap, 0.09, 0.18) * ramp(shape.width, 0.72, 0.92)
        edge = self._edge + shown * (min(self._edge, lip - min(0.030, 0.6 * shape.gap)) - self._edge)
        over = lip - _MAX_SHOWN - edge  # the teeth go with a lip lifted further, at first slowly, or they would jerk
        return edge + max(over, (min(max(over, -_SOFTLY), _SOFTLY) + _SOFTLY) ** 2 / (4 * _SOFTLY))

    def _lower_edge(self, shape: FaceShape) -> float:
        """Height of the lower biting edge in the head frame, OC: fixed to the jaw, and low in a mouth that opens."""
        edge = float(self._seam[1]) - _JAW_EDGE + 1.25 * min(0.0, shape.chin + _JAW_SLACK)
        lip = float(shape.vertices[14, 1])
        return edge + ramp(-shape.chin, *_JAW_OPENS) * (min(edge, lip + _LIP_COVERS) - edge)

    def _place(
        self, paint: Array, row: Row, region: Region, edge: float, depth: float, root: float, motion: HeadMotion,
        lit: Array,
    ) -> None:  # fmt: skip
        """Lay a row of teeth with its biting edge at ``edge`` (OC, y) over ``paint``; roots up (1) or down (-1)."""
        corner = np.array([self._seam[0], edge, self._seam[2] - depth], np.float32)
        ends = np.array([[0, 0, 0], [1, 0, 0], [0, root, 0]], np.float32)
        on_screen = pixels(motion(self._fit.to_render(corner + ends)))
        affine = row.affine(on_screen[0], on_screen[1] - on_screen[0], on_screen[2] - on_screen[0])
        teeth = cv2.warpAffine(row.paint, region.shifted(affine), region.shape[::-1], flags=cv2.INTER_LINEAR)
        paint += (teeth[..., :3] * lit - paint) * teeth[..., 3:]


_PLANE = np.array([[-0.2, 0, 0], [0.2, 0, 0], [0, 0.2, 0]], np.float32)


def _inner_mouth(photo: Array, points: Array, lowered: float) -> Array:
    """Coverage of the mouth's opening in the photo, [S, S]; the upper lip ``lowered`` by that part of the opening."""
    upper, lower = points[list(INNER_UPPER_LIP)], points[list(INNER_LOWER_LIP)]
    top, bottom = catmull_rom(pixels(upper + lowered * (lower - upper))), catmull_rom(pixels(lower))
    whole = Region(0, 0, photo.shape[1], photo.shape[0])
    return soft_polygon(whole, np.concatenate([top, bottom[-2:0:-1]]), 0)


def _own_teeth(photo: Array, points: Array, fit: HeadFit, light: Light) -> tuple[Array, Array, Array] | None:
    """The photo's own teeth: float32 picture [S, S, 3], its alpha [S, S], and their colour [3]; None without any."""
    gap = float(fit.to_head(points)[[13, 14], 1] @ [1, -1])
    inside = photo[_inner_mouth(photo, points, 0) > 0.9].astype(np.float32)
    if gap <= _OWN_TEETH_GAP or len(inside) < 20:
        return None
    luma = inside @ LUMA
    if np.percentile(luma, 60) <= _OWN_TEETH_LUMA * float(light.skin @ LUMA):
        return None
    colour = inside[luma >= np.percentile(luma, 70)].mean(axis=0)
    teeth = _inner_mouth(photo, points, 0.22)  # without the shadow of the upper lip
    alpha = smoothstep(cv2.GaussianBlur(teeth, (0, 0), 0.014 * fit.unit), 0.35, 0.95)
    return photo.astype(np.float32), alpha.astype(np.float32), colour


def _patch_colour(photo: Array, points: Array) -> Array:
    """Mean colour of the lips, float32 [3]."""
    columns = np.clip(pixels(points[[0, 17, 37, 267, 84, 314, 15, 16, 12, 11]]).round().astype(int), 0, len(photo) - 1)
    return photo[columns[:, 1], columns[:, 0]].astype(np.float32).mean(axis=0)
