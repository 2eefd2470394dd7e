"""What every renderer is: a motion space, one preparation per portrait, then frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from contracts import MOTION_DIM, ModaError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from contracts import Array, SourceFace

MIN_SIDE, MAX_SIDE = 64, 3840  # px, of a head crop

#: What the surroundings do while the head moves: stay where they are, or give way elastically.
Background = Literal["still", "follow"]

PreparedT = TypeVar("PreparedT")


class RenderError(ModaError):
    """A size or a motion that no renderer can turn into frames."""


class Renderer(Protocol[PreparedT]):
    """Turns motion into frames of one portrait's head crop. Deterministic; the embedded one needs no GPU.

    The outermost px of a frame never change, so that it can be laid into the picture it comes from.
    """

    space: str  # the motion space it draws, see contracts.Motion

    def prepare(self, face: SourceFace, size: int, background: Background = "still") -> PreparedT:
        """Do all that is done once per portrait.

        ``size``: side of the square frames in px, even, 64 to 3840, else RenderError. With the side of ``face.crop``
        nothing is resampled, and the frame without motion is the crop itself.
        """

    def render(self, prepared: PreparedT, frames: Array) -> Iterator[Array]:
        """Yield one uint8 [size, size, 3] RGB frame per row of ``frames``, float32 [n, 70]; keeps none of them."""


def check_side(side: int) -> None:
    """Raise RenderError unless a head crop can be drawn with ``side`` px."""
    if side % 2 or not MIN_SIDE <= side <= MAX_SIDE:
        raise RenderError(f"a head crop of {side} px cannot be drawn; its side is even, {MIN_SIDE} to {MAX_SIDE} px")


def check_motion(frames: Array) -> None:
    """Raise RenderError unless ``frames`` is a finite [n, 70] array."""
    if frames.ndim != 2 or frames.shape[1] != MOTION_DIM:
        raise RenderError(f"a motion has {MOTION_DIM} numbers a frame, this one has shape {tuple(frames.shape)}")
    import numpy as np  # here, as the names above are read without it

    if not np.isfinite(frames).all():
        raise RenderError("the motion holds values that are not finite: generate it again")
