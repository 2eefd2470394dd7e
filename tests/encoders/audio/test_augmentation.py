"""What training does to speech: how loud company is, and that neither it nor another voice moves what is heard."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from contracts import SAMPLE_RATE
from encoders.audio import loudness
from encoders.audio.augmentation import ODDS, VOICES, Beds, another_voice, augment, beside, revoice

SIZE = 4 * SAMPLE_RATE


def vowel(pitch: float, formants: tuple[float, ...], seconds: float = 1.5) -> np.ndarray:
    """Pulses through resonators 80 Hz wide."""
    time = np.arange(round(seconds * SAMPLE_RATE))
    pulses = np.diff(np.floor(time * pitch / SAMPLE_RATE), prepend=0.0)
    for formant in formants:
        radius, angle = np.exp(-np.pi * 80 / SAMPLE_RATE), 2 * np.pi * formant / SAMPLE_RATE
        pulses = lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], pulses)
    return (0.3 * pulses / np.abs(pulses).max()).astype(np.float32)


def peak(sound: np.ndarray, low: float, high: float) -> float:
    """Hz at which the envelope of the spectrum is highest between two frequencies."""
    size = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    hertz = np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE)
    kernel = np.exp(-0.5 * (np.arange(-800, 801) * hertz[1] / 150) ** 2)
    envelope = np.convolve(np.log(np.convolve(size**2, kernel, "same") + 1e-12), kernel / kernel.sum(), "same")
    inside = (hertz > low) & (hertz < high)
    return float(hertz[inside][envelope[inside].argmax()])


def pitch_of(sound: np.ndarray) -> float:
    """Hz, by autocorrelation between 80 and 350 Hz."""
    power = np.fft.irfft(np.abs(np.fft.rfft(sound, 2 * len(sound))) ** 2)
    lags = np.arange(SAMPLE_RATE // 350, SAMPLE_RATE // 80)
    return SAMPLE_RATE / float(lags[power[lags].argmax()])


@pytest.mark.parametrize(("formants", "pitch"), [(1.25, 1.0), (0.82, 1.0), (1.2, 1.2), (1.0, 1.2), (1.0, 0.85)])
def test_formants_and_pitch_move_apart(formants: float, pitch: float) -> None:
    heard = revoice(vowel(120.0, (1100.0, 2600.0)), formants, pitch)
    assert peak(heard, 600, 1700) == pytest.approx(1100 * formants, rel=0.06)
    assert peak(heard, 1900, 3600) == pytest.approx(2600 * formants, rel=0.06)
    assert pitch_of(heard) == pytest.approx(120 * pitch, rel=0.02)


def test_who_asks_for_another_voice_is_told_its_pitch() -> None:
    said = vowel(120.0, (1100.0, 2600.0))
    drawn = [another_voice(said, np.random.default_rng(seed)) for seed in range(40)]
    moved = [(heard, octaves) for heard, octaves in drawn if octaves]
    assert 2 <= len(moved) <= 14 and sum(heard is said for heard, _ in drawn) > 20
    for heard, octaves in moved:
        assert pitch_of(heard) == pytest.approx(120 * 2**octaves, rel=0.02)


def syllables(rng: np.random.Generator) -> np.ndarray:
    """Vowels that closed lips interrupt: silence of 90 to 160 ms, at random times, and a pause at both ends."""
    sound = np.tile(vowel(rng.uniform(90, 220), (700.0, 1200.0, 2500.0)), 3)[:SIZE]
    at = 0.4
    sound[: round(at * SAMPLE_RATE)] = 0
    while at < 3.4:
        at += rng.uniform(0.18, 0.4)
        closed = round(at * SAMPLE_RATE), round((at + rng.uniform(0.09, 0.16)) * SAMPLE_RATE)
        sound[slice(*closed)] = 0
        at = closed[1] / SAMPLE_RATE
    sound[round(3.6 * SAMPLE_RATE) :] = 0
    return sound


def onsets(sound: np.ndarray, step: int) -> np.ndarray:
    """By how much the level of every ``step`` samples is above that of those before. A room draws ends out, not
    beginnings."""
    level = np.sqrt(np.square(sound[: len(sound) // step * step].reshape(-1, step)).mean(1))
    return np.maximum(np.diff(level), 0)


def lag(one: np.ndarray, other: np.ndarray, step: int) -> tuple[int, float]:
    """Steps by which the other begins after the one, and how alike they are then, from 0 to 1."""
    a, b = onsets(one, step), onsets(other, step)
    match = np.correlate(b, a, "full") / np.sqrt(a @ a * (b @ b))
    return int(match.argmax()) - len(a) + 1, float(match.max())


@pytest.mark.parametrize(("formants", "pitch"), [(1.25, 1.0), (0.82, 1.25), (1.1, 0.82)])
def test_another_voice_begins_and_pauses_when_the_first_did(formants: float, pitch: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        said = syllables(rng)
        heard = revoice(said, formants, pitch)
        assert len(heard) == len(said)
        assert lag(said, heard, 80)[0] in (-1, 0, 1)  # of 5 ms
        loud, wanted = (np.flatnonzero(np.abs(wave) > 0.1 * wave.max()) / SAMPLE_RATE for wave in (heard, said))
        assert loud[0] == pytest.approx(wanted[0], abs=0.02) and loud[-1] == pytest.approx(wanted[-1], abs=0.02)


def test_closed_lips_stay_where_they_were() -> None:
    """The lips open when they did, to 10 ms: nearly always where company does not hide it (a hall can blur it)."""
    rng = np.random.default_rng(1)
    steady = Beds(music=[rng.standard_normal(SIZE).astype(np.float32)])
    found = []
    for seed in range(60):
        said = syllables(rng)
        draw = np.random.default_rng(seed)
        heard = augment(another_voice(said, draw)[0], draw, steady)
        found.append(lag(said, heard, SAMPLE_RATE // 100))
    late = np.array([steps for steps, alike in found if alike > 0.6])
    assert len(late) > 35 and np.median(late) == 0
    assert (np.abs(late) <= 1).mean() > 0.9


def test_the_same_draw_is_the_same_sound() -> None:
    said = syllables(np.random.default_rng(0))
    beds = Beds(babble=[said], noise=[said])
    one, other = (augment(said.copy(), np.random.default_rng(5), beds) for _ in range(2))
    assert np.array_equal(one, other)


@pytest.mark.parametrize("decibels", [-5.0, 7.5, 20.0])
@pytest.mark.parametrize("kind", ["noise", "babble", "music"])
def test_company_is_as_loud_as_it_is_said_to_be(kind: str, decibels: float) -> None:
    rng = np.random.default_rng(2)
    sounds = [(rng.standard_normal(size) * 900 + 300).astype(np.int16) for size in (30_000, 100_000, 64_000)]
    bed = Beds(**{kind: sounds}).draw(rng, SIZE, (kind,))
    said = syllables(rng)
    mixed = said + beside(bed, loudness(said), decibels)
    assert bed.shape == (SIZE,) and bed.dtype == np.float32
    assert 20 * np.log10(loudness(said) / np.std(mixed - said)) == pytest.approx(decibels, abs=0.01)


def test_babble_is_of_several_and_a_short_bed_goes_on() -> None:
    rng = np.random.default_rng(3)
    tones = [np.sin(2 * np.pi * (300 + 100 * k) * np.arange(2 * SIZE) / SAMPLE_RATE) for k in range(40)]
    for _ in range(20):
        spectrum = np.abs(np.fft.rfft(Beds(babble=tones).draw(rng, SAMPLE_RATE)))[300:4300:100]
        assert 2 <= (spectrum > 0.2 * spectrum.max()).sum() <= VOICES[1]
    short = Beds(noise=[rng.standard_normal(SAMPLE_RATE // 2).astype(np.float32)]).draw(rng, 2 * SAMPLE_RATE)
    seconds = short.reshape(4, -1)
    assert np.allclose(seconds[0], seconds[1], atol=1e-5) and np.allclose(seconds[0], seconds[3], atol=1e-5)


def test_beds_that_are_missing_or_silent_are_silence() -> None:
    rng = np.random.default_rng(4)
    assert not Beds().draw(rng, 100).any()
    assert not Beds(noise=[np.zeros(10, np.int16)], music=[np.zeros(1000, np.int16)]).draw(rng, 100).any()
    said = syllables(rng)
    assert all(np.isfinite(augment(said, rng, Beds(noise=[np.zeros(10, np.int16)]))).all() for _ in range(10))


def test_beds_are_heard_as_often_as_they_should() -> None:
    """A tone that nothing else in the augmentation makes stands out where a bed was laid."""
    tone = np.sin(2 * np.pi * 3210 * np.arange(SIZE) / SAMPLE_RATE).astype(np.float32)
    said = syllables(np.random.default_rng(0))
    found = 0
    for seed in range(300):
        spectrum = np.abs(np.fft.rfft(augment(said, np.random.default_rng(seed), Beds(noise=[tone]))))
        at = 3210 * SIZE // SAMPLE_RATE
        found += spectrum[at] > 8 * np.median(spectrum[at - 200 : at + 200])
    assert 0.5 * ODDS["noise"] * 300 < found < 1.8 * ODDS["noise"] * 300
