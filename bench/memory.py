"""Does memory stay what it is, however long the speech? A minute of sound against an hour; 10,000 frames of video.

    python bench/memory.py [--frames 10000] [--portrait P]

Peak resident memory of this process: of listening, then of drawing and encoding, after the first and after all frames.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from contracts import SAMPLE_RATE, Motion
from encoders.wav2vec import AudioEncoder
from moda.motion import save_motion
from pipelines import render_motion

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
FIRST = 500  # frames: all that is made once is made by then, the queue of the encoder full


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--portrait", type=Path, default=EXAMPLES / "portrait.jpg")
    parser.add_argument("--only", choices=("sound", "video"))
    arguments = parser.parse_args()
    if arguments.only != "sound":
        draw(arguments.portrait, arguments.frames)
    if arguments.only != "video":
        listen()


if __name__ == "__main__":
    main()
