"""A turned rectangle of a picture: cut out for a network, and the way back for what the network finds in it.

It is sampled as MediaPipe samples it, bilinear at positions rounded to 1/32 of a pixel, because the landmarks tell the
difference: OpenCV 5's own warpPerspective, which does not round, moves them by up to half a pixel. Sources: MediaPipe's
image_to_tensor_utils.cc, image_to_tensor_converter_opencv.cc and landmark_projection_calculator.cc; warpPerspective of
OpenCV 4, for the order of its sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from contracts import Array

STEP_BITS = 5
STEPS = 1 << STEP_BITS  # positions are rounded to this share of a pixel
BLOCK = 64  # columns whose positions are counted from the first of them; it divides every ``side``
FURTHEST = 32767  # px, the largest coordinate OpenCV's maps can hold


@dataclass(frozen=True)
class Region:
    """Centre and size in px, and the angle in radians by which it is turned clockwise, as the eye sees it."""

    x: float
    y: float
    width: float
    height: float
    angle: float = 0.0

    def corners(self) -> Array:
        """Float32 [4, 2] px: lower left, upper left, upper right, lower right, as seen from within."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        along, down = np.array((cos, sin)) * self.width / 2, np.array((-sin, cos)) * self.height / 2
        centre = np.array((self.x, self.y))
        return np.array([centre - along + down, centre - along - down, centre + along - down, centre + along + down],
                        np.float32)  # fmt: skip

    def cut(self, image: Array, side: int, border: int) -> Array:
        """The region of ``image``, uint8 [H, W, 3], scaled to uint8 [side, side, 3]; ``side`` is a multiple of 64.

        ``border`` is OpenCV's name for what lies outside the picture, such as ``cv2.BORDER_REPLICATE``.
        """
        target = np.array([(0, side), (0, 0), (side, 0), (side, side)], np.float32)
        _, back = cv2.invert(cv2.getPerspectiveTransform(self.corners(), target))
        # Many positions are exact halves of a step, which the last bit of a sum rounds: hence OpenCV's order.
        row, first, further = np.arange(side)[:, None, None], np.arange(0, side, BLOCK)[:, None], np.arange(BLOCK)
        x, y, scale = ((a * first + b * row + c) + a * further for a, b, c in back)  # [side, side / BLOCK, BLOCK]
        np.divide(STEPS, scale, out=scale)
        whole = np.empty((side, side, 2), np.int16)
        share = np.zeros((side, side), np.uint16)
        for axis, position in enumerate((x, y)):
            steps = np.rint(position * scale).reshape(side, side).astype(np.int32)
            whole[..., axis] = np.clip(steps >> STEP_BITS, -FURTHEST, FURTHEST)
            share |= ((steps & (STEPS - 1)) << (axis * STEP_BITS)).astype(np.uint16)
        return cv2.remap(image, whole, share, cv2.INTER_LINEAR, borderMode=border)

    def project(self, points: Array, image_size: tuple[int, int]) -> Array:
        """Points [N, 3] of the region (x and y from 0 to 1, z in the scale of x) in px of the picture, float32 [N, 3].

        ``image_size`` is (width, height) px. It matters to z alone, which MediaPipe scales by the region's upper edge,
        measured in widths of the picture across and in heights of it down.
        """
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        x, y = (points[:, 0] - 0.5) * self.width, (points[:, 1] - 0.5) * self.height
        z = points[:, 2] * self.width * np.hypot(cos, sin * image_size[0] / image_size[1])
        return np.stack([cos * x - sin * y + self.x, sin * x + cos * y + self.y, z], 1).astype(np.float32)
