"""A video file to upright pictures with square pixels, all of one size, and their seconds: what a player would show."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np

from contracts import FPS, ModaError
from encoders.container import decodable, open_media

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from av.container import InputContainer
    from av.video.stream import VideoStream

    from contracts import Array

LONGEST_GAP = 5.0  # s without a picture: beyond it the file's clock is not believed
NOTED_GAP = 0.5  # s without a picture: beyond it pictures were lost
BACKWARDS = 0.2  # s: a clock that goes back further has been set anew
MOST = 0.75  # of a video: with more lost, there is nothing left to follow
WIDEST_PIXEL = 4.0  # width over height, or height over width: beyond it the file is not believed
SQUARE = 0.005  # a pixel that differs less from a square is one


class VideoError(ModaError):
    """A driving video cannot be used."""


class VideoMissing(VideoError):
    """There is no such file."""


class VideoUnreadable(VideoError):
    """The file has no video in it, or is damaged."""


@contextmanager
def open_reel(path: Path) -> Iterator[Reel]:
    """The pictures of a video file. Raises VideoMissing, VideoUnreadable, av.FFmpegError or OSError."""
    if os.path.isdir(path):  # not path.is_dir, which raises where the name is too long
        raise VideoMissing(f"{path} is a folder; name one video file in it")
    if not os.path.isfile(path):
        raise VideoMissing(f"there is no video {path}; check the path")
    with open_media(path) as container:
        stream = next((stream for stream in container.streams.video if decodable(stream)), None)
        if stream is None:
            raise VideoUnreadable(f"{path.name} has no picture in it; name a video that shows a face")
        yield Reel(path.name, container, stream)


class Reel:
    """An open video, to be gone through once. Made by :func:`open_reel`."""

    def __init__(self, name: str, container: InputContainer, stream: VideoStream) -> None:
        self.has_audio = bool(container.streams.audio)
        self.seconds = (container.duration or 0) / av.time_base  # as declared; 0 where the file does not say
        self.rate = float(stream.average_rate or FPS)  # pictures a second
        self._name, self._container, self._stream = name, container, stream
        self._ends = self.seconds + (container.start_time or 0) / av.time_base  # s on the file's clock
        self._listed = stream.frames if "mp4" in container.format.name else 0  # frames, where the file lists them
        self._size: tuple[int, int] | None = None  # height and width of the first picture
        self._shown = self._refused = self._skipped = 0  # frames shown, packets that fail, packets not to be shown
        self._gaps = 0.0  # s without a picture where there should be some
        self._reached = 0.0  # s on the file's clock

    def frames(self) -> Iterator[tuple[float, av.VideoFrame]]:
        """Second and frame, from the first one that can be decoded, which is at 0. Damaged packets are passed over.

        Raises VideoUnreadable where the clock cannot be believed, FFmpegError or OSError.
        """
        start, last = 0.0, -1.0
        for frame in self._decoded():
            if frame.pts is None:
                continue
            if not self._shown:
                start = frame.time
            elif frame.time - start < last - BACKWARDS:
                start = frame.time - last - 1 / self.rate
            time = frame.time - start
            if time <= last:
                self._skipped += 1
                continue
            if self._shown and time - last > LONGEST_GAP:
                raise VideoUnreadable(
                    f"{self._name} has no picture from second {last:.1f} to {time:.1f}; convert it to MP4"
                )
            if self._shown and time - last > NOTED_GAP:
                self._gaps += time - last - 1 / self.rate
            last = time
            self._shown += 1
            yield time, frame

    def _decoded(self) -> Iterator[av.VideoFrame]:
        self._stream.thread_type = "AUTO"
        for packet in self._container.demux():
            if packet.pts is not None and packet.time_base:
                self._reached = max(self._reached, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream.index != self._stream.index:
                continue
            self._skipped += packet.is_discard
            try:
                yield from packet.decode()  # type: ignore[misc]
            except av.error.InvalidDataError:
                self._refused += 1

    def losses(self) -> list[str]:
        """What to say, at the end, of pictures that were lost. Raises VideoUnreadable if that is most of them."""
        lost = max(self._refused, self._listed - self._skipped - self._shown)
        short = max(self._ends - self._reached, 0.0) if self.seconds and self._reached else 0.0
        lost = max(lost, round((self._gaps + (short if short > NOTED_GAP else 0.0)) * self.rate))
        total = self._shown + lost
        if lost > MOST * total:
            raise VideoUnreadable(f"{self._name}: {lost} of {total} frames cannot be decoded; copy or export it again")
        return [f"{lost} of {total} frames cannot be decoded and are left out"] if lost > 0 else []

    def picture(self, frame: av.VideoFrame) -> Array:
        """The frame as players show it, uint8 [H, W, 3] RGB, as large as the first one."""
        image = _with_square_pixels(frame.to_ndarray(format="rgb24"), self._stream.sample_aspect_ratio)
        image = upright(image, _display_matrix(frame))
        self._size = self._size or image.shape[:2]
        return image if image.shape[:2] == self._size else fitted(image, self._size)


def _with_square_pixels(image: Array, pixel: object) -> Array:
    """The picture, [H, W, 3], whose pixels are ``pixel`` times as wide as high."""
    share = float(pixel or 1)  # type: ignore[arg-type]
    if abs(share - 1) < SQUARE or not 1 / WIDEST_PIXEL <= share <= WIDEST_PIXEL:
        return image
    height, width = image.shape[:2]
    return _resized(image, round(width * max(share, 1)), round(height / min(share, 1)))


def _display_matrix(frame: av.VideoFrame) -> Array | None:
    """The upper left [2, 2] of the matrix that takes stored pixels (x, y), as a row, to shown ones; None without."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    return None if data is None else np.frombuffer(bytes(data), "<i4")[:9].reshape(3, 3)[:2, :2]


def upright(image: Array, matrix: Array | None) -> Array:
    """The picture [H, W, 3] turned and mirrored as its display matrix [2, 2] says, to the next quarter turn."""
    if matrix is None or not matrix.any():
        return image
    (a, b), (c, d) = matrix.tolist()
    lying = abs(b) + abs(c) > abs(a) + abs(d)
    across, down = (c, b) if lying else (a, d)
    image = image.transpose(1, 0, 2) if lying else image
    return image[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]


def fitted(image: Array, size: tuple[int, int]) -> Array:
    """A picture of another size in a window of ``size`` (height, width), in its middle on black.

    As large as it fits, as players do; but a camera that was turned from wide to tall still sees the face as large.
    """
    (height, width), (tall, wide) = image.shape[:2], size
    turned = (width - height) * (wide - tall) < 0
    share = max(size) / max(height, width) if turned else min(tall / height, wide / width)
    image = _resized(image, max(round(width * share), 1), max(round(height * share), 1))
    window = np.zeros((tall, wide, 3), np.uint8)
    y, x = ((room - length) // 2 for room, length in zip(size, image.shape[:2], strict=True))
    part = image[max(-y, 0) :, max(-x, 0) :][:tall, :wide]
    y, x = max(y, 0), max(x, 0)
    window[y : y + part.shape[0], x : x + part.shape[1]] = part
    return window


def _resized(image: Array, width: int, height: int) -> Array:
    shrinks = width * height < image.shape[0] * image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
