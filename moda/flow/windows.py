"""Windows over a clip: pure index arithmetic, and audio cut into windows as it arrives.

Window i covers frames i * stride .. i * stride + window - 1, stride = window - overlap; there are as many as it takes
to cover the clip, and the last is padded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

OVERLAP = 16  # frames that a window has in common with the one before, in training and in sampling


@dataclass(frozen=True)
class AudioWindow:
    start: int
    """First frame, in the clip."""
    audio: Tensor  # [window, A]
    frames: int
    """Frames before the padding."""


def cut(
    chunks: Iterable[Tensor], window: int, overlap: int = OVERLAP, padding: Literal["hold", "zeros"] = "hold"
) -> Iterator[AudioWindow]:
    """Consecutive chunks [n, A] of any lengths -> windows, each as soon as its audio is there.

    At most a window and a chunk are held. The padding repeats the last frame or is zero.
    """
    if not 0 <= overlap < window:
        raise ValueError(f"an overlap of {overlap} frames leaves nothing new in a window of {window}")
    start, held = 0, None
    for chunk in chunks:
        held = chunk if held is None else torch.cat([held, chunk])
        while len(held) >= window:
            yield AudioWindow(start, held[:window], window)
            start, held = start + window - overlap, held[window - overlap :]
    if held is not None and len(held) > (overlap if start else 0):
        pad = held[-1:].expand(window - len(held), -1)
        yield AudioWindow(start, torch.cat([held, pad if padding == "hold" else torch.zeros_like(pad)]), len(held))


def hold(known: Tensor, frames: int) -> Tensor:
    """Known frames [B, k, D], then the last of them held, to [B, frames, D]."""
    return torch.cat([known, known[:, -1:].expand(-1, frames - known.shape[1], -1)], dim=1)


def crossfade(overlap: int) -> Tensor:
    """Share of the later window in each frame of the overlap: k / overlap. The earlier has the rest."""
    return torch.arange(overlap) / overlap
