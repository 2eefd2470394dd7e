"""Motion tracked from a driving video, in the motion space of the embedded renderer.

Conventions: expression is relative to the speaker's own shut-lip, open-eye neutral; pose, scale and translation (of
the neck pivot) are relative to the video's median. The rotation is that of the head fit: against the matrix MediaPipe
gives, it leaks no more of the mouth into pitch (measured on three clips), and it is the one that the portrait and the
training motion are expressed with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from av.error import FFmpegError
from scipy.ndimage import gaussian_filter1d
from scipy.signal import savgol_filter

from contracts import BLENDSHAPES, FPS, KEYPOINT_VERTICES, LOWER_LIP, MOTION_DIM, SAMPLE_RATE, UPPER_LIP, Motion
from encoders.audio import NoSound, audio_blocks, sound_remarks
from encoders.container import reason
from encoders.face.headfit import euler_degrees, fit_head, rotation_matrix
from encoders.face.landmarks import FaceLandmarker, Landmarks
from encoders.face.portrait import MAX_FACES, find_faces, landmark_on_crop
from encoders.face.reel import MOST, Reel, VideoError, VideoUnreadable, open_reel
from encoders.identity import shut_lips

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from contracts import Array

NECK_PIVOT = np.array([0.0, -0.56, -0.67])  # OC, head frame
SKULL_CENTRE = np.array([0.0, 0.40, 0.35])  # OC, head frame: of the fitted vertices, so where it is seen is known best
DENSEST = 1 / 30  # s: frames that follow closer than this are not tracked
REPEAT = 0.2  # of the change of picture before and after: what changes less repeats the picture
FILLED = 0.03  # of the pictures repeated: fewer are a person who keeps still for a moment
MAX_MISFIT = 0.095  # OC, rms of the skull vertices: above, the landmarks are not believed
PATCHY = 0.25  # of the frames: with more bridged, one should know
BRIDGED = 3  # frames: longer gaps are held, not interpolated
SEARCH_EVERY = 1.0  # s between searches for small faces, which are slow, while there is no face
SHUT_RANGE = 0.006  # OC: gaps this near to the third percentile count as shut
CHANNELS = 70  # of one sample, see _sample
BLINK = [BLENDSHAPES.index("eyeBlinkLeft"), BLENDSHAPES.index("eyeBlinkRight")]
MOUTH = 11  # keypoints 0..10 are lips, jaw and cheeks; the rest lids, irises and brows
FRONTAL = 15.0  # degrees from the median pose
SMOOTHING = (5, 2)  # Savitzky-Golay window (frames) and order
NOISE_OC, NOISE_DEGREES = 0.004, 0.3  # of one landmarked picture: what departs further from the smooth is movement
SCALE_SIGMA = 0.2 * FPS  # frames: a Gaussian about half a second wide, as the mouth leaks into scale


class NoFaceInVideo(VideoError):
    """No frame shows a face."""


@dataclass(frozen=True)
class TrackInfo:
    """What is known of a tracked video besides its motion."""

    has_audio: bool
    missing: int  # frames without a face, of which short runs were interpolated and long ones held
    warnings: tuple[str, ...] = ()


def track_video(path: str | Path, *, progress: Callable[[float], object] | None = None) -> tuple[Motion, TrackInfo]:
    """Track the head and face of a driving video at exactly 25 frames a second.

    Frames are read one at a time, so that memory does not grow with the picture; of several faces the one largest at
    the start is followed. ``progress`` is called at every frame with the fraction done, 0 where the video does not
    state its length; it may raise to stop. The sound, if there is any, is tried before the tracking.

    Returns the motion in space ``mesh`` (frames [T, 70], T = 25 x the video's seconds) and TrackInfo. Raises
    VideoMissing, VideoUnreadable, NoFaceInVideo, AudioError or FaceModelError.
    """
    path = Path(path)
    times: list[float] = []
    changes: list[float] = []
    samples: list[Array] = []
    warnings: list[str] = []
    try:
        with open_reel(path) as reel, FaceLandmarker(max_faces=MAX_FACES) as landmarker:
            warnings += heard(path, reel)
            for time, change, sample in _track(sparse(reel), landmarker):
                times.append(time)
                changes.append(change)
                samples.append(sample)
                if progress is not None:
                    progress(min(time / reel.seconds, 1.0) if reel.seconds else 0.0)
    except (FFmpegError, OSError) as error:
        if not samples:
            raise unreadable(path, error) from error
        warnings.append(damaged(path, times[-1]))
    warnings += reel.losses()
    if len(samples) < 2:
        raise VideoUnreadable(f"{path.name} is a still picture, not a video; name a video that shows a face")
    fresh = ~repeats(np.array(changes))
    tracks, missing = _resample(np.array(times)[fresh], np.stack(samples)[fresh])
    warnings += check_faces(path, missing)
    motion = Motion(_relative(hold(tracks, missing), missing))
    return motion, TrackInfo(reel.has_audio, int(missing.sum()), tuple(warnings))


def heard(path: Path, reel: Reel) -> tuple[str, ...]:
    """What to say of the sound of a video, which is tried; an empty track is no sound. Raises AudioError."""
    if not reel.has_audio:
        return ()
    try:
        next(audio_blocks(path, SAMPLE_RATE))
    except NoSound:
        reel.has_audio = False
        return ("the sound track is empty: there is no sound",)
    return sound_remarks(path)


def unreadable(path: Path, error: Exception) -> VideoUnreadable:
    return VideoUnreadable(f"{path.name} cannot be read as a video ({reason(error)}); convert it to MP4")


def damaged(path: Path, second: float) -> str:
    """What to say of a file that cannot be decoded to its end."""
    return f"{path.name} is damaged after {second:.1f} s: the rest is left out"


def check_faces(path: Path, missing: Array) -> list[str]:
    """What to say of the frames in which no face is, bool [T]. Raises NoFaceInVideo if that is most of them."""
    if missing.all():
        raise NoFaceInVideo(f"no face was found in {path.name}; use a video that shows one face from the front")
    said = f"no face in {missing.sum()} of {len(missing)} frames"
    if missing.mean() > MOST:
        raise NoFaceInVideo(f"{path.name}: {said}; use a video that shows one face from the front")
    if max(map(len, _runs(missing)), default=0) > BRIDGED:
        return [f"{said}: the motion is held there"]
    return [f"{said}: the motion is bridged there"] if missing.mean() > PATCHY else []


def sparse(reel: Reel) -> Iterator[tuple[float, Array]]:
    """Second and picture, uint8 [H, W, 3] RGB, of every frame that is to be tracked."""
    last = -math.inf
    for time, frame in reel.frames():
        if time - last >= DENSEST - 1e-3:
            last = time
            yield time, reel.picture(frame)


def _track(frames: Iterator[tuple[float, Array]], landmarker: FaceLandmarker) -> Iterator[tuple[float, float, Array]]:
    """Second, change of picture and sample [CHANNELS] of each frame; NaN where there is no face."""
    follower = FaceFollower(landmarker)
    before: Array | None = None
    for time, image in frames:
        face = follower.find(time, image)
        yield time, picture_change(before, image), np.full(CHANNELS, np.nan) if face is None else _sample(face)
        before = image


def picture_change(before: Array | None, image: Array) -> float:
    """Mean change of a picture, uint8 [H, W, 3], since the one before, levels; infinite for the first, or where the
    size is another."""
    if before is None or before.shape != image.shape:
        return math.inf
    return float(np.mean(cv2.mean(cv2.absdiff(before, image))[:3]))


def repeats(changes: Array) -> Array:
    """Which pictures of a video, of ``changes`` [N] each since the one before, only repeat it: bool [N].

    A video brought from 20 frames a second to 25 shows every fourth picture twice. A head that moves would stop there,
    and then jump.
    """
    around = np.minimum(changes[:-2], changes[2:])
    still = np.concatenate([[False], changes[1:-1] < REPEAT * around, [False]])
    return still & (still.mean() > FILLED)


class FaceFollower:
    """The face largest at the start, from picture to picture.

    Still-image detection on a crop that follows the face: MediaPipe's own tracking of videos lags by a quarter of a
    frame and flattens blinks, and smoothing without lag is easy afterwards.
    """

    def __init__(self, landmarker: FaceLandmarker) -> None:
        self._landmarker = landmarker
        self._last: Landmarks | None = None
        self._searched = -math.inf

    def find(self, time: float, image: Array) -> Landmarks | None:
        """The face in the picture of second ``time``, uint8 [H, W, 3] RGB; None where there is none."""
        face = self._last and landmark_on_crop(self._landmarker, image, self._last)
        if face is None:
            thorough = time - self._searched >= SEARCH_EVERY
            self._searched = time if thorough else self._searched
            found = find_faces(self._landmarker, image, tiles=thorough)
            face = max(found, key=lambda candidate: candidate.area, default=None)
        self._last = face or self._last
        return face

    def forget(self) -> None:
        """Search anew: the picture has changed."""
        self._last, self._searched = None, -math.inf


def _sample(face: Landmarks) -> Array:
    """21 x 3 keypoints (OC, head frame), pitch, yaw, roll (degrees), px per OC, skull centre x, y (px, y up), blink."""
    fit = fit_head(face.points)
    if fit.rms > MAX_MISFIT:
        return np.full(CHANNELS, np.nan)
    centre = fit.scale * fit.rotation @ SKULL_CENTRE + fit.translation
    keypoints = fit.vertices[list(KEYPOINT_VERTICES)]
    return np.concatenate([keypoints.ravel(), fit.pose, [fit.scale], centre[:2], [face.blendshapes[BLINK].mean()]])


def _resample(times: Array, samples: Array) -> tuple[Array, Array]:
    """Samples [N, CHANNELS] at ``times`` -> samples at 25 frames a second [T, CHANNELS], and which are missing [T]."""
    count = max(round((times[-1] + float(np.median(np.diff(times)))) * FPS), 1)
    grid = np.arange(count) / FPS
    seen = ~np.isnan(samples[:, 0])
    share = np.interp(grid, times, seen)  # under 1 where a neighbour in time has no face
    if not seen.any():
        return np.full((count, CHANNELS), np.nan), np.ones(count, bool)
    tracks = np.stack([np.interp(grid, times[seen], channel) for channel in samples[seen].T], 1)  # [T, CHANNELS]
    return tracks, share < 1 - 1e-6


def hold(tracks: Array, missing: Array) -> Array:
    """Tracks [T, C] with the ``missing`` frames, bool [T], which come interpolated, replaced in long runs by the last
    frame before (or first after)."""
    filled = tracks.copy()
    for run in _runs(missing):
        if len(run) > BRIDGED:
            filled[run] = tracks[run[0] - 1] if run[0] else tracks[min(run[-1] + 1, len(tracks) - 1)]
    return filled


def _relative(tracks: Array, missing: Array) -> Array:
    """Absolute samples [T, CHANNELS] -> motion [T, 70]: relative to the speaker's neutral and median pose, smoothed."""
    tracks = _smooth(tracks)
    keypoints = tracks[:, :63].reshape(-1, 21, 3)  # [T, 21, 3]
    angles, scale, centre, blink = tracks[:, 63:66], tracks[:, 66], tracks[:, 67:69], tracks[:, 69]
    scale = gaussian_filter1d(scale, SCALE_SIGMA, mode="nearest")
    rotations = np.stack([rotation_matrix(*frame) for frame in angles])  # [T, 3, 3]
    # By the smoothed scale, not the one it was seen with: else the face would bob as the mouth leaks into scale.
    pivot = centre + scale[:, None] * (rotations @ (NECK_PIVOT - SKULL_CENTRE))[:, :2]
    seen = ~missing
    median_angles = np.median(angles[seen], 0)
    frontal = seen & (np.abs(angles - median_angles)[:, :2].max(1) < FRONTAL)
    usable = frontal if frontal.any() else seen
    neutral = neutral_keypoints(keypoints[usable], blink[usable])
    median_scale = np.median(scale[seen])

    frames = np.zeros((len(tracks), MOTION_DIM), np.float32)
    frames[:, :63] = (keypoints - neutral).reshape(-1, 63)
    frames[:, 63] = scale / median_scale
    frames[:, 64:66] = (pivot - np.median(pivot[seen], 0)) / median_scale
    upright = rotation_matrix(*median_angles).T
    frames[:, 67:] = [euler_degrees(rotation @ upright) for rotation in rotations]
    return frames


def _smooth(tracks: Array) -> Array:
    """Samples [T, CHANNELS] without the tracker's jitter; sudden moves, a blink or a nod between two frames, stay."""
    if len(tracks) < SMOOTHING[0]:
        return tracks
    smooth = savgol_filter(tracks, *SMOOTHING, axis=0)
    noise = np.full(CHANNELS, NOISE_OC)
    noise[63:66] = NOISE_DEGREES
    noise[66:69] = NOISE_OC * np.median(tracks[:, 66])  # px
    departs = (tracks - smooth) ** 2
    return smooth + (tracks - smooth) * departs / (departs + noise**2)


def neutral_keypoints(keypoints: Array, blink: Array) -> Array:
    """The shut-lip, open-eye neutral [21, 3] of a speaker from keypoints [T, 21, 3] OC and blink [T] in 0..1.

    Lips, jaw and cheeks are those of the frames with the least gap, brought together if they never met; lids, irises
    and brows those of the frames with the most open eyes.
    """
    gap = keypoints[:, UPPER_LIP, 1] - keypoints[:, LOWER_LIP, 1]
    lowest = np.percentile(gap, 3)
    shut = np.abs(gap - lowest) <= SHUT_RANGE
    if not shut.any():  # in a short clip the percentile lies between two frames
        shut = gap <= lowest
    awake = blink <= np.percentile(blink, 60)
    mouth, eyes = np.median(keypoints[shut], 0), np.median(keypoints[awake], 0)
    return shut_lips(np.concatenate([mouth[:MOUTH], eyes[MOUTH:]]))


def _runs(flags: Array) -> list[Array]:
    """Indices of each run of true flags."""
    index = np.flatnonzero(flags)
    return [run for run in np.split(index, np.flatnonzero(np.diff(index) > 1) + 1) if len(run)]
