"""Identity encoder: a face -> the pose-free canonical keypoints that condition the motion generator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from contracts import KEYPOINT_VERTICES, LIP_OPENING, LOWER_LIP, UPPER_LIP

if TYPE_CHECKING:
    from contracts import Array, SourceFace

LIP_CONTACT = 0.004  # OC: the gap that tracked lips keep when shut


def encode_identity(face: SourceFace) -> Array:
    """The face's neutral keypoints in motion-space units, float32 [63]: 21 x (x, y, z) OC in the head frame.

    Neutral as the motion space means it: an open mouth is shut, so that a smile with teeth or a caught vowel does not
    pass for an anatomy.
    """
    return shut_lips(face.keypoints).astype(np.float32).reshape(63)


def shut_lips(keypoints: Array) -> Array:
    """Keypoints [..., 21, 3] OC with the lips brought together; unchanged where they touch already."""
    gap = np.maximum(keypoints[..., UPPER_LIP, 1] - keypoints[..., LOWER_LIP, 1] - LIP_CONTACT, 0)  # [...]
    shut = keypoints.copy()
    for vertex, share in LIP_OPENING.items():
        shut[..., KEYPOINT_VERTICES.index(vertex), 1] -= share * gap
    return shut
