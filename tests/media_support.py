"""Sound and video files made on the spot."""

from __future__ import annotations

import os
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
