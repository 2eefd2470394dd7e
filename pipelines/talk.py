"""A portrait and a voice to a talking video: encode -> sample -> render -> encode video, frame by frame."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from contracts import EmotionTimeline, ModaError, SourceFace
from encoders.emotion import parse_emotion
from encoders.face import encode_face
from encoders.identity import encode_identity
from encoders.media import frame_count, load_audio
from encoders.wav2vec import AudioEncoder
from moda.checkpoint import load_checkpoint
from moda.guidance import Guidance
from moda.knobs import LARGEST, Knobs
from moda.motion import POSE, MotionError, load_motion
from moda.render import Background, Frame, Framing, MeshRenderer
from moda.sampler import SamplerConfig
from pipelines.device import choose_device
from pipelines.perform import perform
from pipelines.provenance import Claim, check_signing
from pipelines.render import Film, Progress, check_outputs

if TYPE_CHECKING:
    from contracts import Array, AudioFeatures
    from pipelines.render import StrPath


#: The motion generator that ships with the project.
EMBEDDED = Path(__file__).parents[1] / "moda" / "assets" / "mmdit_lite.safetensors"


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
    steps: int = SamplerConfig.steps
    """Evaluations of the network per window of motion."""
    guidance: float = SamplerConfig().guidance.audio
    """How hard the speech is followed; 1 is the model itself."""
    emotion_guidance: float = SamplerConfig().guidance.emotion
    """How hard the emotion is followed; 1 is the model itself."""
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
        if self.steps < 1:
            raise OptionError(f"{self.steps} steps make no motion; give 1 or more")
        if not all(math.isfinite(scale) and scale >= 0 for scale in (self.guidance, self.emotion_guidance)):
            raise OptionError("a guidance scale is a number of 0 or more; 1 is the model itself")
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
        """What makes the video what it is, without the names of files."""
        files = ("head_from", "save_motion", "provenance")
        return {option.name: getattr(self, option.name) for option in fields(self) if option.name not in files}

    @property
    def sampler(self) -> SamplerConfig:
        return SamplerConfig(steps=self.steps, guidance=Guidance(self.guidance, self.emotion_guidance))


@dataclass(frozen=True)
class Voice:
    """A recording as the audio encoder heard it, to be spoken any number of times."""

    path: Path
    waveform: Array  # float32 [N], 16 kHz
    features: tuple[AudioFeatures, ...]  # consecutive; ceil(N / 640) frames in all


class TalkingHead:
    """The models, loaded once; then any number of videos.

    Raises:
        DeviceError: no such device.
        ModaError: weights that are missing or damaged.
    """

    def __init__(self, device: str = "auto") -> None:
        self.device = choose_device(device)
        self.listener = AudioEncoder.embedded(self.device)
        self.model, self.space = load_checkpoint(EMBEDDED, self.device)
        self.renderer = MeshRenderer()

    def listen(self, audio: StrPath, longest: float | None = None) -> Voice:
        """Hear a whole recording, 50 kB of features a second: for :meth:`talk`, more than once.

        Raises AudioError, also where it lasts more than ``longest`` seconds.
        """
        waveform = load_audio(audio, longest)
        return Voice(Path(audio), waveform, tuple(self.listener.stream(waveform)))

    def talk(
        self, portrait: StrPath | SourceFace, audio: StrPath | Voice, out: StrPath, options: TalkOptions | None = None
    ) -> Iterator[Progress]:
        """Make ``out``, one Progress a frame. Closing the generator cancels, and leaves nothing behind.

        A face of encode_face and a voice of :meth:`listen` are not looked at and heard again. Of a recording given by
        its path, no more than the 16 kHz waveform is kept in memory. The video has ``frame_count(samples)`` frames
        and the sound of ``audio``, as long as it was.

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

        yield Progress("audio", 0, 100)
        waveform = audio.waveform if isinstance(audio, Voice) else load_audio(sound)  # [N]
        speech = audio.features if isinstance(audio, Voice) else self.listener.stream(waveform)
        yield Progress("face", 0, 100)
        face = portrait if isinstance(portrait, SourceFace) else encode_face(Path(portrait), face=options.face)
        emotion = parse_emotion(options.emotion, face.blendshapes)
        yield Progress("face", 100, 100, warnings=face.warnings)

        total = frame_count(len(waveform))
        chunks = self.perform(speech, encode_identity(face), emotion, options)
        if options.head_from is not None:
            chunks = _with_head(chunks, head_movement(Path(options.head_from), self.space.name, total))
        claim = None
        if options.provenance:
            claim = Claim.of("talk", face, {"audio": sound, "head_from": options.head_from}, options.settings)
        framing = Framing(options.frame, options.size, options.background)
        film = Film(face, out, framing, motion_file, sound=sound, claim=claim, mark=options.mark)
        yield from film.shoot(self.renderer, chunks, total, self.space.name)

    def perform(
        self, speech: Iterable[AudioFeatures], identity: Array, emotion: EmotionTimeline | None = None,
        options: TalkOptions | None = None,
    ) -> Iterator[Array]:  # fmt: skip
        """Motion [n, 70] of a face of this identity [63], chunk by chunk: :func:`pipelines.perform.perform` with these
        models, and the seed, sampler and knobs of ``options``."""
        options = options or TalkOptions()
        return perform(
            self.listener, self.model, self.space, speech, identity, emotion or EmotionTimeline(), options.sampler,
            torch.Generator().manual_seed(options.seed), options.knobs,
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
