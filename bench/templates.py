"""Does each emotion template do to a silent face what its name says? Drawn, and seen by MediaPipe's blendshapes.

    python bench/templates.py PORTRAIT... [--count 10] [--size 512] [--out templates.png]

The channels that should rise are those by which the emotion is read and that MediaPipe's model fires at all (cheekPuff,
noseSneer and mouthFrown do not); the mean of left and right, but contempt by the difference of the corners. A portrait
counts where the channel rises by more than MOVED over its own rest. OUT gets a row of frames per portrait.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from figures import Figure, contact_sheet, draw, faces, prepare, report, still

from contracts import BLENDSHAPES, EMOTIONS
from encoders.face.landmarks.landmarker import FaceLandmarker
from moda.motion.templates import EMOTION_TEMPLATES

if TYPE_CHECKING:
    from contracts import Array

SHOWN = tuple(emotion for emotion in EMOTIONS if emotion not in ("neutral", "none"))
#: Emotion -> channels; that by which it is told from the others comes first.
SIGNS = {
    "anger": ("browDown", "eyeSquint"),
    "contempt": ("one-sided smile",),
    "disgust": ("mouthUpperUp", "browDown", "eyeSquint"),
    "fear": ("browInnerUp", "eyeWide", "mouthStretch"),
    "happiness": ("mouthSmile", "eyeSquint"),
    "sadness": ("browInnerUp", "mouthShrugLower"),
    "surprise": ("jawOpen", "browInnerUp", "browOuterUp", "eyeWide"),
}
MOVED = 0.02
SHARE = 0.8  # of the portraits


def sign(blendshapes: Array, name: str) -> float:
    """The mean of a blendshape's sides, or of the smile the difference between them, left (image right) less right."""
    shapes = dict(zip(BLENDSHAPES, blendshapes.tolist(), strict=True))
    if name == "one-sided smile":
        return shapes["mouthSmileLeft"] - shapes["mouthSmileRight"]
    return float(np.mean([value for shape, value in shapes.items() if shape in (name, f"{name}Left", f"{name}Right")]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portraits", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    motion = np.concatenate([still(), still() + EMOTION_TEMPLATES[[EMOTIONS.index(name) for name in SHOWN]]])
    rows: dict[str, list[Array]] = {}
    changes: dict[tuple[str, str], list[float]] = {(name, s): [] for name, signs in SIGNS.items() for s in signs}
    with FaceLandmarker() as landmarker:
        for portrait, face in faces(arguments.portraits, arguments.count, spotless=True).items():
            rows[portrait] = list(draw(prepare(face, arguments.size), motion))
            rest, *looks = ([f.blendshapes for f in landmarker.detect(frame)[:1]] for frame in rows[portrait])
            for emotion, look in zip(SHOWN, looks, strict=True):
                for name in SIGNS[emotion]:
                    found = sign(look[0], name) - sign(rest[0], name) if look and rest else np.nan
                    changes[emotion, name].append(found)
            words = (f"{emotion} {changes[emotion, SIGNS[emotion][0]][-1]:+.2f}" for emotion in SHOWN)
            print(f"{portrait:<24}{', '.join(words)}", flush=True)
    if arguments.out:
        contact_sheet(rows, ["rest", *SHOWN], arguments.out)
    figures = []
    for (emotion, name), values in changes.items():
        label = f"{emotion}: {name}" + ("" if name == SIGNS[emotion][0] else ", too")
        count = sum(value > MOVED for value in values)
        figures.append(Figure(label, count, np.ceil(SHARE * len(values)), note=f"mean {np.nanmean(values):+.2f}"))
    report(figures)


if __name__ == "__main__":
    main()
