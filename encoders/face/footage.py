"""A talking video looked at picture by picture, at exactly 25 a second: the face in each, and what speaks against it.

What encoders.face.track gives is ready to drive a portrait; here nothing is relative, smoothed or bridged yet, so that
a training set can be cut from it (pipelines.training.takes).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np
from av.error import FFmpegError

from contracts import BLENDSHAPES, FPS, KEYPOINT_VERTICES
from encoders.face.headfit import fit_head
from encoders.face.landmarks import FaceLandmarker, Landmarks
from encoders.face.portrait import DOMINANT, INNER_LIPS, MAX_FACES, SAME_FACE, find_faces
from encoders.face.reel import Reel, VideoError, VideoUnreadable, open_reel
from encoders.face.track import MAX_MISFIT, NECK_PIVOT, FaceFollower, damaged, heard, unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import av

    from contracts import Array

SLOWEST = 20.0  # pictures a second: below, lips jump from one to the next
NEW_PICTURE = 25.0  # grey levels of 255, mean over the picture: more than this is another picture
THUMBNAIL = (64, 36)  # px, of the pictures that are compared
OUTER_CANTHI = (33, 263)
CHECK_EVERY = FPS  # frames between searches for further faces, which are slow

Item = TypeVar("Item")


class TooFewPictures(VideoError):
    """The video has too few pictures a second."""


@dataclass(frozen=True)
class Footage:
    """What was seen in T frames; NaN where there is no face. Frame k is the picture nearest to second k / 25."""

    keypoints: Array  # float32 [T, 21, 3] OC, head frame
    pose: Array  # float32 [T, 3] pitch, yaw, roll against the camera, degrees
    scale: Array  # float32 [T] px per OC
    pivot: Array  # float32 [T, 2] neck pivot, px, y up
    blendshapes: Array  # float32 [T, 52] in 0..1
    aperture: Array  # float32 [T] inner-lip gap over the distance of the outer eye corners, both in the picture
    misfit: Array  # float32 [T] OC, rms of the skull vertices
    size: Array  # float32 [T] px, longer side of the landmarks' box
    several: Array  # bool [T] another face is nearly as large
    change: Array  # float32 [T] grey levels between this picture and the one before, 0 for the first
    face_change: Array  # float32 [T] the same within the face; NaN for the first
    fps: float  # pictures a second in the file
    damaged: bool = False  # the file ends before it should

    def __len__(self) -> int:
        return len(self.pose)

    @property
    def seen(self) -> Array:
        """bool [T]: there is a face."""
        return ~np.isnan(self.scale)


def watch(path: Path, *, progress: Callable[[float], object] | None = None) -> Footage:
    """Track the face in every picture of a video; of several, the one largest when a shot begins.

    Pictures are read one at a time. ``progress`` is called with the fraction done, 0 where the video does not state
    its length; it may raise to stop.

    Raises VideoUnreadable, TooFewPictures or FaceModelError.
    """
    rows: list[dict[str, Array | float]] = []
    broken = False
    try:
        with open_reel(path) as reel, FaceLandmarker(max_faces=MAX_FACES) as landmarker:
            if reel.rate < SLOWEST:
                raise TooFewPictures(f"{path.name} has {reel.rate:.3g} pictures a second; {SLOWEST:.0f} are needed")
            frames = FPS * reel.seconds
            for row in _look(reel, landmarker):
                rows.append(row)
                if progress is not None:
                    progress(min(len(rows) / frames, 1.0) if frames else 0.0)
    except (FFmpegError, OSError) as error:
        if len(rows) < FPS:
            raise unreadable(path, error) from error
        broken = True
    if len(rows) < 2:
        raise VideoUnreadable(f"{path.name} is a still picture, not a video")
    several = np.array([bool(row.pop("several")) for row in rows])
    tracks = {name: np.array([row[name] for row in rows], np.float32) for name in rows[0]}
    return Footage(**tracks, several=_between_checks(several), fps=reel.rate, damaged=broken)


class Pictures:
    """The pictures of a driving video at exactly 25 a second, uint8 [H, W, 3] RGB upright; one at a time, and as often
    as they are iterated over.

    Raises VideoMissing, VideoUnreadable or AudioError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.remarks: list[str] = []  # once iterated over: what to say of sound and pictures
        try:
            with open_reel(path) as reel:
                self._heard = heard(path, reel)
                self.has_audio = reel.has_audio
                self.expected = round(FPS * reel.seconds)  # 0: the file does not say
        except (FFmpegError, OSError) as error:
            raise unreadable(path, error) from error

    def __iter__(self) -> Iterator[Array]:
        tick = 0
        self.remarks = [*self._heard]
        try:
            with open_reel(self.path) as reel:
                for frame in nearest(reel.frames()):
                    yield reel.picture(frame)
                    tick += 1
        except (FFmpegError, OSError) as error:
            if not tick:
                raise unreadable(self.path, error) from error
            self.remarks.append(damaged(self.path, tick / FPS))
        self.remarks += reel.losses()


def follow(pictures: Iterable[Array]) -> Iterator[Array | None]:
    """Landmarks float32 [478, 3] px of the face in each picture of 25 a second; None where there is none, or none that
    is believed. Of several faces the one largest at the start is followed."""
    with FaceLandmarker(max_faces=MAX_FACES) as landmarker:
        follower = FaceFollower(landmarker)
        for tick, picture in enumerate(pictures):
            face = follower.find(tick / FPS, picture)
            yield None if face is None or fit_head(face.points).rms > MAX_MISFIT else face.points


def nearest(frames: Iterator[tuple[float, Item]]) -> Iterator[Item]:
    """Frames with their seconds, in order, beginning at 0 -> the nearest one to 0, 1 / 25, 2 / 25, ... s."""
    tick = 0
    before: tuple[float, Item] | None = None
    for time, frame in frames:
        while before is not None and tick / FPS < (before[0] + time) / 2:
            yield before[1]
            tick += 1
        before = time, frame
    while before is not None and tick / FPS < before[0] + 0.5 / FPS:
        yield before[1]
        tick += 1


def _look(reel: Reel, landmarker: FaceLandmarker) -> Iterator[dict[str, Array | float]]:
    follower = FaceFollower(landmarker)
    before: av.VideoFrame | None = None
    image: Array = np.zeros(0)
    thumb: Array = np.zeros(0)
    row: dict[str, Array | float] = {}
    for tick, frame in enumerate(nearest(reel.frames())):
        if frame is before:  # shown twice, as in 24 pictures a second
            yield row | {"change": 0.0, "face_change": 0.0}
            continue
        earlier, earlier_thumb = image, thumb
        image = reel.picture(frame)
        thumb = cv2.cvtColor(cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        first = before is None or image.shape != earlier.shape
        change = np.inf if first else float(cv2.absdiff(thumb, earlier_thumb).mean())
        if change > NEW_PICTURE:
            follower.forget()
        face = follower.find(tick / FPS, image)
        row = _measure(face)
        row["change"] = 0.0 if before is None else min(change, 255.0)
        row["face_change"] = np.nan
        if face is not None and not first:
            x0, y0, x1, y1 = (max(0, int(edge)) for edge in face.box)
            patch, patch_before = image[y0:y1, x0:x1], earlier[y0:y1, x0:x1]
            row["face_change"] = float(cv2.absdiff(patch, patch_before).mean()) if patch.size else np.nan
        if face is not None and tick % CHECK_EVERY == 0:
            row["several"] = any(
                other.overlap(face) < SAME_FACE and other.area * DOMINANT > face.area
                for other in find_faces(landmarker, image, tiles=False)
            )
        before = frame
        yield row


def _measure(face: Landmarks | None) -> dict[str, Array | float]:
    if face is None:
        blank = {"keypoints": (21, 3), "pose": 3, "pivot": 2, "blendshapes": len(BLENDSHAPES)}
        scalars = dict.fromkeys(("scale", "aperture", "misfit", "size"), np.nan)
        return {name: np.full(shape, np.nan) for name, shape in blank.items()} | scalars | {"several": False}
    fit = fit_head(face.points)
    lips, eyes = (float(np.hypot(*(face.points[a, :2] - face.points[b, :2]))) for a, b in (INNER_LIPS, OUTER_CANTHI))
    x0, y0, x1, y1 = face.box
    return {
        "keypoints": fit.vertices[list(KEYPOINT_VERTICES)],
        "pose": np.array(fit.pose),
        "scale": fit.scale,
        "pivot": (fit.scale * fit.rotation @ NECK_PIVOT + fit.translation)[:2],
        "blendshapes": face.blendshapes,
        "aperture": lips / max(eyes, 1e-6),
        "misfit": fit.rms,
        "size": max(x1 - x0, y1 - y0),
        "several": False,
    }


def _between_checks(several: Array) -> Array:
    """Found at a check, another face counts from the check before to the one after."""
    spread = several.copy()
    for check in np.flatnonzero(several):
        spread[max(check - CHECK_EVERY, 0) : check + CHECK_EVERY] = True
    return spread
