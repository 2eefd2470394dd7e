"""Sound and video files made on the spot."""

from __future__ import annotations

import os
import struct
import wave
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

PORTRAIT = Path(__file__).parents[1] / "examples" / "portrait.jpg"


def tone(seconds: float, rate: int, hertz: float = 220.0) -> Array:
    """A sine, float32 [N], amplitude .5."""
    t = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * t)).astype(np.float32)


def write_wav(path: Path, samples: Array, rate: int = 16_000) -> Path:
    """16-bit WAV of samples [N] or [N, channels] in -1..1."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def write_sound(path: Path, samples: Array, codec: str, rate: int, layout: str = "mono") -> Path:
    """Any codec and container that PyAV writes; the same samples [N] in every channel."""
    channels = av.AudioLayout(layout).nb_channels
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.tile(samples, (channels, 1)), format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_channels(path: Path, channels: Array, rate: int, layout: str, codec: str = "pcm_s16le") -> Path:
    """Samples [channels, N], each channel its own."""
    return write_tracks(path, [channels], rate, layout, codec=codec)


def write_tracks(
    path: Path, tracks: list[Array], rate: int, layout: str = "mono", *, default: int | None = None,
    gap: tuple[int, int] = (0, 0), codec: str = "pcm_s16le",
) -> Path:  # fmt: skip
    """Several sound tracks [N] or [channels, N] in one file, ``default`` flagged as such; without the samples of
    ``gap``, of which the clock knows."""
    with av.open(str(path), "w") as container:
        streams = [container.add_stream(codec, rate=rate, layout=layout) for _ in tracks]
        if default is not None:
            for number, stream in enumerate(streams):
                stream.disposition = av.stream.Disposition(number == default)
        block = streams[0].codec_context.frame_size or rate // 10
        for begin in range(0, tracks[0].shape[-1], block):
            if gap[0] <= begin < gap[1]:
                continue
            for stream, samples in zip(streams, tracks, strict=True):
                piece = np.atleast_2d(samples)[:, begin : begin + block].astype(np.float32)
                packed = np.ascontiguousarray(piece.T).reshape(1, -1)  # PyAV crashes on planes of 8 channels
                frame = av.AudioFrame.from_ndarray(packed, "flt", layout)
                frame.sample_rate, frame.pts, frame.time_base = rate, begin, Fraction(1, rate)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Turn the pictures of an MP4 by the upper left (a b, c d) of its first track's matrix."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 4 + 20 + 16  # version and flags, times and id, reserved to volume
    one = 1 << 16
    data[matrix : matrix + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def write_video(path: Path, frames: int = 5) -> Path:
    """A video without sound."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")))
        container.mux(stream.encode(None))
    return path


def write_pictures(path: Path, pictures: list[Array], rate: int) -> Path:
    """A video without sound of pictures, uint8 [H, W, 3] RGB, with even sides."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return path


def read_frames(path: Path) -> list[Array]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def files(folder: Path) -> set[str]:
    """Everything in a folder, hidden files too."""
    return set(os.listdir(folder))


def synthetic_voice(path: Path, seconds: float) -> Path:
    """A WAV with the sound of speech, as the doctor has it."""
    from pipelines.cli.doctor import synthetic_speech

    return write_wav(path, synthetic_speech(seconds) / 32768)
