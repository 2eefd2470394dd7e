"""Video files to the pictures that players show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from encoders.face.footage import Pictures
from encoders.face.reel import VideoUnreadable, fitted, open_reel
from tests.media_support import set_display_matrix

#: uint8 [48, 64, 3]: dark, with a white upper left corner and a red upper right one.
FLAG = np.full((48, 64, 3), 40, np.uint8)
FLAG[:16, :24] = 255
FLAG[:16, 40:] = (200, 30, 30)


def write(
    path: Path, frames: Sequence[np.ndarray], *, times: Sequence[int] = (), codec: str = "libx264",
    pixel: Fraction | None = None, options: dict[str, str] | None = None, mux: dict[str, str] | None = None,
) -> Path:  # fmt: skip
    """Frames of 25 a second, of one size."""
    with av.open(str(path), "w", options=mux or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 2_000_000
        if pixel is not None:
            stream.codec_context.sample_aspect_ratio = pixel
        for tick, frame in zip(times or range(len(frames)), frames, strict=True):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")
            picture.pts, picture.time_base = tick, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def seen(path: Path) -> tuple[list[float], list[np.ndarray], list[str]]:
    with open_reel(path) as reel:
        shown = [(time, reel.picture(frame)) for time, frame in reel.frames()]
    return [time for time, _ in shown], [picture for _, picture in shown], reel.losses()


def same(picture: np.ndarray, expected: np.ndarray) -> bool:
    return picture.shape == expected.shape and float(np.abs(picture.astype(int) - expected).mean()) < 12


STORED: list[tuple[tuple[int, int, int, int], Callable[[np.ndarray], np.ndarray]]] = [
    ((1, 0, 0, 1), lambda shown: shown),
    ((-1, 0, 0, -1), lambda shown: shown[::-1, ::-1]),
    ((0, 1, -1, 0), lambda shown: np.rot90(shown, 1)),  # shown turned clockwise
    ((0, -1, 1, 0), lambda shown: np.rot90(shown, -1)),
    ((-1, 0, 0, 1), lambda shown: shown[:, ::-1]),
    ((1, 0, 0, -1), lambda shown: shown[::-1]),
    ((0, 1, 1, 0), lambda shown: shown.transpose(1, 0, 2)),
    ((0, -1, -1, 0), lambda shown: shown[::-1, ::-1].transpose(1, 0, 2)),
]


@pytest.mark.parametrize(("matrix", "stored"), STORED)
def test_every_display_matrix_gives_the_picture_that_players_show(tmp_path, matrix, stored) -> None:
    path = set_display_matrix(write(tmp_path / "phone.mp4", [stored(FLAG)] * 3), *matrix)
    _, pictures, _ = seen(path)
    assert all(same(picture, FLAG) for picture in pictures)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("pixel", [Fraction(2), Fraction(4, 3), Fraction(1, 2), Fraction(12, 11)])
def test_pixels_that_are_not_square_are_made_so(tmp_path, suffix, pixel) -> None:
    shape = (round(96 / max(pixel, 1)), round(48 * min(pixel, 1)) * 2)
    stored = cv2.resize(cv2.resize(FLAG, (96, 96)), (shape[0] // 2 * 2, shape[1]), interpolation=cv2.INTER_AREA)
    _, pictures, _ = seen(write(tmp_path / f"wide.{suffix}", [stored] * 3, pixel=pixel))
    height, width = pictures[0].shape[:2]
    assert height / width == pytest.approx(1, abs=0.03)


def test_pixels_nobody_has_are_not_believed(tmp_path) -> None:
    _, pictures, _ = seen(write(tmp_path / "odd.mp4", [FLAG] * 2, pixel=Fraction(400, 1)))
    assert pictures[0].shape == FLAG.shape


def resized(path: Path, sizes: Sequence[tuple[int, int]]) -> Path:
    """A transport stream whose pictures change their size (width, height), as calls do: streams one after another."""
    data = b""
    for number, size in enumerate(sizes):
        part = path.with_suffix(f".{number}.ts")
        write(part, [cv2.resize(FLAG, size, interpolation=cv2.INTER_AREA)] * 10)
        data += part.read_bytes()
    path.write_bytes(data)
    return path


def test_pictures_of_another_size_are_shown_as_large(tmp_path) -> None:
    times, pictures, losses = seen(resized(tmp_path / "call.ts", [(64, 48), (128, 96), (32, 24)]))
    assert len(pictures) == 30 and losses == []
    assert np.diff(times) == pytest.approx([0.04] * 29, abs=0.005), "the clock begins anew with each part"
    assert all(same(picture, FLAG) for picture in pictures)


@pytest.mark.parametrize(
    ("size", "share"), [((48, 64), 1), ((64, 32), 1), ((32, 64), 1), ((48, 48), 1), ((128, 64), 0.5), ((96, 96), 0.5)]
)
def test_another_shape_is_fitted_around_the_middle(size, share) -> None:
    """Width and height against a window of 64 x 48; what is in the middle stays there."""
    width, height = size
    picture = np.zeros((height, width, 3), np.uint8)
    cv2.circle(picture, (width // 2, height // 2), round(8 / share), (255, 255, 255), -1)
    window = fitted(picture, (48, 64))
    assert window.shape == (48, 64, 3)
    rows, columns = np.nonzero(window[..., 0] > 127)
    assert (rows.mean(), columns.mean()) == pytest.approx((24, 32), abs=1.1)
    assert np.sqrt(len(rows) / np.pi) == pytest.approx(8, abs=1)


MOVING = [np.roll(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), k, 1) for k in range(50)]


def test_a_damaged_stretch_is_passed_over_and_told(tmp_path) -> None:
    path = write(tmp_path / "film.mp4", MOVING, options={"g": "5", "bf": "0"}, mux={"movflags": "+faststart"})
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + len(data) // 5] = bytes(len(data) // 5)
    path.write_bytes(data)
    times, pictures, losses = seen(path)
    assert times[-1] == pytest.approx(1.96)
    (loss,) = losses
    assert loss == f"{50 - len(pictures)} of 50 frames cannot be decoded and are left out"
    assert 2 <= 50 - len(pictures) <= 15


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm"])
def test_a_video_of_which_most_is_lost_is_refused(tmp_path, suffix) -> None:
    codec = "libvpx" if suffix == "webm" else "libx264"
    path = write(tmp_path / f"film.{suffix}", MOVING, codec=codec, options={"g": "5"}, mux={"movflags": "+faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 7])
    with pytest.raises(VideoUnreadable, match=r"of \d+ frames cannot be decoded; copy or export it again") as refusal:
        seen(path)
    assert "\n" not in str(refusal.value)
    with pytest.raises(VideoUnreadable, match="cannot be decoded"):
        list(Pictures(path))


def test_pictures_that_come_when_they_come_are_no_loss(tmp_path) -> None:
    times = [k for k in range(60) if k % 3 != 1 and not 20 <= k <= 28]
    shown, _, losses = seen(write(tmp_path / "phone.mp4", [FLAG] * len(times), times=times))
    assert shown == pytest.approx([k / 25 for k in times], abs=1e-3)
    assert losses == []


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_few_pictures(tmp_path, count) -> None:
    path = write(tmp_path / "short.mp4", [FLAG] * count)
    assert len(list(Pictures(path))) == count
