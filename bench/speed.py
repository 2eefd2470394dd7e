"""Frames a second of the mesh renderer on one core, the encoding apart; and what a full frame costs besides.

    python bench/speed.py [PORTRAIT] [--frames 100] [--repeat 3]

The bundled portrait says the bundled words, so that mouth, eyes, lids and head move as they do in use. Processor time
counts, of all threads, and the process is held to one core where the system can do that; of the repeats the best, as
other work on the machine only ever adds. The full frame is a 1080p picture, with the head crop as large as it can be:
what it takes to lay the head into the frame to encode, over handing the encoder the head alone.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from figures import Figure, draw, prepare, report

from contracts import FPS, SAMPLES_PER_FRAME
from encoders.audio.media import load_audio
from encoders.face.portrait import encode_face
from encoders.identity import encode_identity
from moda.render.framing import Framing
from pipelines import TalkingHead
from pipelines.film.video import Canvas

if TYPE_CHECKING:
    from contracts import Array, SourceFace

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SIZES = (512, 1024)  # px
TARGETS = (60.0, 25.0)  # frames a second at these sizes
PASTE = 4.0  # ms at most
FULL_HD = (1080, 1920)  # height, width, px


def one_core() -> None:
    """Hold this process to one core."""
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def cost(work: Callable[[], Iterable[object]], repeat: int) -> float:
    """Seconds of processor time for each of what ``work`` yields, at best."""
    took = []
    for _ in range(repeat):
        start = time.process_time()
        count = sum(1 for _ in work())
        took.append((time.process_time() - start) / count)
    return min(took)


def speech(face: SourceFace, frames: int) -> Array:
    """Motion [frames, 70] of the bundled recording."""
    head = TalkingHead("cpu")
    waveform = load_audio(EXAMPLES / "voice_en.wav")[: frames * SAMPLES_PER_FRAME]
    return np.concatenate(list(head.perform(head.models().listener.stream(waveform), encode_identity(face))))


def full_hd(image: Array) -> Array:
    """``image`` on a grey picture of 1080p, as large as it can be."""
    height, width = FULL_HD
    scale = min(height / image.shape[0], width / image.shape[1])
    large = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)[:height, :width]
    picture = np.full((height, width, 3), 128, np.uint8)
    left = (width - large.shape[1]) // 2
    picture[: large.shape[0], left : left + large.shape[1]] = large
    return picture


def paste(face: SourceFace, motion: Array, repeat: int) -> tuple[float, str]:
    """ms by which a 1080p frame takes longer to hand to the encoder than the head alone, and a note."""
    scene = Framing("full").scene(encode_face(full_hd(face.image)))
    heads = list(draw(prepare(scene.face, scene.size), motion[:: FPS // 5]))
    assert scene.picture is not None
    whole, alone = Canvas(scene.picture, scene.corner, heads[0].shape[:2]), Canvas(heads[0], (0, 0), heads[0].shape[:2])
    into, by_itself = (cost(lambda canvas=canvas: map(canvas.lay, heads), repeat) for canvas in (whole, alone))
    shown = cost(lambda: map(scene.compose, heads), repeat)
    note = f"head of {scene.size} px: {1e3 * into:.2f} ms, alone {1e3 * by_itself:.2f}; as RGB {1e3 * shown:.2f}"
    return 1e3 * (into - by_itself), note


def measure(portrait: Path, frames: int, repeat: int) -> list[Figure]:
    face = encode_face(portrait)
    motion = speech(face, frames)
    figures = []
    for size, target in zip(SIZES, TARGETS, strict=True):
        prepared = prepare(face, size)
        seconds = cost(lambda prepared=prepared: draw(prepared, motion), repeat)
        note = f"{1e3 * seconds:.2f} ms a frame"
        figures.append(Figure(f"frames a second per core, {size} px", 1 / seconds, target, note=note))
    extra, note = paste(face, motion, repeat)
    return [*figures, Figure("full frame at 1080p, added ms", extra, PASTE, most=True, note=note)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portrait", type=Path, nargs="?", default=EXAMPLES / "portrait.jpg")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    one_core()
    report(measure(arguments.portrait, arguments.frames, arguments.repeat))


if __name__ == "__main__":
    main()
