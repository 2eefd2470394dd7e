"""The values that cross the borders of the house, and nothing else.

media --encoders--> SourceFace, AudioFeatures --pipelines--> Conditions --moda--> Motion --moda.render--> frames

``encoders`` and ``moda`` never import each other; both import this module. Shape legend used everywhere:
B batch, T frames at 25 a second, D channels, K = 21 keypoints, V = 478 face-mesh vertices.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike

    import numpy as np
    import torch

    Array = np.ndarray[Any, np.dtype[Any]]
    StrPath = str | PathLike[str]

FPS = 25
SAMPLE_RATE = 16_000
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS  # 640

#: MediaPipe vertex of each of the 21 keypoints, in motion-space order: mouth corners, inner lips, outer lips,
#: upper-lip quarters, chin, cheeks, upper lids, lower lids, irises, inner brows, outer brows (right, left).
KEYPOINT_VERTICES = (
    61, 291, 13, 14, 0, 17, 40, 270, 152, 205, 425, 159, 386, 145, 374, 468, 473, 107, 336, 105, 334,
)  # fmt: skip

#: Those that change places in a mirror (right, left); the others lie on the midline.
MIRRORED_VERTICES = ((61, 291), (40, 270), (205, 425), (159, 386), (145, 374), (468, 473), (107, 336), (105, 334))

#: Keypoints in the middle of the inner lips: how far the lower one's y lies below the upper one's is the lip gap.
UPPER_LIP, LOWER_LIP = (KEYPOINT_VERTICES.index(vertex) for vertex in (13, 14))

#: Numbers in a frame of motion: 63 of expression, scale, translation x y z, pitch, yaw, roll.
MOTION_DIM = 3 * len(KEYPOINT_VERTICES) + 7  # 70

#: How y of the inner lips, the lower lip's edge and the chin share in opening the lips by a gap of 1, by vertex.
LIP_OPENING = {13: 0.25, 14: -0.75, 17: -0.60, 152: -0.40}

#: MediaPipe's blendshape names, ARKit's without tongueOut, in the order of every ``blendshapes`` array.
BLENDSHAPES = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight",
)  # fmt: skip

#: The published MoDA emotion ids; 8 is the null class of classifier-free guidance.
EMOTIONS = ("anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise", "none")


#: What of a face a driving video moves: ``pose`` is the head's, ``expression`` all but it.
Region = Literal["all", "pose", "expression", "lips", "eyes"]


class ModaError(Exception):
    """Base of every error a user can cause. ``str(error)`` is one line that says what is wrong and what to do."""


@dataclass(frozen=True)
class SourceFace:
    """One face of one portrait, as the face encoder sees it.

    Head frame: MediaPipe's canonical frame, origin inside the head, x to the image right, y up, z to the viewer; unit
    OC = the outer-canthal distance |v33 - v263| of the canonical model (about 89 mm).
    Image frame of the fit: (x, -y, -z) of the landmarks, so ``fit_scale * fit_rotation @ vertex + fit_translation``
    gives the landmark in that frame.
    """

    image: Array  # uint8 [H, W, 3] RGB, the whole picture, upright
    crop: tuple[int, int, int]  # x0, y0, side in px: the square head crop (2.3 x the face oval), inside the image
    landmarks: Array  # float32 [V, 3] px in the image: x right, y down, z away from the viewer, in the scale of x
    vertices: Array  # float32 [V, 3] OC, head frame: the portrait's own pose-free shape
    fit_rotation: Array  # float32 [3, 3] head frame -> image frame
    fit_scale: float  # px per OC
    fit_translation: Array  # float32 [3] px
    pose: tuple[float, float, float]  # degrees: pitch (+ down), yaw (+ image right), roll (+ counter-clockwise)
    blendshapes: Array  # float32 [52] in 0..1, MediaPipe's (ARKit) order, "_neutral" first
    skull_rms: float  # OC, misfit of the skull vertices
    warnings: tuple[str, ...] = ()
    others: tuple[Array, ...] = ()  # float32 [V, 3] px each: the landmarks of the picture's other faces
    sha256: str = ""  # of the file it was read from, hex; empty where there was none

    @property
    def keypoints(self) -> Array:
        """Pose-free canonical keypoints, float32 [21, 3] OC: the identity condition, in motion-space units."""
        return self.vertices[list(KEYPOINT_VERTICES)]


@dataclass(frozen=True)
class AudioFeatures:
    """A stretch of speech as the motion generator hears it, aligned to exactly 25 frames a second.

    Frame k belongs to samples 640 k .. 640 k + 639 of the 16 kHz waveform.
    """

    hidden: torch.Tensor  # [T, L, D] hidden states of the L chosen encoder layers
    visemes: torch.Tensor | None = None  # [T, 15] soft viseme posteriors (sum 1), for encoders with that head
    prosody: torch.Tensor | None = None  # [T, 9] encoders.audio.prosody.TOLD, for encoders with that head
    articulation: torch.Tensor | None = None  # [T, 34] standardised: 11 mouth keypoints x 3, inner-lip gap
    fps: int = FPS

    def __len__(self) -> int:
        return int(self.hidden.shape[0])


@dataclass(frozen=True)
class Conditions:
    """What drives one sampling run of the motion generator.

    ``audio`` is an iterable of consecutive token chunks, so that an hour of speech need not be in memory at once; a
    one-element list is the one-shot case.
    """

    audio: Iterable[torch.Tensor]  # chunks [n, A]; they add up to T frames
    identity: torch.Tensor  # [63] canonical keypoints, un-normalised
    emotion: EmotionTimeline


@dataclass(frozen=True)
class EmotionTimeline:
    """Emotion against time: from ``keys[i].second`` on, emotion ``keys[i].emotion`` at ``keys[i].intensity``.

    A key takes over within ``fade`` seconds.
    """

    keys: tuple[EmotionKey, ...] = field(default_factory=lambda: (EmotionKey(0.0, "neutral", 1.0),))
    fade: float = 0.6


@dataclass(frozen=True)
class EmotionKey:
    second: float
    emotion: str  # one of EMOTIONS
    intensity: float = 1.0  # 0..1: 0 is neutral


@dataclass(frozen=True)
class Motion:
    """Head and face motion at 25 frames a second.

    ``frames`` is float32 [T, 70]: 63 expression (21 keypoints x, y, z), scale, translation x y z, pitch, yaw, roll.
    In space ``mesh`` (the embedded default) expression and translation are in OC, expression is relative to a
    shut-lip, open-eye neutral in the head frame, scale is a ratio (1 = unchanged), translation is of the neck pivot
    (0, -.56, -.67) OC, and the pose is in degrees relative to the portrait's own.
    In space ``liveportrait`` the numbers are those of the published model.
    """

    frames: Array
    space: str = "mesh"
    fps: int = FPS
    driving: Driving | None = None  # of a filmed face, whose own motion this is: how it becomes that of a portrait

    def __len__(self) -> int:
        return int(self.frames.shape[0])


@dataclass(frozen=True)
class Driving:
    """How the motion of a filmed face becomes that of a portrait, in space ``liveportrait``.

    Nothing here is of one portrait, so that a saved motion drives any.
    """

    relative: bool = True  # the portrait adds what has changed since the first frame; else it takes over what is
    region: Region = "all"  # what moves; the rest stays as the portrait has it
    eyes: Array | None = None  # float32 [T] height over width, as far as the portrait's are opened; None: no matter
    lips: Array | None = None  # float32 [T] the same of the lips
