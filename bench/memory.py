"""Peak memory and time of listening: a minute of sound against an hour.

python bench/memory.py
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np

from contracts import SAMPLE_RATE
from encoders.wav2vec import AudioEncoder


def peak() -> float:
    """Peak resident memory of this process so far, MB (ru_maxrss counts kB, on macOS bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def main() -> None:
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


if __name__ == "__main__":
    main()
