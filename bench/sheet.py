"""Contact sheets of the renderer: every portrait with eight motions, to judge by eye.

    python bench/sheet.py OUT PORTRAIT... [--size 512]

PORTRAIT are pictures, videos (their first frame) or folders of both. OUT gets sheet_1.png, sheet_2.png, ..., a row per
portrait: an open and a rounded mouth, happiness, surprise, a blink, a glance, the head turned and lifted, the head
tilted and lowered. A portrait that is refused says why.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from figures import PICTURES, VIDEOS, draw, exact_frames, files, prepare, still
from gallery import TILE, Row
from gallery import draw as draw_rows

from contracts import EMOTIONS, MIRRORED_VERTICES, ModaError
from encoders.face.portrait import encode_face
from moda.motion.layout import channel
from moda.motion.templates import EMOTION_TEMPLATES

if TYPE_CHECKING:
    from contracts import Array

# fmt: off
#: Vertex -> x y z in 1/1000 OC; of pairs the one on the left of the picture, mirrored below.
SHAPES = {
    "ah": {61: (20, -86, -54), 14: (0, -236, -81), 17: (0, -246, -119), 40: (-10, -32, -29), 152: (0, -167, -133),
           205: (6, -20, -15)},
    "oo": {61: (73, -26, -14), 13: (0, 22, 4), 14: (0, -66, -12), 0: (0, 28, 6), 17: (0, -92, -34), 40: (27, -2, 6),
           152: (0, -38, -42), 205: (11, -2, -1)},
    "blink": {159: (0, -130, 10), 145: (0, -2, 0)},
    "glance": {468: (55, 18, 0), 159: (0, 10, 0)},
}
# fmt: on
LEFT = dict(MIRRORED_VERTICES)
MOTIONS = ("ah", "oo", "happiness", "surprise", "blink", "glance", "turn", "tilt")
POSES = {"turn": (-6, 12, 0), "tilt": (8, -4, 8)}  # degrees of pitch, yaw, roll


def motions() -> Array:
    """The eight MOTIONS, float32 [8, 70]."""
    rows = still(len(MOTIONS))
    for row, name in zip(rows, MOTIONS, strict=True):
        for vertex, xyz in SHAPES.get(name, {}).items():
            row[channel(vertex, "x") :][:3] = np.array(xyz) / 1000
            if vertex in LEFT:
                mirrored = xyz if vertex == 468 else (-xyz[0], *xyz[1:])  # both eyes look the same way
                row[channel(LEFT[vertex], "x") :][:3] = np.array(mirrored) / 1000
        row[67:] += POSES.get(name, (0, 0, 0))
        if name in EMOTIONS:
            row += EMOTION_TEMPLATES[EMOTIONS.index(name)]
    return rows


def show(path: Path, size: int) -> Row:
    try:
        source = next(iter(exact_frames(path, 1, most=1).values())) if path.suffix.lower() in VIDEOS else path
        face = encode_face(source)
        frames = [
            cv2.resize(f, (TILE, TILE), interpolation=cv2.INTER_AREA) for f in draw(prepare(face, size), motions())
        ]
        row = Row(path.name, frames, "; ".join(face.warnings))
    except ModaError as error:
        row = Row(path.name, [], f"refused: {error}")
    print(f"{path.name}: {row.note or 'drawn'}", flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("portraits", type=Path, nargs="+")
    parser.add_argument("--size", type=int, default=512)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    paths = files(arguments.portraits, PICTURES | VIDEOS)
    draw_rows((show(path, arguments.size) for path in paths), arguments.out / "sheet")


if __name__ == "__main__":
    main()
