"""Figures of rest, of effort, of rounded vowels and of noise, on tracks whose right value is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contracts import SAMPLE_RATE, SAMPLES_PER_FRAME
from encoders.audio.train import UNKNOWN
from encoders.audio.visemes import VISEME_INDEX
from moda.motion.layout import LOWER_LIP_Y
from pipelines.evaluation.effort import distances, effort_figures, gap_figures, rounding, rounding_followed
from pipelines.evaluation.metrics import NAMED_CHANNELS
from pipelines.evaluation.noise import pink_noise, under_noise
from pipelines.evaluation.rest import LENGTHS, RealRest, find_pauses, real_rest, rest_figures, silence
from pipelines.evaluation.scores import (
    ClipScore,
    Figure,
    Statistic,
    Take,
    geometric_mean,
    median,
    pearson,
    ratio_of_sums,
)
from pipelines.training.corpus import Clip

FIRST, SECOND, THIRD, LONG = LENGTHS


def clip_of(waveform: np.ndarray, gap: np.ndarray, name: str = "a") -> Clip:
    frames = len(gap)
    motion = np.zeros((frames, 70), np.float32)
    motion[:, LOWER_LIP_Y] = -gap
    return Clip(
        name=name, speaker=name, language="en", waveform=waveform.astype(np.float32), motion=motion,
        blendshapes=np.zeros((frames, 52)), valid=np.ones(frames, bool), identity=np.zeros(63),
        emotion=np.zeros((frames, 9)), steady=True,
    )  # fmt: skip


def voice(silent: np.ndarray) -> np.ndarray:
    """A hiss that is loud but in the frames that are silent, [640 T]."""
    level = np.repeat(np.where(silent, 0.0005, 0.1), SAMPLES_PER_FRAME)
    return level * np.random.default_rng(0).standard_normal(len(level))


def quiet(frames: int, *stretches: tuple[int, int]) -> np.ndarray:
    silent = np.zeros(frames, bool)
    for begin, end in stretches:
        silent[begin:end] = True
    return silent


def take_of(gap: np.ndarray, silent: np.ndarray, real: np.ndarray | None = None) -> Take:
    gap = np.atleast_2d(gap)
    real = gap[0] if real is None else real
    return Take(gap, real, np.ones(len(silent), bool), silent)


def score(speaker: str, take: Take) -> ClipScore:
    return ClipScore(speaker, {}, take=take)


def value(figures: dict[str, Figure], name: str) -> float:
    return figures[name].estimate(20).mean


# ---- statistics of items that belong to speakers


def repeated(statistic: Statistic, weights: np.ndarray) -> float:
    return float(statistic(weights[None].astype(float))[0])


def test_statistics_with_weights_are_those_of_repeated_items() -> None:
    rng = np.random.default_rng(0)
    for size in (1, 6, 9):
        x, y, weights = rng.uniform(0.1, 1, size), rng.uniform(0.1, 1, size), rng.integers(0, 4, size)
        weights[0] += 1
        often_x, often_y = np.repeat(x, weights), np.repeat(y, weights)
        assert repeated(median(x), weights) == pytest.approx(np.median(often_x))
        assert repeated(ratio_of_sums(x, y), weights) == pytest.approx(often_x.sum() / often_y.sum())
        assert repeated(geometric_mean(x), weights) == pytest.approx(np.exp(np.log(often_x).mean()))
        if size > 1:
            assert repeated(pearson(x, y), weights) == pytest.approx(np.corrcoef(often_x, often_y)[0, 1])
    assert np.isnan(repeated(pearson([1.0, 1.0], [1.0, 2.0]), np.ones(2)))


def test_a_figure_draws_whole_speakers_and_its_difference_is_paired() -> None:
    owners, values = ["b", "a", "b", "c"], np.array([0.2, 0.8, 0.4, 0.5])
    figure = Figure(owners, median(values))
    mean, low, high = figure.estimate()
    assert mean == pytest.approx(0.45) and low == pytest.approx(0.3) and high == pytest.approx(0.8)
    assert (Figure(owners, median(values + 0.1)) - figure).estimate() == pytest.approx((0.1, 0.1, 0.1))
    assert Figure(["a", "a"], median([1.0, 2.0])).estimate() == pytest.approx((1.5, np.nan, np.nan), nan_ok=True)
    with pytest.raises(ValueError, match="different items"):
        _ = figure - Figure(["a"], median([1.0]))
    assert np.isnan(Figure([], median([])).estimate()).all()


# ---- rest


def test_pauses_are_sorted_by_length_and_cut_ones_count_only_where_they_are_long_anyway() -> None:
    silent = quiet(600, (0, 40), (60, 67), (80, 88), (100, 112), (130, 143), (200, 225), (300, 375), (525, 600))
    assert [(pause.length, pause.frames.start, pause.frames.stop) for pause in find_pauses(silent)] == [
        (FIRST, 80, 88), (FIRST, 100, 112), (SECOND, 130, 143), (THIRD, 200, 225), (LONG, 300, 375), (LONG, 525, 600),
    ]  # fmt: skip


def test_pauses_are_those_of_the_sound() -> None:
    silent = quiet(300, (50, 57), (100, 108), (150, 180), (290, 300))
    found = silence(clip_of(voice(silent), np.where(quiet(300, (200, 260)), 0.0, 0.2)))
    assert [(pause.frames.start, pause.frames.stop) for pause in find_pauses(found)] == [(100, 108), (150, 180)]
    assert found[290:].all() and not found[200:260].any(), "shut lips are no pause"


def test_lips_in_pauses_and_at_the_ends() -> None:
    silent = quiet(200, (0, 3), (50, 60), (100, 110), (197, 200))
    shut, apart = np.full(200, 0.2), np.full(200, 0.2)
    shut[50:60] = 0.01  # one pause of two is shut, in one sample of two
    shut[100:110] = 0.1
    shut[0], apart[-1] = 0.02, 0.0
    figures = rest_figures([score("a", take_of(np.stack([shut, apart]), silent))])
    assert value(figures, f"pause {FIRST} shut") == pytest.approx(0.25)
    assert value(figures, f"pause {FIRST} gap") == pytest.approx(0.15)  # of .01 .1 .2 .2
    assert np.isnan(value(figures, f"pause {SECOND} gap"))
    assert value(figures, "begin shut") == 0.5 and value(figures, "begin gap") == pytest.approx(0.11)
    assert value(figures, "end shut") == 0.5 and value(figures, "end gap") == pytest.approx(0.1)


def test_ends_count_only_where_the_clip_begins_or_ends_in_silence() -> None:
    silent = quiet(100, (0, 2), (97, 100))
    figures = rest_figures([score("a", take_of(np.linspace(0.0, 0.1, 100), silent))])
    assert np.isnan(value(figures, "begin gap")) and value(figures, "end gap") == pytest.approx(0.1)


def test_frames_without_a_face_do_not_count_in_pauses() -> None:
    silent, gap = quiet(100, (40, 50)), np.full(100, 0.2)
    gap[40:45] = 0.0
    seen = np.ones(100, bool)
    seen[40:45] = False
    take = replace(take_of(gap, silent), valid=seen)
    figures = rest_figures([score("a", take)])
    assert value(figures, f"pause {FIRST} shut") == 0 and value(figures, f"pause {FIRST} gap") == pytest.approx(0.2)
    unseen = replace(take, valid=~silent)
    assert np.isnan(value(rest_figures([score("a", unseen)]), f"pause {FIRST} gap"))


def test_how_people_rest_is_told_by_quartiles_over_pauses() -> None:
    silent = quiet(200, (20, 35), (60, 75), (100, 115), (140, 155), (165, 180))
    gap = np.full(200, 0.3)
    for begin, rest in zip((20, 60, 100, 140, 165), (0.0, 0.02, 0.04, 0.06, 0.08), strict=True):
        gap[begin - 3 : begin + 18] = rest
    short = clip_of(voice(silent[:90]), np.full(90, 0.25), "short")
    found = real_rest([clip_of(voice(silent), gap), short])
    assert found == {SECOND: RealRest(5, 1, *(pytest.approx(x, abs=1e-6) for x in (0.4, 0.04, 0.02, 0.06)))}
    assert [found[SECOND].place(gap) for gap in (0.01, 0.02, 0.05, 0.07)] == ["below", "inside", "inside", "above"]


# ---- effort


def test_distribution_of_gaps() -> None:
    gap = np.concatenate([np.full(25, 0.02), np.full(25, 0.1), np.linspace(0, 1, 101)])
    speech = np.arange(151) < 50
    speech[0] = False
    figures = gap_figures(gap, speech, np.ones(151, bool))
    assert figures["gap median"] == pytest.approx(0.1) and figures["gap shut"] == pytest.approx(24 / 49)
    everything = gap_figures(np.linspace(0, 1, 101), np.zeros(101, bool), np.ones(101, bool))
    assert everything["gap p95"] == pytest.approx(0.95) and np.isnan(everything["gap median"])


def test_distances_of_distributions_do_not_ask_when() -> None:
    rng = np.random.default_rng(0)
    real, seen = rng.uniform(0, 0.2, 200), np.ones(200, bool)
    assert distances(real, real[::-1], seen) == {
        "gap distance": pytest.approx(0), "speed distance": pytest.approx(0)
    }  # fmt: skip
    shifted = distances(real, real + 0.05, seen)
    assert shifted == {"gap distance": pytest.approx(0.05), "speed distance": pytest.approx(0, abs=1e-9)}
    ramp = np.arange(200) / 1000  # .025 OC a second
    assert distances(ramp, 2 * ramp, seen)["speed distance"] == pytest.approx(0.025)
    assert distances(real, np.where(np.arange(200) == 9, 5.0, real), np.arange(200) != 9)["gap distance"] == 0


def wave(amplitude: float, period: int = 10) -> np.ndarray:
    return 0.3 + amplitude * np.sin(2 * np.pi * np.arange(100) / period)


def effort_of(pairs: list[tuple[str, np.ndarray, np.ndarray]]) -> dict[str, float]:
    """pairs: speaker, real gap, drawn gap [S, T]."""
    scores = [score(speaker, take_of(drawn, np.zeros(len(real), bool), real)) for speaker, real, drawn in pairs]
    return {name: figure.estimate(20).mean for name, figure in effort_figures(scores).items()}


def test_effort_of_a_mouth_that_does_half_of_what_the_person_does() -> None:
    people = [(name, wave(size), wave(size / 2)) for name, size in (("a", 0.05), ("b", 0.1), ("c", 0.25))]
    assert effort_of(people) == {
        "gap p95 over clips r": pytest.approx(1), "speed over clips r": pytest.approx(1),
        "amplitude of speakers x": pytest.approx(0.5), "speed of speakers x": pytest.approx(0.5),
    }  # fmt: skip


def test_effort_that_is_the_same_for_all_or_the_wrong_way_round() -> None:
    sizes = (0.05, 0.1, 0.15)
    same = effort_of([(str(size), wave(size), wave(0.1)) for size in sizes])
    assert np.isnan(same["gap p95 over clips r"]) and np.isnan(same["speed over clips r"])
    assert same["amplitude of speakers x"] == pytest.approx(np.prod([0.1 / size for size in sizes]) ** (1 / 3))
    turned = effort_of([(str(size), wave(size), wave(0.2 - size)) for size in sizes])
    assert turned["gap p95 over clips r"] == pytest.approx(-1) and turned["speed over clips r"] == pytest.approx(-1)


def test_speakers_count_once_and_ratios_are_multiplied() -> None:
    many = [("a", wave(0.1), wave(0.2))] * 5 + [("b", wave(0.1), wave(0.05))]
    assert effort_of(many)["amplitude of speakers x"] == pytest.approx(1)
    quicker = effort_of([("a", wave(0.1), wave(0.1, period=5))])
    assert quicker["amplitude of speakers x"] == pytest.approx(1)
    slope = np.abs(np.diff(wave(0.1, period=5))).mean() / np.abs(np.diff(wave(0.1))).mean()
    assert quicker["speed of speakers x"] == pytest.approx(slope) and slope > 1.8
    two = effort_of([("a", wave(0.1), np.stack([wave(0.1), wave(0.3)]))])
    assert two["amplitude of speakers x"] == pytest.approx(2), "mean of the samples"


# ---- vowels


def spoken(*names: str) -> np.ndarray:
    return np.repeat([VISEME_INDEX[name] for name in names], 10)


def lips(width: np.ndarray, pucker: np.ndarray) -> np.ndarray:
    motion = np.zeros((len(width), 70), np.float32)
    (left,), (right,) = NAMED_CHANNELS["width"]
    motion[:, left], motion[:, right] = width / 2, -width / 2
    motion[:, NAMED_CHANNELS["pucker"][0]] = pucker[:, None]
    return motion


def test_rounded_vowels_against_spread_ones() -> None:
    visemes = spoken("O", "aa", "I", "U", "E", "SS")
    width = np.repeat([-0.06, 0.5, 0.02, -0.02, 0.04, 0.9], 10)
    figures = rounding(lips(width, -0.5 * width), visemes, np.ones(60, bool))
    assert figures == {"width of rounded": pytest.approx(-0.07), "pucker of rounded": pytest.approx(0.035)}
    seen = visemes != VISEME_INDEX["U"]
    assert rounding(lips(width, -width), visemes, seen)["width of rounded"] == pytest.approx(-0.09)
    no_round = np.isin(visemes, [VISEME_INDEX["E"], VISEME_INDEX["I"]])
    assert np.isnan(list(rounding(lips(width, -width), visemes, no_round).values())).all()
    still = rounding(lips(width, 0 * width), visemes, np.ones(60, bool))
    assert np.isnan(still["pucker of rounded"]), "a channel that says nothing"
    assert np.isnan(list(rounding(lips(width, width), np.full(60, UNKNOWN), np.ones(60, bool)).values())).all()


def test_only_vowels_are_followed() -> None:
    rng = np.random.default_rng(0)
    visemes, seen = spoken("O", "SS", "I", "PP"), np.ones(40, bool)
    width = rng.standard_normal(40)
    other = np.where(np.isin(visemes, spoken("O", "I")), width, -3 * width)
    figures = rounding_followed(lips(width, width), lips(2 * other, -other), visemes, seen)
    assert figures == {"width on vowels r": pytest.approx(1), "pucker on vowels r": pytest.approx(-1)}
    still = rounding_followed(lips(width, width), lips(other, 0 * other), visemes, seen)
    assert np.isnan(still["pucker on vowels r"])
    assert np.isnan(rounding_followed(lips(width, width), lips(other, other), visemes, ~seen)["width on vowels r"])


# ---- noise


def test_pink_noise_has_the_same_power_in_every_octave() -> None:
    noise = pink_noise(60 * SAMPLE_RATE, np.random.default_rng(0))
    power = np.abs(np.fft.rfft(noise)) ** 2
    hertz = np.fft.rfftfreq(len(noise), 1 / SAMPLE_RATE)
    octaves = [power[(hertz >= low) & (hertz < 2 * low)].sum() for low in (31.25, 125, 500, 2000, 4000)]
    assert max(octaves) / min(octaves) < 1.15
    assert power[hertz < 19].sum() < 1e-6 * power.sum() and np.square(noise).mean() == pytest.approx(1)


def test_noise_is_as_far_below_the_speech_as_was_asked() -> None:
    silent = quiet(300, (0, 100), (250, 300))
    clip = clip_of(voice(silent), np.zeros(300))
    spoken_power = np.square(clip.waveform.reshape(300, -1)[100:250]).mean()
    for decibels in (10, 0):
        noise = under_noise(clip, decibels) - clip.waveform
        assert 10 * np.log10(spoken_power / np.square(noise).mean()) == pytest.approx(decibels, abs=0.05)
    assert np.array_equal(under_noise(clip, 10), under_noise(clip, 10))
    other = under_noise(replace(clip, name="b"), 10) - clip.waveform
    assert abs(np.corrcoef(other, under_noise(clip, 10) - clip.waveform)[0, 1]) < 0.1
