"""Where faces are in a picture: MediaPipe's short-range BlazeFace, from picture to the regions to landmark.

V. Bazarevsky et al., BlazeFace (arXiv:1907.05047). The numbers are those of MediaPipe's face_detector_graph.cc,
ssd_anchors_calculator.cc, tensors_to_detections_calculator.cc and non_max_suppression_calculator.cc.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from encoders.face.landmarks.network import Network
from encoders.face.landmarks.region import Region

if TYPE_CHECKING:
    from contracts import Array

SIDE = 128  # px of the network's input, and the unit of its outputs
GRIDS = ((16, 2), (8, 6))  # cells a side, and boxes a cell
MIN_SCORE = 0.5
SAME_FACE = 0.5  # boxes that share more of their union than this are of one face
EXPANSION = 1.5  # the region for the landmarks, in sizes of the box
CLIP = 100.0  # logits beyond are cut off


class FaceDetector:
    """Finds faces that fill a sixth of the picture or more; ``model`` holds the network."""

    def __init__(self, model: bytes) -> None:
        self._network = Network(model)

    def __call__(self, image: Array, limit: int) -> list[Region]:
        """Regions around the ``limit`` surest faces of ``image``, uint8 [H, W, 3] RGB, the surest first."""
        height, width = image.shape[:2]
        side = max(height, width)
        picture = Region(width / 2, height / 2, side, side).cut(image, SIDE, cv2.BORDER_CONSTANT)
        boxes, logits = self._network((picture.astype(np.float32) * np.float32(2 / 255) - 1)[None])
        faces = merge(*decode(boxes[0], logits[0, :, 0]))[:limit]
        corner = np.array((width - side, height - side)) / 2
        return [_region(face.reshape(-1, 2) * side + corner) for face in faces]

    def close(self) -> None:
        self._network.close()


@lru_cache(maxsize=1)
def anchors() -> Array:
    """Centres of the cells that the network's boxes start from, float32 [896, 2] (x, y) in shares of its input."""
    centres = [
        ((column + 0.5) / cells, (row + 0.5) / cells)
        for cells, boxes in GRIDS
        for row in range(cells)
        for column in range(cells)
        for _ in range(boxes)
    ]
    array = np.array(centres, np.float32)
    array.flags.writeable = False
    return array


def decode(boxes: Array, logits: Array) -> tuple[Array, Array]:
    """Scores [N] and faces [N, 16] of the network's outputs ``boxes`` [896, 16] and ``logits`` [896].

    A face is x0 y0 x1 y1 of its box and x y of six points (eyes, nose, mouth, ears), in shares of the input.
    """
    scores = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -CLIP, CLIP)))
    sure = np.flatnonzero((scores >= MIN_SCORE) & (boxes[:, 2:4] > 0).all(1))
    offsets = boxes[sure].reshape(-1, 8, 2) / SIDE
    offsets[:, [0, *range(2, 8)]] += anchors()[sure, None]
    centre, half = offsets[:, 0], offsets[:, 1] / 2
    offsets[:, 0], offsets[:, 1] = centre - half, centre + half
    return scores[sure], offsets.reshape(-1, 16)


def merge(scores: Array, faces: Array) -> list[Array]:
    """Each face once, the surest first: the mean, by score, of the boxes that overlap the surest one of those left."""
    merged = []
    order = np.argsort(-scores, kind="stable")
    scores, faces = scores[order], faces[order]
    while len(faces):
        same = _overlap(faces[0], faces) > SAME_FACE
        merged.append(scores[same] @ faces[same] / scores[same].sum())
        scores, faces = scores[~same], faces[~same]
    return merged


def _overlap(face: Array, faces: Array) -> Array:
    """Intersection of the box of ``face`` [16] with those of ``faces`` [N, 16] over their union, [N]."""
    low, high = np.maximum(faces[:, :2], face[:2]), np.minimum(faces[:, 2:4], face[2:4])
    shared = np.clip(high - low, 0, None).prod(1)
    return shared / ((faces[:, 2:4] - faces[:, :2]).prod(1) + (face[2:4] - face[:2]).prod() - shared)


def _region(points: Array) -> Region:
    """Around a face given by two corners of its box and its six points, [8, 2] px; turned as its eyes are."""
    (x, y), (width, height) = points[:2].mean(0), (points[1] - points[0]) * EXPANSION
    eyes = points[3] - points[2]
    return Region(x, y, width, height, float(np.arctan2(eyes[1], eyes[0])))
