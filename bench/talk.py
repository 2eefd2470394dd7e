"""Seconds of computing per second of video, stage by stage and end to end, on this machine; the two networks alone.

    python bench/talk.py [--size 512] [--repeat 3] [--device auto]

Each stage runs alone on the bundled example, fed with what the stage before it made; `end to end` is `moda talk` as it
is used, with the encoder working beside the renderer. Medians; what a process loads once stands apart.

The networks are then timed on half a minute of speech, the motion generator also naively: euler in 10 steps, every
branch of the guidance a call of its own, and the conditions embedded anew in each. The sampler of the house takes 5
steps of ab2, one call a step, and embeds once a window. Of ``--repeat`` runs the best counts; they take turns, so that
what else the machine does falls on all.
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
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from contracts import FPS, SAMPLE_RATE, Conditions, EmotionTimeline
from encoders.audio.media import load_audio
from encoders.emotion import parse_emotion
from encoders.face.portrait import encode_face
from encoders.identity import encode_identity
from moda.flow.guidance import Guidance, GuidedVelocity
from moda.flow.sampler import SamplerConfig, sample
from moda.motion.timeline import EmotionMix
from moda.network.model import NULL_EMOTION, MMDiT
from moda.render import Framing, MeshRenderer
from pipelines import TalkingHead, TalkOptions
from pipelines.film.provenance import Claim, sign
from pipelines.film.video import open_video
from pipelines.render import Film
from pipelines.weights.models import Models

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PORTRAIT, VOICE = EXAMPLES / "portrait.jpg", EXAMPLES / "voice_en.wav"

HALF_A_MINUTE = 30 * SAMPLE_RATE

Result = TypeVar("Result")


def clock(stage: Callable[[], Result], repeat: int) -> tuple[Result, float]:
    """What the stage returns, and the median of its seconds."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        result = stage()
        times.append(time.perf_counter() - start)
    return result, statistics.median(times)


class NaiveVelocity:
    """moda.flow.guidance.GuidedVelocity without its economies; the same numbers."""

    def __init__(
        self, model: MMDiT, guidance: Guidance, audio: Tensor, identity: Tensor, context: Tensor, mix: EmotionMix
    ) -> None:
        self.model, self.guidance, self.mix = model, guidance, mix
        self.audio, self.identity, self.context = audio, identity, context

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        full, *others = self.guidance.weights(sigma)
        null = F.one_hot(torch.tensor([NULL_EMOTION]), self.model.config.emotions).to(x)
        rows = zip(self.mix.emotions.to(x), self.mix.weights.to(x), strict=True)
        v = torch.stack([full * weight[:, None] * self._branch(x, sigma, row[None]) for row, weight in rows]).sum(0)
        for weight, silent in zip(others, (False, True), strict=True):
            if weight:
                v = v + weight * self._branch(x, sigma, null, silent)
        return v

    def _branch(self, x: Tensor, sigma: float, emotion: Tensor, silent: bool = False) -> Tensor:
        level, dropped = torch.tensor([sigma], device=x.device), torch.tensor([silent], device=x.device)
        return self.model(x, level, self.context, self.audio, emotion, self.identity, dropped)


def networks(models: Models, waveform: np.ndarray, repeat: int) -> dict[str, float]:
    """Seconds that the audio encoder and the motion generator, economical and naive, take for a recording."""
    conditions = Conditions(
        [models.listener.tokens(features) for features in models.listener.stream(waveform)],
        torch.zeros(63), EmotionTimeline(),
    )  # fmt: skip

    def motion(config: SamplerConfig, velocity: type = GuidedVelocity) -> Tensor:
        with patch("moda.flow.sampler.GuidedVelocity", velocity):
            chance = torch.Generator().manual_seed(0)
            return torch.cat(list(sample(models.generator, models.space, conditions, config, chance)))

    difference = (motion(SamplerConfig()) - motion(SamplerConfig(), NaiveVelocity)).abs().max()
    assert difference < 1e-2, f"the baseline is of another model: {difference}"  # degrees, OC
    stages: dict[str, Callable[[], object]] = {
        "audio encoder": lambda: list(models.listener.stream(waveform)),
        "motion generator": lambda: motion(SamplerConfig()),
        "motion, naive": lambda: motion(SamplerConfig(steps=10, solver="euler"), NaiveVelocity),
    }
    times: dict[str, list[float]] = {name: [] for name in stages}
    for _ in range(repeat):
        for name, stage in stages.items():
            times[name].append(clock(stage, 1)[1])
    return {name: min(took) for name, took in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    size, repeat = arguments.size, arguments.repeat

    head, loading = clock(lambda: TalkingHead(arguments.device), 1)
    models, renderer = head.models(), MeshRenderer()
    encode_face(PORTRAIT)  # the first use of a library is not the stage's
    waveform = load_audio(VOICE)
    seconds = -(-len(waveform) // (16_000 // FPS)) / FPS

    face, t_face = clock(lambda: encode_face(PORTRAIT), repeat)
    prepared, t_prepare = clock(lambda: renderer.prepare(face, size), repeat)
    tokens, t_audio = clock(
        lambda: [models.listener.tokens(f) for f in models.listener.stream(load_audio(VOICE))], repeat
    )

    def motion() -> np.ndarray:
        identity = torch.from_numpy(encode_identity(face))
        conditions = Conditions(tokens, identity, parse_emotion("neutral", face.blendshapes))
        chance = torch.Generator().manual_seed(0)
        return torch.cat(list(sample(models.generator, models.space, conditions, SamplerConfig(), chance))).numpy()

    performed, t_motion = clock(motion, repeat)
    frames, t_render = clock(lambda: list(renderer.render(prepared, performed)), repeat)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.mp4"

        def encode() -> None:
            with open_video(out, sound=VOICE) as video:
                for frame in frames:
                    video.write(frame)

        _, t_encode = clock(encode, repeat)
        _, t_sign = clock(lambda: sign(out, Claim("talk", {})), repeat)
        film = Film(face, out, Framing(size=size), sound=VOICE)

        def shoot() -> None:
            for _ in film.shoot(renderer, [performed], len(performed), "mesh"):
                pass

        _, t_film = clock(shoot, repeat)
        _, t_whole = clock(lambda: head.make(PORTRAIT, VOICE, out, TalkOptions(size=size)), repeat)

    print(f"{platform.machine()}, {os.cpu_count()} cores, {head.device}, torch {torch.__version__}")
    print(f"{seconds:.2f} s of video at {size} x {size}; loading the models took {loading:.2f} s, once\n")
    print(f"{'stage':<24}{'seconds':>9}{'per second of video':>22}")
    rows = {
        "face, once": t_face, "mesh and matte, once": t_prepare, "audio": t_audio, "motion": t_motion,
        "render": t_render, "encode": t_encode, "sign": t_sign,
    }  # fmt: skip
    together = {"render while encoding": t_film - t_prepare, "end to end": t_whole}
    for name, took in (rows | together).items():
        print(f"{name:<24}{took:9.2f}{took / seconds:22.3f}")
    apart = sum(rows.values())
    print(f"\n{seconds / t_whole:.2f} x real time; {apart / t_whole:.2f} x as fast as the stages one after the other")

    speech = np.tile(waveform, -(-HALF_A_MINUTE // len(waveform)))[:HALF_A_MINUTE]
    took = networks(models, speech, repeat)
    print(f"\n{len(speech) / SAMPLE_RATE:.0f} s of speech, {torch.get_num_threads()} threads\n")
    for name, seconds in took.items():
        print(f"{name:<24}{seconds:9.2f} s {len(speech) / SAMPLE_RATE / seconds:9.1f} x real time")
    print(f"\nthe sampler is {took['motion, naive'] / took['motion generator']:.2f} x as fast as the naive one")


if __name__ == "__main__":
    main()
