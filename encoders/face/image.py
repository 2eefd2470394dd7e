"""Picture files -> upright RGB uint8 arrays."""

from __future__ import annotations

import math
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from contracts import ModaError
from encoders.face.colours import Colours

if TYPE_CHECKING:
    from contracts import Array

#: Longest side kept, px, that of 4K video: a larger picture is scaled down to it.
MAX_SIDE = 3840
STRIP = 64  # rows that are converted at a time
_ORIENTATION = 0x0112  # the EXIF tag


class ImageError(ModaError):
    """A picture cannot be used."""


class ImageMissing(ImageError):
    """There is no such file."""


class ImageUnreadable(ImageError):
    """The file is no picture, is damaged, or is in a format Pillow does not read."""


class ImageTooLarge(ImageError):
    """The picture has so many pixels that decoding it could exhaust the memory."""


def load_image(path: str | Path, *, max_side: int = MAX_SIDE) -> Array:
    """Read any picture Pillow reads as uint8 [H, W, 3] RGB.

    The EXIF orientation is applied, colours become those of sRGB where a profile says what they are, transparency is
    flattened onto white, grey and 16-bit pictures become 8-bit RGB, an animation gives its first frame, and a picture
    longer than ``max_side`` px is scaled down to it.

    Raises ImageMissing, ImageUnreadable or ImageTooLarge.
    """
    path = Path(path)
    if os.path.isdir(path):  # not path.is_dir, which raises where the name is too long
        raise ImageMissing(f"{path} is a folder; name one picture file in it")
    if not os.path.isfile(path):
        raise ImageMissing(f"there is no picture {path}; check the path")
    try:
        image = _read(path, max_side)
        ImageOps.exif_transpose(image, in_place=True)
        return np.array(image)
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise ImageTooLarge(f"{path.name} has over {limit} million pixels; scale it down and try again") from error
    except UnidentifiedImageError as error:
        raise ImageUnreadable(f"{path.name} is not a picture that can be read; save it as PNG or JPEG") from error
    except MemoryError as error:
        raise ImageTooLarge(f"{path.name} does not fit in memory; scale it down and try again") from error
    except PermissionError as error:
        raise ImageUnreadable(f"{path} may not be read; change its permissions") from error
    except Exception as error:  # Pillow's decoders raise whatever a damaged file makes them stumble over
        why = " ".join(str(error).split()) or type(error).__name__
        raise ImageUnreadable(f"{path.name} is damaged or cut short ({why}); export it again") from error


def as_rgb(image: str | Path | Array) -> Array:
    """The picture itself, or the picture of that name, as uint8 [H, W, 3] RGB.

    Raises ImageError for an array of another shape or type, and as :func:`load_image`.
    """
    if isinstance(image, str | Path):
        return load_image(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ImageError(f"an image array must be uint8 [H, W, 3] RGB, not {image.dtype} {list(image.shape)}")
    return np.ascontiguousarray(image)


def _read(path: Path, max_side: int) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata, and of half the size that is the limit proper
        with Image.open(path) as picture:
            picture.draft("RGB", (max_side, max_side))  # lets a huge JPEG be decoded at a fraction of its size
            return _scaled(picture, max_side)


def _scaled(picture: Image.Image, max_side: int) -> Image.Image:
    """As RGB with its orientation, no side longer than ``max_side``; by strips, as memory that takes a large picture
    might not take it twice."""
    picture.load()
    share = min(1.0, max_side / max(picture.size))
    width, height = (max(1, round(side * share)) for side in picture.size)
    margin = math.ceil(3 / share) if share < 1 else 0  # rows that the filter sees beyond a strip
    peak = _peak(picture)
    colours = Colours(picture)
    image = Image.new("RGB", (width, height))
    for top in range(0, height, STRIP):
        bottom = min(top + STRIP, height)
        y0, y1 = (at * picture.height / height for at in (top, bottom))
        first, last = max(math.floor(y0) - margin, 0), min(math.ceil(y1) + margin, picture.height)
        strip = _flat(picture.crop((0, first, picture.width, last)), peak, colours)
        box = (0, y0 - first, picture.width, y1 - first)
        image.paste(strip.resize((width, bottom - top), Image.Resampling.LANCZOS, box), (0, top))
    image.getexif()[_ORIENTATION] = _orientation(picture)
    return image


def _orientation(picture: Image.Image) -> int:
    """1 to 8, as EXIF counts; 1, upright, where that is damaged."""
    try:
        value = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # of a damaged EXIF block, which is not needed
        return 1
    return value if value in range(1, 9) else 1


def _flat(image: Image.Image, peak: float | None, colours: Colours) -> Image.Image:
    """Any picture as RGB of sRGB, on white where it is transparent."""
    if peak is not None:
        image = _to_8_bit(image, peak)
    if not image.has_transparency_data:
        return colours.to_srgb(image)
    image = image.convert("RGBA")
    opaque = colours.to_srgb(image.convert("RGB")).convert("RGBA")
    opaque.putalpha(image.getchannel("A"))
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), opaque).convert("RGB")


def _peak(picture: Image.Image) -> float | None:
    """The brightest value of a grey of 16 bits, 32 bits or floating point; None for other pictures."""
    if picture.mode not in ("I", "F") and not picture.mode.startswith("I;16"):
        return None
    rows = (
        picture.crop((0, top, picture.width, min(top + STRIP, picture.height)))
        for top in range(0, picture.height, STRIP)
    )
    return max(float(np.nan_to_num(np.asarray(strip, np.float32)).max(initial=0.0)) for strip in rows)


def _to_8_bit(image: Image.Image, peak: float) -> Image.Image:
    """Grey of up to ``peak`` to 8 bits; Pillow's own conversion clips instead of scaling."""
    white = 1.0 if image.mode == "F" and peak <= 1.0 else 255.0 if peak <= 255.0 else max(65535.0, peak)
    grey = np.nan_to_num(np.asarray(image, np.float32)).clip(0, white)
    return Image.fromarray((grey * (255.0 / white) + 0.5).astype(np.uint8))
