"""How something is said."""

from __future__ import annotations

import numpy as np

from contracts import SAMPLES_PER_FRAME
from encoders.audio.prosody import speech_frames


def test_speech_is_what_is_loud_with_its_short_dips() -> None:
    rng = np.random.default_rng(0)
    loud = np.zeros(200)
    loud[50:150] = 1
    loud[80:85] = 0  # a stop
    loud[20] = 1  # a click
    sound = (0.1 * np.repeat(loud, SAMPLES_PER_FRAME) + 0.001) * rng.standard_normal(200 * SAMPLES_PER_FRAME)
    for level in (1.0, 0.01):
        assert np.array_equal(np.flatnonzero(speech_frames(level * sound)), np.arange(50, 150))


def test_quiet_of_as_many_frames_as_are_asked_for_is_a_pause() -> None:
    quiet = np.r_[40:47, 80:88]
    loud = np.repeat(np.where(np.isin(np.arange(150), quiet), 0.001, 0.1), SAMPLES_PER_FRAME)
    sound = loud * np.random.default_rng(0).standard_normal(len(loud))
    assert np.array_equal(np.flatnonzero(~speech_frames(sound, dip=8)), np.arange(80, 88))
    assert np.array_equal(np.flatnonzero(~speech_frames(sound, dip=7)), quiet)
    assert speech_frames(sound).all()
