"""MediaPipe's FaceLandmarker without MediaPipe: its networks, run by LiteRT, and the arithmetic between them.

The library itself looks up a host of its maker's whenever it runs; nothing here touches the network. The steps, and
the numbers in them, are those of MediaPipe's face_landmarker_graph.cc and face_landmarks_detector_graph.cc for still
pictures: each face that the detector finds is cut out, turned upright, and landmarked once. ``reference.py``
runs the library, and the tests hold this to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from encoders.face.landmarks.detector import FaceDetector
from encoders.face.landmarks.model_file import model_parts
from encoders.face.landmarks.network import Network

if TYPE_CHECKING:
    from types import TracebackType

    from contracts import Array
    from encoders.face.landmarks.region import Region

SIDE = 256  # px of the landmark network's input, and the unit of its outputs

#: The vertices that the blendshapes are read from, as face_blendshapes_graph.cc lists them.
_SHAPE_VERTICES = (
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80, 81,
    82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153, 154,
    155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263,
    267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321,
    323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386, 387,
    388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477,
)  # fmt: skip


@dataclass(frozen=True)
class Landmarks:
    """One detected face."""

    points: Array  # float32 [478, 3] px: x right, y down, z away from the viewer, in the scale of x
    blendshapes: Array  # float32 [52] in 0..1, order of model_file.BLENDSHAPES

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 of the landmarks, px."""
        (x0, y0), (x1, y1) = self.points[:, :2].min(0), self.points[:, :2].max(0)
        return float(x0), float(y0), float(x1), float(y1)

    @property
    def area(self) -> float:
        """px^2 of the box."""
        x0, y0, x1, y1 = self.box
        return (x1 - x0) * (y1 - y0)

    def overlap(self, other: Landmarks) -> float:
        """Intersection of the two boxes over the smaller one's area."""
        a, b = self.box, other.box
        width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        return max(width, 0) * max(height, 0) / max(min(self.area, other.area), 1e-6)

    def moved(self, x: float, y: float) -> Landmarks:
        """The same face in the coordinates of a picture of which this one is the part at (x, y)."""
        return Landmarks(self.points + np.array([x, y, 0], np.float32), self.blendshapes)


class FaceLandmarker:
    """Finds faces and their landmarks in still pictures; to be used in a ``with`` block.

    Raises FaceModelError if the model cannot be had.
    """

    def __init__(self, *, max_faces: int = 1) -> None:
        parts = model_parts()
        self._max_faces = max_faces
        self._detector = FaceDetector(parts["face_detector.tflite"])
        self._mesh = Network(parts["face_landmarks_detector.tflite"])
        self._shapes = Network(parts["face_blendshapes.tflite"])

    def __enter__(self) -> FaceLandmarker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the networks."""
        for network in (self._detector, self._mesh, self._shapes):
            network.close()

    def detect(self, image: Array) -> list[Landmarks]:
        """The faces of ``image``, uint8 [H, W, 3] RGB, the surest first."""
        image = np.ascontiguousarray(image)
        found = (self._landmarks(image, region) for region in self._detector(image, self._max_faces))
        return [face for face in found if face is not None]

    def _landmarks(self, image: Array, region: Region) -> Landmarks | None:
        """The face in ``region``; None if the network sees none there."""
        picture = region.cut(image, SIDE, cv2.BORDER_REPLICATE)
        points, presence, _ = self._mesh((picture.astype(np.float32) * np.float32(1 / 255))[None])
        if presence.item() <= 0:  # a logit: less likely than not
            return None
        px = region.project(points.reshape(-1, 3) / SIDE, (image.shape[1], image.shape[0]))
        (shapes,) = self._shapes(px[None, list(_SHAPE_VERTICES), :2])
        return Landmarks(px, shapes)
