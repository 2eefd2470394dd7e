"""Which sound track of a file is the speech, and how its channels become one.

A track is chosen as players choose it: the one flagged as default, else the first. One that is silent gives way to one
that is not.
"""

from __future__ import annotations

import contextlib
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from contracts import ModaError
from encoders.container import decodable, frames_of, open_media, reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    Array = np.ndarray[Any, np.dtype[Any]]

SILENCE_PEAK = 1e-3  #: -60 dBFS: below it a recording is noise floor, not speech
RATES = (2_000, 1_000_000)  # Hz: a file that declares another rate is damaged
SCANNED = 20.0  # s that each channel has to be heard for, before the mix is decided
CANCELLED = 0.125  # of the louder channel's energy: what the average has less of was lost by opposite signs
#: How channels of surround sound share in the mix, by FFmpeg's names; those of the other speakers, and of the
#: subwoofer. Dialogue is in the centre.
SHARES = {"FC": 1.0, "FL": 0.25, "FR": 0.25, "FLC": 0.25, "FRC": 0.25, "LFE": 0.0, "LFE2": 0.0}
SHARE_BEHIND = 0.1
USUAL = {5: "5.0", 6: "5.1", 8: "7.1"}  # layouts of films without names; fewer channels are microphones of their own
PACKED = "flt"  # PyAV 18 crashes on planes of 8 channels


class AudioError(ModaError):
    """A recording that cannot be used as speech."""


class NoSound(AudioError):
    """There is a sound track, and nothing in it that can be decoded."""


@dataclass(frozen=True)
class Track:
    """One sound track, and how it becomes mono."""

    index: int  # among the sound tracks of the file
    weights: Array  # float32 [channels], sum 1
    remarks: tuple[str, ...] = ()  # what the user should know of the choice


@dataclass
class _Level:
    """What was heard of a track."""

    peak: Array  # [channels] largest sample
    energy: Array  # [channels] sum of squares
    mean_energy: float  # of the channels' average


@contextmanager
def open_sound(path: str | PathLike[str]) -> Iterator[tuple[av.container.InputContainer, list[av.AudioStream]]]:
    """The open container and its sound tracks that can be decoded, at least one.

    Raises:
        AudioError: missing, a folder, unreadable, empty, or without a sound track.
    """
    path = Path(path)
    if not os.path.exists(path):  # not path.exists, which raises where the name is too long
        raise AudioError(f"there is no file {path}; check the path of the recording")
    if path.is_dir():
        raise AudioError(f"{path} is a folder; give one sound or video file")
    if path.stat().st_size == 0:
        raise AudioError(f"{path} is an empty file; give a recording with speech in it")
    with contextlib.ExitStack() as stack:
        try:
            container = stack.enter_context(open_media(path))
        except (av.FFmpegError, OSError) as error:
            raise AudioError(f"{path} is not a readable recording ({reason(error)}); convert it to WAV") from error
        if not container.streams.audio:
            raise AudioError(f"{path} has no sound track; give a file with speech in it")
        streams = [stream for stream in container.streams.audio if decodable(stream)]
        streams = [stream for stream in streams if stream.rate and RATES[0] <= stream.rate <= RATES[1]]
        if not streams:
            raise AudioError(f"{path} holds sound in an unknown format; convert it to WAV")
        yield container, streams


def choose_track(path: str | PathLike[str], *, mix: bool = True) -> Track:
    """The track that is heard. A file with a single track is not decoded for it, if that is mono or ``mix`` is false:
    then its channels are averaged.

    Raises:
        AudioError: as :func:`open_sound`.
    """
    with open_sound(path) as (_, streams):
        channels = [stream.channels for stream in streams]
        flagged = [bool(stream.disposition & av.stream.Disposition.default) for stream in streams]
    order = sorted(range(len(channels)), key=lambda index: not flagged[index])  # stable: else the first
    if channels == [1] or (len(channels) == 1 and not mix):
        return Track(0, np.full(channels[0], 1 / max(channels[0], 1), np.float32))
    for index in order:
        level, names = _listen(path, index)
        if level is not None and level.peak.max() >= SILENCE_PEAK:
            weights, remarks = mix_of(level, names)
            if index != order[0]:
                remarks = (f"sound track {order[0] + 1} is silent; track {index + 1} is taken", *remarks)
            return Track(index, weights, remarks)
    return Track(order[0], np.full(channels[order[0]], 1 / max(channels[order[0]], 1), np.float32))


def mix_of(level: _Level, names: list[str]) -> tuple[Array, tuple[str, ...]]:
    """Weights [channels] of the channels called ``names``, and what to say of them.

    Two channels are averaged; of more, the centre counts most, and silent ones not at all. Where channels cancel each
    other, as when one of two is upside down, the loudest is taken alone.
    """
    count = len(names)
    if count > 2:
        shares = np.array([SHARES.get(name, SHARE_BEHIND) for name in names] if "FC" in names else [1.0] * count)
        heard = shares * (level.peak >= SILENCE_PEAK)
        shares = heard if heard.any() else np.ones(count)
        return (shares / shares.sum()).astype(np.float32), ()
    if level.mean_energy < CANCELLED * level.energy.max():
        loudest = int(level.energy.argmax())
        remark = "the sound's channels cancel each other; the louder one is taken alone"
        return np.eye(count, dtype=np.float32)[loudest], (remark,)
    return np.full(count, 1 / count, np.float32), ()


def channels_of(block: av.AudioFrame) -> Array:
    """Samples [channels, n] of a block in the format PACKED."""
    return block.to_ndarray().reshape(-1, block.layout.nb_channels).T


def channel_names(layout: av.AudioLayout) -> list[str]:
    """Names of the channels, such as FL; of a nameless film, those of the usual order."""
    names = [channel.name for channel in layout.channels]
    if "FC" not in names and len(names) in USUAL:
        return [channel.name for channel in av.AudioLayout(USUAL[len(names)]).channels]
    return names


def _listen(path: str | PathLike[str], index: int) -> tuple[_Level | None, list[str]]:
    """How loud the channels of a track are and what they are called; None where nothing can be decoded."""
    level: _Level | None = None
    names: list[str] = []
    heard = np.zeros(0)  # s in which each channel was not silent
    with open_sound(path) as (container, streams):
        resampler = av.AudioResampler(format=PACKED)
        with contextlib.suppress(av.FFmpegError, ValueError):  # ValueError: the format changes; what was heard counts
            for frame in frames_of(container, streams[index]):
                for block in resampler.resample(frame):
                    samples = np.nan_to_num(channels_of(block), posinf=0, neginf=0).clip(-4, 4)
                    if level is None:
                        names = channel_names(block.layout)
                        level = _Level(np.zeros(len(names)), np.zeros(len(names)), 0.0)
                        heard = np.zeros(len(names))
                    peak = np.abs(samples).max(axis=1, initial=0)
                    level.peak = np.maximum(level.peak, peak)
                    level.energy = level.energy + (samples**2).sum(axis=1)
                    level.mean_energy += float((samples.mean(axis=0) ** 2).sum())
                    heard = heard + (peak >= SILENCE_PEAK) * samples.shape[1] / block.sample_rate
                    if heard.min() >= SCANNED:
                        return level, names
    return level, names
