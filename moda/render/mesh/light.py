"""What the photo tells about light, skin and film: all that is painted in takes its colour and sharpness from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from moda.render.mesh.topology import EYES, SKIN

if TYPE_CHECKING:
    from contracts import Array

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_GREY_CHROMA = 12.0  # levels; a photo with less colour in its skin is black and white
_RIGHT_CHEEK, _LEFT_CHEEK = (205, 50), (425, 280)


@dataclass(frozen=True)
class Light:
    """Measured once per portrait. Levels are 0..255, colours RGB."""

    skin: Array  # float32 [3], mean of bare skin
    cheeks: Array  # float32 [2, 3], mean of the right and of the left one
    teeth: float  # level of a lit tooth
    grey: bool  # a black and white photo
    slope: float  # log ratio of the light on the two cheeks, + brighter on the image right
    blur: float  # px, sigma that makes a painted patch as soft as the photo
    grain: Array  # float32 [S, S, 1], noise like the photo's

    @classmethod
    def of(cls, photo: Array, points: Array, unit: float, zoom: float) -> Light:
        """``points``: float32 [478, 3] px, render frame; ``zoom``: output px per px of the picture."""
        skin = np.concatenate([_patch(photo, points[v]) for v in SKIN])  # [n, 3]
        bright = float(np.percentile(skin @ LUMA, 80))
        sclera = _sclera(photo, points)
        white = float(np.percentile(sclera @ LUMA, 70)) if len(sclera) else 0.0
        mean = skin.mean(axis=0)
        cheeks = np.array(
            [
                np.mean([_patch(photo, points[v]).mean(axis=0) for v in side], axis=0)
                for side in (_RIGHT_CHEEK, _LEFT_CHEEK)
            ]
        )
        right, left = cheeks.mean(axis=1)
        return cls(
            skin=mean.astype(np.float32),
            cheeks=cheeks.astype(np.float32),
            teeth=float(np.clip(max(1.02 * bright, white), 50, 228)),
            grey=float(np.ptp(mean)) < _GREY_CHROMA,
            slope=float(np.clip(np.log((left + 8) / (right + 8)), -1, 1)),
            blur=0.45 * zoom if zoom > 1.05 else 0.0,
            grain=_grain(photo, points),
        )

    def tint(self, colour: Array) -> Array:
        """``colour``, float32 [..., 3], as this photo would show it: grey in a black and white one."""
        return np.repeat((colour @ LUMA)[..., None], 3, axis=-1) if self.grey else colour

    def tooth(self) -> Array:
        """Colour of a lit tooth, float32 [3]; half of it the skin's: neutral teeth look blue in a warm picture."""
        chroma = self.skin / max(float(self.skin @ LUMA), 1.0)
        return self.tint(self.teeth * (0.52 * np.array([1.03, 0.98, 0.90], np.float32) + 0.48 * chroma))


def _patch(photo: Array, point: Array, radius: int = 3) -> Array:
    side = photo.shape[0]
    x, y = (int(np.clip(v, radius, side - 1 - radius)) for v in (point[0], -point[1]))
    return photo[y - radius : y + radius + 1, x - radius : x + radius + 1].reshape(-1, 3).astype(np.float32)


def _sclera(photo: Array, points: Array) -> Array:
    """The pixels of both eyes that are not iris, float32 [n, 3]."""
    found = []
    for eye in EYES:
        mask = np.zeros(photo.shape[:2], np.uint8)
        contour = points[[*eye.upper, *eye.lower[::-1]], :2] * [1, -1]
        cv2.fillPoly(mask, [contour.astype(np.int32)], 1)
        centre = points[eye.iris, :2] * [1, -1]
        radius = float(np.linalg.norm(points[list(eye.rim), :2] - points[eye.iris, :2], axis=1).mean())
        cv2.circle(mask, (int(centre[0]), int(centre[1])), round(1.2 * radius), 0, -1)
        found.append(photo[mask > 0])
    return np.concatenate(found).astype(np.float32)


def _grain(photo: Array, points: Array) -> Array:
    """Noise of the strength that the face's own fine detail has, float32 [S, S, 1]."""
    grey = photo.astype(np.float32) @ LUMA
    fine = np.abs(grey - cv2.GaussianBlur(grey, (0, 0), 1.0))
    (x0, y0), (x1, y1) = (points[:, :2] * [1, -1]).min(axis=0), (points[:, :2] * [1, -1]).max(axis=0)
    face = fine[max(int(y0), 0) : int(y1) + 1, max(int(x0), 0) : int(x1) + 1]
    sigma = 1.2 * float(np.median(face)) / 0.6745  # the median of |x| of a normal distribution is .6745 sigma
    noise = np.random.default_rng(0).standard_normal(grey.shape).astype(np.float32)
    return (min(sigma, 4.0) * noise)[..., None]
