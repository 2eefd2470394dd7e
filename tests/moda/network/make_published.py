"""Write published.safetensors: the published network at toy widths, run by this repository's own code.

    python -m tests.moda.network.make_published GOLDEN_FOLDER

It guards the adapter, the network and the sampler where the golden tensors are not at hand, so it is written only by
code that agrees with them. Random weights and inputs, rounded to fp16; outputs float32.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from contracts import Conditions, EmotionKey, EmotionTimeline
from moda.flow.sampler import SamplerConfig, sample_normalised
from moda.network.checkpoint import load_published
from moda.network.model import MMDiT
from moda.network.shapes import published_shapes

FIXTURE = Path(__file__).with_name("published.safetensors")
FORWARD_TOLERANCE, SAMPLING_TOLERANCE = 2e-5, 2e-4


def run_forward(model: MMDiT, tensors: dict[str, Tensor]) -> Tensor:
    """The network on ``motion`` [B, 80, 140] (previous, then noisy), ``times``, ``audio``, ``emo``, ``audio_cond``."""
    context, x = tensors["in/motion"].split(70, dim=-1)
    audio = tensors["in/audio"]  # [B, 80, 1, layers, width], or that of a clip
    audio = audio.flatten(2) if audio.dim() == 5 else audio[None, :80].flatten(2)
    emotion = F.one_hot(tensors["in/emo"].long(), 9).float()
    with torch.no_grad():
        return model(x, tensors["in/times"] / 1000, context, audio, emotion, tensors["in/audio_cond"].mean(1))


def run_sampling(model: MMDiT, tensors: dict[str, Tensor], guidance: float, frames: int) -> Tensor:
    """The published sampler, emotion 4, on the first ``frames``; a single window comes unsmoothed."""
    emotion = EmotionTimeline((EmotionKey(0.0, "happiness"),))
    conditions = Conditions([tensors["in/audio"][:frames].flatten(1)], tensors["in/keypoints"], emotion)
    config = replace(SamplerConfig.published(guidance), smooth_pose=frames > 80)
    noise = tensors["in/noise"][:, None]
    return torch.cat(list(sample_normalised(model, conditions, config, noise, tensors["in/previous_motion"])))


def forward_error(model: MMDiT, golden: dict[str, Tensor]) -> float:
    return float((run_forward(model, golden) - golden["out/velocity"]).abs().max())


def sampling_errors(model: MMDiT, golden: dict[str, Tensor]) -> dict[str, float]:
    runs = {"window0_cfg1.0": (1.0, 80), "window0_cfg1.2": (1.2, 80), "clip_cfg1.2": (1.2, 130)}
    return {
        name: float((run_sampling(model, golden, *run) - golden[f"out/{name}"]).abs().max())
        for name, run in runs.items()
        if f"out/{name}" in golden
    }


def load_golden(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The published weights of a golden file, and its inputs and outputs, all float32."""
    tensors = {name: value.float() if value.is_floating_point() else value for name, value in load_file(path).items()}
    weights = {name.removeprefix("weights/"): value for name, value in tensors.items() if name.startswith("weights/")}
    return weights, {name: value for name, value in tensors.items() if not name.startswith("weights/")}


def make(hidden: int = 8, heads: int = 2, layers: int = 12, width: int = 4) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).half()

    weights = {}
    for name, shape in published_shapes(hidden, heads, layers, width).items():
        small = draw(*shape) / (shape[-1] ** 0.5 if len(shape) == 2 else 4)
        weights[f"weights/{name}"] = 1 + small if "norm" in name else small
    weights["weights/null_audio_feat"] = draw(width)
    fixture = {
        "in/motion": draw(1, 80, 140),
        "in/times": torch.tensor([640.0]),
        "in/emo": torch.tensor([4]),
        "in/audio_cond": draw(1, 1, 63),
        "in/audio": draw(130, layers, width),
        "in/keypoints": draw(63),
        "in/noise": draw(2, 80, 70),
        "in/previous_motion": draw(70),
    }
    return weights | fixture


def main(golden: Path) -> None:
    weights, forward = load_golden(golden / "mmdit_forward.safetensors")
    _, sampling = load_golden(golden / "mmdit_sampling.safetensors")
    model = load_published(weights | {"null_audio_feat": sampling["in/null_audio"]})
    errors = {"forward": forward_error(model, forward)} | sampling_errors(model, sampling)
    print(errors)
    if errors.pop("forward") > FORWARD_TOLERANCE or max(errors.values()) > SAMPLING_TOLERANCE:
        sys.exit("the code does not agree with the golden tensors; nothing written")
    fixture = make()
    save_file(fixture, FIXTURE)
    weights, inputs = load_golden(FIXTURE)
    model = load_published(weights)
    outputs = {
        "out/velocity": run_forward(model, inputs),
        "out/clip_cfg1.2": run_sampling(model, inputs, 1.2, 130),
    }
    save_file(fixture | outputs, FIXTURE)
    print(FIXTURE, FIXTURE.stat().st_size, "bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
