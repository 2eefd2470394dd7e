"""Picture files of every kind, and broken ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from encoders.face.image import ImageMissing, ImageTooLarge, ImageUnreadable, load_image


@pytest.fixture
def gradient() -> np.ndarray:
    """uint8 [40, 60, 3]: red grows to the right, green downwards."""
    red, green = np.meshgrid(np.linspace(0, 255, 60), np.linspace(0, 255, 40))
    return np.stack([red, green, np.full_like(red, 90)], 2).astype(np.uint8)


@pytest.mark.parametrize(
    ("suffix", "tolerance"), [("png", 0), ("bmp", 0), ("tiff", 0), ("webp", 0), ("jpg", 12), ("gif", 40)]
)
def test_formats(tmp_path: Path, gradient: np.ndarray, suffix: str, tolerance: int) -> None:
    file = tmp_path / f"picture.{suffix}"
    options = {"webp": {"lossless": True}, "jpg": {"quality": 95}}.get(suffix, {})
    Image.fromarray(gradient).save(file, **options)
    image = load_image(file)
    assert image.dtype == np.uint8 and image.shape == (40, 60, 3) and image.flags.writeable
    np.testing.assert_allclose(image.astype(int), gradient.astype(int), atol=tolerance)


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_exif_orientation(tmp_path: Path, gradient: np.ndarray, orientation: int, turns: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(gradient).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(load_image(tmp_path / "turned.png"), np.rot90(gradient, turns))


def test_transparency_is_flattened_onto_white(tmp_path: Path, gradient: np.ndarray) -> None:
    alpha = np.zeros((40, 60, 1), np.uint8)
    alpha[:, :30] = 255
    Image.fromarray(np.concatenate([gradient, alpha], 2)).save(tmp_path / "cutout.png")
    image = load_image(tmp_path / "cutout.png")
    np.testing.assert_array_equal(image[:, :30], gradient[:, :30])
    assert (image[:, 30:] == 255).all()
    palette = Image.fromarray(gradient).quantize(8)
    palette.save(tmp_path / "palette.png", transparency=palette.getpixel((59, 39)))
    assert (load_image(tmp_path / "palette.png")[39, 59] == 255).all()


@pytest.mark.parametrize("kind", ["8 bit", "16 bit", "32 bit", "float", "with alpha", "1 bit"])
def test_grey(tmp_path: Path, kind: str) -> None:
    ramp = np.tile(np.linspace(0, 1, 64), (16, 1))
    file, array = {
        "8 bit": ("g.png", (ramp * 255).astype(np.uint8)),
        "16 bit": ("g.png", (ramp * 65535).astype(np.uint16)),
        "32 bit": ("g.tiff", (ramp * 65535).astype(np.int32)),
        "float": ("g.tiff", ramp.astype(np.float32)),
        "with alpha": ("g.png", (ramp * 255).astype(np.uint8)),
        "1 bit": ("g.png", ramp > 0.5),
    }[kind]
    picture = Image.fromarray(array)
    (picture.convert("LA") if kind == "with alpha" else picture).save(tmp_path / file)
    image = load_image(tmp_path / file)
    expected = np.round(array if kind == "1 bit" else ramp) * 255 if kind == "1 bit" else ramp * 255
    assert image.shape == (16, 64, 3)
    np.testing.assert_allclose(image, np.repeat(expected[..., None], 3, 2), atol=1.01)


def test_cmyk(tmp_path: Path, gradient: np.ndarray) -> None:
    Image.fromarray(gradient).convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    np.testing.assert_allclose(load_image(tmp_path / "print.jpg").astype(int), gradient.astype(int), atol=20)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_huge_pictures_are_scaled_down(tmp_path: Path, suffix: str) -> None:
    Image.new("RGB", (5000, 1200), (200, 30, 40)).save(tmp_path / f"huge.{suffix}")
    image = load_image(tmp_path / f"huge.{suffix}")
    assert image.shape == (922, 3840, 3)
    np.testing.assert_allclose(image[500, 2000], (200, 30, 40), atol=3)


@pytest.mark.parametrize("size", [(700, 1000), (1000, 700), (1201, 300), (400, 2000)])
def test_scaling_by_strips_leaves_no_seams(tmp_path: Path, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    whole = Image.fromarray(noise)
    whole.save(tmp_path / "noise.png")
    scaled = load_image(tmp_path / "noise.png", max_side=600)
    expected = np.asarray(whole.resize((scaled.shape[1], scaled.shape[0]), Image.Resampling.LANCZOS))
    assert max(scaled.shape) == 600
    assert np.abs(scaled.astype(int) - expected).max() <= 1
    assert np.array_equal(load_image(tmp_path / "noise.png"), noise)


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (3000, 3000)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4_000_000)
    with pytest.raises(ImageTooLarge, match="over 8 million pixels; scale it down"):
        load_image(tmp_path / "bomb.png")


def test_missing_pictures(tmp_path: Path) -> None:
    with pytest.raises(ImageMissing, match=r"there is no picture .*nobody\.png"):
        load_image(tmp_path / "nobody.png")
    with pytest.raises(ImageMissing, match="is a folder"):
        load_image(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"BM\0"]
)
def test_files_that_are_no_pictures(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd.png").write_bytes(content)
    with pytest.raises(ImageUnreadable, match=r"odd\.png") as refusal:
        load_image(tmp_path / "odd.png")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff", "webp"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_pictures_cut_short(tmp_path: Path, suffix: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8)
    file = tmp_path / f"half.{suffix}"
    Image.fromarray(noise).save(file)
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(ImageUnreadable, match=r"half\."):
        load_image(file)
