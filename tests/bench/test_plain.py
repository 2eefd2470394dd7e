"""The plain networks of the benches agree with ours, which thereby are checked a second time: nothing is shared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from contracts import Conditions, EmotionKey, EmotionTimeline
from moda.flow.sampler import SamplerConfig, sample_normalised
from moda.network import layers
from moda.network.checkpoint import load_published
from moda.network.shapes import published_shapes, random_state
from moda.render.liveportrait import LivePortraitRenderer
from moda.render.liveportrait.checkpoint import load_published as load_networks
from moda.render.liveportrait.crop import cut, to_crop
from moda.render.liveportrait.keypoints import stitch
from moda.render.liveportrait.shapes import Widths
from moda.render.liveportrait.shapes import published_shapes as renderer_shapes
from tests.moda.model_support import generator
from tests.moda.render.make_liveportrait import TINY
from tests.moda.render.test_mesh import drawn_face

BENCH = Path(__file__).resolve().parents[2] / "bench"
TOLERANCE = 1e-4
SMALL = replace(TINY, keypoints=21, appearance=(4, 4, 4, 4, 6))  # paints 128 px


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCH))
    import plain.liveportrait
    import plain.mmdit

    return plain


def both_motions(
    plain: ModuleType, frames: int, steps: int = 10, layers: int = 12, width: int = 768, **widths: int
) -> tuple[Tensor, Tensor]:
    """The same speech in the same noise, sampled as published by ours and by the plain network."""
    g = generator(5)
    state = random_state(published_shapes(layers=layers, width=width, **widths), g)
    state["null_audio_feat"] = torch.randn(width, generator=g)
    audio, identity = torch.randn(frames, layers, width, generator=g), torch.randn(63, generator=g)
    previous, noise = torch.randn(70, generator=g), torch.randn(-(-(frames - 16) // 64), 80, 70, generator=g)
    conditions = Conditions([audio.flatten(1)], identity, EmotionTimeline((EmotionKey(0.0, "happiness"),)))
    config = replace(SamplerConfig.published(1.2), steps=steps)
    ours = sample_normalised(load_published(state), conditions, config, noise[:, None], previous)
    theirs = plain.mmdit.sample(plain.mmdit.PlainMoDA(state), audio, identity, 4, previous, noise, steps=steps)
    return torch.cat(list(ours)), theirs


@pytest.mark.parametrize("frames", [50, 130])
def test_published_sampling_is_the_plain_one(plain: ModuleType, frames: int) -> None:
    ours, theirs = both_motions(plain, frames, steps=3, hidden=16, heads=2, layers=3, width=5)
    assert ours.shape == theirs.shape == (frames, 70)
    assert (ours - theirs).abs().max() <= TOLERANCE
    assert theirs.std() > 0.5


@pytest.mark.slow
def test_published_sampling_at_full_width_is_the_plain_one(plain: ModuleType) -> None:
    ours, theirs = both_motions(plain, 80)
    assert (ours - theirs).abs().max() <= TOLERANCE


def difference(plain: ModuleType, widths: Widths) -> float:
    """Between the pictures [1, 3, P, P] in 0..1 that ours and the plain networks paint of a moved portrait."""
    g, face = generator(6), drawn_face()
    states = {network: random_state(shapes, g) for network, shapes in renderer_shapes(widths).items()}
    renderer, networks = LivePortraitRenderer(load_networks(states)), plain.liveportrait.PlainLivePortrait(states)
    portrait = renderer.prepare(face, 96)
    row = portrait.source.rows + 0.05 * torch.randn(1, 70, generator=g)
    with torch.inference_mode():
        driving = stitch(renderer.networks.stitching, portrait.keypoints, renderer.rule(portrait.source, row))
        ours = renderer.networks.generator(renderer.networks.warping(portrait.feature, driving, portrait.keypoints))
    seen = networks.look(renderer.look(cut(face.image, to_crop(face.landmarks))[None])[1])
    theirs, still = networks.paint(seen, row[0]), networks.paint(seen, portrait.source.rows[0])
    assert ours.std() > 0.05
    assert (theirs - still).abs().max() > 100 * TOLERANCE
    return float((ours - theirs).abs().max())


def test_painted_pictures_are_the_plain_ones(plain: ModuleType) -> None:
    assert difference(plain, SMALL) <= TOLERANCE


@pytest.mark.slow
def test_painted_pictures_at_full_width_are_the_plain_ones(plain: ModuleType) -> None:
    assert difference(plain, Widths()) <= 1e-3  # a quarter of a grey level: rounding, through four deep networks


def test_frames_are_the_plain_ones(plain: ModuleType) -> None:
    g, face = generator(7), drawn_face()
    states = {network: random_state(shapes, g) for network, shapes in renderer_shapes(SMALL).items()}
    renderer, networks = LivePortraitRenderer(load_networks(states)), plain.liveportrait.PlainLivePortrait(states)
    portrait = renderer.prepare(face, 256)
    rows = portrait.source.rows + 0.05 * torch.randn(3, 70, generator=g)
    seen = networks.look(renderer.look(cut(face.image, to_crop(face.landmarks))[None])[1])
    place = portrait.photo.permute(1, 2, 0).numpy(), portrait.grid[0].numpy(), portrait.mask.numpy()
    ours = np.stack(list(renderer.render(portrait, rows.numpy()))).astype(int)
    theirs = np.stack(list(networks.render(seen, rows, *place)))
    assert ours.shape == theirs.shape == (3, 256, 256, 3)
    assert np.abs(ours - theirs).max() <= 4  # levels: OpenCV reads between pixels in steps of 1 / 32


def test_no_published_weight_is_a_view_which_onednn_would_be_slow_with() -> None:
    model = load_published(random_state(published_shapes(hidden=16, heads=2, layers=3, width=5), generator()))
    assert all(parameter.is_contiguous() for parameter in model.parameters())


@pytest.mark.parametrize("gelu", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 24), (2, 5, 24), (0, 24)])
def test_a_linear_layer_is_one_by_either_library(
    shape: tuple[int, ...], bias: bool, gelu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    linear = layers.Linear(24, 40, bias)
    x = torch.randn(*shape[:-1], 48, generator=generator())[..., ::2]  # not contiguous, as a split is
    with torch.inference_mode():
        found = linear(x, gelu)
        monkeypatch.setattr(layers, "_ONEDNN", False)
        torch.testing.assert_close(found, linear(x, gelu), rtol=0, atol=5e-6)
    linear(x, gelu).sum().backward()
    assert linear.weight.grad is not None
