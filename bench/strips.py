"""Talking videos to be read frame by frame: every second frame's mouth, with the sound that is heard written under it.

    python bench/strips.py PORTRAIT VOICE... OUT [--seconds 6] [--start 0] [--phones]

VOICE is a recording, or NAME.npz of a motion set. OUT gets a picture per recording. Under each mouth: the encoder's
viseme, the recognised phone (``--phones``, English, needs `pip install -r requirements-train.txt`) and the probability
of silence in percent; under each row the opening of the lips in OC, commanded (black), as the encoder's articulation
track foretells it (grey), and of the real person where the set knows it (red). The line at the bottom is SHUT.
What looks wrong by rule is printed: lips open on p, b, m, lips open in silence, lips shut on an open vowel.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from contracts import FPS, SAMPLES_PER_FRAME
from encoders.audio.media import load_audio
from encoders.audio.teachers import PhoneReader
from encoders.audio.visemes import VISEME_INDEX, VISEMES
from encoders.face.landmarks.landmarker import FaceLandmarker
from encoders.face.portrait import encode_face
from encoders.identity import encode_identity
from pipelines import TalkingHead
from pipelines.evaluation.metrics import SHUT, lip_gap

if TYPE_CHECKING:
    from contracts import Array, SourceFace

TILE, TEXT, CURVE, COLUMNS = 96, 34, 60, 15  # px, px, px, frames
STEP = 2
TOP = 0.35  # OC at the upper edge of the curve
OPEN_VOWELS = {"a", "ɑ", "æ", "ʌ", "aʊ", "aɪ"}
MOUTH = (61, 291)  # its corners


@dataclass(frozen=True)
class Recording:
    name: str
    waveform: Array  # [640 T]
    gap: Array | None = None  # [T] of the real person

    @classmethod
    def read(cls, path: Path, start: float, seconds: float) -> Recording:
        first, last = round(start * FPS), round((start + seconds) * FPS)
        part = slice(first * SAMPLES_PER_FRAME, last * SAMPLES_PER_FRAME)
        if path.suffix != ".npz":
            return cls(path.stem, load_audio(path)[part])
        with np.load(path) as file:
            waveform, expression = file["audio"][part].astype(np.float32) / 32768, file["exp"][first:last]
        gap = (expression[:, 2, 1] - expression[:, 3, 1]).astype(np.float32)
        return cls(path.stem, waveform[: len(gap) * SAMPLES_PER_FRAME], gap)


@dataclass(frozen=True)
class Take:
    """What is drawn of a recording; everything [T]."""

    motion: Array  # [T, 70]
    visemes: list[str]
    phones: list[str]  # "" where nothing was recognised
    silence: Array
    foretold: Array | None  # gap of the articulation track in the units of its own spread


def take(head: TalkingHead, recording: Recording, identity: Array, reader: PhoneReader | None) -> Take:
    features = list(head.models().listener.stream(recording.waveform))
    posteriors = torch.cat([part.visemes for part in features if part.visemes is not None]).numpy()  # [T, 15]
    foretold = torch.cat([part.articulation[:, -1] for part in features if part.articulation is not None]).numpy()
    motion = np.concatenate(list(head.perform(features, identity)))
    phones = [""] * len(motion)
    for phone, begin, end in [] if reader is None else reader.segments(recording.waveform):
        first = round(begin * FPS)
        for k in range(first, min(max(round(end * FPS), first + 1), len(phones))):
            phones[k] = phone
    gap = lip_gap(motion)
    foretold = gap.mean() + (foretold - foretold.mean()) / max(float(foretold.std()), 1e-6) * gap.std()
    return Take(
        motion, [VISEMES[i] for i in posteriors.argmax(1)], phones, posteriors[:, VISEME_INDEX["sil"]], foretold
    )


def mouth_crops(
    head: TalkingHead, face: SourceFace, motion: Array, size: int = 384, tile: int = TILE, width: float = 2.2
) -> list[Array]:
    """The mouth in the frames of motion [T, 70], uint8 [tile, tile, 3]: one crop, that of the first frame, ``width``
    times as wide as the mouth."""
    prepared = head.models().renderer.prepare(face, size)
    frames = list(head.models().renderer.render(prepared, motion))
    with FaceLandmarker() as landmarker:
        found = next(faces[0] for faces in map(landmarker.detect, frames) if faces)
    right, left = found.points[list(MOUTH), :2]
    centre, side = (right + left) / 2, width * np.linalg.norm(left - right)
    box = tuple(round(float(v)) for v in (*(centre - side / 2), *(centre + side / 2)))
    return [np.asarray(Image.fromarray(frame).crop(box).resize((tile, tile))) for frame in frames]


def draw(recording: Recording, shown: Take, crops: list[Array], path: Path) -> None:
    height = TILE + TEXT + CURVE
    rows = -(-len(crops) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * TILE, rows * height), "white")
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), 13)  # knows IPA
    curves = [(recording.gap, "red"), (shown.foretold, "grey"), (lip_gap(shown.motion), "black")]
    for row in range(rows):
        x0, y0 = row * COLUMNS * STEP, row * height + TILE + TEXT  # first frame of the row, top of its curve
        pen.line([(0, y0 + _y(SHUT)), (sheet.width, y0 + _y(SHUT))], fill="lightblue")
        for i in range(COLUMNS):
            if (k := row * COLUMNS + i) >= len(crops):
                break
            frame = k * STEP
            sheet.paste(Image.fromarray(crops[k]), (i * TILE, row * height))
            text = f"{frame / FPS:.2f} {shown.visemes[frame]} {100 * shown.silence[frame]:.0f}\n{shown.phones[frame]}"
            pen.multiline_text((i * TILE + 2, row * height + TILE), text, fill="black", font=font)
        for track, colour in curves:
            if track is not None:
                values = track[x0 : x0 + COLUMNS * STEP + 1]
                pen.line([((j + 0.5) * TILE / STEP, y0 + _y(float(v))) for j, v in enumerate(values)], fill=colour)
    sheet.save(path)


def _y(gap: float) -> float:
    return float(np.clip(CURVE * (1 - gap / TOP), 0, CURVE - 2))


def faults(shown: Take) -> list[str]:
    """What a rule finds wrong, with its seconds."""
    gap = lip_gap(shown.motion)
    found = []
    heard = np.array([phone in ("p", "b", "m") for phone in shown.phones])
    bilabial = heard if any(shown.phones) else np.array([viseme == "PP" for viseme in shown.visemes])
    vowel = np.array([phone in OPEN_VOWELS for phone in shown.phones])
    for name, frames, wrong in (
        ("p b m, lips never shut", bilabial, lambda run: gap[run].min() > SHUT),
        ("silence, lips open", shown.silence > 0.7, lambda run: len(run) >= FPS // 2 and np.median(gap[run]) > SHUT),
        ("open vowel, lips shut", vowel, lambda run: gap[run].max() < SHUT),
    ):
        runs = [run for run in np.split(np.arange(len(gap)), np.flatnonzero(np.diff(frames)) + 1) if frames[run[0]]]
        seconds = [f"{run[0] / FPS:.2f}" for run in runs if wrong(run)]
        found.append(f"{name}: {len(seconds)} of {len(runs)}" + (f" at {' '.join(seconds)} s" if seconds else ""))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portrait", type=Path)
    parser.add_argument("voices", type=Path, nargs="+")
    parser.add_argument("out", type=Path)
    parser.add_argument("--start", type=float, default=0.0, help="second to begin at")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--phones", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    head, face = TalkingHead(), encode_face(arguments.portrait)
    identity = encode_identity(face)
    reader = PhoneReader() if arguments.phones else None
    for path in arguments.voices:
        recording = Recording.read(path, arguments.start, arguments.seconds)
        shown = take(head, recording, identity, reader)
        picture = arguments.out / f"{recording.name}.png"
        draw(recording, shown, mouth_crops(head, face, shown.motion[::STEP]), picture)
        gap = lip_gap(shown.motion)
        words = [f"gap median {np.median(gap):.3f}, p95 {np.quantile(gap, 0.95):.3f}, shut {np.mean(gap < SHUT):.0%}"]
        if recording.gap is not None:
            n = min(len(gap), len(recording.gap))
            words.append(f"r with the person {np.corrcoef(gap[:n], recording.gap[:n])[0, 1]:.2f}")
        print(f"{picture}: {'; '.join([*words, *faults(shown)])}", flush=True)


if __name__ == "__main__":
    main()
