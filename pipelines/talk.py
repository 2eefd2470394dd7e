"""A portrait and a voice to a talking video: encode -> sample -> render -> encode video, frame by frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import torch

from contracts import EmotionTimeline, SourceFace
from encoders import parse_emotion
from encoders.audio import frame_count, load_audio, sound_remarks
from encoders.face import encode_face
from moda.flow import SamplerConfig
from moda.motion import POSE, TAIL, MotionError, load_motion
from moda.render import Framing
from pipelines.device import choose_device
from pipelines.film import Claim, check_outputs, check_signing
from pipelines.options import Sampling, TalkOptions
from pipelines.perform import perform
from pipelines.render import Film, Keeping, Progress
from pipelines.weights import LITE, Models, load_models

if TYPE_CHECKING:
    from contracts import Array, AudioFeatures, StrPath


@dataclass(frozen=True)
class Voice:
    """A recording as the audio encoder heard it, to be spoken any number of times."""

    path: Path
    waveform: Array  # float32 [N], 16 kHz
    features: tuple[AudioFeatures, ...]  # consecutive; ceil(N / 640) frames in all, and those of a silence after it
    hearing: tuple[str, Sampling] = TalkOptions().hearing  # as which options it was heard


class TalkingHead:
    """The models, loaded once; then any number of videos. Those of ``weights`` are loaded at once, others when they are
    asked for. ``compiled``: torch compiles the published renderer, which takes its time at the first frames.

    Raises:
        DeviceError: no such device.
        ModaError: weights that are missing or damaged.
    """

    def __init__(self, device: str = "auto", weights: str = LITE, compiled: bool = False) -> None:
        self.device, self.compiled = choose_device(device), compiled
        self._models: dict[str, Models] = {}
        self._loading = Lock()
        self.models(weights)

    def models(self, weights: str = LITE) -> Models:
        """The models of these weights; their renderer keeps the portrait that it prepared last. Raises ModaError."""
        with self._loading:
            if weights not in self._models:
                models = load_models(weights, self.device, self.compiled)
                self._models[weights] = replace(models, renderer=Keeping(models.renderer))
            return self._models[weights]

    def listen(self, audio: StrPath, longest: float | None = None, options: TalkOptions | None = None) -> Voice:
        """Hear a whole recording, 50 kB of features a second (``moda``: 1 MB): for :meth:`talk`, more than once.

        Raises AudioError, also where it lasts more than ``longest`` seconds.
        """
        options = options or TalkOptions()
        waveform = load_audio(audio, longest)
        return Voice(Path(audio), waveform, tuple(self._hear(waveform, options)), options.hearing)

    def _hear(self, waveform: Array, options: TalkOptions) -> Iterator[AudioFeatures]:
        listener = self.models(options.weights).listener
        if options.sampling == "published":
            return listener.stream(waveform, tail=TAIL)
        return listener.stream(waveform)

    def talk(
        self, portrait: StrPath | SourceFace, audio: StrPath | Voice, out: StrPath, options: TalkOptions | None = None
    ) -> Iterator[Progress]:
        """Make ``out``, one Progress a frame. Closing the generator cancels, and leaves nothing behind.

        A face of encode_face is not looked at again, nor a voice of :meth:`listen` heard again where that was for
        options of the same ``hearing``. Of a recording given by its path, no more than the 16 kHz waveform is kept in
        memory. The video has ``frame_count(samples)`` frames and the sound of ``audio``, as long as it was.

        Raises:
            ModaError: a file or an option cannot be used; the message names the remedy.
        """
        options = options or TalkOptions()
        sound = audio.path if isinstance(audio, Voice) else Path(audio)
        pictures = [] if isinstance(portrait, SourceFace) else [portrait]
        steered = [] if options.head_from is None else [options.head_from]
        out, motion_file = check_outputs(out, options.save_motion, inputs=(*pictures, sound, *steered))
        if options.provenance:
            check_signing()
        models = self.models(options.weights)

        yield Progress("audio", 0, 100)
        waveform = audio.waveform if isinstance(audio, Voice) else load_audio(sound)  # [N]
        kept = audio.features if isinstance(audio, Voice) and audio.hearing == options.hearing else None
        speech = kept or self._hear(waveform, options)
        yield Progress("face", 0, 100, warnings=sound_remarks(sound))
        face = portrait if isinstance(portrait, SourceFace) else encode_face(Path(portrait), face=options.face)
        emotion = parse_emotion(options.emotion, face.blendshapes)
        yield Progress("face", 100, 100, warnings=face.warnings)

        total = frame_count(len(waveform))
        identity, start = models.likeness(face)
        chunks = self.perform(speech, identity, emotion, options, start, total)
        if options.head_from is not None:
            chunks = _with_head(chunks, head_movement(Path(options.head_from), models.space.name, total))
        claim = None
        if options.provenance:
            claim = Claim.of("talk", face, {"audio": sound, "head_from": options.head_from}, options.settings)
        framing = Framing(options.frame, options.size, options.background)
        film = Film(face, out, framing, motion_file, sound=sound, claim=claim, mark=options.mark)
        yield from film.shoot(models.renderer, chunks, total, models.space.name)

    def perform(
        self, speech: Iterable[AudioFeatures], identity: Array, emotion: EmotionTimeline | None = None,
        options: TalkOptions | None = None, start: Array | None = None, length: int | None = None,
    ) -> Iterator[Array]:  # fmt: skip
        """Motion [n, 70] of a face, chunk by chunk: :func:`pipelines.perform.perform` with the models, seed, sampler
        and knobs of ``options``; ``identity`` and ``start`` are its ``likeness``. ``length`` is that of the motion,
        which published sampling does not give to the frame."""
        options = options or TalkOptions()
        models = self.models(options.weights)
        return perform(
            models.listener, models.generator, models.space, speech, identity, emotion or EmotionTimeline(),
            sampler_config(options, models), torch.Generator().manual_seed(options.seed), options.knobs, start,
            length=length, tail=TAIL if options.sampling == "published" else 0, look_up=options.look_up,
        )  # fmt: skip

    def make(self, portrait: StrPath, audio: StrPath, out: StrPath, options: TalkOptions | None = None) -> Path:
        """:meth:`talk`, run to its end: the path of the video."""
        for _ in self.talk(portrait, audio, out, options):
            pass
        return Path(out)


def sampler_config(options: TalkOptions, models: Models) -> SamplerConfig:
    """How to sample motion of ``models``."""
    config = SamplerConfig.published() if options.sampling == "published" else models.sampler
    audio, emotion = options.guidance, options.emotion_guidance
    guidance = replace(
        config.guidance,
        audio=config.guidance.audio if audio is None else audio,
        emotion=config.guidance.emotion if emotion is None else emotion,
    )
    return replace(config, steps=options.steps or config.steps, guidance=guidance)


def head_movement(path: Path, space: str, total: int) -> Array:
    """Scale, place and pose [total, 7] of a saved motion. Raises MotionError."""
    saved = load_motion(path)
    if saved.space != space or len(saved) != total:
        raise MotionError(
            f"{path} is {len(saved)} frames of space {saved.space}, where {total} of {space} are needed; give a motion "
            "of the same recording"
        )
    return saved.frames[:, POSE]


def _with_head(chunks: Iterable[Array], head: Array) -> Iterator[Array]:
    """Motion chunks [n, 70] with another head movement [T, 7]."""
    done = 0
    for chunk in chunks:
        steered = np.array(chunk)
        steered[:, POSE] = head[done : done + len(chunk)]
        done += len(chunk)
        yield steered
