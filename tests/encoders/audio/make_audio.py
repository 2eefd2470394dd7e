"""Write audio.safetensors: the published chain from sound to features at toy widths, run by this repository's own code.

    python -m tests.encoders.audio.make_audio GOLDEN_FOLDER

It guards the chain where the golden tensors are not at hand, so it is written only by code that agrees with them.
Random weights and sound, rounded to fp16; features float32.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2Model

from encoders.audio.network import FrameAligned
from encoders.audio.wav2vec import AudioEncoder

FIXTURE = Path(__file__).with_name("audio.safetensors")
TOLERANCE = 1e-5
TAIL = 50  # frames of silence
KINDS = ("hubert", "wav2vec2")
TOY: dict[str, Any] = dict(
    hidden_size=16, num_hidden_layers=12, num_attention_heads=2, intermediate_size=24, conv_dim=(8,) * 7,
    num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, vocab_size=8,
)  # fmt: skip


def build(kind: str, config: dict[str, Any]) -> HubertModel | Wav2Vec2Model:
    return HubertModel(HubertConfig(**config)) if kind == "hubert" else Wav2Vec2Model(Wav2Vec2Config(**config))


def encoder(kind: str, tensors: dict[str, Tensor], config: dict[str, Any] | None = None) -> AudioEncoder:
    """The network of a golden file or of the fixture."""
    prefix = f"weights/{kind}."
    network = build(kind, config or TOY)
    network.load_state_dict({n.removeprefix(prefix): v.float() for n, v in tensors.items() if n.startswith(prefix)})
    return AudioEncoder(FrameAligned(network))


def features(listener: AudioEncoder, tensors: dict[str, Tensor]) -> Tensor:
    sound = tensors["in/waveform_16k"].float().numpy()
    return torch.cat([part.hidden for part in listener.stream(sound, tail=TAIL)])


def feature_error(listener: AudioEncoder, kind: str, tensors: dict[str, Tensor]) -> float:
    expected = tensors[f"out/{kind}_features"]
    found = features(listener, tensors)
    return float((found - expected).abs().max()) if found.shape == expected.shape else float("inf")


def load_golden(folder: Path) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    """Tensors, and the config of each kind."""
    configs = json.loads((folder / "audio_features_config.json").read_text("utf-8"))
    return load_file(folder / "audio_features.safetensors"), configs


def main(golden: Path) -> None:
    tensors, configs = load_golden(golden)
    errors = {kind: feature_error(encoder(kind, tensors, configs[kind]), kind, tensors) for kind in KINDS}
    print(errors)
    if max(errors.values()) > TOLERANCE:
        sys.exit("the code does not agree with the golden tensors; nothing written")
    generator = torch.Generator().manual_seed(0)
    fixture = {"in/waveform_16k": (0.1 * torch.randn(9_100, generator=generator)).half()}
    for kind in KINDS:
        for name, value in build(kind, TOY).state_dict().items():
            draw = torch.randn(value.shape, generator=generator) / (value[0].numel() ** 0.5 if value.dim() > 1 else 4)
            offset = 1.0 if value.dim() == 1 and name.endswith("norm.weight") else 0.0
            fixture[f"weights/{kind}.{name}"] = (offset + draw).half()
    outputs = {f"out/{kind}_features": features(encoder(kind, fixture), fixture).contiguous() for kind in KINDS}
    save_file(fixture | outputs, FIXTURE)
    print(FIXTURE.name, FIXTURE.stat().st_size, "bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
