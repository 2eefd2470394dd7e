"""Sound files to waveforms: any container, codec, rate and channel count that FFmpeg reads, through PyAV.

Length rule, used by everything that follows: a recording of N samples at 16 kHz is ``frame_count(N)`` video frames,
rounded up, so that the picture never ends before the sound; the last frame outlasts it by less than 40 ms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from contracts import SAMPLE_RATE, SAMPLES_PER_FRAME
from encoders.audio.tracks import PACKED, SILENCE_PEAK, AudioError, NoSound, channels_of, choose_track, open_sound
from encoders.container import decodable, frames_of, reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from os import PathLike

    Array = np.ndarray[Any, np.dtype[Any]]

__all__ = [
    "AudioError", "AudioInfo", "NoSound", "audio_blocks", "frame_count", "load_audio", "probe_audio", "sound_delay",
    "sound_remarks",
]  # fmt: skip

MIN_SECONDS = 0.2  #: shorter than a syllable
GAP = 0.05  # s without sound that are kept; less is a clock's rounding, or a lost packet
LONGEST_GAP = 600.0  # s: beyond it the file's clock is not believed
BACKWARDS = 0.2  # s: a clock that goes back further has been set anew


@dataclass(frozen=True)
class AudioInfo:
    """What the sound track that is heard holds."""

    rate: int  # Hz
    channels: int
    seconds: float | None = None  # as the file declares it, which need not be so; None where it does not


def frame_count(samples: int) -> int:
    """Video frames that cover ``samples`` samples at 16 kHz: rounded up."""
    return -(-samples // SAMPLES_PER_FRAME)


def probe_audio(path: str | PathLike[str]) -> AudioInfo:
    """Look at the sound track that is heard.

    Raises:
        AudioError: missing, a folder, unreadable, empty, or without a sound track.
    """
    index = choose_track(path, mix=False).index
    with open_sound(path) as (container, streams):
        seconds = None if container.duration is None else container.duration / av.time_base
        return AudioInfo(streams[index].rate, streams[index].channels, seconds)


def sound_remarks(path: str | PathLike[str]) -> tuple[str, ...]:
    """What the user should know of how the sound is heard: of another track, or not of all channels.

    Raises:
        AudioError: as :func:`probe_audio`.
    """
    return choose_track(path).remarks


def sound_delay(path: str | PathLike[str]) -> float:
    """Seconds by which the first sound that can be decoded comes after the first such picture; 0 without pictures.

    Raises:
        AudioError: as :func:`probe_audio`.
    """
    index = choose_track(path, mix=False).index
    try:
        with open_sound(path) as (container, streams):
            heard = _first_second(frames_of(container, streams[index]))
        with open_sound(path) as (container, _):
            film = next((stream for stream in container.streams.video if decodable(stream)), None)
            shown = None if film is None else _first_second(frames_of(container, film))
    except av.FFmpegError as error:
        raise AudioError(f"cannot decode {path} ({reason(error)}); convert it to MP4") from error
    return 0.0 if heard is None or shown is None else heard - shown


def _first_second(frames: Iterable[av.AudioFrame | av.VideoFrame]) -> float | None:
    return next((frame.time for frame in frames if frame.pts is not None), None)


def audio_blocks(path: str | PathLike[str], rate: int, *, mono: bool = True) -> Iterator[Array]:
    """Decode the sound track that is heard, block by block: float32 [channels, n] at ``rate``, full scale 1.

    ``mono`` mixes the channels: see :func:`encoders.audio.tracks.mix_of`. Resampling keeps the length exactly: n
    samples at the file's rate become ``ceil(n * rate / file rate)``. Damaged packets are passed over, as players do,
    and where the file's clock leaves out a stretch there is silence. The first sound is at 0.

    Raises:
        AudioError: as :func:`probe_audio`, or when nothing can be decoded.
    """
    track = choose_track(path, mix=mono)
    with open_sound(path) as (container, streams):
        stream, decoded = streams[track.index], False
        try:
            for samples in _on_the_clock(frames_of(container, stream), stream, rate):
                decoded = True
                yield _mix(samples, track.weights) if mono else samples
        except (av.FFmpegError, ValueError) as error:
            raise AudioError(f"cannot decode the sound of {path} ({reason(error)}); convert it to WAV") from error
        if not decoded:
            raise NoSound(f"{path} holds no sound that can be decoded; convert it to WAV")


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


def _on_the_clock(frames: Iterable[av.AudioFrame], stream: av.AudioStream, rate: int) -> Iterator[Array]:
    """Frames of ``stream`` -> blocks [channels, n] at ``rate``, with silence where its clock leaves out a stretch."""
    sound, clock = _Resampled(rate), _Clock()
    for frame in frames:
        if pause := clock.pause(frame, float(sound.due) / rate):
            yield from sound.silence(pause)
        yield from sound.feed(frame, _declared_samples(frame, stream))
    yield from sound.drain()


class _Clock:
    """The clock of a sound track, by which sound may be missing between two frames."""

    def __init__(self) -> None:
        self._start: float | None = None  # s, of the first frame

    def pause(self, frame: av.AudioFrame, heard: float) -> float:
        """Seconds without sound before ``frame``, where ``heard`` seconds came before them."""
        if frame.time is None:
            return 0.0
        if self._start is None:
            self._start = frame.time - heard
        missing: float = frame.time - self._start - heard
        if not -BACKWARDS < missing < LONGEST_GAP:
            self._start += missing
        return missing if GAP <= missing < LONGEST_GAP else 0.0


class _Resampled:
    """Sound at another rate, exactly as long as it should be, whatever the format changes to half-way through."""

    def __init__(self, rate: int) -> None:
        self.due = Fraction(0)  # samples at the target rate
        self._rate, self._given = rate, 0
        self._format: tuple[str, str, int] | None = None
        self._layout: av.AudioLayout | None = None  # of the first frame, kept
        self._resampler = av.AudioResampler()  # until the first frame

    def feed(self, frame: av.AudioFrame, samples: int) -> Iterator[Array]:
        """Blocks [channels, n] that are ready once ``frame``, of which ``samples`` are sound, is there."""
        form = frame.format.name, frame.layout.name, frame.sample_rate
        if form != self._format:
            yield from self.drain()
            self._format, self._layout = form, self._layout or frame.layout
            self._resampler = av.AudioResampler(format=PACKED, layout=self._layout, rate=self._rate)
        self.due += Fraction(samples * self._rate, frame.sample_rate)
        frame.pts = None  # the resampler must not look for gaps
        yield from self._ready(frame)

    def drain(self) -> Iterator[Array]:
        """All that is due."""
        if self._format is not None:
            yield from self._ready(None)
            self._format = None
            yield from self._missing()

    def silence(self, seconds: float) -> Iterator[Array]:
        """All that is due, and silence after it."""
        yield from self.drain()
        self.due += round(seconds * self._rate)
        yield from self._missing()

    def _ready(self, frame: av.AudioFrame | None) -> Iterator[Array]:
        for block in self._resampler.resample(frame):
            samples = channels_of(block)[:, : max(0, math.ceil(self.due) - self._given)]
            self._given += samples.shape[1]
            yield samples

    def _missing(self) -> Iterator[Array]:
        """Zeros for what is due and was not given, a second at a time."""
        channels = self._layout.nb_channels if self._layout is not None else 1
        while (count := min(math.ceil(self.due) - self._given, self._rate)) > 0:
            self._given += count
            yield np.zeros((channels, count), np.float32)


def _mix(samples: Array, weights: Array) -> Array:
    """Channels [channels, n] -> one [1, n]."""
    if len(weights) != len(samples) or np.ptp(weights) == 0:
        return samples.mean(axis=0, keepdims=True)
    return weights[None] @ samples


def _declared_samples(frame: av.AudioFrame, stream: av.AudioStream) -> int:
    """Samples of a frame that are sound: MP4 declares how much of the codec's last block is padding."""
    if "mp4" not in stream.container.format.name or not frame.duration or frame.time_base is None:
        return frame.samples
    return min(frame.samples, round(frame.duration * frame.time_base * frame.sample_rate))
