"""The colours of a picture file, by the profile in it, as those of sRGB."""

from __future__ import annotations

import io

from PIL import Image, ImageCms

SAME = 2  # levels of 255: a profile that changes no colour by more is sRGB's own, and the picture is left as it is
_STEPS = (0, 51, 102, 153, 204, 255)


class Colours:
    """How the pixels of a picture become RGB of sRGB. A profile that is damaged, or of other colours, is ignored."""

    def __init__(self, picture: Image.Image) -> None:
        self._transforms: dict[str, ImageCms.ImageCmsTransform | None] = {}
        self._profile: ImageCms.ImageCmsProfile | None = None
        data = picture.info.get("icc_profile")
        try:
            if picture.mode == "LAB":
                self._profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
            elif isinstance(data, bytes) and data:
                self._profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        except (OSError, ValueError, ImageCms.PyCMSError):
            return

    def to_srgb(self, image: Image.Image) -> Image.Image:
        """A part of the picture, opaque, as RGB."""
        if image.mode not in ("L", "RGB", "CMYK", "LAB"):
            image = image.convert("L" if image.mode in ("1", "LA", "I;16") else "RGB")
        transform = self._transform(image.mode)
        return image.convert("RGB") if transform is None else transform.apply(image)

    def _transform(self, mode: str) -> ImageCms.ImageCmsTransform | None:
        """That from pixels of ``mode``; None where it is not needed, or the profile is of other pixels."""
        if self._profile is None:
            return None
        if mode not in self._transforms:
            try:
                made = ImageCms.buildTransform(
                    self._profile, ImageCms.createProfile("sRGB"), mode, "RGB",
                    ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION,
                )  # fmt: skip
                self._transforms[mode] = None if mode == "RGB" and _changes_nothing(made) else made
            except (OSError, ValueError, ImageCms.PyCMSError):
                self._transforms[mode] = None
        return self._transforms[mode]


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    colours = bytes(level for r in _STEPS for g in _STEPS for b in _STEPS for level in (r, g, b))
    before = Image.frombytes("RGB", (len(colours) // 3, 1), colours)
    after = transform.apply(before).tobytes()
    return max(abs(a - b) for a, b in zip(colours, after, strict=True)) <= SAME
