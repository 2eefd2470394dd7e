"""A coordinate system of motion and its normalisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from contracts import MOTION_DIM
from moda.motion.layout import SCALE, SPACES

EPSILON = 1e-5  # of the published normalisation; it dominates the near-constant depth channels there


@dataclass(frozen=True)
class MotionSpace:
    """A coordinate system of motion and its statistics, all float32 [70].

    ``noise`` scales the Gaussian that the flow starts from, per channel: 1 is the published model; below 1 the sound
    has more and chance less to say. ``width`` is how smooth that Gaussian is in time, in frames (see
    ``moda.flow.path.draw_noise``): 0 is the published white noise; what moves slowly starts from slow noise, and what a
    short walk leaves of it is no jitter.
    """

    name: str  # "mesh" or "liveportrait"
    mean: Tensor
    std: Tensor
    noise: Tensor
    width: Tensor = field(default_factory=lambda: torch.zeros(MOTION_DIM))

    def __post_init__(self) -> None:
        if self.name not in SPACES:
            raise ValueError(f"unknown motion space {self.name!r}")
        if any(tensor.shape != (MOTION_DIM,) for tensor in self.tensors().values()):
            raise ValueError(f"the statistics of a motion space have {MOTION_DIM} numbers each")

    def normalise(self, x: Tensor) -> Tensor:
        """Motion [..., 70] in units -> the space of the network."""
        return (x - self.mean.to(x)) / (self.std.to(x) + EPSILON)

    def denormalise(self, z: Tensor) -> Tensor:
        return z * (self.std.to(z) + EPSILON) + self.mean.to(z)

    @property
    def rest(self) -> Tensor:
        """The motion of a face that does nothing, [70] in units: neutral, unmoved, at its own size."""
        rest = torch.zeros(MOTION_DIM) if self.name == "mesh" else self.mean.clone()
        if self.name == "mesh":
            rest[SCALE] = 1.0
        return rest

    def tensors(self) -> dict[str, Tensor]:
        return {"mean": self.mean, "std": self.std, "noise": self.noise, "width": self.width}

    @classmethod
    def from_tensors(cls, name: str, tensors: Mapping[str, Tensor]) -> MotionSpace:
        """Inverse of :meth:`tensors`; without ``noise`` it is 1, without ``width`` 0. Raises KeyError, ValueError."""
        mean = tensors["mean"].float()
        noise, width = tensors.get("noise", torch.ones_like(mean)), tensors.get("width", torch.zeros_like(mean))
        return cls(name, mean, tensors["std"].float(), noise.float(), width.float())
