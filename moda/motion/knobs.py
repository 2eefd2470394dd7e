"""Four knobs on motion: how much the head moves, how often the eyes blink, how far mouth and expression go.

Each scales what it names and nothing else: 1 leaves the motion as it is, bit for bit, 0 switches the thing off. What is
said of each is for space ``mesh``, where rest is zero; for space ``liveportrait`` see :meth:`Knobs.turn_about`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from contracts import MOTION_DIM, ModaError
from moda.motion.blinks import change_blinks
from moda.motion.layout import (
    EXPRESSION,
    EYE_KEYPOINTS,
    LIP_CHANNELS,
    LIPS,
    LOWER_LIP_Y,
    POSE,
    SCALE,
    UPPER_LIDS,
    channel,
)


class KnobError(ModaError):
    """A knob that the motion at hand does not have."""


@dataclass(frozen=True)
class Knobs:
    """Each a number from 0 to 2."""

    head_motion: float = 1.0
    """Scales pose, translation and size about the portrait's own; at 0 the head is still."""
    blink_rate: float = 1.0
    """Blinks in proportion: at 0 there are none, at .5 every second, at 2 each has a copy (see motion.blinks)."""
    mouth: float = 1.0
    """Scales the articulation, that is all of the lips but smile and frown, about shut lips: at 0 they stay shut. The
    inner-lip gap scales exactly."""
    expression: float = 1.0
    """Scales brows, cheeks, squint, widened eyes, smile and frown, whether of an emotion or of the moment; the inner
    lips keep their gap at the middle exactly, and blinks their depth."""

    def turn(self, chunks: Iterable[np.ndarray], chance: np.random.Generator) -> Iterator[np.ndarray]:
        """Motion chunks [n, 70] of space ``mesh`` -> as many frames, the same however they are cut into chunks.

        ``chance`` says when added blinks come; only ``blink_rate`` delays the frames, see ``moda.motion.blinks.AHEAD``.
        """
        if self.blink_rate != 1:
            chunks = change_blinks(chunks, self.blink_rate, chance)
        return (self.scale(chunk) for chunk in chunks)

    def turn_about(self, chunks: Iterable[np.ndarray], rest: np.ndarray) -> Iterator[np.ndarray]:
        """Motion chunks [n, 70] of space ``liveportrait`` -> as many frames, scaled about the portrait's own, [70].

        ``head_motion`` is of all the pose, ``mouth`` of the keypoints of the lips, and ``expression`` of the others but
        those of the eyes: blinks live there, and keep their depth. Raises KnobError for a ``blink_rate`` other than 1.
        """
        if self.blink_rate != 1:
            raise KnobError("the published weights blink as they will; leave blink_rate at 1, or use the embedded ones")
        scales = ((_POSE, self.head_motion), (LIP_CHANNELS, self.mouth), (_FACE, self.expression))

        def turn(motion: np.ndarray) -> np.ndarray:
            motion = motion.copy()
            for channels, amount in scales:
                if amount != 1:
                    motion[:, channels] = rest[channels] + amount * (motion[:, channels] - rest[channels])
            return motion

        return map(turn, chunks)

    def scale(self, motion: np.ndarray) -> np.ndarray:
        """All but the blinks, on motion [T, 70]."""
        motion = motion.copy()
        if self.head_motion != 1:
            motion[:, POSE] = _REST[POSE] + self.head_motion * (motion[:, POSE] - _REST[POSE])
        lips = motion[:, LIPS].copy()
        smile = lips @ SMILE
        if self.mouth != 1:
            motion[:, LIPS] += (self.mouth - 1) * (lips - smile)
        if self.expression != 1:
            motion[:, LIPS] += (self.expression - 1) * smile
            motion[:, _EXPRESSIVE] *= self.expression
            wide = np.maximum(motion[:, UPPER_LIDS], 0)
            motion[:, UPPER_LIDS] += (self.expression - 1) * wide
        return motion


_REST = np.zeros(MOTION_DIM, np.float32)
_REST[SCALE] = 1.0
#: Cheeks, lower lids (the squint) and brows.
_EXPRESSIVE = [channel(vertex, axis) for vertex in (205, 425, 145, 374, 107, 336, 105, 334) for axis in "xyz"]
#: In space ``liveportrait``: the pose, and the expression of all but lips and eyes (keypoints 11, 13, 15, 16, 18).
_POSE = list(range(POSE.start, POSE.stop))
_EYES = [3 * keypoint + axis for keypoint in EYE_KEYPOINTS for axis in range(3)]
_FACE = [i for i in range(EXPRESSION.stop) if i not in LIP_CHANNELS and i not in _EYES]

#: How a smile pulls corner and upper quarter of the lips on the image right, per unit of the corner's rise (x is
#: mirrored on the left); a frown is its negative. The blendshape mouthSmile of the same tracker, in the same clips.
_CORNER, _QUARTER = (0.69, 1.0, -0.94), (0.44, 0.73, -0.69)
#: A corner that follows the jaw by this much of the lower lip's way does not frown (blendshape jawOpen; real: .30).
_JAW = 0.36


def _smile() -> np.ndarray:
    smile = np.zeros((LIPS.stop, LIPS.stop), np.float32)
    for side, corner, quarter in ((1, 291, 270), (-1, 61, 40)):
        rise = np.zeros(LIPS.stop, np.float32)
        rise[channel(corner, "y")], rise[LOWER_LIP_Y] = 1.0, -_JAW
        pull = np.zeros(LIPS.stop, np.float32)
        for vertex, (x, y, z) in ((corner, _CORNER), (quarter, _QUARTER)):
            pull[channel(vertex, "x") : channel(vertex, "z") + 1] = side * x, y, z
        smile += np.outer(rise, pull)
    return smile


#: float32 [27, 27], a projection: lips @ SMILE is their smile and frown; it does not move the middle of the lips.
SMILE = _smile()
SMILE.setflags(write=False)
