"""Training of the embedded motion generator, on motion sets (pipelines/training/corpus.py) heard by the encoder.

    moda train motion SET... -o FILE

Everything random follows from the seed.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from contracts import EMOTIONS, FPS, MOTION_DIM, SAMPLES_PER_FRAME
from encoders.audio import AudioEncoder, Beds, augment
from moda import Example, train_motion
from moda import TrainConfig as MotionTrainConfig
from moda.motion import SCALE
from moda.network import ModelConfig
from pipelines.training.corpus import Clip, Retake, load_corpus, retake, speaker_weights, split
from pipelines.training.ears import VARIANTS
from pipelines.training.resume import Resume
from pipelines.training.sets import Progress

log = logging.getLogger(__name__)

#: How often a clip begins, and how often it ends, in silence when the generator hears it.
QUIET = 0.35
#: Weight of noise and music alone beside all speech.
NOBODY = 0.04


def fit_motion(
    corpora: Sequence[Path], out: Path, encoder_weights: Path, config: MotionTrainConfig,
    progress: Progress = lambda what, done, total: None, beds: Beds | None = None,
) -> None:  # fmt: skip
    """Train the motion generator on motion sets, heard through the audio encoder in `encoder_weights`, above beds if
    there are any (`load_beds`)."""
    progress("reading the sets", 0, 0)
    training, tuning, _ = split(load_corpus(*corpora, progress=partial(progress, "reading the sets")))
    listener = AudioEncoder.embedded(path=encoder_weights)
    examples = motion_examples(training, listener, config.seed, beds, partial(progress, "hearing the clips"))
    watched = motion_examples(tuning, listener)
    log.info("%d examples, %d of other speakers", len(examples), len(watched))
    shape = ModelConfig.lite(audio_dim=listener.token_dim)
    heard = hashlib.sha256(encoder_weights.read_bytes()).hexdigest(), [(clip.name, len(clip)) for clip in training]
    tell = partial(progress, "training the motion generator")
    with Resume(out, (config, shape, heard)) as resume:
        train_motion(
            examples, watched, shape, out, config, resume.keep, resume.kept, lambda done: tell(done, config.steps)
        )


def motion_examples(
    clips: list[Clip], listener: AudioEncoder, seed: int | None = None, beds: Beds | None = None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> list[Example]:  # fmt: skip
    """Clips as the generator hears them; with a seed, VARIANTS times, in another room and at another tempo each, and
    with beds also nobody."""
    if seed is None:
        takes = [Retake(clip, clip.waveform, np.arange(len(clip)), np.zeros(len(clip))) for clip in clips]
    else:
        rng = np.random.default_rng(seed)
        takes = [retake(clip, rng, QUIET, beds) for _ in range(VARIANTS) for clip in clips]
    weights = {clip.name: weight for clip, weight in zip(clips, speaker_weights(clips), strict=True)}
    examples = []
    for done, take in enumerate(takes):
        progress(done, len(takes))
        example = Example(
            tokens=listener.hear(take.waveform).half(),
            motion=torch.from_numpy(take.motion),
            valid=torch.from_numpy(take.valid),
            resting=torch.from_numpy(take.silent > 0),
            identity=torch.from_numpy(take.clip.identity),
            emotion=torch.from_numpy(take.track(take.clip.emotion)),
            steady=take.clip.steady,
            weight=weights[take.clip.name],
        )
        examples.append(example)
    if beds and seed is not None:
        examples += [nobody(listener, beds, rng, NOBODY * sum(weights.values()) / 50) for _ in range(50)]
    return examples


def nobody(listener: AudioEncoder, beds: Beds, rng: np.random.Generator, weight: float) -> Example:
    """Eight seconds of noise or music alone: the mouth rests, and nothing else is known."""
    frames = 8 * FPS
    motion = torch.zeros(frames, MOTION_DIM)
    motion[:, SCALE] = 1.0
    everywhere, unlabelled = torch.ones(frames, dtype=torch.bool), torch.zeros(frames, len(EMOTIONS))
    unlabelled[:, EMOTIONS.index("neutral")] = 1.0
    sound = augment(beds.draw(rng, frames * SAMPLES_PER_FRAME, ("noise", "music")), rng)
    return Example(
        listener.hear(sound).half(), motion, everywhere, everywhere, torch.zeros(63), unlabelled, False, weight
    )
