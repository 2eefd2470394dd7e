"""What the published network comes with besides weights, against its formulae written out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from moda.flow.path import published_sigmas
from moda.flow.sampler import SamplerConfig
from moda.flow.solvers import SOLVERS
from moda.motion.layout import LIP_CHANNELS
from moda.motion.published import modulate_lips, published_space, resize, starting_motion

GOLDEN = Path(__file__).resolve().parents[4] / "shared" / "golden"


def portrait(scale: float = 1.6) -> torch.Tensor:
    """Motion of a portrait, [70]: close to the mean, but for a size and a depth of its own."""
    space = published_space()
    rows = space.mean + space.std * torch.randn(70, generator=torch.Generator().manual_seed(0))
    rows[63], rows[66] = scale, 0.25
    return rows


def clip(frames: int, seed: int = 0) -> torch.Tensor:
    space = published_space()
    return space.denormalise(torch.randn(frames, 70, generator=torch.Generator().manual_seed(seed)))


def test_the_published_statistics() -> None:
    space = published_space()
    assert space.name == "liveportrait"
    assert (space.noise == 1).all() and (space.width == 0).all()
    mean = [1.286464, -0.0133488, 0.09994926, 0.0, -2.340677, -0.2463649, -0.3269464]
    std = [0.0691297, 0.06577022, 0.03481454, 0.0, 8.881922, 23.85525, 5.60632]
    torch.testing.assert_close(space.mean[63:], torch.tensor(mean), rtol=1e-6, atol=0)
    torch.testing.assert_close(space.std[63:], torch.tensor(std), rtol=1e-6, atol=0)
    assert space.mean[:63].abs().max() < 9.1e-3
    assert space.std[:63].min() > 5e-7 and space.std[:63].max() < 3.3e-2


@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"no golden tensors at {GOLDEN}")
def test_the_published_statistics_to_the_bit() -> None:
    space, published = published_space(), json.loads((GOLDEN / "moda_motion_mean_std.json").read_text())
    assert torch.equal(space.mean, torch.tensor(published["mean"]))
    assert torch.equal(space.std, torch.tensor(published["std"]))


@pytest.mark.parametrize("scale", [0.9, 1.286464, 1.9])
def test_a_portrait_starts_at_the_mean_size(scale: float) -> None:
    rows, space = portrait(scale), published_space()
    before = rows.clone()
    start, ratio = starting_motion(rows, space)
    torch.testing.assert_close(rows, before, rtol=0, atol=0)
    assert ratio == pytest.approx((scale + 1e-5) / (float(space.mean[63]) + 1e-5), rel=1e-6)
    z = space.normalise(start)
    assert abs(float(z[63])) < 2e-3  # the mean size, but for the 1e-5 in the ratio
    assert z[66] == 0  # no depth
    torch.testing.assert_close(start[64:66], rows[64:66] / ratio)
    untouched = [*range(63), 67, 68, 69]
    assert torch.equal(start[untouched], rows[untouched])


def test_what_is_sampled_comes_back_to_the_portraits_size() -> None:
    rows, space = portrait(), published_space()
    start, ratio = starting_motion(rows, space)
    back = resize(start.expand(3, 70), ratio)
    torch.testing.assert_close(back[0, :66], rows[:66])
    torch.testing.assert_close(back[2, 67:], rows[67:])
    moved = start.clone()
    moved[64:66] += 0.01
    torch.testing.assert_close(resize(moved, ratio)[64:66], rows[64:66] + 0.01 * ratio)


def test_lips_are_modulated_as_published() -> None:
    """Against the formula, frame by frame in numpy."""
    motion, space = clip(130), published_space()
    modulated = modulate_lips(motion, space)
    mean, std = space.mean.numpy(), space.std.numpy()
    z = (motion.numpy() - mean) / (std + 1e-5)
    lips = [3 * keypoint + axis for keypoint in (6, 12, 14, 17, 19, 20) for axis in range(3)]
    rest = z[-37, lips]
    distances = [((frame[lips] - rest) ** 2).sum() for frame in z]
    for t in (0, 7, 79, 129):
        weight = (1 / (1 + np.exp(-5 * distances[t])) - 0.5) / (max(distances) * 0.1 + 0.05)
        expected = rest + (z[t, lips] - rest) * (1 + weight)
        np.testing.assert_allclose((modulated[t].numpy()[lips] - mean[lips]) / (std[lips] + 1e-5), expected, atol=2e-3)
    others = sorted(set(range(70)) - set(LIP_CHANNELS))
    assert torch.equal(modulated[:, others], motion[:, others])
    assert torch.equal(modulated[-37], motion[-37])  # the rest stays where it is


def test_modulation_is_of_the_whole_clip() -> None:
    """One far frame changes what becomes of another, which is why no streamed sampling has it."""
    motion, space = clip(130), published_space()
    further = motion.clone()
    further[100, LIP_CHANNELS] += 10 * space.std[LIP_CHANNELS]
    assert not torch.equal(modulate_lips(motion, space)[5], modulate_lips(further, space)[5])


def test_lips_that_rest_stay() -> None:
    motion = clip(1).expand(120, 70)
    assert torch.equal(modulate_lips(motion, published_space()), motion)


def spread(config: SamplerConfig, variance: float) -> float:
    """What a schedule makes of unit noise, where motion is Gaussian of that variance; exactly, its square root."""

    def velocity(x: torch.Tensor, sigma: float) -> torch.Tensor:
        kept = 1 - sigma
        return x * (sigma - kept * variance) / (sigma**2 + kept**2 * variance)

    one = torch.ones(1, 1, 1, dtype=torch.float64)
    *_, motion = SOLVERS[config.solver](velocity, one, config.sigmas)
    return float(motion) / variance**0.5


def test_fewer_steps_than_the_published_keep_more_of_the_motion() -> None:
    """At every variance, from quick small movements to what hangs together over a window."""
    own, published = SamplerConfig.for_published(), SamplerConfig.published()
    assert published.sigmas == published_sigmas()
    for variance in (0.2, 1.0, 4.0, 10.0, 30.0):
        assert abs(spread(own, variance) - 1) < 0.125 < abs(spread(published, variance) - 1), variance
    branches = [sum(weight != 0 for weight in own.guidance.weights(sigma)) for sigma in own.sigmas[:-1]]
    assert branches == [1, 2, 2, 2, 1]
    assert own.sigmas[-2] > 0.2  # no step is wasted
    assert own.guidance.weights(0.6) == published.guidance.weights(0.6)
    assert own.lip_temperature == 1.0  # the noise of that space is the published
