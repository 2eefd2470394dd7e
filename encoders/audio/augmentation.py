"""What training does to speech: other speakers, rooms, microphones, lines, company. None of it moves the lips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import istft, stft

from contracts import SAMPLE_RATE
from encoders.audio.wav2vec import loudness

#: How often each kind of bed lies under speech, and how far below it [dB]. More of them cost clean speech more than
#: they gain under noise.
ODDS = {"noise": 0.07, "babble": 0.07, "music": 0.07}
BELOW = (-5.0, 20.0)
VOICES = (3, 8)  # fewest and most that babble

TRACT = (0.82, 1.25)  # of formants and of pitch: from a large man to a child, whoever speaks
_WINDOW, _HOP = 512, 128  # of the transform that moves formants
_LIFTER = 32  # quefrencies that are envelope: 2 ms, half the pitch period of a child
_GRAIN, _SEARCH = 640, 120  # samples: a grain of 40 ms, moved by 7.5 ms at most, so that its waves meet those before it


@dataclass(frozen=True)
class Beds:
    """Sounds to lie under speech, by kind: waveforms [N] at 16 kHz, of any length, scale and number format.

    ``babble`` is speech of others, of one voice or of several: what is drawn from it are VOICES of its waveforms.
    """

    noise: Sequence[np.ndarray] = ()
    babble: Sequence[np.ndarray] = ()
    music: Sequence[np.ndarray] = ()

    def __bool__(self) -> bool:
        return any(len(self.of(kind)) for kind in ODDS)

    def of(self, kind: str) -> Sequence[np.ndarray]:
        return {"noise": self.noise, "babble": self.babble, "music": self.music}[kind]

    def draw(self, rng: np.random.Generator, size: int, kinds: Sequence[str] = tuple(ODDS)) -> np.ndarray:
        """A bed of one of the kinds: float32 [size], of unit power; silence if there is none, or it is silent there."""
        known = [kind for kind in kinds if len(self.of(kind))]
        if not known:
            return np.zeros(size, np.float32)
        kind = known[int(rng.integers(len(known)))]
        sounds = self.of(kind)
        count = rng.integers(VOICES[0], VOICES[1] + 1) if kind == "babble" else 1
        bed = np.zeros(size, np.float32)
        for _ in range(count):
            bed += 10 ** (rng.uniform(-4, 4) / 20) * _stretch(sounds[int(rng.integers(len(sounds)))], size, rng)
        return _even(bed)


def _stretch(sound: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random part of a sound, said again and again if it is too short: float32 [size], of unit power."""
    begin = int(rng.integers(max(1, len(sound) - size + 1)))
    part = sound[begin : begin + size] if len(sound) >= size else np.roll(np.resize(sound, size), rng.integers(size))
    return _even(part.astype(np.float32) / (32768 if sound.dtype == np.int16 else 1))


def _even(sound: np.ndarray) -> np.ndarray:
    """Without its mean and of unit power; what is quieter than -80 dB counts as silent and is not raised."""
    sound = sound - sound.mean()
    return np.asarray(sound / max(float(sound.std()), 1e-4), np.float32)


def another_voice(sound: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Speech [N], three times of ten of another speaker, and by how many octaves its pitch was moved."""
    if rng.random() < 0.7:
        return sound, 0.0
    formants, pitch = rng.uniform(*TRACT, 2)
    pitch = float(pitch) if rng.random() < 0.5 else 1.0
    return revoice(sound, formants, pitch), float(np.log2(pitch))


def augment(sound: np.ndarray, rng: np.random.Generator, beds: Beds | None = None) -> np.ndarray:
    """Another room, microphone, line, company and level. float32 [N] -> [N], unit loudness."""
    size = len(sound)
    padded = next_fast_len(size + SAMPLE_RATE, real=True)  # a room's tail does not come round to the beginning
    hertz = np.fft.rfftfreq(padded, 1 / SAMPLE_RATE)
    spectrum = _filtered(rfft(sound, padded), hertz, padded, rng)
    sound = irfft(spectrum, padded)[:size].astype(np.float32)
    sound = _accompanied(sound, hertz, padded, rng, beds or Beds())
    if rng.random() < 0.15:  # codec
        sound = _companded(sound, rng) if rng.random() < 0.5 else _thinned(sound, rng)
    sound = sound / loudness(sound) * rng.uniform(0.85, 1.15)
    if rng.random() < 0.3:  # dropouts of 40 to 160 ms, one in two seconds
        for begin in rng.integers(0, size, 1 + size // (2 * SAMPLE_RATE)):
            sound[begin : begin + int(SAMPLE_RATE * rng.uniform(0.04, 0.16))] = 0
    return sound.astype(np.float32)


def _accompanied(sound: np.ndarray, hertz: np.ndarray, padded: int, rng: np.random.Generator, beds: Beds) -> np.ndarray:
    """Coloured noise, plucked chords and beds beside speech [N]."""
    size, level = len(sound), loudness(sound)
    if rng.random() < 0.6:
        noise = rfft(rng.standard_normal(padded, np.float32)) / (hertz + 50) ** rng.uniform(0, 1)
        sound = sound + beside(irfft(noise, padded)[:size], level, rng.uniform(-5, 40))
    if rng.random() < 0.15:
        sound = sound + beside(_music(size, rng), level, rng.uniform(6, 25))
    for kind, odds in ODDS.items():
        if rng.random() < odds and len(beds.of(kind)):
            sound = sound + beside(beds.draw(rng, size, (kind,)), level, rng.uniform(*BELOW))
    return sound


def revoice(sound: np.ndarray, formants: float, pitch: float) -> np.ndarray:
    """Speech [N] of a shorter or longer vocal tract and of another pitch, both times a factor: float32 [N].

    Formants move with the envelope of the spectrum, whose phase is kept. To move the pitch, grains of the sound are
    played faster or slower about their middles. Neither changes when something is heard, by more than 7.5 ms.
    """
    if pitch != 1.0:
        sound = _pitched(sound, pitch)  # and its formants with it
    warp = formants / pitch
    bins = stft(sound, nperseg=_WINDOW, noverlap=_WINDOW - _HOP)[2]
    size = np.abs(bins).T  # [T, 257]
    cepstrum = irfft(np.log(size + 1e-3 * size.max() + 1e-9), axis=1)
    cepstrum[:, _LIFTER : _WINDOW - _LIFTER + 1] = 0
    envelope = rfft(cepstrum, axis=1).real
    at = np.minimum(np.arange(envelope.shape[1]) / warp, envelope.shape[1] - 1.001)
    low = at.astype(int)
    moved = envelope[:, low] + (at - low) * (envelope[:, low + 1] - envelope[:, low])
    gain = np.exp(np.clip(moved - envelope, -3.5, 3.5))  # 30 dB either way
    heard = istft(bins * gain.T, nperseg=_WINDOW, noverlap=_WINDOW - _HOP)[1]
    return np.pad(heard, (0, _WINDOW))[: len(sound)].astype(np.float32)


def _pitched(sound: np.ndarray, factor: float) -> np.ndarray:
    """Grains of a sound [N], played ``factor`` times as fast about their middles and added up where their waves meet
    (synchronised overlap-add, Roucos and Wilgus 1985): pitch and formants move, the length does not. float32 [N]"""
    half = _GRAIN // 2
    window = np.hanning(_GRAIN + 1)[:-1].astype(np.float32)
    reach = int(np.ceil((half + _SEARCH) * factor)) + 2
    padded = np.pad(sound, (reach, reach + _GRAIN))
    steps = factor * np.arange(-half - _SEARCH, half + _SEARCH)
    low = np.floor(steps).astype(int)
    share = (steps - low).astype(np.float32)
    out = np.zeros(len(sound) + 2 * _GRAIN, np.float32)
    for middle in range(0, len(sound) + half, half):
        at = reach + middle + low
        grain = padded[at] * (1 - share) + padded[at + 1] * share  # [2 (half + SEARCH)]
        there = out[middle : middle + half]  # the second half of the grain before, faded out already
        match = np.correlate(grain[: half + 2 * _SEARCH], there)  # [2 SEARCH + 1]
        begin = int(match.argmax()) if there.any() else _SEARCH
        out[middle : middle + _GRAIN] += window * grain[begin : begin + _GRAIN]
    return out[half : half + len(sound)]


def _filtered(spectrum: np.ndarray, hertz: np.ndarray, padded: int, rng: np.random.Generator) -> np.ndarray:
    """Microphone, line and room, on the spectrum [padded / 2 + 1] of a sound of ``padded`` samples."""
    if rng.random() < 0.8:  # equaliser: eight random gains over the octaves
        knots = np.geomspace(60, 8000, 8)
        gain = np.interp(np.log(hertz + 30), np.log(knots + 30), rng.normal(0, 4, 8))
        spectrum *= 10 ** (gain / 20)
    if rng.random() < 0.2:  # narrow line
        spectrum *= 1 / (1 + (hertz / rng.uniform(2800, 6000)) ** 8)
        if rng.random() < 0.5:
            spectrum *= 1 - 1 / (1 + (hertz / rng.uniform(150, 350)) ** 6)
    if rng.random() < 0.3:  # a band that is lost, as wide as 0.3 of the ear's scale at most
        first = rng.uniform(0, 0.9)
        low, high = (700 * (10 ** (2840 * part / 2595) - 1) for part in (first, first + rng.uniform(0.05, 0.3)))
        spectrum[(hertz >= low) & (hertz < high)] *= 0.01
    room = rng.random()
    if room < 0.45:  # an exponentially dying tail; in one of ten a hall
        length = int(SAMPLE_RATE * (rng.uniform(0.1, 0.5) if room < 0.35 else rng.uniform(0.5, 1.0)))
        tail = rng.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length) * rng.uniform(0.02, 0.12)
        tail[0] = 1
        spectrum *= rfft(tail, padded)
    return spectrum


def beside(other: np.ndarray, level: float, decibels: float) -> np.ndarray:
    """Another sound [N], its power so many decibels below speech of this loudness."""
    return np.asarray(_even(other) * level * 10 ** (-decibels / 20), np.float32)


def _music(size: int, rng: np.random.Generator) -> np.ndarray:
    """Plucked chords of a major scale, float32 [N]."""
    music = np.zeros(size, np.float32)
    beat = int(SAMPLE_RATE * rng.uniform(0.2, 0.6))
    root, scale = rng.uniform(80, 160), np.array([0, 2, 4, 5, 7, 9, 11, 12, 16, 19])
    for begin in range(0, size, beat):
        t = np.arange(min(3 * beat, size - begin), dtype=np.float32) / SAMPLE_RATE
        for note in rng.choice(scale, 3):
            wave = 2 * np.pi * root * 2 ** (note / 12 + rng.integers(0, 2)) * t
            s, c = np.sin(wave), np.cos(wave)
            tone = s * (1 + c + (3 - 4 * s * s) / 3 + c * (1 - 2 * s * s))  # sin(kx) / k, k from 1 to 4
            music[begin : begin + len(t)] += tone * np.exp(-t * rng.uniform(2, 6))
    return music


def _companded(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Through a telephone codec: mu-law (ITU-T G.711) of 6 to 8 bits."""
    peak, steps = np.abs(sound).max() + 1e-9, 2 ** int(rng.integers(5, 8))
    small = np.sign(sound) * np.log1p(255 * np.abs(sound) / peak) / np.log(256)
    small = np.rint(small * steps) / steps
    return (np.sign(small) * (256 ** np.abs(small) - 1) / 255 * peak).astype(np.float32)


def _thinned(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As lossy codecs do: what is far below the loudest part of a moment's spectrum is left out."""
    bins = stft(sound, nperseg=512)[2]
    size = np.abs(bins)
    bins[size < size.max(0) * 10 ** (-rng.uniform(25, 45) / 20)] = 0
    return np.pad(istft(bins, nperseg=512)[1], (0, 512))[: len(sound)].astype(np.float32)
