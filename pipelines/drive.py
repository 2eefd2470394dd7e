"""A portrait driven by a video: tracked motion, no motion generator."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from contracts import Driving, Motion, Region
from encoders.audio import sound_delay
from encoders.face import TrackInfo, encode_face, track_video
from moda import replacing
from moda.motion import MotionError, save_motion
from moda.render import Background, Frame, Framing, RenderError
from moda.render.liveportrait import LivePortraitRenderer, check_background
from pipelines.device import choose_device
from pipelines.driving import cast, watch_face
from pipelines.film import Claim, check_outputs, check_signing
from pipelines.render import Film, Progress
from pipelines.weights import check_renderer, load_renderer

if TYPE_CHECKING:
    from contracts import StrPath
    from moda.render import Renderer

Retarget = Literal["none", "eyes", "lips", "both"]
Found = TypeVar("Found")


def drive_portrait(
    portrait: StrPath, video: StrPath, out: StrPath, *, frame: Frame | None = None, size: int | None = None,
    background: Background = "still", face: int | None = None, save_motion: StrPath | None = None,
    provenance: bool = True, mark: bool = False, renderer: str = "mesh", device: str = "auto", relative: bool = True,
    region: Region = "all", retarget: Retarget = "none",
) -> Iterator[Progress]:  # fmt: skip
    """Give a portrait the motion, and the sound if there is one, of a driving video.

    ``frame``, ``size`` and ``background`` are those of Framing; ``face`` is the number that ``moda faces`` gives it;
    ``provenance`` and ``mark`` are those of TalkOptions; ``renderer`` is that of load_renderer. The others are
    LivePortrait's: ``relative`` and ``region`` are those of Driving; ``retarget`` opens the portrait's eyes, lips or
    both as far as the driving face's. A saved motion holds them, and drives any portrait the same way.

    Raises:
        ModaError: a file cannot be used; the kinds are those of encode_face, track_video and open_video. RenderError
        where an option is not one of the renderer's.
    """
    framing = Framing(frame, size, background)
    for name, given, known in (("region", region, get_args(Region)), ("retarget", retarget, get_args(Retarget))):
        if given not in known:
            raise RenderError(f"there is no --{name} {given}; choose from {', '.join(known)}")
    if renderer == "mesh" and (relative, region, retarget) != (True, "all", "none"):
        raise RenderError("absolute motion, a region and retargeting are LivePortrait's: add --renderer liveportrait")
    if renderer != "mesh":
        check_background(background)
    check_renderer(renderer)
    out, motion_file = check_outputs(out, save_motion, inputs=(portrait, video))
    if provenance:
        check_signing()
    drawn_by = load_renderer(renderer, choose_device(device))
    yield Progress("face", 0, 100)
    source = encode_face(Path(portrait), face=face)
    yield Progress("face", 100, 100, warnings=source.warnings)
    motion, info = yield from _see(drawn_by, Path(video), relative, region, retarget)
    yield Progress("track", 100, 100, warnings=info.warnings)
    sound, delay = None, 0.0
    if info.has_audio:
        sound, delay = video, sound_delay(video)
    claim = None
    if provenance:
        settings: dict[str, Any] = asdict(framing) | {"face": face, "mark": mark, "renderer": renderer}
        if motion.driving is not None:
            settings |= {"relative": relative, "region": region, "retarget": retarget}
        claim = Claim.of("drive", source, {"video": video}, settings)
    film = Film(source, out, framing, sound=sound, delay=delay, claim=claim, mark=mark)
    with _kept(motion, motion_file):
        ready, frames = cast(drawn_by, source, motion)
        yield from film.shoot(ready, [frames], len(motion), motion.space)


def _see(
    renderer: Renderer[Any], video: Path, relative: bool, region: Region, retarget: Retarget
) -> Generator[Progress, None, tuple[Motion, TrackInfo]]:
    """The motion of a video in the space of the renderer."""
    if not isinstance(renderer, LivePortraitRenderer):
        return (yield from _reported(partial(track_video, video)))
    rows, openings, info = yield from _reported(partial(watch_face, renderer, video))
    eyes = openings[:, 0] if retarget in ("eyes", "both") else None  # the right one's for both, as published
    lips = openings[:, 2] if retarget in ("lips", "both") else None
    return Motion(rows, renderer.space, driving=Driving(relative, region, eyes, lips)), info


@contextmanager
def _kept(motion: Motion, path: Path | None) -> Iterator[None]:
    """The motion is written at once, and has its name when all else has gone well. Raises MotionError."""
    if path is None:
        yield
        return
    with replacing(path) as temporary:
        try:
            save_motion(temporary, motion)
        except MotionError as error:
            raise MotionError(str(error).replace(temporary.name, path.name)) from error
        yield


class _Cancelled(Exception):
    pass


def _reported(work: Callable[..., Found]) -> Generator[Progress, None, Found]:
    """Run ``work(progress=...)`` in a thread of its own, so that its progress can be yielded and a closed generator
    stops it."""
    reports: queue.SimpleQueue[float | None] = queue.SimpleQueue()
    results: list[Found | BaseException] = []
    cancelled = threading.Event()

    def report(fraction: float) -> None:
        if cancelled.is_set():
            raise _Cancelled
        reports.put(fraction)

    def run() -> None:
        try:
            results.append(work(progress=report))
        except BaseException as error:  # handed to the caller's thread
            results.append(error)
        reports.put(None)

    thread = threading.Thread(target=run, name="tracker", daemon=True)
    thread.start()
    try:
        while (fraction := reports.get()) is not None:
            yield Progress("track", round(100 * fraction), 100)
    finally:
        cancelled.set()
        thread.join()
    (result,) = results
    if isinstance(result, BaseException):
        raise result
    return result
