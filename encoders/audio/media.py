"""Sound files to waveforms: any container, codec, rate and channel count that FFmpeg reads, through PyAV.

Length rule, used by everything that follows: a recording of N samples at 16 kHz is ``frame_count(N)`` video frames,
rounded up, so that the picture never ends before the sound; the last frame outlasts it by less than 40 ms.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from contracts import SAMPLE_RATE, SAMPLES_PER_FRAME, ModaError

if TYPE_CHECKING:
    from os import PathLike

    Array = np.ndarray[Any, np.dtype[Any]]

MIN_SECONDS = 0.2  #: shorter than a syllable
SILENCE_PEAK = 1e-3  #: -60 dBFS: below it a recording is noise floor, not speech
_COVER_ART = av.stream.Disposition.attached_pic
_ONLY_FILES = {"protocol_whitelist": "file"}  # a playlist must not make us fetch what it names


class AudioError(ModaError):
    """A recording that cannot be used as speech."""


@dataclass(frozen=True)
class AudioInfo:
    """What a file's first sound track holds."""

    rate: int  # Hz
    channels: int
    start: float  # s, its beginning on the file's own clock
    picture_start: float | None  # s, where the first video track begins; None without one
    seconds: float | None = None  # as the file declares it, which need not be so; None where it does not


def frame_count(samples: int) -> int:
    """Video frames that cover ``samples`` samples at 16 kHz: rounded up."""
    return -(-samples // SAMPLES_PER_FRAME)


def probe_audio(path: str | PathLike[str]) -> AudioInfo:
    """Look at the first sound track without decoding it.

    Raises:
        AudioError: missing, a folder, unreadable, empty, or without a sound track.
    """
    with _open(Path(path)) as container:
        stream = container.streams.audio[0]
        video = next((s for s in container.streams.video if not s.disposition & _COVER_ART), None)
        seconds = None if container.duration is None else container.duration / av.time_base
        return AudioInfo(
            stream.rate, stream.channels, _start(stream), None if video is None else _start(video), seconds
        )


def audio_blocks(path: str | PathLike[str], rate: int, *, mono: bool = True) -> Iterator[Array]:
    """Decode the first sound track block by block: float32 [channels, n] at ``rate``, full scale 1.

    ``mono`` averages the channels. Resampling keeps the length exactly: n samples at the file's rate become
    ``ceil(n * rate / file rate)``. Damaged packets are passed over, as players do.

    Raises:
        AudioError: as :func:`probe_audio`, or when nothing can be decoded.
    """
    path = Path(path)
    with _open(path) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="fltp", rate=rate)
        heard, given = Fraction(0), 0  # samples at the target rate: due so far, and yielded so far
        frames: Iterator[av.AudioFrame | None] = itertools.chain(_frames(container, stream), [None])  # None: the tail
        try:
            for frame in frames:
                if frame is not None:
                    heard += Fraction(_declared_samples(frame, stream) * rate, frame.sample_rate)
                    frame.pts = None  # blocks follow one another; gaps in a broken clock are not sound
                elif not heard:
                    raise AudioError(f"{path} holds no sound that can be decoded; convert it to WAV")
                for block in resampler.resample(frame):
                    samples = block.to_ndarray()[:, : max(0, math.ceil(heard) - given)]
                    given += samples.shape[1]
                    yield samples.mean(axis=0, keepdims=True) if mono else samples
        except (av.FFmpegError, ValueError) as error:  # ValueError: the format changes half-way through
            raise AudioError(f"cannot decode the sound of {path} ({_reason(error)}); convert it to WAV") from error
        if given < math.ceil(heard):
            yield np.zeros((1 if mono else stream.channels, math.ceil(heard) - given), np.float32)


def load_audio(path: str | PathLike[str], longest: float | None = None) -> Array:
    """A recording as float32 [N], mono, 16 kHz, full scale 1.

    ``longest``: in seconds; more is refused as soon as the file declares it, or as that much has been decoded.

    Raises:
        AudioError: missing, a folder, not audio, a video without sound, empty, not-a-number samples, shorter than
            0.2 s, longer than ``longest``, or silent.
    """
    too_long = AudioError(f"{path} lasts more than the {longest} s that are taken here; cut it")
    if longest is not None and (probe_audio(path).seconds or 0.0) > longest:
        raise too_long
    samples = bytearray()  # grows in place: an hour is 230 MB, and is never held twice
    peak = np.float32(0)
    for block in audio_blocks(path, SAMPLE_RATE):
        peak = np.maximum(peak, np.abs(block).max(initial=0))  # NaN if any sample is
        samples += block.tobytes()
        if longest is not None and len(samples) > longest * block.itemsize * SAMPLE_RATE:
            raise too_long
    wave = np.frombuffer(samples, np.float32)
    if not np.isfinite(peak):
        raise AudioError(f"{path} holds samples that are not numbers (NaN or infinite); export the recording again")
    seconds = len(wave) / SAMPLE_RATE
    if seconds < MIN_SECONDS:
        raise AudioError(f"{path} lasts {seconds:.2f} s; give a recording of at least {MIN_SECONDS} s")
    if peak < SILENCE_PEAK:
        raise AudioError(f"{path} is silent; give a recording with speech in it, or raise its level")
    return wave


def _open(path: Path) -> av.container.InputContainer:
    """The open container, known to have a sound track."""
    if not os.path.exists(path):  # not path.exists, which raises where the name is too long
        raise AudioError(f"{path} does not exist; check the path of the recording")
    if path.is_dir():
        raise AudioError(f"{path} is a folder; give one sound or video file")
    if path.stat().st_size == 0:
        raise AudioError(f"{path} is an empty file; give a recording with speech in it")
    try:
        container = av.open(str(path), options=_ONLY_FILES, metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise AudioError(f"{path} is not a readable recording ({_reason(error)}); convert it to WAV") from error
    if not container.streams.audio:
        container.close()
        raise AudioError(f"{path} has no sound track; give a file with speech in it")
    return container


def _frames(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
    try:
        for packet in container.demux(stream):
            with contextlib.suppress(av.error.InvalidDataError):
                yield from packet.decode()
    except av.error.InvalidDataError:  # the file ends in the middle of a packet
        return


def _declared_samples(frame: av.AudioFrame, stream: av.AudioStream) -> int:
    """Samples of a frame that are sound: MP4 declares how much of the codec's last block is padding."""
    if "mp4" not in stream.container.format.name or not frame.duration or frame.time_base is None:
        return frame.samples
    return min(frame.samples, round(frame.duration * frame.time_base * frame.sample_rate))


def _start(stream: av.AudioStream | av.VideoStream) -> float:
    return float((stream.start_time or 0) * (stream.time_base or 0))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
