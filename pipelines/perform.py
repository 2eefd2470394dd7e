"""Speech to motion: sample, turn the knobs, and bring the lips together where the sound says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
import torch

from contracts import MOTION_DIM, AudioFeatures, Conditions, EmotionTimeline
from encoders.audio import VISEME_INDEX, AudioEncoder
from moda.flow import SamplerConfig, sample
from moda.motion import CONTEXT, Knobs, MotionSpace, close_lips, lift_gaze, modulate_lips, resize, starting_motion
from moda.network import MMDiT

_CUES = [VISEME_INDEX["sil"], VISEME_INDEX["PP"]]


def perform(
    listener: AudioEncoder, model: MMDiT, space: MotionSpace, speech: Iterable[AudioFeatures], identity: np.ndarray,
    emotion: EmotionTimeline, config: SamplerConfig, generator: torch.Generator, knobs: Knobs | None = None,
    start: np.ndarray | None = None, *, length: int | None = None, tail: int = 0, look_up: bool = False,
) -> Iterator[np.ndarray]:  # fmt: skip
    """Motion for speech, consecutive stretches of features: chunks [n, 70] in units, as many frames in all; those of
    the sampler that are empty are passed on.

    speech: read as it is needed, of ``listener``; identity: [63] canonical keypoints; knobs: turned before the lips are
    brought together; start: [70], the motion of the portrait, in space ``liveportrait``. There ``look_up`` lifts the
    gaze, and the last ``tail`` frames of speech are silence: the lips are touched up by it, and the motion is cut to
    ``length``, or else to the speech.
    Raises EmotionError, MotionError, KnobError.
    """
    heard = np.zeros((0, len(_CUES)), np.float32)  # posteriors of silence and bilabials; the sampler listens ahead

    def tokens() -> Iterator[torch.Tensor]:
        nonlocal heard
        for features in speech:
            if features.visemes is not None:
                heard = np.concatenate([heard, features.visemes[:, _CUES].float().cpu().numpy()])
            yield listener.tokens(features)

    conditions = Conditions(tokens(), torch.from_numpy(identity), emotion)
    if space.name == "liveportrait":
        yield from _published(model, space, conditions, config, generator, knobs, start, length, tail, look_up)
        return
    chunks: Iterator[np.ndarray] = (chunk.numpy() for chunk in sample(model, space, conditions, config, generator))
    if knobs is not None and knobs != Knobs():
        chunks = knobs.turn(chunks, np.random.default_rng(generator.initial_seed()))
    held, first, done = np.zeros((0, MOTION_DIM), np.float32), 0, 0  # held[0] is frame `first`; `done` are given out
    for chunk in chain(chunks, [None]):
        if chunk is not None:
            if not len(heard):
                yield chunk
                continue
            held = np.concatenate([held, chunk])
        end = first + len(held)
        ready = end if chunk is None else min(end, len(heard)) - CONTEXT
        if ready <= done:
            yield held[:0]
        else:
            silence, bilabial = heard[first:end].T
            closed = close_lips(held, silence, bilabial, begins=first == 0, ends=chunk is None)
            yield closed[done - first : ready - first]
            done = ready
            drop = max(done - CONTEXT - first, 0)
            held, first = held[drop:], first + drop


def _published(
    model: MMDiT, space: MotionSpace, conditions: Conditions, config: SamplerConfig, generator: torch.Generator,
    knobs: Knobs | None, portrait: np.ndarray | None, length: int | None, tail: int, look_up: bool,
) -> Iterator[np.ndarray]:  # fmt: skip
    """Motion in space ``liveportrait`` of a face that moves as ``portrait`` [70] in its picture."""
    seen = space.rest if portrait is None else torch.from_numpy(portrait)
    start, ratio = starting_motion(seen, space)
    chunks = sample(model, space, conditions, config, generator, start)
    if tail:
        chunks = _touched_up(chunks, space, tail, length)
    motions = (resize(chunk, ratio) for chunk in chunks)
    frames = ((lift_gaze(motion) if look_up else motion).numpy() for motion in motions)
    yield from (knobs or Knobs()).turn_about(frames, resize(start, ratio).numpy())


def _touched_up(
    chunks: Iterable[torch.Tensor], space: MotionSpace, tail: int, length: int | None
) -> Iterator[torch.Tensor]:
    """The lips of a whole clip, as published, in one chunk."""
    parts = []
    for chunk in chunks:
        parts.append(chunk)
        yield chunk[:0]
    clip = modulate_lips(torch.cat(parts), space, tail)
    yield clip[: length or len(clip) - tail]
