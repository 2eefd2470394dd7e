"""Emotion templates: what each emotion adds to the motion of a neutral speaker.

One row of 70 motion numbers per emotion (see ``contracts.Motion``): displacements of the 21 keypoints in OC plus a head
pose in degrees. Found by hand and eye on some twenty portraits; contempt is one-sided. The rows belong to a silent
face; :func:`express` adds them to one that speaks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from contracts import EMOTIONS, KEYPOINT_VERTICES, LIP_OPENING, MOTION_DIM
from moda.motion.layout import LIPS, ROTATION, lip_gap

if TYPE_CHECKING:
    from torch import Tensor

    from contracts import Array

# fmt: off
# vertex -> x y z in 1/1000 OC; head frame: x to the image right, y up, z to the viewer.
_TABLE: dict[str, dict[int, tuple[int, int, int]]] = {
    "happiness": {
        61: (-75, 85, -75), 291: (75, 85, -75), 13: (0, 30, -35), 14: (0, -15, -30), 0: (0, 22, -35), 17: (0, 0, -25),
        40: (-40, 45, -45), 270: (40, 45, -45), 152: (0, -10, -20), 205: (-22, 40, 0), 425: (22, 40, 0),
        159: (0, -12, 0), 386: (0, -12, 0), 145: (0, 26, 0), 374: (0, 26, 0),
        107: (0, 4, 0), 336: (0, 4, 0), 105: (0, 12, 0), 334: (0, 12, 0),
    },
    "sadness": {
        61: (12, -55, 0), 291: (-12, -55, 0), 13: (0, 4, 0), 14: (0, 22, 12), 0: (0, 4, 0), 17: (0, 38, 22),
        40: (5, -20, 0), 270: (-5, -20, 0), 152: (0, 10, 20), 205: (3, -12, 0), 425: (-3, -12, 0),
        159: (0, -24, 0), 386: (0, -24, 0), 145: (0, 6, 0), 374: (0, 6, 0), 468: (0, -12, 0), 473: (0, -12, 0),
        107: (18, 88, -6), 336: (-18, 88, -6), 105: (10, -8, 0), 334: (-10, -8, 0),
    },
    "anger": {
        61: (14, -26, 5), 291: (-14, -26, 5), 13: (0, -12, 0), 14: (0, 18, 0), 0: (0, -14, 0), 17: (0, 34, 6),
        40: (6, 6, 0), 270: (-6, 6, 0), 152: (0, 4, 10), 205: (0, 10, 0), 425: (0, 10, 0),
        159: (0, 6, 0), 386: (0, 6, 0), 145: (0, 20, 0), 374: (0, 20, 0),
        107: (38, -105, 16), 336: (-38, -105, 16), 105: (22, -80, 10), 334: (-22, -80, 10),
    },
    "fear": {
        61: (-62, -52, -12), 291: (62, -52, -12), 13: (0, 10, -8), 14: (0, -86, -30), 0: (0, 4, -12),
        17: (0, -72, -34), 40: (-30, -8, -12), 270: (30, -8, -12), 152: (0, -54, -34), 205: (-8, -10, 0),
        425: (8, -10, 0), 159: (0, 62, 0), 386: (0, 62, 0), 145: (0, -16, 0), 374: (0, -16, 0),
        468: (0, 10, 0), 473: (0, 10, 0),
        107: (34, 104, -6), 336: (-34, 104, -6), 105: (16, 70, 0), 334: (-16, 70, 0),
    },
    "surprise": {
        61: (14, -60, -30), 291: (-14, -60, -30), 13: (0, 10, 0), 14: (0, -155, -50), 0: (0, 8, 0), 17: (0, -160, -70),
        40: (8, -4, -6), 270: (-8, -4, -6), 152: (0, -115, -80), 205: (4, -14, -8), 425: (-4, -14, -8),
        159: (0, 34, 0), 386: (0, 34, 0), 145: (0, -10, 0), 374: (0, -10, 0),
        107: (0, 85, -8), 336: (0, 85, -8), 105: (0, 92, -8), 334: (0, 92, -8),
    },
    "disgust": {
        61: (-26, -40, -12), 291: (26, -40, -12), 13: (0, 88, 10), 14: (0, 20, 8), 0: (0, 82, 12), 17: (0, 30, 16),
        40: (-16, 84, 4), 270: (16, 84, 4), 152: (0, 12, 12), 205: (-6, 80, 8), 425: (6, 80, 8),
        159: (0, -18, 0), 386: (0, -18, 0), 145: (0, 52, 0), 374: (0, 52, 0), 468: (10, -4, 0), 473: (10, -4, 0),
        107: (32, -88, 14), 336: (-32, -88, 14), 105: (16, -64, 8), 334: (-16, -64, 8),
    },
    "contempt": {
        61: (6, -34, 0), 291: (72, 162, -84), 13: (18, 10, -10), 14: (18, 12, -8), 0: (18, 12, -10), 17: (12, 14, 0),
        40: (6, -14, 0), 270: (40, 92, -44), 152: (6, 6, 0), 205: (0, -6, 0), 425: (20, 66, 0),
        159: (0, -28, 0), 386: (0, -26, 0), 145: (0, 4, 0), 374: (0, 16, 0), 468: (0, -10, 0), 473: (0, -10, 0),
        107: (6, -34, 0), 336: (-2, 12, 0), 105: (4, -40, 0), 334: (0, 66, 0),
    },
}
# fmt: on
#: Degrees: pitch, yaw, roll. Contempt looks down its nose, disgust draws back, fear ducks; the eyes stay on the viewer.
_POSE = {
    "sadness": (3.0, 0.0, 0.0),
    "surprise": (-2.0, 0.0, 0.0),
    "fear": (3.0, 0.0, 0.0),
    "disgust": (-2.0, -4.0, -3.0),
    "contempt": (-4.0, 0.0, 5.0),
}  # fmt: skip

#: While the mouth speaks, the lip rows of a template count this much: their shape (smile, raised upper lip, pressed
#: corners), which is what shows of an emotion then, and their opening, which takes the place of speech.
SPEAKING_SHAPE, SPEAKING_OPENING = 0.8, 0.55
WIDE = 0.2  # OC, a loud vowel: from here on an emotion opens the mouth in full, and not at all at 0


def _template(emotion: str) -> Array:
    row = np.zeros(MOTION_DIM, np.float32)
    for vertex, xyz in _TABLE.get(emotion, {}).items():
        keypoint = KEYPOINT_VERTICES.index(vertex)
        row[3 * keypoint : 3 * keypoint + 3] = np.array(xyz, np.float32) / 1000
    if emotion in _POSE:
        row[ROTATION] = _POSE[emotion]
    return row


#: float32 [9, 70] in the order of ``contracts.EMOTIONS``: offsets to add to a motion. "neutral" and "none" are zero,
#: and so is the scale channel everywhere (it is an offset to the ratio).
EMOTION_TEMPLATES: Array = np.stack([_template(emotion) for emotion in EMOTIONS])
EMOTION_TEMPLATES.setflags(write=False)


def _opening() -> Array:
    """[70] how a face opens its lips by a gap of 1."""
    row = np.zeros(MOTION_DIM, np.float32)
    for vertex, share in LIP_OPENING.items():
        row[3 * KEYPOINT_VERTICES.index(vertex) + 1] = share
    return row


def express(motion: Tensor, emotion: int, intensity: float) -> Tensor:
    """The motion [..., 70] of a face that speaks, with an emotion added; ``emotion`` indexes contracts.EMOTIONS.

    What a template does to the gap between the lips acts in proportion to how open they are, so that p, b and m stay
    shut under every emotion and the gap keeps its order; the rest of it is the same in every frame.
    """
    template = torch.from_numpy(EMOTION_TEMPLATES[emotion].copy()).to(motion)
    opening = torch.from_numpy(_opening()).to(motion)
    gap = lip_gap(template)
    shape = template - gap * opening
    shape[LIPS] *= SPEAKING_SHAPE
    openness = (lip_gap(motion) / WIDE).clamp(0, 1)[..., None]
    return motion + intensity * (shape + SPEAKING_OPENING * gap * openness * opening)
