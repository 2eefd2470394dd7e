"""Agreement with the published network: its golden tensors where they are at hand, our own fixture everywhere."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from moda.flow.guidance import Guidance
from moda.flow.sampler import SamplerConfig
from moda.motion.space import MotionSpace
from moda.network import layers
from moda.network.checkpoint import load_published
from tests.moda.model_support import GOLDEN, needs_golden
from tests.moda.network.make_published import (
    FIXTURE,
    FORWARD_TOLERANCE,
    SAMPLING_TOLERANCE,
    forward_error,
    load_golden,
    sampling_errors,
)

Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def golden() -> tuple[Tensors, Tensors]:
    return load_golden(GOLDEN / "mmdit_forward.safetensors")


@needs_golden
def test_forward_agrees(golden: tuple[Tensors, Tensors]) -> None:
    weights, tensors = golden
    assert forward_error(load_published(weights), tensors) <= FORWARD_TOLERANCE


@needs_golden
def test_sampling_agrees(golden: tuple[Tensors, Tensors]) -> None:
    _, tensors = load_golden(GOLDEN / "mmdit_sampling.safetensors")
    model = load_published(golden[0] | {"null_audio_feat": tensors["in/null_audio"]})
    errors = sampling_errors(model, tensors)
    assert sorted(errors) == ["clip_cfg1.2", "window0_cfg1.0", "window0_cfg1.2"]
    assert max(errors.values()) <= SAMPLING_TOLERANCE, errors


@needs_golden
def test_the_published_motion_space() -> None:
    statistics = json.loads((GOLDEN / "moda_motion_mean_std.json").read_text())
    space = MotionSpace.from_tensors("liveportrait", {name: torch.tensor(v) for name, v in statistics.items()})
    x = torch.randn(5, 70, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(space.normalise(x), (x - space.mean) / (space.std + 1e-5), rtol=0, atol=0)
    torch.testing.assert_close(space.denormalise(space.normalise(x)), x, rtol=1e-5, atol=1e-5)
    assert (space.noise == 1).all()


# ---- the fixture, and what it must notice --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fixture() -> tuple[Tensors, Tensors]:
    return load_golden(FIXTURE)


def test_the_fixture_agrees(fixture: tuple[Tensors, Tensors]) -> None:
    weights, tensors = fixture
    model = load_published(weights)
    assert forward_error(model, tensors) <= FORWARD_TOLERANCE
    (error,) = sampling_errors(model, tensors).values()
    assert error <= SAMPLING_TOLERANCE


SWAPS = [
    ("blocks4.1.attn1.au_q_norm1.weight", "blocks4.1.attn1.au_k_norm1.weight"),
    ("blocks4.0.audio_mlp2.fc1.weight", "blocks4.0.audio_mlp3.fc1.weight"),
    ("blocks2.3.adaLN_modulation_xs.1.bias", "blocks2.3.adaLN_modulation_audio.1.bias"),
    ("blocks.10.linear2.bias", "blocks.11.linear2.bias"),
    ("motion_embedder.mlp.2.weight", "identity_embedder.mlp.2.weight"),
]


@pytest.mark.parametrize(("one", "other"), SWAPS, ids=[swap[0] for swap in SWAPS])
def test_swapped_tensors_are_noticed(fixture: tuple[Tensors, Tensors], one: str, other: str) -> None:
    weights, tensors = fixture
    one, other = f"talking_head_dit.{one}", f"talking_head_dit.{other}"
    swapped = weights | {one: weights[other], other: weights[one]}
    assert forward_error(load_published(swapped), tensors) > 10 * FORWARD_TOLERANCE


@pytest.mark.parametrize("fault", ["one angle", "theta", "order of pairs"])
def test_wrong_positions_are_noticed(
    fixture: tuple[Tensors, Tensors], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, tensors = fixture
    angles, rotate = layers.rope_angles, layers.rotate

    def wrong_angles(length: int, head_dim: int, theta: float) -> Tensor:
        table = angles(length, head_dim, 10_000.0 if fault == "theta" else theta)
        if fault == "one angle" and length > 40:
            table[40, 0] += 0.5
        return table

    def wrong_pairs(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        interleaved = x.unflatten(-1, (2, -1)).transpose(-1, -2).flatten(-2)
        return rotate(interleaved, cos, sin)

    monkeypatch.setattr("moda.network.model.rope_angles", wrong_angles)
    if fault == "order of pairs":
        monkeypatch.setattr("moda.network.block.rotate", wrong_pairs)
    assert forward_error(load_published(weights), tensors) > 10 * FORWARD_TOLERANCE


def sampling_error_under(change: dict[str, Any], fixture: tuple[Tensors, Tensors], patch: pytest.MonkeyPatch) -> float:
    weights, tensors = fixture
    published = SamplerConfig.published
    patch.setattr(SamplerConfig, "published", lambda guidance: replace(published(guidance), **change))
    (error,) = sampling_errors(load_published(weights), tensors).values()
    return error


@pytest.mark.parametrize("change", [{"guidance": Guidance(1.1, 1.1)}, {"padding": "hold"}], ids=["guidance", "padding"])
def test_another_sampling_is_noticed(
    change: dict[str, Any], fixture: tuple[Tensors, Tensors], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sampling_error_under(change, fixture, monkeypatch) > 2 * SAMPLING_TOLERANCE


def test_smoothing_once_is_noticed(fixture: tuple[Tensors, Tensors], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moda.flow.sampler._smoothed", lambda chunks: chunks)  # windows only
    assert sampling_error_under({}, fixture, monkeypatch) > 2 * SAMPLING_TOLERANCE
