"""Is every gate of the face encoder hit by a real picture, and what passes? A table of pictures and what is said.

    python bench/gates.py PORTRAIT... [--every 10]

PORTRAIT are pictures, videos (every few frames of them) or folders of both; of several faces each is judged. One
picture is also shrunk, cut and doubled, and the heads tilted and turned most and the mouth open widest are drawn
further so by the renderer: people seldom pose like that. Measured: px between the outer eye corners (OC), pitch, yaw,
gap of the lips and of the lids, misfit of the skull (OC).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from figures import PICTURES, VIDEOS, Figure, draw, exact_frames, files, prepare, report, still

from contracts import LIP_OPENING, ModaError
from encoders.face.image import load_image
from encoders.face.portrait import CHIN, INNER_LIPS, LIDS, MIN_SIZE, encode_face, list_faces
from moda.motion.layout import ROTATION, channel
from moda.render import Framing

if TYPE_CHECKING:
    from contracts import Array, SourceFace

#: Gate -> what its message says.
GATES = {
    "no face": "no face was found",
    "several faces": "faces; choose one",
    "too small": "too small",
    "cut off": "cut off",
    "turned": "to the side",
    "tilted": "is tilted",
    "mouth too open": "open too wide",
    "small": "the face is small",
    "half turned": "it will turn less",
    "mouth open": "shutting it",
    "eye shut": "an eye is shut",
    "eyes half shut": "half shut",
    "chin at the edge": "chin is close",
    "not human": "not be a human",
}


@dataclass(frozen=True)
class Verdict:
    """What is said of one picture."""

    name: str
    messages: tuple[str, ...]  # the refusal, or the warnings
    face: SourceFace | None  # where it is not refused

    @property
    def gates(self) -> list[str]:
        return [gate for gate, words in GATES.items() if any(words in message for message in self.messages)]

    def __str__(self) -> str:
        said = "; ".join(self.messages) or "fine"
        if self.face is None:
            return f"{self.name:<32}refused: {said}"
        y, (pitch, yaw, _) = self.face.vertices[:, 1], self.face.pose
        lids = min(y[upper] - y[lower] for upper, lower in LIDS)
        measured = f"{self.face.fit_scale:4.0f} px, pitch {pitch:+3.0f}, yaw {yaw:+3.0f}, lips {gap(self.face):.2f}"
        return f"{self.name:<32}{measured}, lids {lids:.3f}, misfit {self.face.skull_rms:.3f}: {said}"


def gap(face: SourceFace) -> float:
    """OC between the inner lips."""
    upper, lower = face.vertices[list(INNER_LIPS), 1]
    return float(upper - lower)


def judge(name: str, picture: Array, number: int | None = None) -> Verdict:
    """``picture``: uint8 [H, W, 3] RGB; ``number``: which of its faces."""
    try:
        face = encode_face(picture, face=number)
    except ModaError as error:
        return Verdict(name, (str(error),), None)
    return Verdict(name, face.warnings + Framing("crop").scene(face).warnings, face)


def cut(name: str, face: SourceFace) -> Iterator[tuple[str, Array]]:
    """The picture shrunk, cut and doubled, each so that one gate has to answer."""
    picture = face.image
    chin, size = float(face.landmarks[CHIN, 1]), face.fit_scale
    factor = 0.9 * MIN_SIZE / size
    yield f"{name}, shrunk", cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    yield f"{name}, cut at the chin", picture[: round(chin - 0.05 * size)]
    yield f"{name}, twice", np.hstack([picture, picture[:, ::-1]])
    rows = round(chin + 0.06 * size)  # a border of 2 % of the shorter side would refuse it: keep that narrow
    width = round(2.2 * size)
    left = max(round(float(face.landmarks[CHIN, 0])) - width // 2, 0)
    yield f"{name}, cut below the chin", picture[:rows, left : left + width]


def drawn(faces: list[SourceFace]) -> Iterator[tuple[str, Array]]:
    """The heads that are tilted and turned most, and the mouth that is open widest, each a good deal further."""
    tilted, turned = (max(faces, key=lambda face: abs(face.pose[axis])) for axis in (0, 1))
    motion = still(3)
    motion[0, ROTATION.start] = np.copysign(8, tilted.pose[0])  # degrees; MediaPipe loses a face tilted by much more
    motion[1, ROTATION.start + 1] = np.copysign(15, turned.pose[1])
    for vertex, share in LIP_OPENING.items():
        motion[2, channel(vertex, "y")] = share * 0.75
    further = (("tilted", tilted), ("turned", turned), ("opened", max(faces, key=gap)))
    for row, (what, face) in enumerate(further):
        yield f"drawn: {what} further", next(draw(prepare(face, 512), motion[row : row + 1]))


def pictures(paths: list[Path], every: int) -> Iterator[tuple[str, Array]]:
    for path in paths:
        if path.suffix.lower() in VIDEOS:
            for k, picture in exact_frames(path, every).items():
                yield f"{path.stem} {k}", picture
        else:
            yield path.stem, load_image(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portraits", type=Path, nargs="+")
    parser.add_argument("--every", type=int, default=10, help="frames of a video, at 25 a second")
    arguments = parser.parse_args()
    hits: dict[str, list[str]] = {gate: [] for gate in GATES}
    faces: list[SourceFace] = []

    def tell(name: str, picture: Array, number: int | None = None) -> Verdict:
        verdict = judge(name, picture, number)
        for gate in verdict.gates:
            hits[gate].append(name)
        print(verdict, flush=True)
        faces.extend([verdict.face] if verdict.face else [])
        return verdict

    for name, picture in pictures(files(arguments.portraits, PICTURES | VIDEOS), arguments.every):
        if "several faces" in tell(name, picture).gates:
            for candidate in list_faces(picture):
                tell(f"{name}, face {candidate.index}", picture, candidate.index)
    fine = next((face for face in faces if not face.warnings), None)
    for name, picture in (*(cut("the first fine one", fine) if fine else ()), *drawn(faces)):
        tell(name, picture)
    report(Figure(gate, len(names), 1, note=", ".join(names[:3])) for gate, names in hits.items())


if __name__ == "__main__":
    main()
