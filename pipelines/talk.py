"""A portrait and a voice to a talking video: encode -> sample -> render -> encode video, frame by frame."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch

from contracts import EmotionTimeline, ModaError, SourceFace
from encoders.audio.media import frame_count, load_audio, sound_remarks
from encoders.emotion import parse_emotion
from encoders.face.portrait import encode_face
from moda.flow.sampler import SamplerConfig
from moda.motion.knobs import LARGEST, Knobs
from moda.motion.published import TAIL
from moda.motion.space import POSE, MotionError, load_motion
from moda.render import Background, Frame, Framing
from pipelines.device import choose_device
from pipelines.film.provenance import Claim, check_signing
from pipelines.perform import perform
from pipelines.render import Film, Keeping, Progress, check_outputs
from pipelines.weights.models import LITE, PUBLISHED, RANDOM, WEIGHTS, Models, check_models, load_models

if TYPE_CHECKING:
    from contracts import Array, AudioFeatures
    from pipelines.render import StrPath

Sampling = Literal["default", "published"]


class OptionError(ModaError):
    """An option outside its range."""


@dataclass(frozen=True)
class TalkOptions:
    """What can be asked of a talking video."""

    emotion: str = "neutral"
    """``happiness:0.8``, a timeline ``0:neutral,2.5:happiness:0.9``, or ``auto``: more of what the portrait shows.
    ``neutral`` adds nothing to the look of the portrait."""
    seed: int = 0
    """0 to 2^63 - 1. The same seed gives the same video, frame for frame."""
    weights: str = LITE
    """``lite``, ``moda``, ``random-base``, or the folder of an own training: see :mod:`pipelines.weights.models`."""
    sampling: Sampling = "default"
    """``published`` samples as the published MoDA does, for comparison: ten steps, windows blended, the clip heard and
    its lips touched up as a whole. For its own weights only."""
    steps: int | None = None
    """Evaluations of the network per window of motion. Of this and the next two None is what suits the weights."""
    guidance: float | None = None
    """How hard the speech is followed; 1 is the model itself."""
    emotion_guidance: float | None = None
    """How hard the emotion is followed; 1 is the model itself."""
    look_up: bool = False
    """Lift the gaze a little in every frame, as the published pipeline does; for published weights only."""
    head_motion: float = 1.0
    """0 to 2: how far the head moves; 0 keeps it still."""
    blink_rate: float = 1.0
    """0 to 2: how often the eyes blink; 0 is never, 2 twice as often as the model would."""
    mouth: float = 1.0
    """0 to 2: how far the mouth opens and the lips travel; 0 keeps them shut."""
    expression: float = 1.0
    """0 to 2: how far brows, cheeks, squint and smile go; 0 keeps them at rest."""
    frame: Frame | None = None
    """``full``: the whole picture at its own resolution; ``crop``: the square around the head. None: ``full``, except
    where a size is given, and where the picture is no larger than the head crop."""
    size: int | None = None
    """Side of the ``crop``, px, even, 256 to 1024; None is 512."""
    background: Background = "still"
    """``still``, or ``follow``: the surroundings give way to the head elastically."""
    face: int | None = None
    """Which face of the portrait, as ``moda faces`` numbers them; None is the one that is clearly largest. The others
    stay still."""
    head_from: StrPath | None = None
    """A saved motion (npz) of the same length whose head movement is taken: what makes two emotions comparable."""
    save_motion: StrPath | None = None
    """Where to keep the motion, as npz."""
    provenance: bool = True
    """Sign into the video that it is synthetic, what made it, and the hashes of what it was made from."""
    mark: bool = False
    """Burn a small visible mark into the upper left corner of the picture."""

    def __post_init__(self) -> None:
        if self.sampling not in get_args(Sampling):
            raise OptionError(f"there is no sampling {self.sampling!r}; give {' or '.join(get_args(Sampling))}")
        if self.steps is not None and self.steps < 1:
            raise OptionError(f"{self.steps} steps make no motion; give 1 or more")
        scales = (scale for scale in (self.guidance, self.emotion_guidance) if scale is not None)
        if not all(math.isfinite(scale) and scale >= 0 for scale in scales):
            raise OptionError("a guidance scale is a number of 0 or more; 1 is the model itself")
        check_models(self.weights)
        if self.weights not in (PUBLISHED, RANDOM):
            for name, asked in (("sampling", self.sampling == "published"), ("look_up", self.look_up)):
                if asked:
                    raise OptionError(
                        f"{name} {getattr(self, name)} is of the published weights; add weights {PUBLISHED}"
                    )
        elif self.blink_rate != 1:
            raise OptionError(f"published weights blink as they will; leave blink_rate at 1, or choose weights {LITE}")
        for knob in fields(Knobs):
            value = getattr(self, knob.name)
            if not 0 <= value <= LARGEST:  # not a number is outside as well
                raise OptionError(f"{knob.name} {value:g} is outside 0..{LARGEST:g}; 1 is the model itself, 0 is off")
        if not 0 <= self.seed < 2**63:
            raise OptionError(f"{self.seed} is no seed; give a whole number from 0 to {2**63 - 1}")
        Framing(self.frame, self.size, self.background)  # says what is impossible

    @property
    def knobs(self) -> Knobs:
        return Knobs(**{knob.name: getattr(self, knob.name) for knob in fields(Knobs)})

    @property
    def settings(self) -> dict[str, str | int | float | bool | None]:
        """What makes the video what it is, without the places of files."""
        files = ("head_from", "save_motion", "provenance")
        told = {option.name: getattr(self, option.name) for option in fields(self) if option.name not in files}
        return told | {"weights": self.weights if self.weights in WEIGHTS else Path(self.weights).name}

    @property
    def hearing(self) -> tuple[str, Sampling]:
        """All that the features of a voice depend on."""
        return self.weights, self.sampling

    def sampler(self, models: Models) -> SamplerConfig:
        """How to sample motion of ``models``."""
        config = SamplerConfig.published() if self.sampling == "published" else models.sampler
        audio, emotion = self.guidance, self.emotion_guidance
        guidance = replace(
            config.guidance,
            audio=config.guidance.audio if audio is None else audio,
            emotion=config.guidance.emotion if emotion is None else emotion,
        )
        return replace(config, steps=self.steps or config.steps, guidance=guidance)


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
            options.sampler(models), torch.Generator().manual_seed(options.seed), options.knobs, start,
            length=length, tail=TAIL if options.sampling == "published" else 0, look_up=options.look_up,
        )  # fmt: skip

    def make(self, portrait: StrPath, audio: StrPath, out: StrPath, options: TalkOptions | None = None) -> Path:
        """:meth:`talk`, run to its end: the path of the video."""
        for _ in self.talk(portrait, audio, out, options):
            pass
        return Path(out)


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
