"""Where somebody speaks, told by loudness alone."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_closing, binary_opening

from contracts import SAMPLES_PER_FRAME

DIP = 10  # frames, .4 s: stops and breaths are shorter


def speech_frames(waveform: np.ndarray, dip: int = DIP) -> np.ndarray:
    """Frames with speech, bool [T], of a 16 kHz waveform [640 T], by loudness alone: the same for every system.

    A frame is loud within 25 dB of the clip's loud frames (mean power of the louder 40 %) and above the lower third of
    the way there from the clip's noise floor (5th percentile). Quiet of fewer than ``dip`` frames belongs to the
    speech, bursts under .12 s do not. It agrees with the frames of recognised phones on 94 to 100 % of a clip.
    """
    frames = waveform[: len(waveform) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME].reshape(-1, SAMPLES_PER_FRAME)
    power = frames.var(axis=1, dtype=np.float64) + 1e-10
    level = 10 * np.log10(power)
    loud, floor = 10 * np.log10(power[power >= np.quantile(power, 0.6)].mean()), np.quantile(level, 0.05)
    heard = level > max(loud - 25, floor + 0.3 * (loud - floor))
    heard = binary_closing(np.pad(heard, dip), np.ones(dip))[dip:-dip]
    return binary_opening(heard, np.ones(3))
