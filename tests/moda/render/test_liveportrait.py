"""LivePortrait's networks and their adapter: agreement with the published ones, and what it must not accept."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from moda.network.checkpoint import WeightsError
from moda.render.liveportrait import LivePortraitRenderer, generator, warping
from moda.render.liveportrait.checkpoint import NETWORKS, load_liveportrait, load_published, split_retargeting
from moda.render.liveportrait.shapes import Widths, published_shapes
from tests.moda.model_support import GOLDEN, needs_golden
from tests.moda.render.make_liveportrait import (
    FIXTURE,
    TINY,
    TOLERANCE,
    States,
    errors,
    load_golden,
    random_states,
)
from tests.moda.render.test_mesh import drawn_face

Tensors = dict[str, Tensor]
Golden = tuple[States, Tensors]


@needs_golden
def test_every_network_agrees_with_the_published_one() -> None:
    found = errors(*load_golden(GOLDEN / "liveportrait_forward.safetensors"))
    assert len(found) == 18
    assert max(found.values()) <= TOLERANCE, found


@pytest.fixture(scope="module")
def fixture() -> Golden:
    return load_golden(FIXTURE)


def test_the_fixture_agrees(fixture: Golden) -> None:
    found = errors(*fixture)
    assert len(found) == 20
    assert max(found.values()) <= TOLERANCE, found


@pytest.fixture(scope="module")
def whole() -> States:
    """State dicts that make one renderer: with all 21 keypoints in the warp."""
    shapes = published_shapes(Widths(**{**vars(TINY), "keypoints": 21}))
    return random_states(shapes, torch.Generator().manual_seed(1))


# ---- what the fixture must notice ----------------------------------------------------------------------------------

SWAPS = {
    "appearance_feature_extractor": ("resblocks_3d.3dr0.norm1.weight", "resblocks_3d.3dr0.norm2.weight"),
    "motion_extractor": ("detector.stages.2.0.grn.gamma", "detector.stages.2.1.grn.gamma"),
    "warping_module": (
        "dense_motion_network.hourglass.decoder.norm.running_mean",
        "dense_motion_network.hourglass.decoder.norm.bias",
    ),
    "spade_generator": ("up_0.norm_0.mlp_gamma.weight", "up_0.norm_s.mlp_gamma.weight"),
    "stitching": ("mlp.0.bias", "mlp.2.bias"),
    "eye": ("mlp.0.bias", "mlp.2.bias"),
    "lip": ("mlp.0.bias", "mlp.2.bias"),
}


@pytest.mark.parametrize("network", SWAPS)
def test_swapped_tensors_are_noticed(fixture: Golden, network: str) -> None:
    states, tensors = fixture
    one, other = SWAPS[network]
    state = states[network]
    swapped = states | {network: state | {one: state[other], other: state[one]}}
    if state[one].shape != state[other].shape:
        with pytest.raises(WeightsError, match="published weights"):
            errors(swapped, tensors)
    else:
        assert max(errors(swapped, tensors).values()) > 10 * TOLERANCE


def test_a_spectral_norm_that_is_not_divided_out_is_noticed(fixture: Golden) -> None:
    states, tensors = fixture
    state = states["spade_generator"]
    scaled = states | {"spade_generator": state | {"up_1.conv_s.weight_u": 2 * state["up_1.conv_s.weight_u"]}}
    assert errors(scaled, tensors)["frame"] > 10 * TOLERANCE


def test_volumes_shifted_the_wrong_way_are_noticed(fixture: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    taps = warping.taps
    monkeypatch.setattr(warping, "taps", lambda axis, offset: taps(axis, -offset))
    assert errors(*fixture)["warped"] > 10 * TOLERANCE


@pytest.mark.parametrize("network", SWAPS)
@pytest.mark.parametrize("fault", ["missing", "unknown", "extra", "shape", "twice"])
def test_other_tensors_than_the_published_are_refused(whole: States, network: str, fault: str) -> None:
    state = whole[network]
    for name in (SWAPS[network][0], list(state)[-1]):
        faulty = dict(state)
        if fault == "missing":
            del faulty[name]
        elif fault == "unknown":
            faulty[f"{name}s"] = faulty.pop(name)
        elif fault == "extra":
            faulty[f"{name}s"] = faulty[name]
        elif fault == "twice":
            faulty[f"module.{name}"] = faulty[name]
        else:
            faulty[name] = torch.cat([faulty[name], faulty[name]]) if faulty[name].dim() else torch.ones(1)
        with pytest.raises(WeightsError, match=rf"published weights of {network}: .*; fetch them again$"):
            load_published(whole | {network: faulty})


# ---- less work, the same result ------------------------------------------------------------------------------------


def test_a_shifted_volume_is_what_sampling_a_shifted_grid_gives() -> None:
    g = torch.Generator().manual_seed(0)
    volume = torch.randn(2, 3, 4, 6, 8, generator=g)
    shift = torch.randn(2, 5, 3, generator=g)  # far enough to leave the volume
    axes = [torch.linspace(-1, 1, length) for length in volume.shape[2:]]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=-1)  # [D, H, W, 3] x, y, z
    found = warping.shifted(volume, shift, axes)
    for k in range(5):
        sampled = F.grid_sample(volume, grid + shift[:, k, None, None, None], align_corners=False)
        torch.testing.assert_close(found[:, k], sampled, rtol=0, atol=1e-5)


@pytest.mark.parametrize("times", [1, 2, 3, 4])
def test_a_convolution_of_repeated_places_is_done_on_one_of_each(times: int) -> None:
    g = torch.Generator().manual_seed(0)
    conv = torch.nn.Conv2d(3, 5, 3, padding=1)
    x = torch.randn(2, 3, 4, 6, generator=g)
    expected = conv(F.interpolate(x, scale_factor=times))
    torch.testing.assert_close(generator.repeated_conv(conv, x, times), expected, rtol=0, atol=1e-5)


# ---- files ---------------------------------------------------------------------------------------------------------


def save_published(states: States, folder: Path) -> None:
    """As the published repository lays them out."""
    for place in ("base_models", "retargeting_models"):
        (folder / place).mkdir(parents=True)
    for name in NETWORKS:
        torch.save(states[name], folder / "base_models" / f"{name}.pth")
    parts = {"retarget_shoulder": "stitching", "retarget_mouth": "lip", "retarget_eye": "eye"}
    retargeting = {
        part: {f"module.{name}": tensor for name, tensor in states[network].items()} for part, network in parts.items()
    }
    torch.save(retargeting, folder / "retargeting_models" / "stitching_retargeting_module.pth")


def test_published_files_are_read_as_pth_and_as_safetensors(whole: States, tmp_path: Path) -> None:
    save_published(whole, tmp_path / "pth")
    (tmp_path / "flat").mkdir()
    for name in NETWORKS:
        save_file(whole[name], tmp_path / "flat" / f"{name}.safetensors")
    parts = {"retarget_shoulder": "stitching", "retarget_mouth": "lip", "retarget_eye": "eye"}
    flat = {f"{part}_module.{name}": t for part, network in parts.items() for name, t in whole[network].items()}
    save_file(flat, tmp_path / "flat" / "stitching_retargeting_module.safetensors")
    expected = load_published(whole).state_dict()
    for folder in ("pth", "flat"):
        loaded = load_liveportrait(tmp_path / folder)
        assert not loaded.training
        assert loaded.state_dict().keys() == expected.keys()
        assert all(torch.equal(value, expected[name]) for name, value in loaded.state_dict().items())


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("open('exploded', 'w')",)


@pytest.mark.parametrize(
    "content",
    [b"", b"not a pickle", pickle.dumps(Bomb(), 2), pickle.dumps([1, 2], 2)],
    ids=["empty", "text", "code", "list"],
)
def test_files_that_are_no_weights_are_refused(
    whole: States, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_published(whole, tmp_path / "weights")
    path = tmp_path / "weights" / "base_models" / "motion_extractor.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"^{re.escape(str(path))} .*fetch it again$"):
        load_liveportrait(tmp_path / "weights")
    assert not (tmp_path / "exploded").exists()


def test_a_pickle_in_a_pth_is_not_run(whole: States, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_published(whole, tmp_path / "weights")
    path = tmp_path / "weights" / "base_models" / "motion_extractor.pth"
    torch.save(whole["motion_extractor"] | {"bomb": Bomb()}, path)
    with pytest.raises(WeightsError, match="holds more than tensors"):
        load_liveportrait(tmp_path / "weights")
    assert not (tmp_path / "exploded").exists()


def test_a_missing_file_is_named(whole: States, tmp_path: Path) -> None:
    save_published(whole, tmp_path)
    (tmp_path / "base_models" / "spade_generator.pth").unlink()
    with pytest.raises(WeightsError, match=r"no spade_generator\.safetensors or \.pth under .*; give the folder"):
        load_liveportrait(tmp_path)


def test_a_foreign_part_of_the_retargeting_file_is_refused(whole: States) -> None:
    flat = {f"retarget_eye.{name}": tensor for name, tensor in whole["eye"].items()}
    assert split_retargeting(flat, "file")["eye"].keys() == whole["eye"].keys()
    for name in ("retarget_nose.mlp.0.weight", "retarget_eye.module.mlp.0.weight"):
        with pytest.raises(WeightsError, match=rf"{name} in file is no part"):
            split_retargeting(flat | {name: torch.ones(1)}, "file")


def test_networks_of_different_sizes_are_refused(whole: States) -> None:
    other = published_shapes(Widths(**{**vars(TINY), "keypoints": 21, "features": 7}))["spade_generator"]
    states = random_states({"spade_generator": other}, torch.Generator().manual_seed(2))
    with pytest.raises(WeightsError, match="does not fit the rest"):
        load_published(whole | states)


# ---- full size -----------------------------------------------------------------------------------------------------


@needs_golden
def test_the_published_shapes_are_known() -> None:
    manifest = json.loads((GOLDEN / "liveportrait_state_dict_shapes.json").read_text())
    known = published_shapes(Widths())
    assert known.keys() == manifest.keys()
    for network, shapes in manifest.items():
        assert known[network] == {name: tuple(shape) for name, shape in shapes.items()}, network


@pytest.mark.slow
def test_full_size_networks_load_and_draw(tmp_path: Path) -> None:
    save_published(random_states(published_shapes(Widths()), torch.Generator().manual_seed(3)), tmp_path)
    networks = load_liveportrait(tmp_path)
    millions = {
        name: round(sum(p.numel() for p in part.parameters()) / 1e6, 1) for name, part in networks.named_children()
    }
    assert millions == {
        "appearance": 0.8, "motion": 28.1, "warping": 45.5, "generator": 55.4, "stitching": 0.0, "eyes": 0.1,
        "lips": 0.0,
    }  # fmt: skip
    renderer = LivePortraitRenderer(networks)
    portrait = renderer.prepare(drawn_face(), 512)
    assert portrait.feature.shape == (1, 32, 16, 64, 64)
    (frame,) = renderer.render(portrait, portrait.source.rows.numpy())
    assert frame.shape == (512, 512, 3)
    assert (np.abs(frame - portrait.photo.permute(1, 2, 0).numpy()) > 1).mean() > 0.1
