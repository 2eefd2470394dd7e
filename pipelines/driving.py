"""What LivePortrait's networks see in a driving video, and how a portrait comes to play it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from contracts import MOTION_DIM
from encoders.face import Pictures, TrackInfo, VideoUnreadable, check_faces, follow, hold, picture_change, repeats
from moda.render.liveportrait import LivePortraitRenderer, cut, film_square, film_to_crop, openings, told_keypoints

if TYPE_CHECKING:
    from contracts import Array, Motion, SourceFace
    from moda.render import Renderer

MEASURES = 6  # of a landmarked picture: the square around the face, and how far it is open


def watch_face(
    renderer: LivePortraitRenderer, path: Path, *, progress: Callable[[float], object]
) -> tuple[Array, Array, TrackInfo]:
    """Look at a driving video twice, a picture at a time: where the face is, then how it moves in one crop for all.

    Where there is no face, or a picture only repeats the one before, the motion is bridged; held where the face is away
    for long. ``progress`` is called at every picture with the fraction done; it may raise to stop.

    Returns the filmed face's own motion [T, 70] in space ``liveportrait``, its openings [T, 3] (right eye, left eye,
    lips) and TrackInfo. Raises VideoMissing, VideoUnreadable, NoFaceInVideo, AudioError or FaceModelError.
    """
    pictures = Pictures(path)
    found = []
    for points in follow(pictures):
        found.append(np.full(MEASURES, np.nan) if points is None else [*film_square(points), *openings(points)])
        progress(0.5 * min(len(found) / pictures.expected, 1.0) if pictures.expected else 0.0)
    if len(found) < 2:
        raise VideoUnreadable(f"{path.name} is a still picture, not a video; name a video that shows a face")
    measures = np.array(found, np.float32)  # [T, 6]
    missing = np.isnan(measures[:, 0])
    remarks = check_faces(path, missing)
    matrix = film_to_crop(measures[~missing, :3])

    changes: list[float] = []

    def crops() -> Iterator[Array]:
        before: Array | None = None
        for tick, picture in enumerate(pictures):
            changes.append(picture_change(before, picture))
            before = picture
            if not missing[tick]:
                yield cut(picture, matrix)
            progress(0.5 + 0.5 * (tick + 1) / len(missing))

    rows = np.empty((len(missing), MOTION_DIM), np.float32)
    rows[~missing] = np.concatenate([batch for batch in _motions(renderer, crops())])
    tracks = _bridge(np.concatenate([rows, measures[:, 3:]], axis=1), missing, repeats(np.array(changes)))
    info = TrackInfo(pictures.has_audio, int(missing.sum()), (*pictures.remarks, *remarks))
    return tracks[:, :MOTION_DIM], tracks[:, MOTION_DIM:], info


def _motions(renderer: LivePortraitRenderer, crops: Iterator[Array]) -> Iterator[Array]:
    """Motion [b, 70] of crops uint8 [256, 256, 3], as many at a time as the renderer draws."""
    batch: list[Array] = []
    for crop in crops:
        batch.append(crop)
        if len(batch) == renderer.batch:
            yield renderer.look(np.stack(batch))[0].rows.cpu().numpy()
            batch = []
    if batch:
        yield renderer.look(np.stack(batch))[0].rows.cpu().numpy()


def _bridge(tracks: Array, missing: Array, repeated: Array) -> Array:
    """Tracks [T, C] without a gap; what they hold in ``missing`` frames, bool [T], does not count, nor in ``repeated``
    ones after one that is there."""
    grid = np.arange(len(tracks))
    seen = ~missing & (~repeated | np.concatenate([[True], missing[:-1]]))
    whole = np.stack([np.interp(grid, grid[seen], channel[seen]) for channel in tracks.T], axis=1)
    return hold(whole.astype(np.float32), missing)


def cast(renderer: Renderer[Any], face: SourceFace, motion: Motion) -> tuple[Renderer[Any], Array]:
    """The renderer and the frames [T, 70] that play a motion on this face: that of a filmed face becomes its own."""
    if motion.driving is None or not isinstance(renderer, LivePortraitRenderer):
        return renderer, motion.frames
    return renderer.with_rule(told_keypoints), renderer.drive(face, motion.frames, motion.driving)
