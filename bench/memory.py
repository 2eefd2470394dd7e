"""Does memory stay what it is, however long the speech? A minute of sound against an hour; 10,000 frames of video; and
with the published networks at their full size ten minutes of speech against half a minute.

    python bench/memory.py [--frames 10000] [--portrait P] [--only sound | video | published]

Peak resident memory of this process: of listening, then of drawing and encoding, after the first and after all frames.

The published networks have a process to themselves for each length. Audio encoder and motion generator are of full
size, the latter in one step with guidance; what draws the frames has narrow layers, as 15,000 frames of the full size
would take a day. How much that needs, and that a tenth frame needs no more than a second, is measured apart.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from contracts import FPS, SAMPLE_RATE, EmotionTimeline, Motion
from encoders.audio.wav2vec import AudioEncoder
from encoders.face.portrait import encode_face
from moda.flow.guidance import Guidance
from moda.motion.saved import save_motion
from moda.network.shapes import random_state
from moda.render import Framing
from moda.render.liveportrait import LivePortraitRenderer
from moda.render.liveportrait.checkpoint import load_published
from moda.render.liveportrait.shapes import Widths, published_shapes
from pipelines import render_motion
from pipelines.perform import perform
from pipelines.render import Film
from pipelines.weights.models import load_liveportrait, load_models

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
FIRST = 500  # frames: all that is made once is made by then, the queue of the encoder full
SHORT, LONG = 30, 600  # s
FEW, MORE = 2, 10  # frames
NARROW = Widths(
    appearance=(4, 4, 4, 4, 6), channels=2, depth=4, residuals=1, stages=((4, 1), (4, 1), (4, 1), (4, 1)), compressed=1,
    hourglass=(2, 4, 6), features=8, hidden=6, generator=(12, 8, 4),
)  # fmt: skip


def peak() -> float:
    """Peak resident memory of this process so far, MB (ru_maxrss counts kB, on macOS bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def listen() -> None:
    listener = AudioEncoder.embedded()
    chance = np.random.default_rng(0)
    minute = 0.0
    for name, seconds in (("a minute", 60), ("an hour", 3600)):
        sound = chance.standard_normal(seconds * SAMPLE_RATE, dtype=np.float32)
        start = time.perf_counter()
        frames = sum(len(features) for features in listener.stream(sound))
        took, used = time.perf_counter() - start, peak() - sound.nbytes / 1e6
        minute = minute or used
        print(f"{name:<9}{frames:>7} frames {took:6.1f} s, {seconds / took:.0f} x real time;", end=" ")
        print(f"peak {used:.0f} MB beside the sound, {used / minute:.2f} x that of a minute")


def wander(frames: int) -> np.ndarray:
    """Motion [frames, 70] that moves mouth, lids, gaze and head and never repeats."""
    t = np.arange(frames)[:, None]
    channels = np.arange(70)
    motion = 0.04 * np.sin(t * (0.3 + 0.37 * np.sqrt(1 + channels)) + channels)
    motion[:, 63] = 1
    motion[:, 67:] *= 100  # 4 degrees
    return motion.astype(np.float32)


def draw(portrait: Path, frames: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "motion.npz"
        save_motion(saved, Motion(wander(frames)))
        start, first = time.perf_counter(), 0.0
        for step in render_motion(portrait, saved, Path(folder) / "out.mp4"):
            if step.stage == "video" and step.done == min(FIRST, frames):
                first = peak()
        took = time.perf_counter() - start
    print(f"video    {frames:>7} frames {took:6.1f} s, {frames / took:.0f} a second;", end=" ")
    print(f"peak {peak():.0f} MB, {peak() / first:.2f} x that of the first {min(FIRST, frames)}")


def speak(portrait: Path, seconds: int) -> tuple[float, float]:
    """Peak, MB, with the models loaded, and when ``seconds`` of noise have become a video."""
    models = load_models("random-base", torch.device("cpu"))
    loaded = peak()
    chance = torch.Generator().manual_seed(0)
    states = {network: random_state(shapes, chance) for network, shapes in published_shapes(NARROW).items()}
    face = encode_face(portrait)
    identity, start = models.likeness(face)
    sound = np.random.default_rng(0).standard_normal(seconds * SAMPLE_RATE, dtype=np.float32)
    config = replace(models.sampler, steps=1, guidance=Guidance(1.2, 1.2))
    chunks = perform(
        models.listener, models.generator, models.space, models.listener.stream(sound), identity, EmotionTimeline(),
        config, chance, start=start,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        film = Film(face, Path(folder) / "out.mp4", Framing("crop", 256))
        for _ in film.shoot(LivePortraitRenderer(load_published(states)), chunks, seconds * FPS, models.space.name):
            pass
    return loaded, peak()


def paint(portrait: Path) -> tuple[float, float]:
    """Peak, MB, after a few frames of the full size, and after more."""
    renderer = load_liveportrait("random", torch.device("cpu"))
    prepared = renderer.prepare(encode_face(portrait), 512)
    few = 0.0
    for done, _ in enumerate(renderer.render(prepared, prepared.source.rows.expand(MORE, -1).numpy()), 1):
        if done == FEW:
            few = peak()
    return few, peak()


def apart(work: Callable[..., tuple[float, float]], *arguments: object) -> tuple[float, float]:
    """What ``work`` returns, in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(work, *arguments).result()


def published(portrait: Path) -> None:
    short = 0.0
    for seconds in (SHORT, LONG):
        start = time.perf_counter()
        loaded, used = apart(speak, portrait, seconds)
        took, short = time.perf_counter() - start, short or used
        print(f"published {seconds:>6} s, {took:6.1f} s; peak {used:.0f} MB", end=" ")
        print(f"({loaded:.0f} once loaded), {used / short:.2f} x that of {SHORT} s")
    few, more = apart(paint, portrait)
    print(f"full-size frames: peak {more:.0f} MB after {MORE}, {more / few:.2f} x that of {FEW}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--portrait", type=Path, default=EXAMPLES / "portrait.jpg")
    parser.add_argument("--only", choices=("sound", "video", "published"))
    arguments = parser.parse_args()
    if arguments.only in (None, "video"):
        draw(arguments.portrait, arguments.frames)
    if arguments.only in (None, "sound"):
        listen()
    if arguments.only in (None, "published"):
        published(arguments.portrait)


if __name__ == "__main__":
    main()
