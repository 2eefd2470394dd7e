"""Shared by the tests of the networks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from moda.network.config import ModelConfig
from moda.network.model import MMDiT

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"no golden tensors at {GOLDEN}")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Weights as after training: with the modulations of adaLN-Zero at their zero start every equality is vacuous."""
    g = generator(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            draw = torch.randn(parameter.shape, generator=g) / parameter.shape[-1] ** 0.5
            parameter.copy_(1 + draw if "norm" in name else draw)
    return module.eval()


def random_model(config: ModelConfig | None = None, seed: int = 0) -> MMDiT:
    model = MMDiT(config or ModelConfig.tiny())
    randomise(model, seed)
    return model


def random_inputs(config: ModelConfig, batch: int = 2, frames: int = 80, seed: int = 1) -> dict[str, Tensor]:
    """Arguments of ``MMDiT.forward``."""
    g = generator(seed)
    return {
        "x": torch.randn(batch, frames, 70, generator=g),
        "sigma": torch.rand(batch, generator=g),
        "context": torch.randn(batch, frames, 70, generator=g),
        "audio": torch.randn(batch, frames, config.audio_dim, generator=g),
        "emotion": torch.rand(batch, 9, generator=g).softmax(-1),
        "identity": torch.randn(batch, 63, generator=g),
    }
