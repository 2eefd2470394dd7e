"""The 70 numbers a frame of motion is made of: what lies where."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from contracts import KEYPOINT_VERTICES, ModaError

if TYPE_CHECKING:
    from torch import Tensor

    from contracts import Array

#: The layout of a frame. Units in space ``mesh``: expression and translation OC (1 OC is the distance of the outer eye
#: corners, about 89 mm), scale a ratio, angles degrees. In space ``liveportrait`` they are the published model's.
EXPRESSION = slice(0, 63)  # 21 keypoints x (x, y, z)
LIPS = slice(0, 27)  # of the expression in space ``mesh``: corners, inner and outer lips, quarters, chin
SCALE = slice(63, 64)
TRANSLATION = slice(64, 67)  # x, y, z
PITCH = slice(67, 68)  # + looks down
YAW = slice(68, 69)  # + turns to the image right
ROLL = slice(69, 70)  # + counter-clockwise on screen
ROTATION = slice(67, 70)
POSE = slice(63, 70)  # all but the expression


def channel(vertex: int, axis: str) -> int:
    """Place in a frame of the coordinate "x", "y" or "z" of a keypoint, which its MediaPipe vertex names."""
    return 3 * KEYPOINT_VERTICES.index(vertex) + "xyz".index(axis)


UPPER_LIP_Y, LOWER_LIP_Y = channel(13, "y"), channel(14, "y")  # the middle of the inner lips
UPPER_LIDS = [channel(159, "y"), channel(386, "y")]
LIDS = slice(channel(159, "x"), channel(374, "z") + 1)  # upper and lower, x y z

SPACES = ("mesh", "liveportrait")
LARGEST = 2.0  # of every knob (knobs.py): beyond, faces break

#: Keypoints of the lips and of the eyes in space ``liveportrait``, and the lips' places in a frame.
LIP_KEYPOINTS = (6, 12, 14, 17, 19, 20)
EYE_KEYPOINTS = (11, 13, 15, 16, 18)
LIP_CHANNELS = [3 * keypoint + axis for keypoint in LIP_KEYPOINTS for axis in range(3)]

if TYPE_CHECKING:
    Frames = TypeVar("Frames", Array, Tensor)


def lip_gap(motion: Frames) -> Frames:
    """Inner-lip opening [...] of motion [..., 70] in units; OC in space ``mesh``."""
    return motion[..., UPPER_LIP_Y] - motion[..., LOWER_LIP_Y]


class MotionError(ModaError):
    """A motion that cannot be read, written or used."""
