"""A recording as the published audio encoders hear it, read by the piece.

The chain is MoDA's: pre-emphasis of the speech, silence after it, zero mean and unit variance, and reflected samples on
either side. The published code normalises every minute apart, and jumps there; here all statistics are of the whole
recording, so that a piece sounds the same wherever it is cut.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from contracts import SAMPLES_PER_FRAME
from encoders.audio.media import frame_count

#: The convolutions see 40 samples beyond a frame on either side (receptive field 720 for a hop of 640). The published
#: chain reflects 20 of them and then, about the new edge, 20 more; so do we.
MARGINS = (20, 20)

_PREEMPHASIS = 0.97
_BLOCK = 1500  # frames that are read at once for the statistics


def heard_frames(samples: int, tail: int = 0) -> int:
    """Frames of 640 samples that a recording has begun, or that it fills together with ``tail`` frames of silence."""
    return max(frame_count(samples), samples // SAMPLES_PER_FRAME + tail)


class Recording:
    """A 16 kHz mono waveform [N] with ``tail`` frames of silence after it, which also fills the last frame begun."""

    def __init__(self, waveform: np.ndarray, tail: int = 0) -> None:
        self.waveform, self.frames = waveform, heard_frames(len(waveform), tail)
        x = np.zeros(2)
        x[: len(waveform)] = waveform[:2]
        self._before = (x[1] - 2 * x[0]) / _PREEMPHASIS  # with which the first sample is librosa's, 3 x[0] - x[1]
        total = squares = 0.0
        step = _BLOCK * SAMPLES_PER_FRAME
        for start in range(0, len(waveform), step):
            block = self._emphasised(start, start + step)
            total, squares = total + block.sum(dtype=np.float64), squares + np.square(block).sum(dtype=np.float64)
        length = max(len(waveform) + tail * SAMPLES_PER_FRAME, 1)
        self._mean = total / length
        self._gain = 1 / np.sqrt(squares / length - self._mean**2 + 1e-7)

    def padded(self, first: int, last: int) -> np.ndarray:
        """Frames first .. last - 1 with 40 samples of context on either side, float32 [640 n + 80], normalised."""
        context = sum(MARGINS)
        start = max(first * SAMPLES_PER_FRAME - context, 0)
        stop = min(last * SAMPLES_PER_FRAME + context, self.frames * SAMPLES_PER_FRAME)
        sound = self._emphasised(start, stop)
        sound = np.pad(sound, (0, stop - start - len(sound)))
        sound = (sound - np.float32(self._mean)) * np.float32(self._gain)
        for margin in MARGINS:
            sound = np.pad(sound, (margin * (first == 0), margin * (last == self.frames)), mode="reflect")
        return sound

    def moments(self, kernel: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
        """What a convolution over the whole of it sees: mean [k] and covariance [k, k] of its windows, float64."""
        count, total, products = 0, np.zeros(kernel), np.zeros((kernel, kernel))
        for first in range(0, self.frames, _BLOCK):
            last = min(first + _BLOCK, self.frames)
            sound = self.padded(first, last)
            if last < self.frames:  # up to the window with which the next block begins
                sound = sound[: (last - first) * SAMPLES_PER_FRAME + kernel - stride]
            windows = sliding_window_view(sound, kernel)[::stride].astype(np.float64)
            count, total, products = count + len(windows), total + windows.sum(0), products + windows.T @ windows
        mean = total / count
        return mean, products / count - np.outer(mean, mean)

    def _emphasised(self, start: int, stop: int) -> np.ndarray:
        """Pre-emphasised samples, float32, none beyond the speech."""
        before = [self._before] if start == 0 else self.waveform[start - 1 : start]
        sound = np.concatenate([before, self.waveform[start:stop]]).astype(np.float32)
        return sound[1:] - np.float32(_PREEMPHASIS) * sound[:-1]
