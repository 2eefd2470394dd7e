"""The file of MediaPipe's FaceLandmarker: its bytes, checked; its canonical face; its blendshapes.

The model (478 landmarks, 52 blendshapes; Google, Apache-2.0) is described at
https://ai.google.dev/edge/mediapipe/solutions/vision/face_landmarker.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from contracts import ModaError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from contracts import Array

MODEL = Path(__file__).with_name("assets") / "face_landmarker.task"
MODEL_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
MODEL_VARIABLE = "MODA_FACE_MODEL"
CANONICAL_FACE = "geometry_pipeline_metadata_landmarks.binarypb"


class FaceModelError(ModaError):
    """The face landmark model is missing, or is not the expected file."""


def load_model() -> bytes:
    """The bytes of ``face_landmarker.task``, checked against the published SHA-256.

    It is read from the path in the environment variable MODA_FACE_MODEL where that is set, else from the program.

    Raises FaceModelError.
    """
    explicit = os.environ.get(MODEL_VARIABLE)
    path = Path(explicit) if explicit else MODEL
    remedy = f"name a copy of {MODEL.name}" if explicit else "install moda again"
    try:
        model = path.read_bytes()
    except OSError as error:
        raise FaceModelError(f"the face model {path} cannot be read ({error.strerror}); {remedy}") from error
    if hashlib.sha256(model).hexdigest() != MODEL_SHA256:
        raise FaceModelError(f"{path} is not the expected {MODEL.name}; {remedy}")
    return model


def model_parts() -> dict[str, bytes]:
    """The files in the model file, which is a zip, by name.

    Raises FaceModelError.
    """
    with zipfile.ZipFile(io.BytesIO(load_model())) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@lru_cache(maxsize=1)
def canonical_vertices() -> Array:
    """MediaPipe's canonical face, float64 [468, 3] in OC (unit: the distance of the outer eye corners 33 and 263).

    Read from the model file, in which it is a protobuf message: field 1 = mesh, in which each field 3 = one float32 of
    the vertex buffer (x, y, z, u, v per vertex; cm). Schema: mediapipe/tasks/cc/vision/face_geometry/proto.

    Raises FaceModelError.
    """
    metadata = model_parts()[CANONICAL_FACE]
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
