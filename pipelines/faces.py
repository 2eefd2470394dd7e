"""The faces of a picture, and what speaks against each as a portrait."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from encoders.face import FaceCandidate, FaceError, encode_face, list_faces
from encoders.image import load_image

if TYPE_CHECKING:
    from os import PathLike

    from contracts import Array, SourceFace


@dataclass(frozen=True)
class JudgedFace:
    """A face, and whether it can be animated."""

    face: FaceCandidate
    warnings: tuple[str, ...] = ()
    refusal: str | None = None  # why it cannot be used
    source: SourceFace | None = None  # encoded, where it can


def judge_faces(portrait: str | PathLike[str]) -> list[JudgedFace]:
    """Every face of a picture, from left to right.

    Raises:
        ImageError: no picture.
        NoFace: no face in it.
    """
    image = load_image(Path(portrait))
    candidates = list_faces(image)
    if not candidates:
        encode_face(image)  # says so
    return [_judge(image, candidate) for candidate in candidates]


def _judge(image: Array, candidate: FaceCandidate) -> JudgedFace:
    try:
        source = encode_face(image, face=candidate.index)
        return JudgedFace(candidate, warnings=source.warnings, source=source)
    except FaceError as error:
        return JudgedFace(candidate, refusal=str(error))
