"""Seconds of computing per second of video, stage by stage and end to end, on this machine.

    python bench/talk.py [--size 512] [--repeat 3] [--device auto]

Each stage runs alone on the bundled example, fed with what the stage before it made; `end to end` is `moda talk` as it
is used, with the encoder working beside the renderer. Medians; what a process loads once stands apart.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from contracts import FPS, Conditions
from encoders.emotion import parse_emotion
from encoders.face import encode_face
from encoders.identity import encode_identity
from encoders.media import load_audio
from moda.sampler import SamplerConfig, sample
from pipelines import TalkingHead, TalkOptions
from pipelines.video import open_video

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PORTRAIT, VOICE = EXAMPLES / "portrait.jpg", EXAMPLES / "voice_en.wav"

Result = TypeVar("Result")


def clock(stage: Callable[[], Result], repeat: int) -> tuple[Result, float]:
    """What the stage returns, and the median of its seconds."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        result = stage()
        times.append(time.perf_counter() - start)
    return result, statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    size, repeat = arguments.size, arguments.repeat

    head, loading = clock(lambda: TalkingHead(arguments.device), 1)
    encode_face(PORTRAIT)  # the first use of a library is not the stage's
    waveform = load_audio(VOICE)
    seconds = -(-len(waveform) // (16_000 // FPS)) / FPS

    face, t_face = clock(lambda: encode_face(PORTRAIT), repeat)
    prepared, t_prepare = clock(lambda: head.renderer.prepare(face, size), repeat)
    tokens, t_audio = clock(lambda: [head.listener.tokens(f) for f in head.listener.stream(load_audio(VOICE))], repeat)

    def motion() -> np.ndarray:
        identity = torch.from_numpy(encode_identity(face))
        conditions = Conditions(tokens, identity, parse_emotion("neutral", face.blendshapes))
        chance = torch.Generator().manual_seed(0)
        return torch.cat(list(sample(head.model, head.space, conditions, SamplerConfig(), chance))).numpy()

    performed, t_motion = clock(motion, repeat)
    frames, t_render = clock(lambda: list(head.renderer.render(prepared, performed)), repeat)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.mp4"

        def encode() -> None:
            with open_video(out, sound=VOICE) as video:
                for frame in frames:
                    video.write(frame)

        _, t_encode = clock(encode, repeat)
        _, t_whole = clock(lambda: head.make(PORTRAIT, VOICE, out, TalkOptions(size=size)), repeat)

    print(f"{platform.machine()}, {os.cpu_count()} cores, {head.device}, torch {torch.__version__}")
    print(f"{seconds:.2f} s of video at {size} x {size}; loading the models took {loading:.2f} s, once\n")
    print(f"{'stage':<24}{'seconds':>9}{'per second of video':>22}")
    rows = {
        "face, once": t_face, "mesh and matte, once": t_prepare, "audio": t_audio, "motion": t_motion,
        "render": t_render, "encode": t_encode, "end to end": t_whole,
    }  # fmt: skip
    for name, took in rows.items():
        print(f"{name:<24}{took:9.2f}{took / seconds:22.3f}")
    apart = sum(rows.values()) - t_whole
    print(f"\n{seconds / t_whole:.2f} x real time; {apart / t_whole:.2f} x as fast as the stages one after the other")


if __name__ == "__main__":
    main()
