"""Pink noise under a recording, the same every time."""

from __future__ import annotations

import zlib

import numpy as np

from contracts import SAMPLE_RATE, SAMPLES_PER_FRAME
from encoders.audio import speech_frames
from pipelines.training import Clip

LOWEST = 20.0  # Hz: noise below it is not heard, and would be most of the power


def under_noise(clip: Clip, decibels: float) -> np.ndarray:
    """The sound of a clip, float32 [640 T], whose speech is ``decibels`` louder than the noise under all of it."""
    level = clip.waveform.reshape(-1, SAMPLES_PER_FRAME).astype(np.float64)
    speech = speech_frames(clip.waveform)
    power = np.mean(np.square(level[speech] if speech.any() else level))
    noise = pink_noise(len(clip.waveform), np.random.default_rng(zlib.crc32(clip.name.encode())))
    return (clip.waveform + np.sqrt(power / 10 ** (decibels / 10)) * noise).astype(np.float32)


def pink_noise(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Noise [samples] at 16 kHz with as much power in every octave from 20 Hz up; its mean power is 1."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    hertz = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
    spectrum *= np.where(hertz >= LOWEST, 1 / np.sqrt(np.maximum(hertz, LOWEST)), 0.0)
    noise = np.fft.irfft(spectrum, samples)
    return noise / np.sqrt(np.mean(np.square(noise)))
