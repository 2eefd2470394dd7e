"""The flow, its schedules and its solvers, against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from moda.flow import path as flow
from moda.flow.path import FlowPoint
from moda.flow.solvers import SOLVERS, Velocity
from tests.moda.model_support import generator


def test_the_velocity_leads_to_either_end() -> None:
    motion, noise = torch.randn(2, 4, 5, 70, generator=generator(), dtype=torch.float64)
    point = FlowPoint.between(motion, noise, torch.tensor([0.1, 0.4, 0.7, 1.0], dtype=torch.float64))
    torch.testing.assert_close(flow.motion_from(point.x, point.velocity, point.sigma), motion)
    torch.testing.assert_close(point.x + (1 - point.sigma[:, None, None]) * point.velocity, noise)


def test_ends_of_the_path() -> None:
    motion, noise = torch.randn(2, 3, 5, 70, generator=generator())
    assert torch.equal(flow.interpolate(motion, noise, 0.0), motion)
    assert torch.equal(flow.interpolate(motion, noise, torch.ones(3)), noise)


def test_training_points_cover_the_noise_levels() -> None:
    motion, noise = torch.zeros(64, 80, 70), torch.randn(64, 80, 70, generator=generator())
    point = flow.training_point(motion, noise, generator())
    assert sorted((point.sigma * 64).int().tolist()) == list(range(64)), "one per stratum"
    torch.testing.assert_close(point.x, point.sigma[:, None, None] * point.velocity)
    assert torch.equal(point.velocity, noise)
    again = flow.training_point(motion, noise, generator())
    assert torch.equal(point.x, again.x)


def test_schedules() -> None:
    assert flow.uniform_sigmas(4) == [1, 0.75, 0.5, 0.25, 0]
    assert flow.uniform_sigmas(3, shift=2) == pytest.approx([1, 0.8, 0.5, 0])
    published = flow.published_sigmas()
    assert published[:2] == [1, 0.889] and published[-2:] == [0.001, 0] and len(published) == 11


# A Gaussian target N(MEAN, SPREAD^2) has an exact velocity, and the flow takes noise z to MEAN + SPREAD z.
MEAN, SPREAD = 0.7, 0.4


def gaussian_velocity(x: torch.Tensor, sigma: float) -> torch.Tensor:
    centred = x - (1 - sigma) * MEAN
    variance = ((1 - sigma) * SPREAD) ** 2 + sigma**2
    return sigma / variance * centred - MEAN - (1 - sigma) * SPREAD**2 / variance * centred


def error(solver: str, steps: int) -> float:
    z = torch.linspace(-2, 2, 9, dtype=torch.float64)
    *_, x = SOLVERS[solver](gaussian_velocity, z, flow.uniform_sigmas(steps))
    return float((x - (MEAN + SPREAD * z)).abs().max())


@pytest.mark.parametrize(
    ("solver", "steps", "low", "high"),
    # dpmpp2m begins with two steps of order 1, so its order shows late
    [("euler", 20, 1.8, 2.3), ("ab2", 20, 3.5, 5), ("heun", 20, 3.5, 5), ("dpmpp2m", 320, 3.4, 5)],
)
def test_order_of_the_solvers(solver: str, steps: int, low: float, high: float) -> None:
    """Halving the step divides the error by 2 to the order."""
    assert low < error(solver, steps) / error(solver, 2 * steps) < high
    assert low < error(solver, 2 * steps) / error(solver, 4 * steps) < high


def test_second_order_pays_at_few_steps() -> None:
    assert error("ab2", 5) < error("euler", 10)


@pytest.mark.parametrize("sigmas", [flow.uniform_sigmas(2), flow.published_sigmas(2)])
def test_first_order_of_dpm_is_euler(sigmas: list[float]) -> None:
    """Two steps: the log-SNR is infinite at both ends, so both are of order 1."""
    z = torch.linspace(-2, 2, 9, dtype=torch.float64)
    x = {name: list(SOLVERS[name](gaussian_velocity, z, sigmas))[-1] for name in ("euler", "dpmpp2m")}
    torch.testing.assert_close(x["dpmpp2m"], x["euler"])


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_straight_lines_are_exact(solver: str, steps: int) -> None:
    motion, noise = torch.randn(2, 1, 6, 70, generator=generator(), dtype=torch.float64)
    *_, x = SOLVERS[solver](lambda x, sigma: noise - motion, noise, flow.uniform_sigmas(steps))
    torch.testing.assert_close(x, motion)


@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers_project_the_start_and_every_step(solver: str) -> None:
    seen: list[float] = []
    evaluated: list[float] = []

    def velocity(x: torch.Tensor, sigma: float) -> torch.Tensor:
        assert (x[..., 0] == 10 + sigma).all(), "the network must see what was put back"
        evaluated.append(sigma)
        return gaussian_velocity(x, sigma)

    def project(x: torch.Tensor, sigma: float) -> torch.Tensor:
        seen.append(sigma)
        return torch.cat([torch.full_like(x[..., :1], 10 + sigma), x[..., 1:]], dim=-1)

    pinned: Velocity = project
    sigmas = flow.uniform_sigmas(4)
    *_, x = SOLVERS[solver](velocity, torch.randn(1, 2, 3, dtype=torch.float64, generator=generator()), sigmas, pinned)
    assert (x[..., 0] == 10).all()
    assert list(dict.fromkeys(seen)) == sigmas
    assert evaluated == (sigmas[:-1] if solver != "heun" else [1, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25])


def test_noise_of_a_width_is_smooth_in_time_and_of_unit_variance() -> None:
    """White noise under a Gaussian of width w is correlated as a Gaussian of width sqrt(2) w."""
    width = torch.tensor([0.0, 2.0, 5.0])
    noise = flow.draw_noise((4000, 80, 3), torch.ones(3), generator(), width)
    torch.testing.assert_close(noise.std(0), torch.ones(80, 3), rtol=0.06, atol=0)
    for channel, w in enumerate(width.tolist()):
        for lag in (1, 3, 6):
            wanted = math.exp(-(lag**2) / (4 * w**2)) if w else 0.0
            found = (noise[:, 30, channel] * noise[:, 30 + lag, channel]).mean().item()
            assert abs(found - wanted) < 0.06
    white = flow.draw_noise((4000, 80, 3), torch.ones(3), generator())
    assert torch.equal(noise[..., 0], white[..., 0])
