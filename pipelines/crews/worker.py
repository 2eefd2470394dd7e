"""The worker of a batch: the models loaded once, then one video after the other.

It runs where a crew puts it (pipelines.crews.crews). This module is light: a process can begin before the models are
there.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from contracts import SAMPLE_RATE, ModaError
from moda.files import sha256

if TYPE_CHECKING:
    from contracts import SourceFace
    from pipelines.talk import Voice

KEPT_FACES = 32 * 2**20  # bytes of pictures: the rows of a portrait mostly follow one another
KEPT_VOICES = 256 * 2**20  # bytes of waveforms and features: about half an hour
LONG = 600  # s: a longer recording is heard while it is spoken, every time anew
SAY_EVERY = 0.5  # s between two words on the progress of a video
#: A worker computes in one thread, and encodes in those of x264, so that no byte depends on how many workers there are.
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}

Value = TypeVar("Value")


@dataclass(frozen=True)
class Task:
    """A video to make, in plain values."""

    portrait: str
    audio: str
    out: str
    options: dict[str, Any]  # of TalkOptions


@dataclass(frozen=True)
class Outcome:
    """What became of a task: ``error`` is empty where all is well."""

    frames: int = 0
    seconds: float = 0.0
    error: str = ""
    warnings: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()  # SHA-256, hex, of the video and of the motion where that is kept


class Cache(Generic[Value]):
    """The values used last, as many as fit into ``limit`` bytes, and the newest in any case."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept: OrderedDict[Any, tuple[Value, int]] = OrderedDict()

    def get(self, key: Any, make: Callable[[], Value], size: Callable[[Value], int]) -> Value:
        """The value of ``key``, made if it is not there; ``size`` tells its bytes."""
        if key not in self._kept:
            value = make()
            self._kept[key] = value, size(value)
        self._kept.move_to_end(key)
        while len(self._kept) > 1 and sum(bytes_ for _, bytes_ in self._kept.values()) > self.limit:
            self._kept.popitem(last=False)
        return self._kept[key][0]


class Worker:
    """The models, and the faces and voices used last.

    Raises:
        ModaError: no such device; a model that is missing or damaged.
    """

    def __init__(self, device: str = "auto") -> None:
        os.environ.update(ONE_THREAD)
        import torch

        from encoders.face.model_file import load_model
        from pipelines.talk import TalkingHead

        torch.set_num_threads(1)
        load_model()
        self.head = TalkingHead(device)
        self._faces: Cache[SourceFace] = Cache(KEPT_FACES)
        self._voices: Cache[Voice | Path] = Cache(KEPT_VOICES)

    def run(self, task: Task, progress: Callable[[float], object] = lambda share: None) -> Outcome:
        """Make the video; nothing is raised. ``progress`` is told the done share now and then."""
        start = said = time.perf_counter()
        warnings: list[str] = []
        frames = 0
        try:
            from pipelines.talk import TalkOptions

            options = TalkOptions(**task.options)
            voice, face = self._voice(task.audio), self._face(task.portrait, options.face)
            for step in self.head.talk(face, voice, task.out, options):
                warnings += step.warnings
                if step.stage == "video":
                    frames = step.done
                    if (now := time.perf_counter()) > said + SAY_EVERY:
                        said = now
                        progress(step.done / step.total)
            made = [task.out] if options.save_motion is None else [task.out, options.save_motion]
            hashes = tuple(sha256(path) for path in made)
        except Exception as error:  # of one row: the others go on
            kind = "" if isinstance(error, ModaError) else f"{type(error).__name__}: "
            return Outcome(error=" ".join(f"{kind}{error}".split()), seconds=time.perf_counter() - start)
        return Outcome(frames, time.perf_counter() - start, "", tuple(warnings), hashes)

    def _face(self, portrait: str, number: int | None) -> SourceFace:
        from encoders.face.portrait import encode_face

        return self._faces.get(
            (portrait, number), lambda: encode_face(Path(portrait), face=number), lambda face: face.image.nbytes
        )

    def _voice(self, audio: str) -> Voice | Path:
        from encoders.audio.media import load_audio
        from pipelines.talk import Voice

        def listen() -> Voice | Path:
            waveform = load_audio(audio)
            if len(waveform) > LONG * SAMPLE_RATE:
                return Path(audio)
            return Voice(Path(audio), waveform, tuple(self.head.models().listener.stream(waveform)))

        def size(voice: Voice | Path) -> int:
            if isinstance(voice, Path):
                return 0
            tensors = (part for f in voice.features for part in (f.hidden, f.visemes, f.articulation))
            return voice.waveform.nbytes + sum(part.nbytes for part in tensors if part is not None)

        return self._voices.get(audio, listen, size)
