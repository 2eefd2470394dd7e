"""What the web page and its interface do for many visitors with one set of models."""

from __future__ import annotations

import math
import shlex
import shutil
import traceback
import types
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import numpy as np

from contracts import SAMPLE_RATE, ModaError, SourceFace
from encoders.face import FaceError, encode_face
from moda.flow import SamplerConfig
from moda.motion import load_motion
from pipelines.faces import JudgedFace, judge_faces
from pipelines.film import ProvenanceError, verify
from pipelines.options import HINTS, OptionError, TalkOptions, brief
from pipelines.talk import Voice
from pipelines.web.grid import film_emotions
from pipelines.web.plot import plot_motion
from pipelines.web.preview import film_preview, read_preview
from pipelines.web.workspace import Limits, Workspace, give_back_memory
from pipelines.weights import LITE, PUBLISHED, installed

if TYPE_CHECKING:
    from contracts import Array
    from pipelines.render import Progress
    from pipelines.talk import TalkingHead

KEPT = 4  # portraits (of up to 44 MB) and recordings that are not looked at and heard again
OPTIONS = [name for name in HINTS if name not in ("head_from", "save_motion")]  # these name files of this machine


class ConsentError(ModaError):
    """Nobody said that the face and the voice may be used."""


class ResultGone(ModaError):
    """A result that is not, or no longer, known."""


@dataclass(frozen=True)
class Report:
    """What is to be said of a result."""

    plot: str  # SVG; nothing for all emotions
    command: str  # the command line that makes the same video
    record: dict[str, Any]  # name, frames, command, settings, provenance
    motion: str | None  # the file; nothing for all emotions
    provenance: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """A video, and what it is made of, in a folder of its own."""

    folder: Path
    portrait: Path
    voice: Path
    options: TalkOptions
    grid: float | None = None  # all emotions side by side at this intensity, instead of that of ``options``

    @property
    def name(self) -> str:
        """By which it is found again; whoever knows it may."""
        return self.folder.name

    @property
    def label(self) -> str:
        if self.grid is not None:
            return "emotions"
        emotion, timed, _ = self.options.emotion.partition(",")
        return "timeline" if timed else emotion.partition(":")[0]

    @property
    def video(self) -> Path:
        return self.folder / f"moda-{self.label}.mp4"

    @property
    def motion(self) -> Path:
        return self.folder / f"moda-{self.label}.npz"

    @property
    def preview(self) -> Path:
        """What is filmed so far, while it is filmed."""
        return self.folder / "preview.mp4"

    @property
    def command(self) -> str:
        """The command line that makes the same video."""
        words = ["moda", "talk", self.portrait.name, self.voice.name, "-o", self.video.name]
        for name, value in changed(self.options).items():
            option = name.replace("_", "-")
            if isinstance(value, bool):
                words.append(f"--{option}" if value else f"--no-{option}")
            else:
                words += [f"--{option}", value.name if isinstance(value, Path) else str(value)]
        return shlex.join(words)

    @property
    def settings(self) -> dict[str, Any]:
        """All settings, in the words of a batch manifest."""
        options = {name: value for name, value in asdict(self.options).items() if name != "save_motion"}
        steered = {} if self.options.head_from is None else {"head_from": Path(self.options.head_from).name}
        felt = {} if self.grid is None else {"emotion": f"all:{self.grid:g}"}
        return {"portrait": self.portrait.name, "audio": self.voice.name, **options, **steered, **felt}


class Studio:
    """One set of models for many visitors, who share nothing else.

    What was looked at and heard is kept in memory, for the last few portraits and recordings: another emotion costs
    neither again.
    """

    def __init__(self, head: TalkingHead, workspace: Workspace, limits: Limits | None = None) -> None:
        self.head, self.workspace, self.limits = head, workspace, limits or Limits()
        self._results: dict[str, Result] = {}
        self._beginning = Lock()  # visitors begin at once
        # By path and size: uploads lie under the hash of what is in them.
        self._look = lru_cache(KEPT)(lambda portrait, _: tuple(judge_faces(portrait)))
        self._encode = lru_cache(KEPT)(lambda portrait, _: encode_face(portrait))
        self._hear = lru_cache(KEPT)(lambda voice, _: self.head.listen(voice, self.limits.seconds))

    def look(self, portrait: Path) -> tuple[JudgedFace, ...]:
        """Every face of a picture. Raises LimitError, ImageError, NoFace."""
        self.limits.check_picture(portrait)
        return self._look(portrait, self._stamp(portrait))

    def face(self, portrait: Path, number: int | None) -> SourceFace:
        """The face meant, as :func:`encode_face` has it. Raises LimitError, ImageError, FaceError."""
        faces = self.look(portrait)
        if number is None and len(faces) > 1:
            return self._encode(portrait, self._stamp(portrait))  # says which is meant, or asks
        number = 1 if number is None else number
        if not 1 <= number <= len(faces):
            raise FaceError(f"there is no face {number}, the picture shows {len(faces)}; choose from 1 to {len(faces)}")
        judged = faces[number - 1]
        if judged.source is None:
            raise FaceError(judged.refusal or "")
        return judged.source

    def hear(self, voice: Path) -> Voice:
        """A recording, within the limits. Raises AudioError."""
        return self._hear(voice, self._stamp(voice))

    def seconds(self, voice: Path) -> float:
        """How long a recording lasts. Raises as :meth:`hear`."""
        return len(self.hear(voice).waveform) / SAMPLE_RATE

    def begin(
        self, portrait: Path, voice: Path, options: TalkOptions, *, consent: bool, grid: float | None = None
    ) -> Result:
        """A result to be filmed. Raises ConsentError."""
        if consent is not True:
            raise ConsentError("say first that you have the right to use this face and this voice")
        result = Result(self.workspace.new(), portrait, voice, options, grid)
        if grid is None:
            result = replace(result, options=replace(options, save_motion=result.motion))
        with self._beginning:
            for name in [name for name, kept in self._results.items() if not kept.folder.is_dir()]:
                del self._results[name]
            self._results[result.name] = result
        return result

    def find(self, name: str) -> Result:
        """The finished result of that name. Raises ResultGone."""
        result = self._results.get(name) if isinstance(name, str) else None
        if result is None or not result.motion.is_file():
            raise ResultGone("that result is not here; results are kept for an hour after they were last used")
        self.workspace.use(result.motion)
        return result

    def swap(self, name: str, emotion: str, *, consent: bool) -> Result:
        """Another emotion for the voice, seed and head movement of an earlier result; ``all`` or ``all:INTENSITY`` are
        all eight in one picture. Raises ResultGone, ConsentError, OptionError."""
        before = self.find(name)
        if not isinstance(emotion, str):
            raise OptionError(f"{brief(emotion)} is no emotion; give text, as in fear, fear:0.5 or all")
        label, _, intensity = emotion.partition(":")
        options = replace(before.options, head_from=before.motion)
        if label != "all":
            return self.begin(before.portrait, before.voice, replace(options, emotion=emotion), consent=consent)
        try:
            grid = float(intensity or 1)
        except ValueError:
            grid = math.nan
        if not 0 <= grid <= 1:
            raise OptionError(f"the intensity {brief(intensity)} is not a number from 0 to 1")
        return self.begin(before.portrait, before.voice, options, consent=consent, grid=grid)

    def film(self, result: Result, preview: bool = False) -> Iterator[Progress]:
        """Make ``result.video``; meanwhile there may be a preview. Closing the generator cancels, and leaves nothing
        behind. Raises ModaError."""
        try:
            face = self.face(result.portrait, result.options.face)
            voice = self.hear(result.voice)
            if result.grid is None:
                steps = self.head.talk(face, voice, result.video, result.options)
            else:
                steps = film_emotions(self.head, face, voice, result.video, result.options, result.grid)
            yield from film_preview(steps, result.preview, result.voice) if preview else steps
        finally:
            give_back_memory()
            if not result.video.is_file():
                shutil.rmtree(result.folder, ignore_errors=True)

    def preview(self, name: str, begin: int) -> bytes | None:
        """More of the preview of the result of that name, from byte ``begin`` on; None where it is not being made."""
        result = self._results.get(name)
        return None if result is None else read_preview(result.preview, begin)

    def report(self, result: Result) -> Report:
        """On a finished result."""
        try:
            provenance = verify(result.video).lines
        except ProvenanceError as error:  # the video is there all the same
            provenance = (str(error),)
        command, plot, motion = "", "", None
        if result.grid is None:
            command, motion = result.command, str(result.motion)
            plot = plot_motion(load_motion(motion), _visemes(self.hear(result.voice)))
        record = {
            "result": result.name, "seconds": self.seconds(result.voice), "command": command,
            "settings": result.settings, "provenance": list(provenance),
        }  # fmt: skip
        return Report(plot, command, record, motion, provenance)

    def list_faces(self, portrait: Path) -> list[dict[str, Any]]:
        """:meth:`look`, as JSON."""
        return [
            {
                "face": judged.face.index, "usable": judged.source is not None,
                "box": [round(at) for at in judged.face.box], "size": round(judged.face.size),
                "pose": [round(angle) for angle in judged.face.pose],
                "remarks": [judged.refusal] if judged.refusal else list(judged.warnings),
            }
            for judged in self.look(portrait)
        ]  # fmt: skip

    def tell(self, error: Exception) -> str:
        """An error as visitors should read it. What is a fault of ours goes to stderr in full."""
        if isinstance(error, ModaError):
            give_back_memory(error)
            return self.workspace.without_folders(str(error))
        traceback.print_exception(error)
        return "something went wrong here, which is a fault of moda; the log of the server says what"

    def _stamp(self, path: Path) -> int:
        self.workspace.use(path)
        return path.stat().st_size if path.is_file() else 0


def _visemes(voice: Voice) -> Array | None:
    """What was heard, [T, 15], if the encoder tells."""
    heard = [features.visemes for features in voice.features]
    return np.concatenate([part.float().cpu().numpy() for part in heard if part is not None]) if heard else None


def suited(weights: str) -> dict[str, float]:
    """The options of the sampler that are None in TalkOptions, as they are then with these weights."""
    config = SamplerConfig.for_published() if weights == PUBLISHED else SamplerConfig()
    return {
        "steps": config.steps, "guidance": config.guidance.audio, "emotion_guidance": config.guidance.emotion,
    }  # fmt: skip


def changed(options: TalkOptions) -> dict[str, Any]:
    """The options that are not as they are by default, but for where the motion goes."""
    return {
        field.name: getattr(options, field.name)
        for field in fields(TalkOptions)
        if field.name != "save_motion" and getattr(options, field.name) != field.default
    }


def read_options(given: Any) -> TalkOptions:
    """Options as JSON has them, from somebody who may not name files here; null is none. Raises OptionError."""
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        raise OptionError(f'the options {brief(given)} are no object; write them as {{}} or {{"seed": 7}}')
    for name, value in given.items():
        if name not in OPTIONS:
            raise OptionError(f"there is no option {brief(name)}; choose from {', '.join(OPTIONS)}")
        if not _fits(value, HINTS[name]):
            raise OptionError(f"{brief(value)} is no value of the option {name}")
    if given.get("weights", LITE) not in installed():  # a folder, or networks for which this machine is not meant
        raise OptionError(f"there are no weights {brief(given['weights'])} here; choose from {', '.join(installed())}")
    return TalkOptions(**given)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value of JSON is of the type ``hint``."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        return any(_fits(value, kind) for kind in get_args(hint))
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else hint)
