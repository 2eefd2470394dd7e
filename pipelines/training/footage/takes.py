"""Tracked footage cut into takes that can be trained on: one face, seen from the front, in one go.

Conventions of the motion set: expression relative to the person's shut-lip, open-eye neutral; pose absolute against
the camera; translation and scale of the neck pivot relative to the video's median.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy.signal import savgol_filter

from contracts import FPS, LOWER_LIP, UPPER_LIP
from encoders import LIP_CONTACT
from encoders.face import BLINK, BRIDGED, FRONTAL, MAX_MISFIT, SHUT_RANGE, SMOOTHING, neutral_keypoints, new_picture

if TYPE_CHECKING:
    from contracts import Array
    from encoders.face import Footage

MAX_YAW = 42.0  # degrees: beyond, the far corner of the mouth is guessed
SHORTEST = 38  # frames: 1.5 s
LONGEST = 30 * FPS  # frames
JUMP = (0.35, 14.0, 0.12)  # of neck pivot (OC), pose (degrees) and keypoints (rms, OC) from one frame to the next
OTHER_FACE = 0.06  # OC, rms between the median keypoints of two takes: of one person's 99 % are nearer
STILL = 0.05  # grey levels of change within the face: less is a repeated picture
FROZEN = 6  # repeated pictures in a row


@dataclass(frozen=True)
class Take:
    """Consecutive frames of a video, smoothed and without gaps, with the conventions above."""

    start: int  # frame of the video
    expression: Array  # float32 [T, 21, 3] OC
    pose: Array  # float32 [T, 3] degrees
    translation: Array  # float32 [T, 2] OC
    scale: Array  # float32 [T] ratio
    blendshapes: Array  # float32 [T, 52], not smoothed
    aperture: Array  # float32 [T], not smoothed
    ok: Array  # bool [T]: seen, not bridged
    face_px: float
    misfit: float  # OC

    def __len__(self) -> int:
        return len(self.pose)

    @property
    def gap(self) -> Array:
        """[T] OC between the inner lips."""
        return self.expression[:, UPPER_LIP, 1] - self.expression[:, LOWER_LIP, 1]

    def part(self, frames: slice) -> Take:
        """The same within ``frames``, counted from the take's own start."""
        begin = frames.indices(len(self))[0]
        names = ("expression", "pose", "translation", "scale", "blendshapes", "aperture", "ok")
        return replace(self, start=self.start + begin, **{name: getattr(self, name)[frames] for name in names})


@dataclass(frozen=True)
class Neutral:
    """The neutral face of the person in a video, and how it was found."""

    keypoints: Array  # float32 [21, 3] OC, head frame
    shut_frames: int
    eye_frames: int
    correction: float  # OC of gap that was left in the most shut frames and is taken out

    @property
    def figures(self) -> dict[str, float]:
        """What a manifest says of it."""
        return {
            "shut_frames": self.shut_frames, "eye_frames": self.eye_frames, "shut_corr": round(self.correction, 4),
        }  # fmt: skip


@dataclass(frozen=True)
class Cutting:
    """What of a video can be trained on."""

    stretches: list[slice]  # frames in one go; a few that are not usable may lie within, to be bridged
    usable: Array  # bool [T]
    lost: Counter[str]  # frames left out, by reason


def cut(footage: Footage, shortest: int = SHORTEST) -> Cutting:
    """Find what can be trained on; takes of fewer frames than ``shortest`` are left out."""
    reasons = {
        "no face": ~footage.seen,
        "another face beside it": footage.several,
        "head turned away": np.abs(footage.pose[:, 1]) > MAX_YAW,
        "face not clear": footage.misfit > MAX_MISFIT,
        "mouth covered": footage.covered,
        "frozen picture": frozen(footage.face_change),
    }
    usable = ~np.any(list(reasons.values()), axis=0)
    stretches = [part for part in _stretches(footage, usable) if part.stop - part.start >= shortest]
    left_out = np.ones(len(footage), bool)
    for part in stretches:
        left_out[part] = False
    lost: Counter[str] = Counter()
    for reason, flags in {**reasons, "too short": usable}.items():  # each frame under its first reason
        lost[reason] = int((flags & left_out).sum())
        left_out &= ~flags
    return Cutting(stretches, usable, +lost)


def _stretches(footage: Footage, usable: Array) -> list[slice]:
    """Usable frames in one go, with what lies between them where that is short enough to be bridged."""
    frames = np.flatnonzero(usable)
    if not len(frames):
        return []
    before, after = frames[:-1], frames[1:]
    pictures = np.cumsum(new_picture(footage.change))
    apart = (after - before > BRIDGED + 1) | (pictures[after] > pictures[before]) | jumps(footage, before, after)
    starts, ends = frames[np.r_[True, apart]], frames[np.r_[apart, True]] + 1
    return [slice(int(start), int(end)) for start, end in zip(starts, ends, strict=True)]


def jumps(footage: Footage, before: Array, after: Array) -> Array:
    """Whether the head or face jumps from frames ``before`` [N] to frames ``after`` [N], bool [N]."""
    steps = after - before  # a bridge may rise as its frames would
    pivot = np.linalg.norm(footage.pivot[after] - footage.pivot[before], axis=1) / footage.scale[after]
    pose = np.linalg.norm(footage.pose[after] - footage.pose[before], axis=1)
    keypoints = np.sqrt(((footage.keypoints[after] - footage.keypoints[before]) ** 2).sum(2).mean(1))
    return np.any([step > limit * steps for step, limit in zip((pivot, pose, keypoints), JUMP, strict=True)], axis=0)


def frozen(face_change: Array) -> Array:
    """Frames [T] in a run of repeated pictures."""
    still = np.r_[False, face_change < STILL, False]
    edges = np.flatnonzero(still[1:] != still[:-1])
    flags = np.zeros(len(face_change), bool)
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        flags[start:end] = end - start >= FROZEN
    return flags


def one_person(footage: Footage, cutting: Cutting) -> Cutting:
    """Without the takes of other faces than the one that is seen longest, as in interviews cut to and fro.

    Faces are told apart by the median of their keypoints: about half of all pairs of speakers are.
    """
    if not cutting.stretches:
        return cutting
    medians = np.stack([np.nanmedian(footage.keypoints[part], 0) for part in cutting.stretches])  # [N, 21, 3]
    apart = np.sqrt(((medians[:, None] - medians) ** 2).sum(-1).mean(-1))  # [N, N]
    frames = np.array([part.stop - part.start for part in cutting.stretches])
    same = (apart < OTHER_FACE)[np.argmax((apart < OTHER_FACE) @ frames)]
    lost = cutting.lost + Counter({"another person": int(frames[~same].sum())})
    return replace(
        cutting, stretches=[part for part, own in zip(cutting.stretches, same, strict=True) if own], lost=+lost
    )


def make_takes(footage: Footage, cutting: Cutting) -> tuple[list[Take], Neutral]:
    """Bridge and smooth the stretches (one or more), and express them against the neutral and median of them all."""
    usable = cutting.usable
    raw = {
        name: [_bridged(getattr(footage, name)[part], usable[part]) for part in cutting.stretches]
        for name in ("keypoints", "pose", "pivot", "scale", "blendshapes", "aperture")
    }
    smooth = {
        name: [savgol_filter(track, *SMOOTHING, axis=0).astype(np.float32) for track in raw[name]]
        for name in ("keypoints", "pose", "pivot", "scale")
    }
    keypoints, pose, pivot, scale = (np.concatenate(tracks) for tracks in smooth.values())
    neutral = find_neutral(keypoints, pose, np.concatenate(raw["blendshapes"])[:, BLINK].mean(1))
    centre, unit = np.median(pivot, 0), np.median(scale)
    takes = [
        Take(
            start=part.start,
            expression=smooth["keypoints"][i] - neutral.keypoints,
            pose=smooth["pose"][i],
            translation=(smooth["pivot"][i] - centre) / unit,
            scale=smooth["scale"][i] / unit,
            blendshapes=raw["blendshapes"][i],
            aperture=raw["aperture"][i],
            ok=usable[part],
            face_px=float(np.median(footage.size[part][usable[part]])),
            misfit=float(np.median(footage.misfit[part][usable[part]])),
        )
        for i, part in enumerate(cutting.stretches)
    ]
    return takes, neutral


def find_neutral(keypoints: Array, pose: Array, blink: Array) -> Neutral:
    """The neutral of keypoints [T, 21, 3], of the frames that face as the person mostly does."""
    frontal = np.abs(pose - np.median(pose, 0))[:, :2].max(1) < FRONTAL
    usable = frontal if frontal.any() else np.ones(len(pose), bool)
    keypoints, blink = keypoints[usable], blink[usable]
    gap = keypoints[:, UPPER_LIP, 1] - keypoints[:, LOWER_LIP, 1]
    shut = np.abs(gap - np.percentile(gap, 3)) <= SHUT_RANGE
    left = float(np.subtract(*np.median(keypoints[shut], 0)[[UPPER_LIP, LOWER_LIP], 1])) - LIP_CONTACT
    return Neutral(
        keypoints=neutral_keypoints(keypoints, blink).astype(np.float32),
        shut_frames=int(shut.sum()),
        eye_frames=int((blink <= np.percentile(blink, 60)).sum()),
        correction=max(left, 0.0),
    )


def split(length: int) -> list[slice]:
    """A take of ``length`` frames in equal parts of at most 30 s."""
    edges = np.linspace(0, length, -(-length // LONGEST) + 1).round().astype(int)
    return [slice(int(start), int(end)) for start, end in pairwise(edges)]


def _bridged(track: Array, usable: Array) -> Array:
    """A track [T, ...] with the frames that are not usable interpolated."""
    frames = np.arange(len(track))
    flat = track.reshape(len(track), -1)[usable]  # [N, D]
    columns = [np.interp(frames, frames[usable], column) for column in flat.T]
    return np.stack(columns, 1).reshape(track.shape).astype(np.float32)
