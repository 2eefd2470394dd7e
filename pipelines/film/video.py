"""Frames and sound to MP4: H.264 and AAC, 25 frames a second, written whole or not at all."""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np

from contracts import FPS
from encoders.audio import audio_blocks, probe_audio
from moda import replacing
from pipelines.film.files import OutputError, check_output

if TYPE_CHECKING:
    from contracts import Array, StrPath


@dataclass(frozen=True)
class Coding:
    """How a video is encoded, and laid out in its file: options of FFmpeg's encoders and MP4 muxer."""

    x264: dict[str, str]
    aac: dict[str, str]
    mp4: dict[str, str]
    longest: int | None = None  # px: a picture with a longer side is scaled down to it


#: The number of threads is fixed because x264's output depends on it: the same frames must give the same file.
WHOLE = Coding({"preset": "veryfast", "crf": "18", "threads": "2"}, {}, {"movflags": "+faststart"})
#: To be played while it grows, by fragments of 12 frames: quick, no frame held back, a profile that all browsers know.
#: ``delay_moov``, because only then the header says how much of the sound's beginning is its encoder's.
GROWING = Coding(
    {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline", "level": "3.1", "crf": "28", "g": "12",
     "threads": "1"},
    {"aac_coder": "fast"},
    {"movflags": "+frag_keyframe+delay_moov+default_base_moof", "flush_packets": "1"},
    longest=512,
)  # fmt: skip
AAC_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
AAC_BITS = 2.5  # a sample and channel: 120 kbit/s at 48 kHz
QUEUED_FRAMES = 8
_PX = (1, 2, 2)  # px of the picture per sample of luma and of the two chromas, each way
_MARGIN = 4  # px, even: how far a px has a say in the colours of others
_BT709 = 1  # FFmpeg's tables of matrices, primaries and transfer curves share this code


@contextlib.contextmanager
def open_video(
    path: StrPath, sound: StrPath | None = None, delay: float = 0.0, picture: Array | None = None,
    corner: tuple[int, int] = (0, 0),
) -> Iterator[VideoWriter]:  # fmt: skip
    """A video that appears under its name when the block ends well; any exception, Ctrl-C included, leaves nothing.

        with open_video("out.mp4", sound="voice.wav") as video:
            for frame in frames:
                video.write(frame)

    Args:
        sound: the original recording. Its rate (up to 48 kHz) and its one or two channels are kept, and its length to
            the sample, except that it ends with the picture at the latest.
        delay: seconds by which the sound starts after the picture (before it where negative).
        picture: uint8 [H, W, 3] RGB with even H and W, where only a part moves: the frames written are laid into it,
            at column and row ``corner``, both even. None: the frames are the picture.

    Raises:
        OutputError: the file cannot be written.
        AudioError: the sound cannot be decoded.
    """
    path = check_output(path)
    with contextlib.ExitStack() as file:
        with _output_errors(path):
            part = file.enter_context(replacing(path))
            part.touch(exist_ok=False)
        writer = VideoWriter(part, path, sound, delay, picture, corner)
        try:
            yield writer
            writer.finish()
        finally:
            writer.cancel()
        with _output_errors(path):
            file.close()  # gives it its name


class VideoWriter:
    """Encodes in a thread of its own, so that the next frame is rendered meanwhile. Made by :func:`open_video`."""

    def __init__(
        self, part: Path, path: Path, sound: StrPath | None, delay: float, picture: Array | None,
        corner: tuple[int, int], coding: Coding = WHOLE,
    ) -> None:  # fmt: skip
        self.part = part  #: the file that is written; whole after :meth:`finish`
        self._path, self._sound, self._delay = path, sound, delay
        self._picture, self._corner, self._coding = picture, corner, coding
        self._queue: queue.Queue[Array | None] = queue.Queue(QUEUED_FRAMES)
        self._error: BaseException | None = None
        self._cancelled = False
        self._thread = threading.Thread(target=self._work, name="video-encoder", daemon=True)
        self._thread.start()

    def write(self, frame: Array | None) -> None:
        """Queue one frame, uint8 [H, W, 3] RGB with even H and W; waits while the encoder is behind."""
        while True:
            if self._error is not None:
                raise self._error
            with contextlib.suppress(queue.Full):
                return self._queue.put(frame, timeout=0.1)

    def finish(self) -> None:
        """Wait for the encoder to write what is queued; raises what stopped it. May be called twice."""
        self.write(None)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def cancel(self) -> None:
        """Stop the encoder without caring for the file."""
        self._cancelled = True
        while self._thread.is_alive():
            with contextlib.suppress(queue.Full):
                self._queue.put(None, timeout=0.1)
            self._thread.join(timeout=0.1)

    def _work(self) -> None:
        try:
            with _output_errors(self._path):
                self._encode()
        except BaseException as error:  # handed to the caller's thread
            self._error = error

    def _frames(self) -> Iterator[Array]:
        while (frame := self._queue.get()) is not None and not self._cancelled:
            yield frame

    def _encode(self) -> None:
        frames = self._frames()
        first = next(frames, None)
        if first is None:
            if self._cancelled:
                return
            raise OutputError(f"there is not one frame to write to {self._path}; give a longer recording")
        canvas = Canvas(first if self._picture is None else self._picture, self._corner, first.shape[:2])
        width, height = _fitted(canvas.frame.width, canvas.frame.height, self._coding.longest)
        name = f"file:{self.part}"  # else what stands before a colon would be a protocol
        with av.open(name, "w", format="mp4", options=self._coding.mp4) as container:
            video = _video_stream(container, width, height, self._coding.x264)
            sound = (
                _SoundTrack(container, self._sound, self._delay, self._coding.aac) if self._sound is not None else None
            )
            count = 0
            for count, frame in enumerate(itertools.chain([first], frames), start=1):
                canvas.lay(frame)
                picture = canvas.frame.reformat(width, height, interpolation="FAST_BILINEAR", threads=1)
                picture.pts = count - 1
                container.mux(video.encode(picture))  # x264 copies it
                if sound is not None:
                    sound.encode(until=Fraction(count, FPS))
            if not self._cancelled:
                container.mux(video.encode(None))
                if sound is not None:
                    sound.flush()


class Canvas:
    """The frame to encode, made once. Of a frame only the part that moves is converted to the video's colours."""

    def __init__(self, picture: Array, corner: tuple[int, int], part: tuple[int, int]) -> None:
        """``picture``: uint8 [H, W, 3] RGB; parts of ``part`` (height, width) px are laid in at ``corner``."""
        self.frame = _in_video_colours(av.VideoFrame.from_ndarray(picture, format="rgb24"))
        (x, y), (height, width) = corner, part
        # Chroma is made of neighbours as well: a little more than the part changes, and depends on a little more.
        top, left = max(y - 2 * _MARGIN, 0), max(x - 2 * _MARGIN, 0)
        around = picture[top : y + height + 2 * _MARGIN, left : x + width + 2 * _MARGIN]
        self._around = av.VideoFrame.from_ndarray(np.ascontiguousarray(around), format="rgb24")
        rgb = _planes(self._around)[0].reshape(*around.shape)
        self._part = rgb[y - top : y - top + height, x - left : x - left + width]
        rows = np.array([max(y - _MARGIN, 0), min(y + height + _MARGIN, picture.shape[0])])
        columns = np.array([max(x - _MARGIN, 0), min(x + width + _MARGIN, picture.shape[1])])
        self._changed = [plane[_box(rows, columns, px)] for plane, px in zip(_planes(self.frame), _PX, strict=True)]
        self._inner = [_box(rows - top, columns - left, px) for px in _PX]

    def lay(self, part: Array) -> None:
        """Put ``part``, uint8 [h, w, 3] RGB, in its place."""
        self._part[...] = part
        fresh = _planes(_in_video_colours(self._around))
        for changed, plane, inner in zip(self._changed, fresh, self._inner, strict=True):
            changed[...] = plane[inner]


def _box(rows: Array, columns: Array, px: int) -> tuple[slice, slice]:
    """The rectangle of px from ``rows[0]`` to ``rows[1]``, in a plane with one sample for ``px`` px each way."""
    (top, bottom), (left, right) = (int(v) for v in rows // px), (int(v) for v in columns // px)
    return slice(top, bottom), slice(left, right)


def _in_video_colours(frame: av.VideoFrame) -> av.VideoFrame:
    # In one thread: a part is too little work to share, and the renderer wants the other cores.
    return frame.reformat(format="yuv420p", dst_colorspace="ITU709", threads=1)


def _planes(frame: av.VideoFrame) -> list[Array]:
    """Views on the planes of ``frame``, uint8 [h, bytes of a row], without their padding."""
    wide = 3 if frame.format.name == "rgb24" else 1
    return [
        np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : wide * plane.width]
        for plane in frame.planes
    ]


class _SoundTrack:
    """The AAC track, encoded in step with the picture so that memory stays constant."""

    def __init__(
        self, container: av.container.OutputContainer, path: StrPath, delay: float, options: dict[str, str]
    ) -> None:
        info = probe_audio(path)
        self._rate = next((rate for rate in AAC_RATES if rate >= info.rate), AAC_RATES[-1])
        stereo = info.channels == 2
        self._layout = "stereo" if stereo else "mono"
        self._blocks = _delayed(audio_blocks(path, self._rate, mono=not stereo), round(delay * self._rate))
        self._container = container
        self._stream = container.add_stream("aac", rate=self._rate, layout=self._layout, options=options)
        self._stream.bit_rate = round(self._rate * AAC_BITS) * (2 if stereo else 1)
        self._rest: Array | None = None
        self._done = 0  # samples encoded

    def encode(self, until: Fraction) -> None:
        """Encode up to the sample at ``until`` seconds."""
        end = int(until * self._rate)
        while self._done < end:
            block = self._rest if self._rest is not None else next(self._blocks, None)
            if block is None:
                return
            now, rest = np.split(block, [end - self._done], axis=1)
            self._rest = rest if rest.shape[1] else None
            if not now.shape[1]:
                continue
            samples = np.nan_to_num(now, nan=0.0, posinf=1.0, neginf=-1.0).clip(-1.0, 1.0)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=self._layout)
            frame.sample_rate, frame.pts, frame.time_base = self._rate, self._done, Fraction(1, self._rate)
            self._done += now.shape[1]
            self._container.mux(self._stream.encode(frame))

    def flush(self) -> None:
        self._container.mux(self._stream.encode(None))


def _fitted(width: int, height: int, longest: int | None) -> tuple[int, int]:
    """Even sides of the same shape, the longer one at most ``longest``."""
    share = 1.0 if longest is None else min(1.0, longest / max(width, height))
    return max(2, 2 * round(width * share / 2)), max(2, 2 * round(height * share / 2))


def _video_stream(
    container: av.container.OutputContainer, width: int, height: int, options: dict[str, str]
) -> av.VideoStream:
    stream = container.add_stream("libx264", rate=FPS, options=options)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = av.video.reformatter.ColorRange.MPEG
    return stream


def _delayed(blocks: Iterator[Array], delay: int) -> Iterator[Array]:
    """The blocks, ``delay`` samples of silence later, or without their first ``-delay`` samples."""
    for block in blocks:
        if delay > 0:
            yield np.zeros((block.shape[0], delay), np.float32)
            delay = 0
        skipped = min(-delay, block.shape[1])
        delay += skipped
        yield block[:, skipped:]


@contextlib.contextmanager
def _output_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, av.FFmpegError) as error:
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write {path} ({reason}); free some space or choose another folder") from error
