"""The 70 numbers a frame of motion is made of, their normalisation, and motion files."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, cast, get_args

import numpy as np
import torch
from torch import Tensor

from contracts import FPS, KEYPOINT_VERTICES, Driving, ModaError, Motion, Region
from moda.files import replacing

#: The layout of a frame. Units in space ``mesh``: expression and translation OC (1 OC is the distance of the outer eye
#: corners, about 89 mm), scale a ratio, angles degrees. In space ``liveportrait`` they are the published model's.
MOTION_DIM = 70
EXPRESSION = slice(0, 63)  # 21 keypoints x (x, y, z)
LIPS = slice(0, 27)  # of the expression in space ``mesh``: corners, inner and outer lips, quarters, chin
SCALE = slice(63, 64)
TRANSLATION = slice(64, 67)  # x, y, z
PITCH = slice(67, 68)  # + looks down
YAW = slice(68, 69)  # + turns to the image right
ROLL = slice(69, 70)  # + counter-clockwise on screen
ROTATION = slice(67, 70)
POSE = slice(63, 70)  # all but the expression


def channel(vertex: int, axis: str) -> int:
    """Place in a frame of the coordinate "x", "y" or "z" of a keypoint, which its MediaPipe vertex names."""
    return 3 * KEYPOINT_VERTICES.index(vertex) + "xyz".index(axis)


UPPER_LIP, LOWER_LIP = channel(13, "y"), channel(14, "y")  # the middle of the inner lips
UPPER_LIDS = [channel(159, "y"), channel(386, "y")]
LIDS = slice(channel(159, "x"), channel(374, "z") + 1)  # upper and lower, x y z

EPSILON = 1e-5  # of the published normalisation; it dominates the near-constant depth channels there

SPACES = ("mesh", "liveportrait")
FORMAT = "moda-motion-1"


Frames = TypeVar("Frames", np.ndarray, Tensor)


def lip_gap(motion: Frames) -> Frames:
    """Inner-lip opening [...] of motion [..., 70] in units; OC in space ``mesh``."""
    return motion[..., UPPER_LIP] - motion[..., LOWER_LIP]


class MotionError(ModaError):
    """A motion that cannot be read, written or used."""


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


def save_motion(path: str | Path, motion: Motion) -> None:
    """Write a motion as npz: ``frames`` float32 [T, 70], ``space``, ``fps``, ``format``; of a filmed face also what its
    Driving holds, as ``driving.relative`` and so on. Raises MotionError."""
    frames = np.asarray(motion.frames, dtype=np.float32)
    if frames.ndim != 2 or frames.shape[1] != MOTION_DIM or not np.isfinite(frames).all():
        raise MotionError(f"a motion is finite numbers [T, {MOTION_DIM}], not {frames.shape}; sample or track it again")
    driving = {} if motion.driving is None else vars(motion.driving)
    given = {f"driving.{name}": value for name, value in driving.items() if value is not None}
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, frames=frames, space=motion.space, fps=motion.fps, format=FORMAT, **given)
    except OSError as error:
        raise MotionError(f"cannot write {path} ({error.strerror}); choose a folder that has room") from error


def load_motion(path: str | Path) -> Motion:
    """Read a file of :func:`save_motion`. Raises MotionError."""
    remedy = "give a file written with --save-motion"
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["format"]) != FORMAT:
                raise MotionError(f"{path} holds motion of another format, {file['format']}; {remedy} by this version")
            frames, space = file["frames"].astype(np.float32), str(file["space"])
            motion = Motion(frames, space, int(file["fps"]), _driving(file, len(frames)))
    except FileNotFoundError:
        raise MotionError(f"no motion file at {path}; {remedy}") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise MotionError(f"{path} is not a moda motion file; {remedy}") from error
    if frames.ndim != 2 or frames.shape[1] != MOTION_DIM or not len(frames) or not np.isfinite(frames).all():
        raise MotionError(f"{path} holds no finite [T, {MOTION_DIM}] motion; {remedy}")
    if motion.space not in SPACES:
        raise MotionError(f"{path} is of an unknown motion space, {motion.space!r}; {remedy}")
    if motion.fps != FPS:
        raise MotionError(f"{path} runs at {motion.fps} frames a second, not {FPS}; {remedy}")
    return motion


def _driving(file: Mapping[str, np.ndarray], length: int) -> Driving | None:
    """What :func:`save_motion` wrote of it. Raises KeyError, ValueError."""
    if "driving.relative" not in file:
        return None
    names = [name for name in ("eyes", "lips") if f"driving.{name}" in file]
    wanted = {name: file[f"driving.{name}"].astype(np.float32) for name in names}
    region = str(file["driving.region"])
    usable = (ratios.shape == (length,) and np.isfinite(ratios).all() for ratios in wanted.values())
    if region not in get_args(Region) or not all(usable):
        raise ValueError("no driving")
    return Driving(bool(file["driving.relative"]), cast("Region", region), **wanted)
