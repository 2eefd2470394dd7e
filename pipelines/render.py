"""Motion to video: the tail that every pipeline ends in, and the re-rendering of a saved motion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from contracts import FPS, Motion
from encoders.face import encode_face
from encoders.media import frame_count, load_audio
from moda.motion import load_motion, save_motion
from moda.render import Background, Frame, Framing, MeshRenderer, Renderer, RenderError, Scene
from pipelines.video import check_output, open_video

if TYPE_CHECKING:
    from os import PathLike

    from contracts import Array, SourceFace

    StrPath = str | PathLike[str]

Stage = Literal["face", "audio", "track", "video"]


@dataclass(frozen=True)
class Progress:
    """How far a pipeline is."""

    stage: Stage
    done: int
    total: int  # frames in stage "video", else percent
    warnings: tuple[str, ...] = ()  # what the user should know, said once
    shot: tuple[Scene, Array] | None = field(default=None, repr=False)  # in stage "video": where, and the head drawn

    @property
    def frame(self) -> Array | None:
        """The frame just made, uint8 [H, W, 3] RGB, in stage "video"; put together when it is asked for."""
        return None if self.shot is None else self.shot[0].compose(self.shot[1])


@dataclass(frozen=True)
class Film:
    """Where motion goes: the face it moves and the file it becomes."""

    face: SourceFace
    out: Path
    framing: Framing
    save_motion: Path | None = None
    sound: StrPath | None = None
    delay: float = 0.0  # s, of the sound against the picture

    def shoot(self, renderer: Renderer[Any], chunks: Iterable[Array], total: int, space: str) -> Iterator[Progress]:
        """Render and encode motion chunks [n, 70] as they come, ``total`` frames in all; one Progress a frame.

        Closing the generator cancels, and leaves no file.
        """
        if space != renderer.space:
            raise RenderError(
                f"the motion is of space {space!r}, the renderer draws {renderer.space!r}; render it there"
            )
        scene = self.framing.scene(self.face)
        prepared = renderer.prepare(scene.face, scene.size, self.framing.background)
        kept: list[Array] = []
        with open_video(self.out, self.sound, self.delay, scene.picture, scene.corner) as video:
            done = 0
            for chunk in chunks:
                kept += [chunk] if self.save_motion else []
                for head in renderer.render(prepared, chunk):
                    video.write(head)
                    done += 1
                    yield Progress("video", done, total, shot=(scene, head))
            if self.save_motion:
                video.finish()  # all but the name: there are both files or none
                save_motion(self.save_motion, Motion(np.concatenate(kept), space))


def check_outputs(
    out: StrPath, motion: StrPath | None = None, *, inputs: Iterable[StrPath] = ()
) -> tuple[Path, Path | None]:
    """Both paths, known to be writable in principle, and none of ``inputs``. Raises OutputError."""
    inputs = tuple(inputs)
    return check_output(out, ".mp4", inputs), None if motion is None else check_output(motion, ".npz", inputs)


def render_motion(
    portrait: StrPath, motion: StrPath, out: StrPath, *, audio: StrPath | None = None, frame: Frame | None = None,
    size: int | None = None, background: Background = "still", face: int | None = None,
) -> Iterator[Progress]:  # fmt: skip
    """Play a saved motion (npz) on a portrait, with sound where ``audio`` is given; as long as the motion.

    ``frame``, ``size`` and ``background`` are those of Framing; ``face`` is the number that ``moda faces`` gives it.

    Raises:
        ModaError: a file cannot be used; the kinds are those of encode_face, load_motion, load_audio and open_video.
    """
    out, _ = check_outputs(out, inputs=[portrait, motion, *([] if audio is None else [audio])])
    framing = Framing(frame, size, background)
    saved = load_motion(Path(motion))
    warnings: tuple[str, ...] = ()
    if audio is not None and frame_count(len(load_audio(audio))) != len(saved):
        warnings = (
            f"sound and motion differ in length; the video lasts as long as the motion, {len(saved) / FPS:.2f} s",
        )
    yield Progress("face", 0, 100, warnings=warnings)
    source = encode_face(Path(portrait), face=face)
    yield Progress("face", 100, 100, warnings=source.warnings)
    film = Film(source, out, framing, sound=audio)
    yield from film.shoot(MeshRenderer(), [saved.frames], len(saved), saved.space)
