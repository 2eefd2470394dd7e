"""Is every gate of encoders/face.py hit by a real picture, and what passes? A table of pictures and what is said.

    python bench/gates.py PORTRAIT... [--every 5]

PORTRAIT are pictures, videos (every few frames of them) or folders of both. Pictures are also cut and shrunk, where a
gate asks for that: no face, a small one, several, one cut off, a chin at the edge. Turned heads, open mouths and shut
eyes must be real. Measured: px between the outer eye corners (OC), pitch, yaw, gap of the lips and of the lids and
misfit of the skull.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from figures import PICTURES, VIDEOS, Figure, exact_frames, files, report

from contracts import ModaError
from encoders.face import CHIN, INNER_LIPS, LIDS, MIN_SIZE, encode_face
from encoders.image import load_image

if TYPE_CHECKING:
    from contracts import Array

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
    refused: bool
    note: str = ""  # what was measured

    @property
    def gates(self) -> list[str]:
        return [gate for gate, words in GATES.items() if any(words in message for message in self.messages)]


def judge(name: str, picture: Array) -> Verdict:
    """``picture``: uint8 [H, W, 3] RGB."""
    try:
        face = encode_face(picture)
    except ModaError as error:
        return Verdict(name, (str(error),), True)
    y = face.vertices[:, 1]
    lids = min(y[upper] - y[lower] for upper, lower in LIDS)
    note = f"{face.fit_scale:4.0f} px, pitch {face.pose[0]:+3.0f}, yaw {face.pose[1]:+3.0f}, lips "
    note += f"{y[INNER_LIPS[0]] - y[INNER_LIPS[1]]:.2f}, lids {lids:.3f}, misfit {face.skull_rms:.3f}"
    return Verdict(name, face.warnings, False, note)


def derived(name: str, picture: Array) -> Iterator[tuple[str, Array]]:
    """The picture shrunk, cut and doubled, each so that one gate has to answer."""
    face = encode_face(picture)
    chin, size = float(face.landmarks[CHIN, 1]), face.fit_scale
    factor = 0.9 * MIN_SIZE / size
    yield f"{name}, shrunk", cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    yield f"{name}, cut at the chin", picture[: round(chin - 0.05 * size)]
    yield f"{name}, twice", np.hstack([picture, picture[:, ::-1]])
    rows = round(chin + 0.08 * size)  # a border of 2 % of the shorter side would refuse it: keep that narrow
    width = round(2.2 * size)
    left = max(round(float(face.landmarks[CHIN, 0])) - width // 2, 0)
    yield f"{name}, cut below the chin", picture[:rows, left : left + width]


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
    spotless: tuple[str, Array] | None = None
    paths = files(arguments.portraits, PICTURES | VIDEOS)
    for name, picture in pictures(paths, arguments.every):
        verdict = judge(name, picture)
        for gate in verdict.gates:
            hits[gate].append(name)
        if not (verdict.messages or spotless):
            spotless = name, picture
        _tell(verdict)
    if spotless is not None:
        for name, picture in derived(*spotless):
            verdict = judge(name, picture)
            for gate in verdict.gates:
                hits[gate].append(name)
            _tell(verdict)
    report(Figure(gate, len(names), 1, note=", ".join(names[:3])) for gate, names in hits.items())


def _tell(verdict: Verdict) -> None:
    said = "; ".join(verdict.messages)
    print(f"{verdict.name:<32}{'refused: ' if verdict.refused else ''}{said or 'fine'}")
    if verdict.note:
        print(f"{'':<32}{verdict.note}", flush=True)


if __name__ == "__main__":
    main()
