"""A visible mark that says a picture is synthetic: the letters AI on a dark plate, in the upper left corner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from contracts import Array

TEXT = "AI"
HEIGHT, LEAST = 0.055, 20  # of the plate: in shorter sides of the frame, and px
MARGIN = 0.5  # from the frame's edges, in heights of the plate
LETTERS = 0.82  # size of the type, in heights of the plate
PLATE, RIM, INK = (0, 0, 0, 190), (255, 255, 255, 230), (255, 255, 255, 255)  # RGBA
_FINER = 4  # drawn larger, and scaled down: round corners without steps


@dataclass(frozen=True)
class Mark:
    """The plate for frames of one size, and where in them it lies."""

    colour: Array  # float32 [h, w, 3] RGB in 0..255
    opacity: Array  # float32 [h, w, 1] in 0..1
    corner: tuple[int, int]  # its first column and row

    @classmethod
    def of_frame(cls, height: int, width: int) -> Mark:
        """For frames of ``height`` x ``width`` px."""
        tall = max(round(HEIGHT * min(height, width)), LEAST)
        margin = round(MARGIN * tall)
        plate = np.asarray(_draw(tall), np.float32)
        return cls(plate[..., :3], plate[..., 3:] / 255, (margin, margin))

    def burn(self, image: Array, corner: tuple[int, int] = (0, 0)) -> Array:
        """The part of a frame that starts at column and row ``corner``, uint8 [H, W, 3], with its part of the mark.

        What lies beside the mark is not touched; where there is nothing of it, ``image`` itself comes back.
        """
        left, top = (mark - start for mark, start in zip(self.corner, corner, strict=True))  # in the part
        (height, width), (tall, wide) = image.shape[:2], self.opacity.shape[:2]
        rows = slice(max(top, 0), min(top + tall, height))
        columns = slice(max(left, 0), min(left + wide, width))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return image
        plate = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
        opacity = self.opacity[plate]
        marked = image.copy()
        marked[rows, columns] = np.rint(image[rows, columns] * (1 - opacity) + self.colour[plate] * opacity)
        return marked


def _draw(tall: int) -> Image.Image:
    """The plate, RGBA, ``tall`` px."""
    unit = tall * _FINER
    font = ImageFont.load_default(LETTERS * unit)
    wide = round((font.getlength(TEXT) + 0.55 * unit) / _FINER)
    plate = Image.new("RGBA", (wide * _FINER, unit), (*RIM[:3], 0))
    draw = ImageDraw.Draw(plate)
    edge = (0, 0, plate.width - 1, plate.height - 1)
    draw.rounded_rectangle(edge, radius=0.25 * unit, fill=PLATE, outline=RIM, width=max(round(0.06 * unit), _FINER))
    x0, y0, x1, y1 = draw.textbbox((0, 0), TEXT, font=font)
    place = ((plate.width - x0 - x1) / 2, (plate.height - y0 - y1) / 2)
    draw.text(place, TEXT, font=font, fill=INK, stroke_width=0.02 * unit, stroke_fill=INK)
    return plate.resize((wide, tall), Image.Resampling.BOX)
