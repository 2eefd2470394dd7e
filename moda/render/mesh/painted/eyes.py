"""Eyes and lids. Lids occlude an eyeball that turns under them; skin slid by the mesh alone would smear lashes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from moda.render.mesh.geometry import pixels, ramp, smoothstep
from moda.render.mesh.layers import Region, blend, catmull_rom, soft_polygon
from moda.render.mesh.light import LUMA
from moda.render.mesh.topology import RIGHT_EYE

if TYPE_CHECKING:
    from contracts import Array
    from moda.render.mesh.geometry import HeadFit, HeadMotion
    from moda.render.mesh.light import Light
    from moda.render.mesh.topology import Eye

_MARGIN = 0.30  # OC of photo kept around an eye
_LID_SHADOW = 0.38  # of the light on the eyeball, when the lid comes down
_GAZE_LIMIT = (1.1, 0.75)  # iris radii, sideways and up or down
_LASH_WIDTH, _LASH_ALPHA = 0.013, 0.62  # OC, opacity
_OUT_OF_SHADOW = 0.45  # of the way from the socket to the cheek that the colour of a lid goes, at most
_FULL_GAZE, _FULL_LID = 0.02, 0.12  # gaze (OC) and change of opening at which the painted eyeball is opaque


class EyePatch:
    """Paints one eye of one portrait."""

    def __init__(self, photo: Array, points: Array, fit: HeadFit, light: Light, eye: Eye) -> None:
        self._eye, self._fit, self._light = eye, fit, light
        self._size = photo.shape[0]
        ring = points[[*eye.corners, *eye.upper, *eye.lower]]
        region = Region.around(pixels(ring), _MARGIN * fit.unit, self._size)
        self._region = region if region is not None else Region(0, 0, self._size, self._size)
        self._centre = pixels(points[[eye.iris]])[0]
        rim = points[list(eye.rim), :2] - points[eye.iris, :2]
        self._radius = float(np.linalg.norm(rim, axis=1).mean())
        middle = ring.mean(axis=0)
        self._plane = np.stack([points[eye.corners[0]], points[eye.corners[1]], middle + fit.rotation[:, 1] * fit.unit])
        self._plane[:2, 2] = middle[2]  # one depth: corners lie behind the ball
        self._ball = self._eyeball(photo, points)
        self._skin, self._lash = self._lid(photo, points)

    def paint(self, frame: Array, lid: float, gaze: Array, moved: Array, motion: HeadMotion) -> None:
        """Paint into ``frame``, uint8 [S, S, 3]. ``lid``: opening over that of the photo; ``gaze``: float32 [2] OC."""
        opaque = ramp(max(float(np.linalg.norm(gaze)) / _FULL_GAZE, abs(lid - 1) / _FULL_LID), 0, 1)
        if opaque == 0:
            return
        eye, unit = self._eye, self._fit.unit
        region = Region.around(pixels(moved[[*eye.corners, *eye.above, *eye.lower]]), 0.04 * unit, self._size)
        if region is None:
            return
        back = cv2.invertAffineTransform(motion.affine(self._plane))
        columns, rows = region.grid()
        x = (back[0, 0] * columns + back[0, 1] * rows + back[0, 2]).astype(np.float32)
        y = (back[1, 0] * columns + back[1, 1] * rows + back[1, 2]).astype(np.float32)

        upper, lower = moved[list(eye.upper)], moved[list(eye.lower)]
        opening = upper - lower
        outline = self._outline(moved, upper - 0.13 * opening, lower + 0.07 * opening)
        target = region.of(frame)
        closure = min(max(1 - lid, 0.0), 1.0)
        ball = self._look(x, y, gaze) * np.float32(1 - _LID_SHADOW * closure)
        blend(target, ball, soft_polygon(region, outline, 0.007 * unit) * opaque)

        covered = min(closure / 0.37, 1.0)  # whole before the lid speeds up, see lid_ratio
        if covered == 0:
            return
        edge = self._contour(moved, upper)
        crest = self._contour(moved, moved[list(eye.above)])
        # Soft against the skin above, sharp against the ball below.
        lid_mask = soft_polygon(region, np.concatenate([crest, edge[-2:0:-1]]), 0.030 * unit)
        below = soft_polygon(region, np.concatenate([edge, self._contour(moved, lower)[-2:0:-1]]), 0.006 * unit)
        lid_mask = np.minimum(1.8 * lid_mask, 1) * (1 - below)
        skin = self._sample(self._skin, x, y) * self._lid_shade(rows, crest, edge)
        blend(target, skin, lid_mask * covered)
        lashes = np.concatenate([edge, (edge + self._lash_drop(edge, motion))[::-1]])
        blend(target, self._lash, soft_polygon(region, lashes, 0.005 * unit) * (_LASH_ALPHA * covered))

    @property
    def _left(self) -> int:  # corner on the left of the picture
        return self._eye.corners[0] if self._eye.iris == 468 else self._eye.corners[1]

    @property
    def _right(self) -> int:
        return self._eye.corners[1] if self._eye.iris == 468 else self._eye.corners[0]

    def _contour(self, points: Array, lid: Array) -> Array:
        """The smooth curve from corner to corner through ``lid`` [7, 3]: [n, 2], left to right in the picture."""
        return catmull_rom(pixels(np.stack([points[self._left], *lid, points[self._right]])))

    def _lid_shade(self, rows: Array, crest: Array, edge: Array) -> Array:
        """Light on a lowered lid, [h, w, 1]: it is a ball, darker in the crease and where it turns to the lashes."""
        top, low = float(crest[:, 1].mean()), float(edge[:, 1].mean())
        t = np.clip((rows - top) / max(low - top, 1.0), 0, 1)
        return (0.97 + 0.08 * np.sin(np.pi * np.minimum(t * 1.1, 1)) - 0.03 * t)[..., None].astype(np.float32)

    def _lash_drop(self, edge: Array, motion: HeadMotion) -> Array:
        """How far the lashes hang below the edge of the lid: [n, 2] px, most towards the outer corner."""
        t = np.linspace(0, 1, len(edge), dtype=np.float32)
        outwards = 1 - t if self._left == self._eye.corners[0] else t
        length = _LASH_WIDTH * self._fit.unit * np.sqrt(4 * t * (1 - t)) * (0.7 + 0.9 * outwards)
        down = -(motion.rotation @ self._fit.rotation)[:2, 1] * [1, -1]
        return (length[:, None] * down).astype(np.float32)

    def _outline(self, points: Array, upper: Array, lower: Array) -> Array:
        """The opening between lid contours ``upper`` and ``lower`` [7, 3]: a closed smooth polygon, [n, 2]."""
        return np.concatenate([self._contour(points, upper), self._contour(points, lower)[-2:0:-1]])

    def _sample(self, picture: Array, x: Array, y: Array) -> Array:
        """``picture`` of the patch's own region at rest px ``x``, ``y`` of the frame."""
        x, y = x - np.float32(self._region.x0), y - np.float32(self._region.y0)
        return cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def _look(self, x: Array, y: Array, gaze: Array) -> Array:
        """The eyeball at rest px ``x``, ``y``, turned by ``gaze``: the iris shifts whole, the white stretches."""
        if not gaze.any():
            return self._sample(self._ball, x, y)
        unit, radius = self._fit.unit, self._radius
        shift = [float(np.clip(g * unit, -k * radius, k * radius)) for g, k in zip(gaze, _GAZE_LIMIT, strict=True)]
        on_screen = self._fit.rotation[:2, :2] @ np.array(shift, np.float32)
        dx, dy = float(on_screen[0]), -float(on_screen[1])
        distance = np.hypot(x - self._centre[0] - dx, y - self._centre[1] - dy) / radius
        stays = (1 - smoothstep(distance, 1.1, 2.6)).astype(np.float32)
        return self._sample(self._ball, x - dx * stays, y - dy * stays)

    def _eyeball(self, photo: Array, points: Array) -> Array:
        """The eyeball without lids, float32 [h, w, 3]: what the photo shows, the iris completed by mirroring."""
        region, eye = self._region, self._eye
        crop = region.of(photo)
        upper, lower = points[list(eye.upper)], points[list(eye.lower)]
        opening = upper - lower
        # Lashes belong to the lid: keep away from it.
        seen = soft_polygon(region, self._outline(points, upper - 0.20 * opening, lower + 0.10 * opening), 0.3) > 0.8
        columns, rows = region.grid()
        centre = self._centre
        mirrored = np.clip(2 * centre[1] - rows - region.y0, 0, region.shape[0] - 1).round().astype(int)
        across = np.broadcast_to(np.arange(region.shape[1]), region.shape)
        in_iris = np.hypot(columns - centre[0], rows - centre[1]) < 1.05 * self._radius
        fill = in_iris & ~seen & seen[mirrored, across]
        ball: Array = crop.copy()
        ball[fill] = crop[mirrored, across][fill]
        wide = soft_polygon(region, self._outline(points, upper + 0.5 * opening, lower - 0.35 * opening), 0.3) > 0.1
        unknown = (wide & ~seen & ~fill).astype(np.uint8)
        if seen.any() and unknown.any():
            return cv2.inpaint(ball, unknown, 3, cv2.INPAINT_TELEA).astype(np.float32)
        return ball.astype(np.float32)

    def _lid(self, photo: Array, points: Array) -> tuple[Array, Array]:
        """The skin of a lowered lid, float32 [h, w, 3], and the colour of its lashes, [3]."""
        region, eye, unit = self._region, self._eye, self._fit.unit
        upper, lower = points[list(eye.upper)], points[list(eye.lower)]
        crease = points[list(eye.above)]
        bottom = lower + 0.45 * (points[list(eye.below)] - lower)
        zone = soft_polygon(region, self._outline(points, crease, bottom), 0.3) > 0.02
        crop = np.ascontiguousarray(region.of(photo))
        inpainted = cv2.inpaint(crop, zone.astype(np.uint8), 3, cv2.INPAINT_TELEA)
        skin: Array = cv2.GaussianBlur(inpainted.astype(np.float32), (0, 0), 0.022 * unit)

        at = np.clip(pixels(points[list(eye.orbit)]).round().astype(int), 0, self._size - 1)
        bare = np.median(photo[at[:, 1], at[:, 0]].astype(np.float32), axis=0)
        # The socket lies in the shadow of the brow; a lid that comes down comes out of it, towards the cheek's light.
        cheek = self._light.cheeks[0 if eye.iris == RIGHT_EYE.iris else 1]
        shadow = 1 - ramp(float(bare @ LUMA) / max(float(cheek @ LUMA), 1.0), 0.6, 1.0)
        bare = bare + (cheek - bare) * np.float32(_OUT_OF_SHADOW * shadow)
        darkness = 1 - smoothstep((skin @ LUMA) / max(float(bare @ LUMA), 1.0), 0.62, 0.92)
        skin += (bare - skin) * (0.25 + 0.5 * darkness)[..., None]
        skin += region.of(self._light.grain)

        line = pixels(np.concatenate([upper, points[list(eye.corners)]])).round().astype(int)
        line = np.clip(line, 0, self._size - 1)
        on_line = photo[line[:, 1], line[:, 0]].astype(np.float32)
        luma = on_line @ LUMA
        lash = on_line[luma <= np.percentile(luma, 15)].mean(axis=0)
        return skin.astype(np.float32), lash
