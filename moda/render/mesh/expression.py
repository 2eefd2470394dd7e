"""From the displacements of 21 keypoints to the shape of one portrait's face, and the guards that keep it a face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moda.render.mesh.geometry import ramp, soft_clamp
from moda.render.mesh.topology import EYES, INNER_LOWER_LIP, INNER_UPPER_LIP, face_mesh

if TYPE_CHECKING:
    from contracts import Array
    from moda.render.mesh.topology import Eye

SHUT_GAP = 0.035  # OC: a smaller mean gap of the inner lips is a shut mouth, seen through landmark noise
MAX_DISPLACEMENT = 0.45  # OC: the 99th percentile of the lower lip in real motion is .34
LID_OPENING = 0.116  # OC: the mean face's eye, upper to lower lid
MAX_LID_RATIO = 1.3  # of what the photo shows of an eyeball; more would be invention
SHUT_LIDS = 0.035  # OC: an eye shut in the portrait; there is no eyeball to show, so it stays as it is
LIDS_FOLLOW = 0.5  # of the vertical way of an iris, where the motion does not move the lids itself
LID_LINE = 0.10  # lids meet at this part of the opening, from the lower lid
CREASE_FOLLOWS, ORBIT_FOLLOWS, BELOW_FOLLOWS = 0.42, 0.12, 0.25  # parts of the lids' slide

_CORNER_R, _CORNER_L, _UPPER_IN, _LOWER_IN, _UPPER_OUT, _LOWER_OUT, _QUARTER_R, _QUARTER_L, _CHIN = range(9)
#: What shuts lips that are apart by one unit, in y per keypoint row.
_SHUTTING = {_LOWER_IN: 0.7, _LOWER_OUT: 0.6, _UPPER_IN: -0.3, _UPPER_OUT: -0.22, _QUARTER_R: -0.15, _QUARTER_L: -0.15,
             _CHIN: 0.45}  # fmt: skip
_BARED, _BARE_LIMIT = 0.06, 0.06  # OC: lips this far apart in the portrait are not lifted by more than that
_SMILING = (0.60, 0.75)  # OC: a mouth this wide is pulled by a smile, which an opening jaw takes back
_NARROWED = 0.06  # OC, each corner, when the jaw is open
_OVERCLOSE = 0.01  # OC, or a line of teeth remains


@dataclass(frozen=True)
class FaceShape:
    """One frame's face, before the head moves."""

    vertices: Array  # float32 [478, 3] OC, head frame
    gap: float  # OC between the inner lips, mid
    width: float  # mouth width over the portrait's own
    chin: float  # OC, displacement of the chin along y from a shut mouth
    lids: tuple[float, float]  # opening of the right and left eye over the portrait's own: 0 shut, 1 as in the photo
    gaze: Array  # float32 [2, 2] OC, shift of the right and left iris in x, y


class Expression:
    """How one portrait's face deforms."""

    def __init__(self, vertices: Array) -> None:
        """``vertices``: the portrait's own shape, float32 [478, 3] OC in the head frame; shut lips already joined."""
        self.rest = vertices.astype(np.float32)
        self._expansion = face_mesh().expansion
        gap = float(lip_gap(self.rest))
        self.mouth_open = gap >= SHUT_GAP
        self._bared = gap >= _BARED
        self._shutting = np.zeros((21, 3), np.float32)
        if self.mouth_open:
            middle = float(self.rest[INNER_UPPER_LIP[5], 1] - self.rest[INNER_LOWER_LIP[5], 1])
            for row, share in _SHUTTING.items():
                self._shutting[row, 1] = share * (middle + _OVERCLOSE)
        self.shut = self.rest + (self._shutting.reshape(-1) @ self._expansion).reshape(-1, 3)
        self._width = float(np.linalg.norm(self.rest[61, :2] - self.rest[291, :2]))
        self._parting = float(self._shutting[_LOWER_IN, 1] - self._shutting[_UPPER_IN, 1])
        self._narrowing = ramp(self._width, *_SMILING) * np.array([1, -1, 0.6, -0.6], np.float32) * _NARROWED
        self._lids = [_Lids(eye, self.rest) for eye in EYES]
        self._lid_free = np.ones((21, 3), np.float32)
        self._lid_free[11:17] = 0  # lids and irises have formulae of their own

    def __call__(self, keypoints: Array) -> FaceShape:
        """Deform by ``keypoints``, float32 [21, 3] OC relative to a shut-lip, open-eye neutral."""
        keypoints = np.clip(keypoints, -MAX_DISPLACEMENT, MAX_DISPLACEMENT) + self._shutting
        if self._bared:  # a portrait that shows its teeth has no more of them to show
            for lip in (_CORNER_R, _CORNER_L, _UPPER_IN, _UPPER_OUT, _QUARTER_R, _QUARTER_L):
                keypoints[lip, 1] = min(float(keypoints[lip, 1]), soft_clamp(float(keypoints[lip, 1]), _BARE_LIMIT))
        asked = float(keypoints[_UPPER_IN, 1] - keypoints[_LOWER_IN, 1] + self._parting)
        keypoints[[_CORNER_R, _CORNER_L, _QUARTER_R, _QUARTER_L], 0] += self._narrowing * ramp(asked, 0.05, 0.35)
        displacement = ((keypoints * self._lid_free).reshape(-1) @ self._expansion).reshape(-1, 3)
        vertices = self.rest + displacement
        ratios, gazes = [], []
        for eye, lids in zip(EYES, self._lids, strict=True):
            upper, lower, iris = eye.keypoints
            follow = follow_gaze(*(float(keypoints[row, 1]) for row in (upper, lower, iris)))
            ratios.append(lids.slide(vertices, *follow))
            gazes.append(keypoints[iris, :2] * lids.can_open)
            vertices[[eye.iris, *eye.rim]] += keypoints[iris] * lids.can_open
        gap = part_lips(vertices, self.rest)
        width = float(np.linalg.norm(vertices[61, :2] - vertices[291, :2])) / self._width
        return FaceShape(
            vertices=vertices,
            gap=gap,
            width=width,
            chin=float(keypoints[_CHIN, 1] - self._shutting[_CHIN, 1]),
            lids=(ratios[0], ratios[1]),
            gaze=np.stack(gazes),
        )


class _Lids:
    """The lids of one eye. The learned expansion smears lid skin, so they slide by a formula of their own."""

    def __init__(self, eye: Eye, rest: Array) -> None:
        self._upper, self._lower = list(eye.upper), list(eye.lower)
        self._above, self._orbit, self._below = list(eye.above), list(eye.orbit), list(eye.below)
        opening = np.maximum(rest[self._upper, 1] - rest[self._lower, 1], 0)  # [7] OC
        self._opening = opening
        self._profile = opening / max(float(opening.max()), 1e-3)
        self.can_open = float(opening.max()) >= SHUT_LIDS

    def slide(self, vertices: Array, upper: float, lower: float) -> float:
        """Slide the lids in ``vertices`` by what the lid keypoints ask for, in OC; return the opening ratio."""
        if not self.can_open:
            return 1.0
        ratio = lid_ratio(upper, lower)
        raised = 0.5 * lower * self._profile + LID_LINE * max(0.0, 1 - ratio) * self._opening
        # Measured from the line where the lids meet: that line moves with the lower lid.
        dropped = (1 - LID_LINE) * (ratio - 1) * self._opening + 0.5 * lower * self._profile
        vertices[self._upper, 1] += dropped
        vertices[self._lower, 1] += raised
        vertices[self._upper, 1] = np.maximum(vertices[self._upper, 1], vertices[self._lower, 1])
        vertices[self._above, 1] += CREASE_FOLLOWS * dropped
        vertices[self._orbit, 1] += ORBIT_FOLLOWS * dropped
        vertices[self._below, 1] += BELOW_FOLLOWS * raised
        return ratio


def follow_gaze(upper: float, lower: float, iris: float) -> tuple[float, float]:
    """Displacements of the lids along y, OC, that go LIDS_FOLLOW of the way of an iris that looks up or down.

    Lids of tracked people go all of it, and stay as they are; raised lids are lowered by as much from where they are. A
    lid that shuts is not raised by a look.
    """
    led = LIDS_FOLLOW * iris
    if iris < 0:
        return upper + min(0.0, max(led, led - upper)), lower + min(0.0, max(led, led - lower))
    return upper + ramp(upper, -0.04, 0.0) * max(0.0, min(led, led - upper)), lower


def lid_ratio(upper: float, lower: float) -> float:
    """Opening of an eye over its rest from the y displacements of its lids (OC): 0 shut, 1 at rest.

    Trackers never report a shut lid, so the lower range is stretched; squinting counts half.
    """
    ratio = 1 + (upper - 0.5 * lower) / LID_OPENING
    if ratio < 0.62:
        ratio = (ratio - 0.22) * 1.55
    return max(0.0, 1 + min(ratio - 1, soft_clamp(ratio - 1, MAX_LID_RATIO - 1)))


def lip_gap(vertices: Array) -> float:
    """Mean distance of the inner lip contours along y, in the unit of ``vertices``; below zero they cross."""
    return float((vertices[list(INNER_UPPER_LIP[1:-1]), 1] - vertices[list(INNER_LOWER_LIP[1:-1]), 1]).mean())


def part_lips(vertices: Array, rest: Array) -> float:
    """Join, in place, the inner lip pairs that would cross more than at rest; return the gap in the middle."""
    upper, lower = list(INNER_UPPER_LIP[1:-1]), list(INNER_LOWER_LIP[1:-1])
    crossing = vertices[upper, 1] - vertices[lower, 1] < np.minimum(rest[upper, 1] - rest[lower, 1], 0)
    mean = (vertices[upper, 1] + vertices[lower, 1]) / 2
    vertices[upper, 1] = np.where(crossing, mean, vertices[upper, 1])
    vertices[lower, 1] = np.where(crossing, mean, vertices[lower, 1])
    middle = len(upper) // 2
    return float(max(0.0, vertices[upper[middle], 1] - vertices[lower[middle], 1]))
