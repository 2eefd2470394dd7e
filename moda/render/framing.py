"""What of the picture is filmed: the whole of it with the head in place, or the square around the head."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from moda.render.base import Background, RenderError

if TYPE_CHECKING:
    from contracts import Array, SourceFace

Frame = Literal["full", "crop"]
MIN_SIZE, MAX_SIZE, SIZE = 256, 1024, 512  # px, of a video of the head crop
ENLARGED = 1.25  # times: drawn larger than this, a face is seen to be soft


@dataclass(frozen=True)
class Framing:
    """How a portrait is framed."""

    frame: Frame | None = None
    """``full``: the whole picture, at its own resolution; ``crop``: the square around the head, scaled to ``size``.
    None: ``full``, except where a size is given, and where the picture is no larger than the head crop."""
    size: int | None = None
    """Side of the ``crop``, even, 256 to 1024 px; None is 512. Nothing else has a size to choose."""
    background: Background = "still"
    """``still``, or ``follow``: the surroundings give way to the head elastically."""

    def __post_init__(self) -> None:
        """Raises RenderError where the choices are impossible."""
        for name, given, known in (
            ("frame", self.frame or "crop", get_args(Frame)),
            ("background", self.background, get_args(Background)),
        ):
            if given not in known:
                raise RenderError(f"there is no --{name} {given}; give {' or '.join(known)}")
        if self.size is None:
            return
        if self.frame == "full":
            raise RenderError("the full frame has the size of the picture: leave out --size, or choose --frame crop")
        if self.size % 2 or not MIN_SIZE <= self.size <= MAX_SIZE:
            raise RenderError(
                f"frame size {self.size} is not an even number from {MIN_SIZE} to {MAX_SIZE}: try --size {SIZE}"
            )

    def scene(self, face: SourceFace) -> Scene:
        """What the renderer is to draw of ``face``, and what stays around it."""
        height, width = face.image.shape[:2]
        whole = self.frame == "full" or (self.frame is None and self.size is None and face.crop[2] < max(height, width))
        return _full(face) if whole else Scene(face, self.size or SIZE)


@dataclass(frozen=True)
class Scene:
    """What is filmed: frames of the head crop, and where they lie in a picture that does not move."""

    face: SourceFace  # to be prepared by the renderer
    size: int  # px, side of the renderer's frames
    picture: Array | None = None  # uint8 [H, W, 3] RGB, even sides, in which they lie at face.crop; None: nowhere

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is less than ideal about filming this face so."""
        times = self.size / self.face.crop[2]
        if times <= ENLARGED:
            return ()
        eyes = f"{self.face.fit_scale:.0f} px between the eyes"
        return (f"the face is small ({eyes}): enlarged {times:.1f} times, it will be soft",)

    @property
    def corner(self) -> tuple[int, int]:
        """Column and row of the picture where the head's frame starts, both even."""
        return (0, 0) if self.picture is None else self.face.crop[:2]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of what is filmed, px."""
        return (self.size, self.size) if self.picture is None else self.picture.shape[:2]

    def compose(self, head: Array) -> Array:
        """The frame that is filmed, uint8 [H, W, 3], for the renderer's frame ``head``, uint8 [S, S, 3]."""
        if self.picture is None:
            return head
        frame = self.picture.copy()
        x, y = self.corner
        frame[y : y + self.size, x : x + self.size] = head
        return frame


def _full(face: SourceFace) -> Scene:
    """The whole picture, less a last odd row or column; the head crop on even px, as the video's colours are."""
    height, width = (length - length % 2 for length in face.image.shape[:2])
    x, y, side = face.crop
    side -= side % 2
    corner = (min(x - x % 2, width - side), min(y - y % 2, height - side))
    import numpy as np  # here, as a choice is checked without it

    picture = np.ascontiguousarray(face.image[:height, :width])
    return Scene(replace(face, crop=(*corner, side)), side, picture)
