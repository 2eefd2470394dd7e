"""Checkpoints of our own, and the published layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from moda.motion.space import MotionSpace
from moda.network.checkpoint import WeightsError, load_checkpoint, load_published, save_checkpoint
from moda.network.config import ModelConfig
from moda.network.model import MMDiT
from moda.network.shapes import published_shapes
from tests.moda.model_support import GOLDEN, random_inputs, random_model

SPACE = MotionSpace("mesh", torch.linspace(-1, 1, 70), torch.linspace(0.1, 2, 70), torch.linspace(0.2, 1, 70))


def saved(folder: Path, model: MMDiT | None = None) -> Path:
    path = folder / "model.safetensors"
    save_checkpoint(path, model or random_model(), SPACE, {"licence": "Apache-2.0"})
    return path


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    model = random_model(ModelConfig.tiny(audio_dim=5))
    loaded, space = load_checkpoint(saved(tmp_path, model))
    assert loaded.config == model.config and space.name == "mesh" and not loaded.training
    for name, value in space.tensors().items():
        assert torch.equal(value, SPACE.tensors()[name]), name
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, model.state_dict()[name].half().float()), name
    inputs = random_inputs(model.config)
    torch.testing.assert_close(loaded(**inputs), model(**inputs), rtol=0, atol=0.05)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"], "no temporary file stays"


def test_a_loaded_model_can_be_trained_on(tmp_path: Path) -> None:
    model, _ = load_checkpoint(saved(tmp_path))
    model(**random_inputs(model.config)).square().mean().backward()
    assert all(parameter.grad is not None for name, parameter in model.named_parameters() if name != "null_audio")


def test_dtype_of_a_loaded_model(tmp_path: Path) -> None:
    model, _ = load_checkpoint(saved(tmp_path), dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_no_folder_to_write_to(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="choose a folder"):
        saved(tmp_path / "absent")


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no motion model at"):
        load_checkpoint(tmp_path / "absent.safetensors")
    text = tmp_path / "text.safetensors"
    text.write_text("no weights")
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        load_checkpoint(text)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(1)}, foreign)
    with pytest.raises(WeightsError, match="is not a moda-mmdit-1 checkpoint"):
        load_checkpoint(foreign)
    whole = saved(tmp_path)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="cannot be read"):
        load_checkpoint(cut)


@pytest.mark.parametrize("change", ["missing", "unknown", "shape"])
def test_a_checkpoint_is_read_strictly(tmp_path: Path, change: str) -> None:
    model = random_model()
    config = model.config
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"space.{name}": value for name, value in SPACE.tensors().items()}
    if change == "missing":
        del tensors["model.head.linear.bias"]
    elif change == "unknown":
        tensors["model.extra"] = torch.zeros(1)
    else:
        tensors["model.head.linear.bias"] = torch.zeros(71)
    path = tmp_path / "changed.safetensors"
    save_file(tensors, path, {"format": "moda-mmdit-1", "config": config.to_json(), "space": "mesh"})
    with pytest.raises(WeightsError, match="1 tensors are missing, unknown or of another shape"):
        load_checkpoint(path)


def test_a_config_of_the_future_is_refused(tmp_path: Path) -> None:
    config = json.loads(ModelConfig.tiny().to_json()) | {"experts": 8}
    path = tmp_path / "future.safetensors"
    metadata = {"format": "moda-mmdit-1", "config": json.dumps(config), "space": "mesh"}
    save_file({f"space.{name}": value for name, value in SPACE.tensors().items()}, path, metadata)
    with pytest.raises(WeightsError, match="another version of moda"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "change",
    [
        {"heads": 0}, {"heads": -2}, {"hidden": 10**15}, {"hidden": True}, {"hidden": 32.0}, {"audio_dim": None},
        {"motion_dim": [[]]}, {"mlp_ratio": []}, {"window": 10**9}, {"repeat": 0}, {"rope_theta": 1e400},
        {"rope_theta": "wide"}, {"context": "none"}, {"context": []}, {"prior": 9}, {"time_features": 255},
        {"plan": {}}, {"plan": []},
        {"plan": [{"streams": "motion|audio|emotion|identity", "depth": 10**9, "rope": []}]},
        {"plan": [{"streams": 5, "depth": 1, "rope": []}]}, {"plan": [[]]}, {"plan": [{"depth": 1}]},
    ],
)  # fmt: skip
def test_a_damaged_config_is_refused_before_a_network_is_built(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(WeightsError, match="another version of moda"):
        load_checkpoint(with_config(tmp_path, json.dumps(json.loads(ModelConfig.tiny().to_json()) | change)))


@pytest.mark.parametrize("config", ["[" * 20_000, "[" * 100_000, "{", "[]", "5", "null", ""])
def test_a_config_that_is_none_is_refused(tmp_path: Path, config: str) -> None:
    with pytest.raises(WeightsError, match="another version of moda"):
        load_checkpoint(with_config(tmp_path, config))


def with_config(folder: Path, config: str) -> Path:
    tensors = {f"space.{name}": value for name, value in SPACE.tensors().items()}
    save_file(tensors, folder / "odd.safetensors", {"format": "moda-mmdit-1", "config": config, "space": "mesh"})
    return folder / "odd.safetensors"


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model = random_model()
    with torch.no_grad():
        model.head.linear.bias[3] = torch.nan
    with pytest.raises(WeightsError, match="not all of its numbers are finite"):
        load_checkpoint(saved(tmp_path, model))


def published(hidden: int = 8, heads: int = 2, layers: int = 12, width: int = 4) -> dict[str, torch.Tensor]:
    """Published names; every tensor with a value of its own."""
    shapes = published_shapes(hidden, heads, layers, width)
    return {name: torch.full(shape, float(i + 1)) for i, (name, shape) in enumerate(shapes.items())}


def test_every_published_tensor_is_used_once() -> None:
    state = published()
    model = load_published(state)
    values = torch.cat([value.flatten() for name, value in model.state_dict().items() if name != "null_audio"])
    used = dict(zip(*(t.tolist() for t in values.unique(return_counts=True)), strict=True))
    assert used == {float(value.flatten()[0]): value.numel() for value in state.values()}
    assert len(state) == 408


@pytest.mark.parametrize("name", sorted(published())[::29])
def test_no_published_tensor_may_be_missing(name: str) -> None:
    state = published()
    del state[name]
    with pytest.raises(WeightsError, match="lack talking_head_dit"):
        load_published(state)


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 2, 2)])
def test_published_tensors_of_impossible_shapes_are_refused(shape: tuple[int, ...]) -> None:
    for name in ("audio_embedder.proj1.weight", "blocks.0.qkv_xs.weight", "blocks4.0.attn1.xs_q_norm.weight"):
        tensors = published() | {f"talking_head_dit.{name}": torch.zeros(shape)}
        with pytest.raises(WeightsError):
            load_published(tensors)


def test_a_foreign_tensor_is_named() -> None:
    with pytest.raises(WeightsError, match=r"talking_head_dit\.blocks4\.3"):
        load_published(published() | {"talking_head_dit.blocks4.3.attn1.qkv_xs.weight": torch.zeros(1)})


def test_the_published_null_audio() -> None:
    state, given = published(), torch.arange(4.0)
    assert torch.equal(load_published(state | {"null_audio_feat": given}).null_audio, given.repeat(12))
    chosen = load_published(state | {"scheduler.sigmas": torch.zeros(1000)}).null_audio
    assert torch.equal(chosen, load_published(state).null_audio) and chosen.std() > 0.05
    assert torch.equal(chosen[:4], chosen[4:8])


def test_the_adapter_fits_the_published_network_at_full_size() -> None:
    shapes = published_shapes(768, 12, 12, 768)
    if GOLDEN.is_dir():
        listed = json.loads((GOLDEN / "moda_state_dict_shapes.json").read_text())
        assert {name: list(shape) for name, shape in shapes.items()} == listed
    else:
        print("the list of published shapes is not at hand; the generated one stands in")
    with torch.device("meta"):
        state = {name: torch.empty(shape) for name, shape in shapes.items()}
    model = load_published(state | {"null_audio_feat": torch.zeros(768, device="meta")})
    assert model.config == ModelConfig.base()
    assert model.parameter_count - model.null_audio.numel() == 372_983_878
