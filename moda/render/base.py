"""What every renderer is: a motion space, one preparation per portrait, then frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from contracts import ModaError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from contracts import Array, SourceFace

MOTION_SIZE = 70
MIN_SIZE, MAX_SIZE = 256, 1024

PreparedT = TypeVar("PreparedT")


class RenderError(ModaError):
    """A size or a motion that no renderer can turn into frames."""


class Renderer(Protocol[PreparedT]):
    """Turns motion into frames of one portrait. Deterministic, and never in need of a GPU in the embedded default."""

    space: str  # the motion space it draws, see contracts.Motion

    def prepare(self, face: SourceFace, size: int) -> PreparedT:
        """Do all that is done once per portrait. ``size``: side of the square frames in px, even, 256 to 1024."""

    def render(self, prepared: PreparedT, frames: Array) -> Iterator[Array]:
        """Yield one uint8 [size, size, 3] RGB frame per row of ``frames``, float32 [n, 70]; keeps none of them."""


def check_size(size: int) -> None:
    """Raise RenderError unless ``size`` is even and 256 to 1024 px (H.264 needs even sides)."""
    if size % 2 or not MIN_SIZE <= size <= MAX_SIZE:
        raise RenderError(f"frame size {size} is not an even number from {MIN_SIZE} to {MAX_SIZE}: try --size 512")


def check_motion(frames: Array) -> None:
    """Raise RenderError unless ``frames`` is a finite [n, 70] array."""
    if frames.ndim != 2 or frames.shape[1] != MOTION_SIZE:
        raise RenderError(f"a motion has {MOTION_SIZE} numbers a frame, this one has shape {tuple(frames.shape)}")
    if not np.isfinite(frames).all():
        raise RenderError("the motion holds values that are not finite: generate it again")
