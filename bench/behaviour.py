"""How the sampler behaves over time: joins of windows, drift, seeds, pauses and knobs, with the shipped weights.

    python bench/behaviour.py [VOICE ...] [--minutes 10] [--seed 0]

Recordings (by default those in examples/) are joined, again and again, into as many minutes of speech as asked for.

joins   Speed and acceleration of the first frames after each window border, against the 95th percentile of all frames
        that are not at one; by lips, brows, lids and head. A visible seam would stand out here.
drift   Mean pose of every minute, against the first minute's mean and standard deviation.
seeds   A minute again, same seed and others: correlation of the lip gap and of the head's angles.
silence Four seconds of a quiet room between two stretches of speech: lips and head.
knobs   What each knob leaves of what it names at 0, .5, 1.5 and 2.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from contracts import FPS, SAMPLE_RATE, EmotionTimeline
from encoders.audio.media import load_audio
from encoders.audio.wav2vec import AudioEncoder
from moda.flow.sampler import SamplerConfig
from moda.motion.knobs import Knobs
from moda.motion.layout import LIDS, LIPS, ROTATION, lip_gap
from moda.network.checkpoint import EMBEDDED, load_checkpoint
from pipelines.evaluation.metrics import blinks
from pipelines.perform import perform

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PARTS = {"lips": LIPS, "brows": slice(51, 63), "lids": LIDS, "head": ROTATION}
MINUTE = 60 * FPS
AFTER = 2  # frames from a border on that count as being at it


class Stage:
    """The shipped models and a joined recording."""

    def __init__(self, voices: Sequence[Path], minutes: float) -> None:
        self.listener, (self.model, self.space) = AudioEncoder.embedded(), load_checkpoint(EMBEDDED)
        joined = np.concatenate([load_audio(voice) for voice in voices])
        samples = round(minutes * 60 * SAMPLE_RATE)
        self.sound = np.tile(joined, -(-samples // len(joined)))[:samples]

    def perform(self, seed: int, seconds: float | None = None, knobs: Knobs | None = None) -> np.ndarray:
        """Motion [T, 70]."""
        sound = self.sound if seconds is None else self.sound[: round(seconds * SAMPLE_RATE)]
        return self.perform_sound(sound, seed, knobs)

    def perform_sound(self, sound: np.ndarray, seed: int, knobs: Knobs | None = None) -> np.ndarray:
        chance = torch.Generator().manual_seed(seed)
        identity = np.zeros(63, np.float32)
        chunks = perform(
            self.listener, self.model, self.space, self.listener.stream(sound), identity, EmotionTimeline(),
            SamplerConfig(), chance, knobs,
        )  # fmt: skip
        return np.concatenate(list(chunks))


def joins(motion: np.ndarray, window: int, overlap: int) -> dict[str, tuple[float, float]]:
    """By part, of speed and of acceleration: the mean at the joins over the 95th percentile elsewhere.

    A window's own frames begin ``overlap`` after its start, at overlap + i * stride for i = 1, 2, ...
    """
    stride = window - overlap
    firsts = np.arange(window, len(motion), stride)
    found = {}
    for name, part in PARTS.items():
        ratios = []
        for order in (1, 2):
            rate = np.linalg.norm(np.diff(motion[:, part], n=order, axis=0), axis=1)  # [T - order], of frame t + order
            border = np.zeros(len(motion), bool)
            for offset in range(AFTER):
                border[np.minimum(firsts + offset, len(motion) - 1)] = True
            at = border[order:]
            ratios.append(float(rate[at].mean() / np.quantile(rate[~at], 0.95)))
        found[name] = (ratios[0], ratios[1])
    return found


def drift(motion: np.ndarray) -> np.ndarray:
    """Mean angles of each minute less the first's, in standard deviations of the first minute: [minutes, 3]."""
    pose = motion[:, ROTATION]
    minutes = [pose[i : i + MINUTE] for i in range(0, len(pose) - MINUTE // 2, MINUTE)]
    return np.stack([(minute.mean(0) - minutes[0].mean(0)) / minutes[0].std(0) for minute in minutes])


def alike(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Correlation of the lip gap, and mean correlation of the head's angles."""
    head = [np.corrcoef(one[:, i], other[:, i])[0, 1] for i in range(ROTATION.start, ROTATION.stop)]
    return float(np.corrcoef(lip_gap(one), lip_gap(other))[0, 1]), float(np.mean(head))


def measure(motion: np.ndarray) -> dict[str, float]:
    """What the knobs name, in one number each."""
    return {
        "head_motion": float(motion[:, ROTATION].std(0).mean()),
        "blink_rate": float(blinks(motion)),
        "mouth": float(lip_gap(motion).std()),
        "expression": float(motion[:, PARTS["brows"]].std(0).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("voices", type=Path, nargs="*", default=sorted(EXAMPLES.glob("voice_*.wav")))
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    stage = Stage(arguments.voices, arguments.minutes)
    motion = stage.perform(arguments.seed)
    print(f"{len(arguments.voices)} recordings, joined to {len(motion) / MINUTE:.1f} minutes\n")

    print("joins: mean at the border over the 95th percentile elsewhere (at most 1)")
    for name, (speed, acceleration) in joins(motion, stage.model.config.window, SamplerConfig.overlap).items():
        print(f"  {name:<8} speed {speed:.2f}   acceleration {acceleration:.2f}")

    print("\ndrift: mean of each minute less the first's, in its standard deviations (at most 1)")
    for minute, offsets in enumerate(drift(motion), 1):
        print(f"  minute {minute:<3} pitch {offsets[0]:+.2f}   yaw {offsets[1]:+.2f}   roll {offsets[2]:+.2f}")

    first = stage.perform(arguments.seed, 60)
    print("\nseeds: a minute against the same seed and others")
    for seed in (arguments.seed, arguments.seed + 1, arguments.seed + 2):
        lips, head = alike(first, stage.perform(seed, 60))
        print(f"  seed {seed:<4} gap r {lips:.3f}   head r {head:+.3f}")

    room = 1e-3 * np.random.default_rng(0).standard_normal(4 * SAMPLE_RATE)
    talk = stage.sound[: 4 * SAMPLE_RATE]
    quiet = stage.perform_sound(np.concatenate([talk, room.astype(np.float32), talk]), arguments.seed)
    inside = slice(4 * FPS + 12, 8 * FPS - 8)
    speed = np.abs(np.diff(quiet[:, ROTATION], axis=0)).mean(1) * FPS
    print("\nsilence: four seconds in the middle of speech")
    print(f"  gap {lip_gap(quiet)[inside].mean():.3f} OC ({lip_gap(quiet)[: 4 * FPS].mean():.3f} in speech)", end="")
    print(f"   head {speed[inside].mean():.1f} deg/s ({speed[: 4 * FPS].mean():.1f} in speech)")

    print("\nknobs: what is left of what each names")
    whole = measure(first)
    for knob in fields(Knobs):
        row = []
        for value in (0.0, 0.5, 1.5, 2.0):
            chance = np.random.default_rng(arguments.seed)
            turned = np.concatenate(list(Knobs(**{knob.name: value}).turn([first], chance)))
            row.append(f"{value:g}: {measure(turned)[knob.name] / max(whole[knob.name], 1e-9):.2f}")
        print(f"  {knob.name:<12} " + "   ".join(row))


if __name__ == "__main__":
    main()
