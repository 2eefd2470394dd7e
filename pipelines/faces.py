"""The faces of a picture, and what speaks against each as a portrait."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from encoders.face import FaceCandidate, FaceError, encode_face, list_faces, load_image
from moda import sha256

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
    picture: tuple[int, int] = (0, 0)  # px, width and height of the picture that the box lies in


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
    digest = sha256(portrait)
    return [_judge(image, candidate, digest) for candidate in candidates]


def _judge(image: Array, candidate: FaceCandidate, digest: str) -> JudgedFace:
    picture = (image.shape[1], image.shape[0])
    try:
        source = replace(encode_face(image, face=candidate.index), sha256=digest)
        return JudgedFace(candidate, warnings=source.warnings, source=source, picture=picture)
    except FaceError as error:
        return JudgedFace(candidate, refusal=str(error), picture=picture)
