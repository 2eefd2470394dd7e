"""Solvers of the flow, dx = v(x, sigma) dsigma, from noise at sigmas[0] to motion at sigmas[-1]. Each is a generator of
x after every step, the last of which is the motion: between two steps it can be left.

``velocity(x, sigma)`` is called once per step (heun: twice), ``sigmas`` falls from 1 to 0, and ``project(x, sigma)``,
applied to the start and after each step, may put back what is known of x.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Protocol

from torch import Tensor

Velocity = Callable[[Tensor, float], Tensor]


class Solver(Protocol):
    def __call__(
        self, velocity: Velocity, x: Tensor, sigmas: Sequence[float], project: Velocity | None = None
    ) -> Iterator[Tensor]: ...


def keep(x: Tensor, sigma: float) -> Tensor:
    """The projection that changes nothing."""
    return x


def euler(velocity: Velocity, x: Tensor, sigmas: Sequence[float], project: Velocity | None = None) -> Iterator[Tensor]:
    """Order 1."""
    project = project or keep
    x = project(x, sigmas[0])
    for sigma, following in pairwise(sigmas):
        x = project(x + (following - sigma) * velocity(x, sigma), following)
        yield x


def ab2(velocity: Velocity, x: Tensor, sigmas: Sequence[float], project: Velocity | None = None) -> Iterator[Tensor]:
    """Adams-Bashforth of order 2 with variable steps: the velocity extrapolated to the middle of the step.

    One evaluation per step, as Euler; the first step, which has no history, is Euler's.
    """
    project = project or keep
    x = project(x, sigmas[0])
    v_before, h_before = None, 0.0
    for sigma, following in pairwise(sigmas):
        v, h = velocity(x, sigma), following - sigma
        v_middle = v if v_before is None else v + (h / (2 * h_before)) * (v - v_before)
        x = project(x + h * v_middle, following)
        yield x
        v_before, h_before = v, h


def dpmpp2m(
    velocity: Velocity, x: Tensor, sigmas: Sequence[float], project: Velocity | None = None
) -> Iterator[Tensor]:
    """DPM-Solver++(2M) (arXiv 2211.01095) for alpha = 1 - sigma: order 2 in the motion estimate over the log-SNR.

    Order 1 is Euler exactly; it stands in where the log-SNR is infinite, at sigma 1 (so for two steps) and at 0.
    """
    project = project or keep
    x = project(x, sigmas[0])
    motion_before, h_before = None, math.inf
    for sigma, following in pairwise(sigmas):
        motion = x - sigma * velocity(x, sigma)
        h = _log_snr(following) - _log_snr(sigma)
        estimate = motion
        if motion_before is not None and math.isfinite(h) and math.isfinite(h_before):
            estimate = motion + h / (2 * h_before) * (motion - motion_before)
        ratio = following / sigma
        x = project(ratio * x + (1 - ratio) * estimate, following)
        yield x
        motion_before, h_before = motion, h


def heun(velocity: Velocity, x: Tensor, sigmas: Sequence[float], project: Velocity | None = None) -> Iterator[Tensor]:
    """Order 2 by two evaluations per step; the last step is Euler's, for at sigma 0 there is nothing to denoise."""
    project = project or keep
    x = project(x, sigmas[0])
    for sigma, following in pairwise(sigmas):
        v, h = velocity(x, sigma), following - sigma
        if following > 0:
            v = (v + velocity(project(x + h * v, following), following)) / 2
        x = project(x + h * v, following)
        yield x


SOLVERS: dict[str, Solver] = {"euler": euler, "ab2": ab2, "dpmpp2m": dpmpp2m, "heun": heun}


def _log_snr(sigma: float) -> float:
    if sigma in (0, 1):
        return math.inf if sigma == 0 else -math.inf
    return math.log((1 - sigma) / sigma)
