"""Picture files of every kind, and broken ones."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from encoders.face.image import ImageError, ImageMissing, ImageTooLarge, ImageUnreadable, load_image


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


# ---- colour profiles -----------------------------------------------------------------------------------------------

#: Red, green and blue of colour spaces in XYZ of the profile connection space (D50).
SPACES = {
    "Display P3": ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407)),
    "Adobe RGB": ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)),
    "swapped": ((0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.7141), (0.43607, 0.22249, 0.01392)),
}


def profile(space: str, grey: bool = False) -> bytes:
    """An ICC profile of version 2 with a gamma of 2.2, by the ICC's specification."""

    def fixed(*values: float) -> bytes:
        return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(2.2 * 256))
    white = (0.9642, 1.0, 0.8249)
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78),
        b"wtpt": b"XYZ " + bytes(4) + fixed(*white),
    }
    if grey:
        tags[b"kTRC"] = curve
    else:
        for letter, column in zip(b"rgb", SPACES[space], strict=True):
            tags[bytes([letter]) + b"XYZ"] = b"XYZ " + bytes(4) + fixed(*column)
            tags[bytes([letter]) + b"TRC"] = curve
    start, table, body = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data
    header = struct.pack(">I4sI", start + len(body), b"test", 0x02400000) + b"mntr" + (b"GRAY" if grey else b"RGB ")
    header += b"XYZ " + struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(*white)
    return header + bytes(128 - len(header)) + table + body


@pytest.fixture
def colours() -> np.ndarray:
    """uint8 [40, 60, 3]: muted colours, which every space holds."""
    red, green = np.meshgrid(np.linspace(60, 190, 60), np.linspace(60, 190, 40))
    return np.stack([red, green, np.full_like(red, 110)], 2).astype(np.uint8)


def converted(colours: np.ndarray, icc: bytes) -> Image.Image:
    into = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    return ImageCms.profileToProfile(Image.fromarray(colours), ImageCms.createProfile("sRGB"), into)


@pytest.mark.parametrize("suffix", ["png", "tiff", "webp", "jpg", "avif"])
@pytest.mark.parametrize("space", SPACES)
def test_colours_are_those_of_the_profile(tmp_path: Path, colours: np.ndarray, space: str, suffix: str) -> None:
    icc = profile(space)
    file = tmp_path / f"wide.{suffix}"
    options = {"webp": {"lossless": True}, "jpg": {"quality": 98, "subsampling": 0}, "avif": {"quality": 98}}
    stored = converted(colours, icc)
    stored.save(file, icc_profile=icc, **options.get(suffix, {}))
    assert np.abs(np.asarray(stored).astype(int) - colours).mean() > 3, "the profile matters"
    assert np.abs(load_image(file).astype(int) - colours).mean() < 1.6


def test_a_profile_counts_under_transparency_in_a_palette_and_in_grey(tmp_path: Path, colours: np.ndarray) -> None:
    icc = profile("swapped")
    stored = converted(colours, icc)
    cutout = stored.convert("RGBA")
    cutout.putalpha(Image.fromarray(np.tile(np.repeat(np.uint8([255, 0]), 30), (40, 1))))
    cutout.save(tmp_path / "cutout.png", icc_profile=icc)
    image = load_image(tmp_path / "cutout.png")
    np.testing.assert_allclose(image[:, :30].astype(int), colours[:, :30].astype(int), atol=3)
    assert (image[:, 30:] == 255).all()
    stored.quantize(256).save(tmp_path / "palette.png", icc_profile=icc)
    np.testing.assert_allclose(load_image(tmp_path / "palette.png").astype(int), colours.astype(int), atol=14)
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (16, 1))
    for deep in (False, True):
        picture = Image.fromarray(ramp.astype(np.uint16) * 257 if deep else ramp)
        picture.save(tmp_path / "grey.png", icc_profile=profile("", grey=True))
        grey = load_image(tmp_path / "grey.png").astype(int)
        linear = (ramp[0] / 255) ** 2.2
        expected = 255 * np.where(linear < 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
        np.testing.assert_allclose(grey[0, :, 0], expected, atol=2)
        assert (grey[..., 0] == grey[..., 1]).all() and (grey[..., 0] == grey[..., 2]).all()


@pytest.mark.parametrize("icc", ["srgb", "broken", "empty", "of grey", "cut"])
def test_a_profile_that_says_nothing_changes_nothing(tmp_path: Path, gradient: np.ndarray, icc: str) -> None:
    data = {
        "srgb": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        "broken": b"no profile at all" * 20, "empty": b"", "of grey": profile("", grey=True),
        "cut": profile("Display P3")[:200],
    }[icc]  # fmt: skip
    Image.fromarray(gradient).save(tmp_path / "plain.png", icc_profile=data)
    np.testing.assert_array_equal(load_image(tmp_path / "plain.png"), gradient)


def test_lab(tmp_path: Path, colours: np.ndarray) -> None:
    lab = ImageCms.profileToProfile(
        Image.fromarray(colours), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    lab.save(tmp_path / "lab.tiff")
    image = load_image(tmp_path / "lab.tiff").astype(int)
    np.testing.assert_allclose(image, colours.astype(int), atol=9)  # 8 bits of Lab are coarse


# ---- damage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["avif", "webp", "png", "jpg", "tiff", "gif", "bmp", "ico", "jp2", "tga", "pcx"])
def test_damage_of_any_kind_is_one_line_or_a_picture(tmp_path: Path, suffix: str) -> None:
    chance = np.random.default_rng(3)
    Image.fromarray(chance.integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / f"whole.{suffix}")
    data = np.frombuffer((tmp_path / f"whole.{suffix}").read_bytes(), np.uint8)
    refused = 0
    for _ in range(40):
        broken = data.copy()
        at = chance.integers(0, min(len(data), 400), 4)
        broken[at] = chance.integers(0, 256, len(at), np.uint8)
        (tmp_path / f"odd.{suffix}").write_bytes(broken.tobytes()[: chance.integers(len(data) // 2, len(data) + 1)])
        try:
            assert load_image(tmp_path / f"odd.{suffix}").ndim == 3
        except ImageError as error:
            refused += 1
            assert "\n" not in str(error) and ";" in str(error)
    assert refused > 0


@pytest.mark.parametrize("exif", [b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0no tiff", b"Exif\0\0"])
def test_a_damaged_exif_block_is_ignored(tmp_path: Path, gradient: np.ndarray, exif: bytes) -> None:
    Image.fromarray(gradient).save(tmp_path / "odd.jpg", exif=exif, quality=95)
    assert load_image(tmp_path / "odd.jpg").shape == (40, 60, 3)


def test_an_animation_gives_its_first_frame(tmp_path: Path, gradient: np.ndarray) -> None:
    first, second = Image.fromarray(gradient), Image.fromarray(255 - gradient)
    for suffix in ("webp", "png", "avif"):
        options = {"lossless": True} if suffix == "webp" else {}
        first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=[second], **options)
        assert np.abs(load_image(tmp_path / f"a.{suffix}").astype(int) - gradient).mean() < 6


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_printers_colours_come_back(tmp_path: Path, suffix: str) -> None:
    inks = Path("/usr/share/color/icc/ghostscript/default_cmyk.icc")
    if not inks.is_file():
        pytest.skip("no profile of a printer here; Debian's libgs-common has one")
    # Colours that ink can print, in patches, so that the coding of the file does not count.
    patches = np.array([(230, 190, 170), (150, 130, 110), (128, 128, 128), (90, 120, 80)], np.uint8).repeat(32, 0)
    colours = np.repeat(patches[None], 32, 0)
    printed = ImageCms.profileToProfile(
        Image.fromarray(colours), ImageCms.createProfile("sRGB"), str(inks), outputMode="CMYK",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )  # fmt: skip
    printed.save(
        tmp_path / f"a.{suffix}", icc_profile=inks.read_bytes(), **({"quality": 95} if suffix == "jpg" else {})
    )
    plain = np.asarray(Image.open(tmp_path / f"a.{suffix}").convert("RGB"))
    off, ignored = (
        np.abs(found.astype(int) - colours).mean() for found in (load_image(tmp_path / f"a.{suffix}"), plain)
    )
    assert off < 6 < 12 < ignored
