"""Motion to video: the tail that every pipeline ends in, and the re-rendering of a saved motion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from contracts import FPS, Motion
from encoders.audio import frame_count, load_audio, sound_remarks
from encoders.face import encode_face
from moda.motion import load_motion, save_motion
from moda.render import Background, Frame, Framing, Renderer, RenderError, Scene
from pipelines.device import choose_device
from pipelines.driving import cast
from pipelines.film import Claim, Mark, SigningError, check_outputs, check_signing, open_video, sign
from pipelines.weights import load_renderer

if TYPE_CHECKING:
    from contracts import Array, SourceFace, StrPath

UNSIGNED = "as asked, the video is not signed: it does not say where it comes from"
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


class Keeping:
    """A renderer that keeps the portrait it prepared last."""

    def __init__(self, renderer: Renderer[Any]) -> None:
        self.renderer, self.space, self.render = renderer, renderer.space, renderer.render
        self._last: tuple[Any, ...] = (None, None, None)  # landmarks; crop, size, background; what was prepared of them

    def prepare(self, face: SourceFace, size: int, background: Background = "still") -> Any:
        asked = (face.crop, size, background)
        landmarks, before, prepared = self._last
        if landmarks is not face.landmarks or before != asked:
            prepared = self.renderer.prepare(face, size, background)
            self._last = face.landmarks, asked, prepared
        return prepared


@dataclass(frozen=True)
class Film:
    """Where motion goes: the face it moves and the file it becomes."""

    face: SourceFace
    out: Path
    framing: Framing
    save_motion: Path | None = None
    sound: StrPath | None = None
    delay: float = 0.0  # s, of the sound against the picture
    claim: Claim | None = None  # what is signed into the video; None: it is not signed
    mark: bool = False  # a visible mark is burned into every frame

    def shoot(self, renderer: Renderer[Any], chunks: Iterable[Array], total: int, space: str) -> Iterator[Progress]:
        """Render and encode motion chunks [n, 70] as they come, ``total`` frames in all; one Progress a frame, and one
        without a shot for an empty chunk, with which the sampler says that it is at work.

        Closing the generator cancels, and leaves no file. A video that cannot be signed is kept as it is; the last
        Progress says so.
        """
        if space != renderer.space:
            raise RenderError(
                f"the motion is of space {space!r}, the renderer draws {renderer.space!r}; render it there"
            )
        scene = self.framing.scene(self.face)
        prepared = renderer.prepare(scene.face, scene.size, self.framing.background)
        mark = Mark.of_frame(*scene.shape) if self.mark else None
        if mark is not None and scene.picture is not None:
            scene = replace(scene, picture=mark.burn(scene.picture))
        kept: list[Array] = []
        with open_video(self.out, self.sound, self.delay, scene.picture, scene.corner) as video:
            done = 0
            for chunk in chunks:
                kept += [chunk] if self.save_motion else []
                if not len(chunk):
                    yield Progress("video", done, total)
                    continue
                for drawn in renderer.render(prepared, chunk):
                    head = drawn if mark is None else mark.burn(drawn, scene.corner)
                    video.write(head)
                    done += 1
                    yield Progress("video", done, total, scene.warnings if done == 1 else (), shot=(scene, head))
            video.finish()  # all but the name: it is signed before it has one, and there are both files or none
            warnings = self._sign(video.part)
            if self.save_motion:
                save_motion(self.save_motion, Motion(np.concatenate(kept), space))
        if warnings:
            yield Progress("video", done, total, warnings, shot=(scene, head))

    def _sign(self, part: Path) -> tuple[str, ...]:
        """Sign the finished file; what the user should know of that."""
        if self.claim is None:
            return (UNSIGNED,)
        try:
            sign(part, self.claim)
        except SigningError as error:
            return (f"the video is whole, but could not be signed ({error}); it does not say where it comes from",)
        return ()


def render_motion(
    portrait: StrPath, motion: StrPath, out: StrPath, *, audio: StrPath | None = None, frame: Frame | None = None,
    size: int | None = None, background: Background = "still", face: int | None = None, provenance: bool = True,
    mark: bool = False, renderer: str | None = None, device: str = "auto",
) -> Iterator[Progress]:  # fmt: skip
    """Play a saved motion (npz) on a portrait, with sound where ``audio`` is given; as long as the motion.

    ``frame``, ``size`` and ``background`` are those of Framing; ``face`` is the number that ``moda faces`` gives it;
    ``provenance`` and ``mark`` are those of TalkOptions; ``renderer`` is that of load_renderer, None the one that the
    motion is made for.

    Raises:
        ModaError: a file cannot be used; the kinds are those of encode_face, load_motion, load_audio and open_video.
    """
    out, _ = check_outputs(out, inputs=[portrait, motion, *([] if audio is None else [audio])])
    framing = Framing(frame, size, background)
    if provenance:
        check_signing()
    saved = load_motion(Path(motion))
    drawn_by = load_renderer(renderer or saved.space, choose_device(device))
    warnings: tuple[str, ...] = () if audio is None else sound_remarks(audio)
    if audio is not None and frame_count(len(load_audio(audio))) != len(saved):
        warnings += (
            f"sound and motion differ in length; the video lasts as long as the motion, {len(saved) / FPS:.2f} s",
        )
    yield Progress("face", 0, 100, warnings=warnings)
    source = encode_face(Path(portrait), face=face)
    yield Progress("face", 100, 100, warnings=source.warnings)
    claim = None
    if provenance:
        settings = asdict(framing) | {"face": face, "mark": mark}
        claim = Claim.of("render", source, {"motion": motion, "audio": audio}, settings)
    film = Film(source, out, framing, sound=audio, claim=claim, mark=mark)
    drawn_by, frames = cast(drawn_by, source, saved)
    yield from film.shoot(drawn_by, [frames], len(saved), saved.space)
