"""The published networks at their full size, with random weights, against a plain implementation of them.

    python bench/published.py [--repeat 2] [--frames 1] [--device auto]

One window of motion, 80 frames, is sampled as published (euler, 10 steps, guidance 1.2) by bench/plain and by the
product, and as the product does by itself; then some frames of a portrait are drawn by either. What is compared takes
turns in one process, on one core; processor time counts, and of the repeats the best, as other work on the machine only
ever adds. A GPU, where there is one, is held against the figures that LivePortrait publishes.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
import wave
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from figures import Figure, report
from plain.liveportrait import PlainLivePortrait
from plain.mmdit import PlainMoDA
from plain.mmdit import sample as plain_sample
from torch import Tensor

from contracts import FPS, SAMPLE_RATE, Conditions, EmotionKey, EmotionTimeline, SourceFace
from encoders.audio.media import load_audio
from encoders.face.portrait import encode_face
from moda.flow.sampler import SamplerConfig, sample_normalised
from moda.network.checkpoint import load_published
from moda.network.model import MMDiT
from moda.network.shapes import published_shapes, random_state
from moda.render.liveportrait import LivePortrait, LivePortraitRenderer
from moda.render.liveportrait.checkpoint import load_published as load_networks
from moda.render.liveportrait.crop import cut, to_crop
from moda.render.liveportrait.keypoints import stitch
from moda.render.liveportrait.shapes import Widths
from moda.render.liveportrait.shapes import published_shapes as renderer_shapes
from pipelines import TalkingHead, TalkOptions
from pipelines.device import choose_device

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PORTRAIT, VOICE = EXAMPLES / "portrait.jpg", EXAMPLES / "voice_en.wav"

#: ms a frame on an RTX 4090 with torch.compile, by LivePortrait's assets/docs/speed.md; the last is of three networks.
PUBLISHED_MS = {"appearance": 0.82, "motion": 0.84, "generator": 7.59, "warping": 5.21, "stitching": 0.31}
TEN_SECONDS = 10 * SAMPLE_RATE


def race(works: Mapping[str, Callable[[], Tensor | np.ndarray]], repeat: int) -> dict[str, tuple[np.ndarray, float]]:
    """What each of ``works`` returns, and its seconds of processor time at best; they take turns."""
    results: dict[str, tuple[np.ndarray, float]] = {}
    for _ in range(repeat):
        for name, work in works.items():
            start = time.process_time()
            result = np.asarray(work())
            took = time.process_time() - start
            results[name] = result, min(took, results.get(name, (result, np.inf))[1])
    return results


def multiplies_bfloat16() -> bool:
    """Whether this processor has instructions for it."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


# ---- motion --------------------------------------------------------------------------------------------------------


def motion(repeat: int, layers: int = 12, width: int = 768, **widths: int) -> list[Figure]:
    """One window; ``layers`` and ``width`` of the audio, ``widths`` of the network."""
    chance = torch.Generator().manual_seed(0)
    state = random_state(published_shapes(layers=layers, width=width, **widths), chance)
    state["null_audio_feat"] = torch.randn(width, generator=chance)
    model, plain = load_published(state), PlainMoDA(state)
    audio, identity = torch.randn(80, layers, width, generator=chance), torch.randn(63, generator=chance)
    start, noise = torch.randn(70, generator=chance), torch.randn(1, 80, 70, generator=chance)

    def ours(model: MMDiT, config: SamplerConfig) -> Tensor:
        conditions = Conditions([audio.flatten(1)], identity, EmotionTimeline((EmotionKey(0.0, "happiness"),)))
        return torch.cat(list(sample_normalised(model, conditions, config, noise[None], start)))

    def as_torch_multiplies() -> Tensor:
        with patch("moda.network.layers._ONEDNN", False):
            return ours(model, SamplerConfig.published())

    works: dict[str, Callable[[], Tensor]] = {
        "plain": lambda: plain_sample(plain, audio, identity, 4, start, noise),
        "torch": as_torch_multiplies,
        "exact": lambda: ours(model, SamplerConfig.published()),
        "house": lambda: ours(model, SamplerConfig.for_published()),
    }
    if multiplies_bfloat16():
        half = deepcopy(model).bfloat16()
        works["bf16"] = lambda: ours(half, SamplerConfig.published())
    raced = race(works, repeat)
    took = {name: seconds for name, (_, seconds) in raced.items()}
    expected = raced["plain"][0]
    difference = max(float(np.abs(raced[name][0] - expected).max()) for name in ("torch", "exact"))
    figures = [
        Figure(
            "motion, published sampling, x plain", took["plain"] / took["exact"], 1.12, note=beside_plain(took, "exact")
        ),
        Figure(
            "  with torch's own matrix product", took["plain"] / took["torch"], 1.0, note=beside_plain(took, "torch")
        ),
        Figure("  largest difference, normalised", difference, 1e-4, most=True, note=f"{difference:.1e}"),
        Figure("house sampling, x published", took["exact"] / took["house"], 2.2, note=beside_plain(took, "house")),
    ]
    if "bf16" in took:
        error = float(np.sqrt(np.square(raced["bf16"][0] - expected).mean()))
        note = f"{beside_plain(took, 'bf16')}; rms difference {error:.1e}"
        figures.append(Figure("  published in bf16, x float32", took["exact"] / took["bf16"], 1.0, note=note))
    return figures


def beside_plain(took: Mapping[str, float], name: str) -> str:
    return f"{took[name]:.2f} s a window; plain {took['plain']:.2f}"


# ---- frames --------------------------------------------------------------------------------------------------------


def frames(count: int, repeat: int, face: SourceFace, size: int = 512, widths: Widths | None = None) -> list[Figure]:
    """Warping and painting ``count`` frames, and laying them into a frame of ``size`` px."""
    chance = torch.Generator().manual_seed(0)
    states = {network: random_state(shapes, chance) for network, shapes in renderer_shapes(widths).items()}
    renderer, plain = LivePortraitRenderer(load_networks(states)), PlainLivePortrait(states)
    portrait = renderer.prepare(face, size)
    rows = portrait.source.rows + 0.02 * torch.randn(count, 70, generator=chance)
    seen = plain.look(renderer.look(cut(face.image, to_crop(face.landmarks))[None])[1])
    place = portrait.photo.permute(1, 2, 0).numpy(), portrait.grid[0].numpy(), portrait.mask.numpy()

    works: dict[str, Callable[[], np.ndarray]] = {
        "plain": lambda: np.stack(list(plain.render(seen, rows, *place))),
        "exact": lambda: np.stack(list(renderer.render(portrait, rows.numpy()))),
    }
    if multiplies_bfloat16():
        half = LivePortraitRenderer(deepcopy(renderer.networks).place("cpu", torch.bfloat16))
        rough = half.prepare(face, size)
        works["bf16"] = lambda: np.stack(list(half.render(rough, rows.numpy())))
    raced = race(works, repeat)
    took = {name: seconds / count for name, (_, seconds) in raced.items()}

    with torch.inference_mode():
        driving = stitch(renderer.networks.stitching, portrait.keypoints, renderer.rule(portrait.source, rows[:1]))
        painted = renderer.networks.generator(renderer.networks.warping(portrait.feature, driving, portrait.keypoints))
    difference = float((painted - plain.paint(seen, rows[0])).abs().max())
    note = f"{1 / took['exact']:.3f} frames/s; plain {1 / took['plain']:.3f}"
    figures = [
        Figure("warp and decode, x plain", took["plain"] / took["exact"], 1.1, note=note),
        Figure("  largest difference of 0..1", difference, 1e-4, most=True, note=f"{difference:.1e}"),
    ]
    if "bf16" in took:
        levels = np.abs(raced["bf16"][0].astype(int) - raced["exact"][0])
        note = f"{1 / took['bf16']:.3f} frames/s; mean difference {levels.mean():.2f} of 255"
        figures.append(Figure("  in bf16, x float32", took["exact"] / took["bf16"], 1.0, note=note))
    return figures


# ---- a GPU ---------------------------------------------------------------------------------------------------------


def modules(networks: LivePortrait, dtype: torch.dtype, repeat: int) -> dict[str, float]:
    """ms of each of the published modules for one picture, on the device where the networks are."""
    parameter = next(networks.motion.parameters())
    with torch.inference_mode():
        picture = torch.rand(1, 3, 256, 256, device=parameter.device)
        feature = networks.appearance(picture.to(dtype))
        source = torch.rand(1, 21, 3, device=parameter.device) - 0.5
        driving, keypoints = 0.9 * source, source.flatten(1)
        warped = networks.warping(feature, driving, source)
        eyes, lips = (torch.cat([keypoints, keypoints[:, :n]], dim=1) for n in (3, 2))
        works: dict[str, Callable[[], object]] = {
            "appearance": lambda: networks.appearance(picture.to(dtype)),
            "motion": lambda: networks.motion(picture),
            "generator": lambda: networks.generator(warped),
            "warping": lambda: networks.warping(feature, driving, source),
            "stitching": lambda: (
                stitch(networks.stitching, source, driving), networks.eyes(eyes), networks.lips(lips),
            ),
        }  # fmt: skip

        def timed(work: Callable[[], object]) -> float:
            synchronise(parameter.device)
            start = time.perf_counter()
            for _ in range(repeat):
                work()
            synchronise(parameter.device)
            return 1e3 * (time.perf_counter() - start) / repeat

        return {name: min(timed(work) for _ in range(4)) for name, work in works.items()}  # the first warms up


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def end_to_end(device: torch.device) -> float:
    """Seconds of video a second of work gives, of `moda talk` with ten seconds of speech; what is loaded once apart."""
    head = TalkingHead(str(device), "random-base")
    speech = load_audio(VOICE)
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "ten.wav"
        with wave.open(str(sound), "wb") as file:
            file.setparams((1, 2, SAMPLE_RATE, TEN_SECONDS, "NONE", ""))
            file.writeframes((np.resize(speech, TEN_SECONDS) * 32767).astype("<i2").tobytes())
        took = []
        for _ in range(2):  # the first warms up
            start = time.perf_counter()
            head.make(PORTRAIT, sound, Path(folder) / "ten.mp4", TalkOptions(weights="random-base"))
            took.append(time.perf_counter() - start)
    return TEN_SECONDS / SAMPLE_RATE / min(took)


def on_gpu(device: torch.device, repeat: int) -> None:
    if device.type != "cuda":
        print("\nno CUDA device here: nothing to hold against the figures of an RTX 4090")
        return
    chance = torch.Generator().manual_seed(0)
    states = {network: random_state(shapes, chance) for network, shapes in renderer_shapes().items()}
    networks = load_networks(states).place(device, torch.float16, channels_last=True)
    found = modules(networks, torch.float16, 50 * repeat)
    print(f"\n{torch.cuda.get_device_name(device)}, one picture at once\n{'module':<14}{'ms':>8}{'RTX 4090':>12}")
    for name, took in found.items():
        print(f"{name:<14}{took:8.2f}{PUBLISHED_MS[name]:12.2f}")
    speed = end_to_end(device)
    print(f"ten seconds of speech, end to end: {speed:.2f} x real time, {FPS * speed:.0f} frames/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--frames", type=int, default=1)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    print(f"{platform.machine()}, torch {torch.__version__}")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    report(motion(arguments.repeat))
    report(frames(arguments.frames, arguments.repeat, encode_face(PORTRAIT)))
    torch.set_num_threads(threads)
    on_gpu(device, arguments.repeat)


if __name__ == "__main__":
    main()
