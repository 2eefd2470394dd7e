"""Motion files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast, get_args

import numpy as np

from contracts import FPS, MOTION_DIM, Driving, Motion, Region
from moda.files import replacing
from moda.motion.arrays import DAMAGE, Form, read_arrays
from moda.motion.layout import SPACES, MotionError

FORMAT = "moda-motion-1"
LONGEST = 12 * 3600 * FPS  # frames that are read
_TEXT, _RATIOS = Form("U", 0, 4 * 64), Form("f", 1, 8 * LONGEST)  # a character takes four bytes
_FORMS = {
    "frames": Form("f", 2, 4 * MOTION_DIM * LONGEST), "space": _TEXT, "fps": Form("iu", 0, 8), "format": _TEXT,
    "driving.relative": Form("b", 0, 1), "driving.region": _TEXT, "driving.eyes": _RATIOS, "driving.lips": _RATIOS,
}  # fmt: skip


def save_motion(path: str | Path, motion: Motion) -> None:
    """Write a motion as npz: ``frames`` float32 [T, 70], ``space``, ``fps``, ``format``; of a filmed face also what its
    Driving holds, as ``driving.relative`` and so on. Raises MotionError."""
    frames = np.asarray(motion.frames, dtype=np.float32)
    if frames.ndim != 2 or frames.shape[1] != MOTION_DIM or not np.isfinite(frames).all():
        raise MotionError(f"a motion is finite numbers [T, {MOTION_DIM}], not {frames.shape}; sample or track it again")
    driving = {} if motion.driving is None else vars(motion.driving)
    given = {f"driving.{name}": value for name, value in driving.items() if value is not None}
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, frames=frames, space=motion.space, fps=motion.fps, format=FORMAT, **given)
    except OSError as error:
        raise MotionError(f"cannot write {path} ({error.strerror}); choose a folder that has room") from error


def load_motion(path: str | Path) -> Motion:
    """Read a file of :func:`save_motion`, 12 hours long at most. Raises MotionError."""
    remedy = "give a file written with --save-motion"
    try:
        file = read_arrays(path, _FORMS)
        if str(file["format"]) != FORMAT:
            raise MotionError(f"{path} holds motion of another format, {str(file['format'])!r}; {remedy} by this moda")
        frames, space = file["frames"].astype(np.float32, copy=False), str(file["space"])
        motion = Motion(frames, space, int(file["fps"]), _driving(file, len(frames)))
    except FileNotFoundError:
        raise MotionError(f"no motion file at {path}; {remedy}") from None
    except (*DAMAGE, KeyError) as error:
        raise MotionError(f"{path} is not a moda motion file; {remedy}") from error
    if frames.ndim != 2 or frames.shape[1] != MOTION_DIM or not len(frames) or not np.isfinite(frames).all():
        raise MotionError(f"{path} holds no finite [T, {MOTION_DIM}] motion; {remedy}")
    if motion.space not in SPACES:
        raise MotionError(f"{path} is of an unknown motion space, {motion.space!r}; {remedy}")
    if motion.fps != FPS:
        raise MotionError(f"{path} runs at {motion.fps} frames a second, not {FPS}; {remedy}")
    return motion


def _driving(file: Mapping[str, np.ndarray], length: int) -> Driving | None:
    """What :func:`save_motion` wrote of it. Raises KeyError, ValueError."""
    if "driving.relative" not in file:
        return None
    names = [name for name in ("eyes", "lips") if f"driving.{name}" in file]
    wanted = {name: file[f"driving.{name}"].astype(np.float32) for name in names}
    region = str(file["driving.region"])
    usable = (ratios.shape == (length,) and np.isfinite(ratios).all() for ratios in wanted.values())
    if region not in get_args(Region) or not all(usable):
        raise ValueError("no driving")
    return Driving(bool(file["driving.relative"]), cast("Region", region), **wanted)
