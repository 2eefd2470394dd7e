"""Speech to motion: listen, sample, and let the lips rest in the pauses."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from contracts import Conditions, EmotionTimeline
from encoders.visemes import VISEME_INDEX
from encoders.wav2vec import AudioEncoder
from moda.knobs import Knobs
from moda.model import MMDiT
from moda.motion import MotionSpace
from moda.pauses import CONTEXT, pause_gate, shut_lips
from moda.sampler import SamplerConfig, sample


def perform(
    listener: AudioEncoder, model: MMDiT, space: MotionSpace, waveform: np.ndarray, identity: np.ndarray,
    emotion: EmotionTimeline, config: SamplerConfig, generator: torch.Generator, knobs: Knobs | None = None,
) -> Iterator[np.ndarray]:  # fmt: skip
    """Motion for a 16 kHz waveform [N]: chunks [n, 70] in units, ceil(N / 640) frames in all.

    identity: [63] canonical keypoints; knobs: turned before the lips are brought together. Raises EmotionError,
    MotionError.
    """
    silence = np.zeros(0, np.float32)  # of what has been heard; the sampler listens ahead

    def tokens() -> Iterator[torch.Tensor]:
        nonlocal silence
        for features in listener.stream(waveform):
            if features.visemes is not None:
                silence = np.concatenate([silence, features.visemes[:, VISEME_INDEX["sil"]].float().cpu().numpy()])
            yield listener.tokens(features)

    conditions = Conditions(tokens(), torch.from_numpy(identity), emotion)
    chunks: Iterator[np.ndarray] = (chunk.numpy() for chunk in sample(model, space, conditions, config, generator))
    if knobs is not None and knobs != Knobs() and space.name == "mesh":
        chunks = knobs.turn(chunks, np.random.default_rng(generator.initial_seed()))
    done = 0
    for motion in chunks:
        if len(silence) and space.name == "mesh":
            first = max(0, done - CONTEXT)
            gate = pause_gate(silence[first : done + len(motion) + CONTEXT])
            motion = shut_lips(motion, gate[done - first : done - first + len(motion)])
        done += len(motion)
        yield motion
