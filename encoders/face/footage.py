"""A talking video looked at picture by picture, at exactly 25 a second: the face in each, and what speaks against it.

What encoders.face.track gives is ready to drive a portrait; here nothing is relative, smoothed or bridged yet, so that
a training set can be cut from it (pipelines.training.takes).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np
from av.error import FFmpegError
from scipy.ndimage import median_filter

from contracts import BLENDSHAPES, FPS, KEYPOINT_VERTICES
from encoders.face.headfit import fit_head
from encoders.face.landmarks import FaceLandmarker, Landmarks
from encoders.face.portrait import (
    DOMINANT,
    INNER_LIPS,
    MAX_FACES,
    SAME_FACE,
    find_faces,
    mirror_distances,
    mouth_hidden,
)
from encoders.face.reel import VideoError, VideoUnreadable, open_reel
from encoders.face.track import MAX_MISFIT, NECK_PIVOT, FaceFollower, damaged, heard, repeats, sparse, unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from contracts import Array

SLOWEST = 20.0  # pictures a second: below, lips jump from one to the next
RATE_TOLERANCE = 0.5  # pictures a second
NEW_PICTURE = (25.0, 6.0, 6.0)  # grey levels of 255; or fewer if these many times what is usual around it
AROUND = 25  # pictures that tell what is usual
SAME_TIME = 0.05  # of the time between two pictures: a frame this near to one of them is that picture
THUMBNAIL = (64, 36)  # px, of the pictures that are compared
OUTER_CANTHI = (33, 263)
LOOK_EVERY = 1.0  # s between looks for further faces, covered mouths and dark glasses, which are slow
EYES = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)  # vertices of the lids' edges
EYE_MARGIN = (1.3, 2.0)  # x, y: by how much the region of a lens is larger than the eye
SKIN = (50, 280, 101, 330, 36, 266, 151, 108, 337, 69, 299, 9)  # vertices of cheeks and forehead
DARK, LIGHTEST = 0.38, 0.8  # this share of the region is darker than so much of the skin

Item = TypeVar("Item")


class TooFewPictures(VideoError):
    """The video has too few pictures a second."""


@dataclass(frozen=True)
class Footage:
    """What was seen in T frames; NaN where there is no face. Frame k is second k / 25, between pictures if need be."""

    keypoints: Array  # float32 [T, 21, 3] OC, head frame
    pose: Array  # float32 [T, 3] pitch, yaw, roll against the camera, degrees
    scale: Array  # float32 [T] px per OC
    pivot: Array  # float32 [T, 2] neck pivot, px, y up
    blendshapes: Array  # float32 [T, 52] in 0..1
    aperture: Array  # float32 [T] inner-lip gap over the distance of the outer eye corners, both in the picture
    misfit: Array  # float32 [T] OC, rms of the skull vertices
    size: Array  # float32 [T] px, longer side of the landmarks' box
    several: Array  # bool [T] another face is nearly as large
    covered: Array  # bool [T] there seems to be something before the mouth
    change: Array  # float32 [T] grey levels between this picture and the one before, 0 for the first
    face_change: Array  # float32 [T] the same within the face; NaN for the first
    fps: float  # pictures a second in the file
    dark_eyes: float = 0.0  # share of looks in which the eyes are dark all around, as behind sunglasses
    damaged: bool = False  # the file ends before it should

    def __len__(self) -> int:
        return len(self.pose)

    @property
    def seen(self) -> Array:
        """bool [T]: there is a face."""
        return ~np.isnan(self.scale)


@dataclass(frozen=True)
class Look:
    """What is found out once a second, as it is slow."""

    time: float  # s
    several: bool
    covered: bool
    dark: bool


def watch(path: Path, *, progress: Callable[[float], object] | None = None) -> Footage:
    """Track the face in every picture of a video; of several, the one largest when a shot begins.

    Pictures are read one at a time. ``progress`` is called with the fraction done, 0 where the video does not state
    its length; it may raise to stop.

    Raises VideoUnreadable, TooFewPictures or FaceModelError.
    """
    rows: list[dict[str, Array | float]] = []
    looks: list[Look] = []
    broken = False
    try:
        with open_reel(path) as reel, FaceLandmarker(max_faces=MAX_FACES) as landmarker:
            _check_rate(path, reel.rate)
            for row in _look(sparse(reel), landmarker, looks):
                rows.append(row)
                if progress is not None:
                    progress(min(float(row["time"]) / reel.seconds, 1.0) if reel.seconds else 0.0)
    except (FFmpegError, OSError) as error:
        if len(rows) < FPS:
            raise unreadable(path, error) from error
        broken = True
    if len(rows) < 2:
        raise VideoUnreadable(f"{path.name} is a still picture, not a video")
    tracks = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    fresh = ~repeats(tracks["change"])
    tracks = {name: track[fresh] for name, track in tracks.items()}
    times = tracks.pop("time")
    _check_rate(path, 1 / float(np.diff(times).mean()))
    steady = at_25(times, tracks)
    grid = np.arange(len(steady["pose"])) / FPS
    seen = [look for look in looks if not np.isnan(np.interp(look.time, times, tracks["scale"]))]
    return Footage(
        **{name: track.astype(np.float32) for name, track in steady.items()}, fps=reel.rate, damaged=broken,
        several=_between_looks(grid, [look.time for look in looks if look.several]),
        covered=_between_looks(grid, [look.time for look in looks if look.covered]),
        dark_eyes=float(np.mean([look.dark for look in seen])) if seen else 0.0,
    )  # fmt: skip


def _check_rate(path: Path, rate: float) -> None:
    """Raise TooFewPictures where lips would jump; the pictures that only repeat the one before do not count."""
    if rate < SLOWEST - RATE_TOLERANCE:
        raise TooFewPictures(
            f"{path.name} has {rate:.3g} different pictures a second, and lips need {SLOWEST:.0f}; use the original, "
            "or film with 25 or more"
        )


def new_picture(change: Array) -> Array:
    """Where a picture is not the continuation of the one before, by the change since, [N] grey levels: bool [N]."""
    flat, least, times = NEW_PICTURE
    usual = median_filter(change, AROUND, mode="nearest")
    return (change > flat) | ((change > least) & (change > times * usual))


def at_25(times: Array, tracks: dict[str, Array]) -> dict[str, Array]:
    """Tracks [N, ...] of pictures at ``times`` [N], s, from 0 on -> the same at 0, 1 / 25, 2 / 25 ... s, [T, ...].

    Between two pictures of a shot, what was measured is interpolated; it is NaN where it is in one of them. Across a
    cut the nearer picture counts. The tracks change and face_change are what happened since the frame before.
    """
    count = int(np.ceil(times[-1] * FPS + 0.5 - 1e-6))
    grid = np.arange(count) / FPS
    after = np.clip(np.searchsorted(times, grid, side="right"), 1, len(times) - 1)
    share = np.clip((grid - times[after - 1]) / (times[after] - times[after - 1]), 0, 1)
    cut = new_picture(tracks["change"])[after]
    share = np.where(cut | (share < SAME_TIME) | (share > 1 - SAME_TIME), share.round(), share)
    nearest = after - (share < 0.5)
    low, high = after - (share < 1), after - (share == 0)
    found = {}
    for name, track in tracks.items():
        if name in ("change", "face_change"):
            spans = [track[a + 1 : b + 1] for a, b in pairwise(nearest)]
            found[name] = np.array([track[0], *(span.max() if len(span) else 0.0 for span in spans)])
        else:
            weight = share.reshape(-1, *[1] * (track.ndim - 1))
            found[name] = track[low] * (1 - weight) + track[high] * weight
    return found


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


def _look(
    pictures: Iterable[tuple[float, Array]], landmarker: FaceLandmarker, looks: list[Look]
) -> Iterator[dict[str, Array | float]]:
    """What is measured in each picture; ``looks`` gains what is found out once a second."""
    follower = FaceFollower(landmarker)
    before: Array | None = None
    thumb: Array = np.zeros(0)
    for time, image in pictures:
        earlier_thumb = thumb
        thumb = cv2.cvtColor(cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        change = 0.0 if before is None else float(cv2.absdiff(thumb, earlier_thumb).mean())
        if change > NEW_PICTURE[0]:
            follower.forget()
        face = follower.find(time, image)
        row = _measure(face) | {"time": time, "change": change, "face_change": np.nan}
        if face is not None and before is not None:
            x0, y0, x1, y1 = (max(0, int(edge)) for edge in face.box)
            patch, patch_before = image[y0:y1, x0:x1], before[y0:y1, x0:x1]
            row["face_change"] = float(cv2.absdiff(patch, patch_before).mean()) if patch.size else np.nan
        if face is not None and (not looks or time - looks[-1].time >= LOOK_EVERY - 1e-6):
            several = any(
                other.overlap(face) < SAME_FACE and other.area * DOMINANT > face.area
                for other in find_faces(landmarker, image, tiles=False)
            )
            covered = mouth_hidden(mirror_distances(landmarker, image, face))
            looks.append(Look(time, several, covered, eyes_dark(image, face.points)))
        before = image
        yield row


def eyes_dark(image: Array, points: Array) -> bool:
    """Whether the eyes and what is around them, lids, whites and rims, are much darker than the cheeks and brow.

    ``points`` are the landmarks [478, 3] px. Sunglasses are so over all the lens; of ten filmed people no other is so
    in most pictures, but deep shadow or make-up can be in some.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    mask = np.zeros(grey.shape, np.uint8)
    for eye in EYES:
        corners = points[list(eye), :2]
        wider = (corners - corners.mean(0)) * EYE_MARGIN + corners.mean(0)
        cv2.fillConvexPoly(mask, cv2.convexHull(wider.round().astype(np.int32)), 1)
    height, width = grey.shape
    skin = [(int(x), int(y)) for x, y in points[list(SKIN), :2] if 0 <= x < width and 0 <= y < height]
    if not mask.any() or not skin:
        return False
    light = float(np.median([grey[y, x] for x, y in skin]))
    return bool(np.quantile(grey[mask > 0], LIGHTEST) < DARK * light)


def _measure(face: Landmarks | None) -> dict[str, Array | float]:
    if face is None:
        blank = {"keypoints": (21, 3), "pose": 3, "pivot": 2, "blendshapes": len(BLENDSHAPES)}
        scalars = dict.fromkeys(("scale", "aperture", "misfit", "size"), np.nan)
        return {name: np.full(shape, np.nan) for name, shape in blank.items()} | scalars
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
    }


def _between_looks(grid: Array, found: list[float]) -> Array:
    """Seconds of frames [T] -> bool [T]: what was ``found`` at a look counts from the look before to the one after."""
    near = [np.abs(grid - time) < LOOK_EVERY for time in found]
    return np.any(near, axis=0) if near else np.zeros(len(grid), bool)
