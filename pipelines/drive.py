"""A portrait driven by a video: tracked motion, no motion generator."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from encoders.face import encode_face
from encoders.media import probe_audio
from encoders.track import TrackInfo, track_video
from moda.render import Background, Frame, Framing, MeshRenderer
from pipelines.provenance import Claim, check_signing
from pipelines.render import Film, Progress, check_outputs

if TYPE_CHECKING:
    from contracts import Motion
    from pipelines.render import StrPath


def drive_portrait(
    portrait: StrPath, video: StrPath, out: StrPath, *, frame: Frame | None = None, size: int | None = None,
    background: Background = "still", face: int | None = None, save_motion: StrPath | None = None,
    provenance: bool = True, mark: bool = False,
) -> Iterator[Progress]:  # fmt: skip
    """Give a portrait the motion, and the sound if there is one, of a driving video.

    ``frame``, ``size`` and ``background`` are those of Framing; ``face`` is the number that ``moda faces`` gives it;
    ``provenance`` and ``mark`` are those of TalkOptions.

    Raises:
        ModaError: a file cannot be used; the kinds are those of encode_face, track_video and open_video.
    """
    out, motion_file = check_outputs(out, save_motion, inputs=(portrait, video))
    framing = Framing(frame, size, background)
    if provenance:
        check_signing()
    yield Progress("face", 0, 100)
    source = encode_face(Path(portrait), face=face)
    yield Progress("face", 100, 100, warnings=source.warnings)
    motion, info = yield from _track(Path(video))
    yield Progress("track", 100, 100, warnings=info.warnings)
    sound, delay = None, 0.0
    if info.has_audio:
        track = probe_audio(video)
        sound, delay = video, track.start - (track.picture_start or 0.0)
    claim = None
    if provenance:
        claim = Claim.of("drive", source, {"video": video}, asdict(framing) | {"face": face, "mark": mark})
    film = Film(source, out, framing, motion_file, sound, delay, claim, mark)
    yield from film.shoot(MeshRenderer(), [motion.frames], len(motion), motion.space)


class _Cancelled(Exception):
    pass


def _track(video: Path) -> Generator[Progress, None, tuple[Motion, TrackInfo]]:
    """Track in a thread of its own, so that its progress can be yielded and a closed generator stops it."""
    reports: queue.SimpleQueue[float | None] = queue.SimpleQueue()
    results: list[tuple[Motion, TrackInfo] | BaseException] = []
    cancelled = threading.Event()

    def report(fraction: float) -> None:
        if cancelled.is_set():
            raise _Cancelled
        reports.put(fraction)

    def work() -> None:
        try:
            results.append(track_video(video, progress=report))
        except BaseException as error:  # handed to the caller's thread
            results.append(error)
        reports.put(None)

    thread = threading.Thread(target=work, name="tracker", daemon=True)
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
