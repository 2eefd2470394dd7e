"""MediaPipe itself, as the reference that the landmarker is held to by ``moda doctor --reference`` and the tests.

The library looks up play.googleapis.com while it runs; nothing else in this project imports it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from encoders.face.landmarks.landmarker import Landmarks
from encoders.face.landmarks.model_file import load_model
from encoders.face.landmarks.network import quiet_stderr

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from contracts import Array


def reference_landmarks(images: Iterable[Array], *, max_faces: int = 1) -> Iterator[list[Landmarks]]:
    """The faces of each of ``images``, uint8 [H, W, 3] RGB, as MediaPipe's FaceLandmarker gives them.

    Raises FaceModelError, and OSError where a system library is missing that MediaPipe needs.
    """
    model = load_model()
    with quiet_stderr():
        import mediapipe
        from mediapipe.tasks.python import vision
        from mediapipe.tasks.python.core.base_options import BaseOptions

        task = vision.FaceLandmarker.create_from_options(
            vision.FaceLandmarkerOptions(
                base_options=BaseOptions(model_asset_buffer=model), num_faces=max_faces, output_face_blendshapes=True
            )
        )
    with task:
        for image in images:
            frame = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image))
            result = task.detect(frame)
            to_px = np.array([image.shape[1], image.shape[0], image.shape[1]], np.float32)
            yield [
                Landmarks(
                    points=np.array([(p.x, p.y, p.z) for p in points], np.float32) * to_px,
                    blendshapes=np.array([shape.score for shape in shapes], np.float32),
                )
                for points, shapes in zip(result.face_landmarks, result.face_blendshapes, strict=True)
            ]
