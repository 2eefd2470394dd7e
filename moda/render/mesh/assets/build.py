"""Build ``face_mesh.npz``, the geometry the mesh renderer ships.

    python moda/render/mesh/assets/build.py TASK BASIS

TASK is MediaPipe's ``face_landmarker.task`` (a zip, in encoders/face/landmarks/assets); BASIS is an npz with the ridge
regression ``W`` [21, 3, 478, 3], keypoints to vertices, and the mean face ``N`` [478, 3]. See README.md beside this.
"""

from __future__ import annotations

import argparse
import struct
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

METADATA = "geometry_pipeline_metadata_landmarks.binarypb"
VARINT, BYTES, FLOAT32 = 0, 2, 5  # protobuf wire types


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
        if byte < 128:
            return value, at


def _fields(data: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """The (number, value) pairs of one protobuf message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, at = _varint(data, at)
            yield number, value
        elif wire == BYTES:
            size, at = _varint(data, at)
            yield number, data[at : at + size]
            at += size
        elif wire == FLOAT32:
            yield number, struct.unpack_from("<f", data, at)[0]
            at += 4
        else:
            raise ValueError(f"unexpected protobuf wire type {wire}")


def canonical_triangles(task: Path) -> np.ndarray:
    """The 898 triangles of MediaPipe's canonical face mesh: uint16 [898, 3], indices below 468."""
    metadata = zipfile.ZipFile(task).read(METADATA)
    mesh = next(value for number, value in _fields(metadata) if number == 1 and isinstance(value, bytes))
    indices: list[int] = []
    for number, value in _fields(mesh):
        if number == 4 and isinstance(value, int):
            indices.append(value)
        elif number == 4 and isinstance(value, bytes):  # the packed form of the same field
            at = 0
            while at < len(value):
                index, at = _varint(value, at)
                indices.append(index)
    return np.array(indices, np.uint16).reshape(-1, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", type=Path)
    parser.add_argument("basis", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_name("face_mesh.npz"))
    arguments = parser.parse_args()
    basis = np.load(arguments.basis)
    np.savez_compressed(
        arguments.output,
        triangles=canonical_triangles(arguments.task),
        neutral=basis["N"].astype(np.float32),
        expansion=basis["W"].reshape(63, 478 * 3).astype(np.float16),
    )


if __name__ == "__main__":
    main()
