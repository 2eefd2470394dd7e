"""Six moments of a voice on every portrait, to judge lips by eye: does the mouth rest, open, round and shut?

    python bench/moments.py OUT VOICE PORTRAIT... [--beside FOLDER] [--size 768]

The moments are found in the sound: the first frame, the middle of the longest pause, the loudest open vowel, the surest
rounded vowel, the surest bilabial, the last frame. OUT gets moments_1.png, ..., a row per portrait; with ``--beside`` a
second row under each, of the encoder.safetensors and motion.safetensors in a folder. Under OUT's pictures the gap of
the lips at each moment is printed, in OC.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from figures import PICTURES, files
from gallery import TILE, Row
from gallery import draw as draw_rows
from strips import mouth_crops

from contracts import ModaError
from encoders.audio.media import load_audio
from encoders.audio.prosody import levels, speech_frames
from encoders.audio.visemes import VISEME_INDEX
from encoders.face.portrait import encode_face
from encoders.identity import encode_identity
from moda.motion.layout import lip_gap
from pipelines import TalkingHead

if TYPE_CHECKING:
    from contracts import Array, SourceFace

MOMENTS = ("first", "pause", "open vowel", "rounded", "bilabial", "last")
WIDTH = 3.2  # of a picture, in widths of the mouth
SETTLED = 3  # frames about a bilabial in which the lips may meet


def moments(waveform: Array, visemes: Array) -> dict[str, int]:
    """Frame of each of MOMENTS; waveform [640 T], visemes [T, 15] posteriors. A voice without a pause has none."""
    speech, loud = speech_frames(waveform), levels(waveform)

    def surest(*names: str) -> int:
        return int((visemes[:, [VISEME_INDEX[name] for name in names]].sum(1) * loud * speech).argmax())

    found = {"first": 0, "open vowel": surest("aa"), "rounded": surest("U", "O"), "last": len(visemes) - 1}
    found["bilabial"] = int((visemes[:, VISEME_INDEX["PP"]] * speech).argmax())
    edges = np.flatnonzero(np.diff(np.pad(~speech, 1).astype(int)))
    inner = [(end - begin, begin) for begin, end in edges.reshape(-1, 2) if begin > 0 and end < len(speech)]
    if inner:
        length, begin = max(inner)
        found["pause"] = int(begin + length // 2)
    return {name: found[name] for name in MOMENTS if name in found}


def act(
    head: TalkingHead, waveform: Array, face: SourceFace, at: dict[str, int], size: int
) -> tuple[list[Array], Array]:
    """Pictures uint8 [TILE, TILE, 3] of the moments, and the gap of the lips there, OC."""
    features = list(head.models().listener.stream(waveform))
    motion = np.concatenate(list(head.perform(features, encode_identity(face))))
    gap, frames = lip_gap(motion), dict(at)
    about = range(max(0, at["bilabial"] - SETTLED), min(len(gap), at["bilabial"] + SETTLED + 1))
    frames["bilabial"] = min(about, key=lambda frame: gap[frame])
    chosen = list(frames.values())
    return mouth_crops(head, face, motion[chosen], size, TILE, WIDTH), gap[chosen]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("voice", type=Path)
    parser.add_argument("portraits", type=Path, nargs="+")
    parser.add_argument("--beside", type=Path)
    parser.add_argument("--size", type=int, default=768)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    heads = {"": TalkingHead()}
    if arguments.beside is not None:
        heads[arguments.beside.name] = TalkingHead(weights=str(arguments.beside))
    waveform = load_audio(arguments.voice)
    features = list(heads[""].models().listener.stream(waveform))
    visemes = torch.cat([part.visemes for part in features if part.visemes is not None]).numpy()
    waveform = np.pad(waveform, (0, 640 * len(visemes) - len(waveform)))
    at = moments(waveform, visemes)
    rows = []
    for path in files(arguments.portraits, PICTURES):
        try:
            face = encode_face(path)
        except ModaError as error:
            print(f"{path.name}: {error}", flush=True)
            continue
        for name, head in heads.items():
            pictures, gaps = act(head, waveform, face, at, arguments.size)
            told = ", ".join(f"{moment} {gap:.3f}" for moment, gap in zip(at, gaps, strict=True))
            print(f"{path.stem} {name}: {told}", flush=True)
            rows.append(Row(f"{path.stem} {name}".strip(), pictures, told))
    draw_rows(rows, arguments.out / "moments")


if __name__ == "__main__":
    main()
