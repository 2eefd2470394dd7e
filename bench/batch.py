"""A batch against videos made one by one: what workers, kept models and shared portraits and voices save.

    python bench/batch.py [--jobs 24] [--frames 12] [--size 256] [--seconds 5]

First the throughput of short jobs, two portraits and three voices of so many frames each, with one worker and with two:
seconds from `moda batch` to its end, and of that what is not start-up. Then one portrait and one voice of so many
seconds under eight emotions: what an emotion more costs, against the same video alone as `moda talk` makes it. No
video is signed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from contracts import EMOTIONS, SAMPLE_RATE, SAMPLES_PER_FRAME
from encoders.audio.media import load_audio
from pipelines.batch.manifest import Plan, read_manifest
from pipelines.batch.run import run_batch
from pipelines.crews.crews import Processes

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def write_wav(path: Path, samples: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def inputs(folder: Path, frames: int, seconds: float) -> None:
    picture = Image.open(EXAMPLES / "portrait.jpg")
    picture.save(folder / "a.png")
    ImageOps.mirror(picture).save(folder / "b.png")
    speech = load_audio(EXAMPLES / "voice_en.wav")
    for number in range(3):
        write_wav(folder / f"{number}.wav", speech[SAMPLE_RATE * number :][: frames * SAMPLES_PER_FRAME])
    write_wav(folder / "long.wav", speech[: round(seconds * SAMPLE_RATE)])


def plan_of(folder: Path, rows: list[str], size: int) -> Plan:
    (folder / "jobs.csv").write_text("\n".join(["portrait,audio,emotion,seed", *rows]) + "\n")
    return read_manifest(folder / "jobs.csv", {"size": size, "provenance": False})


def timed(plan: Plan, out: Path, workers: int) -> tuple[float, list[float]]:
    """Seconds from the start of a batch until each of its jobs ended, and those that the jobs themselves took."""
    start = time.perf_counter()
    ended, took = [], []
    for step in run_batch(plan, out, Processes(workers)):
        if step.entry:
            assert not step.entry.error, step.entry.error
            ended.append(time.perf_counter() - start)
            took.append(step.entry.seconds)
    return ended[-1], took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=24)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    jobs, frames, size = arguments.jobs, arguments.frames, arguments.size
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs(folder, frames, arguments.seconds)
        rows = [f"{'ab'[n % 2]}.png,{n // 2 % 3}.wav,{EMOTIONS[n % 8]},{n}" for n in range(jobs)]
        plan = plan_of(folder, rows, size)
        print(f"{os.cpu_count()} cores; {jobs} jobs of {frames} frames at {size} x {size}\n")
        print(f"{'workers':<10}{'seconds':>9}{'jobs a minute':>15}")
        whole = {}
        for workers in (1, 2):
            whole[workers], _ = timed(plan, folder / f"w{workers}", workers)
            print(f"{workers:<10}{whole[workers]:9.1f}{60 * jobs / whole[workers]:15.1f}")
        print(f"\ntwo workers are {whole[1] / whole[2]:.2f} x as fast as one, their start counted")

        plan = plan_of(folder, [f"a.png,long.wav,{emotion},0" for emotion in EMOTIONS[:8]], size)
        start = time.perf_counter()
        talk = [sys.executable, "-m", "pipelines.cli", "talk", folder / "a.png", folder / "long.wav", "-o"]
        options = ["--size", size, "--emotion", EMOTIONS[0], "--no-provenance"]
        subprocess.run(list(map(str, [*talk, folder / "alone.mp4", *options])), check=True, capture_output=True)
        alone = time.perf_counter() - start
        _, took = timed(plan, folder / "sweep", 1)
        more = float(np.median(took[1:]))
        print(f"\none portrait, one voice of {arguments.seconds:g} s, eight emotions at {size} x {size}\n")
        print(f"alone, as a command   {alone:7.2f} s")
        print(f"first of the batch    {took[0]:7.2f} s, the models loaded")
        print(f"an emotion more       {more:7.2f} s: {more / alone:.2f} of alone, {more / took[0]:.2f} of the first")


if __name__ == "__main__":
    main()
