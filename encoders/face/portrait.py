"""Face encoder: a portrait -> SourceFace, or one typed error that says what is wrong with the picture.

Head frame, units and thresholds: OC = outer-canthal distance, about 89 mm (see contracts.SourceFace).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from contracts import KEYPOINT_VERTICES, MIRRORED_VERTICES, ModaError, SourceFace
from encoders.face.headfit import HeadFit, fit_head
from encoders.face.image import as_rgb
from encoders.face.landmarks import FaceLandmarker, Landmarks

if TYPE_CHECKING:
    from contracts import Array

MAX_FACES = 5
CROP = 2.3  # side of the head crop, in sizes of the face oval
CROP_RISE = 0.10  # how far the crop is shifted up, in sides of itself: there is more head above a face than below
DOMINANT = 1.5  # a face is meant without asking when its area is this many times the next one's
SAME_FACE = 0.5  # boxes that overlap by more of the smaller one are of one face
FINEST_TILE = 256  # px: a face that fills too little of a tile of this side is too small to be used anyway
TILE_LEVELS = 3  # halvings of the longer side; each has four times the tiles
LISTED = 5  # faces named in an error

OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150,
    136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
CHIN = 152
LOWER_FACE = 9  # keypoints 0..8 are lips and chin
INNER_LIPS = (13, 14)
LIDS = ((159, 145), (386, 374))  # upper, lower; right and left eye
_OTHER_SIDE = {a: b for pair in MIRRORED_VERTICES for a, b in (pair, pair[::-1])}
_MIRRORED = [_OTHER_SIDE.get(vertex, vertex) for vertex in KEYPOINT_VERTICES]  # those on the midline are their own

MIN_SIZE = 40.0  # px per OC
MAX_YAW, TURNED_YAW = 35.0, 20.0  # degrees
MAX_PITCH = 25.0  # degrees
MAX_GAP, OPEN_GAP = 0.45, 0.20  # OC between the inner lips
SHUT_LIDS, NARROW_LIDS = 0.035, 0.081  # OC between the lids; 0.116 is usual
BORDER = 0.02  # of the picture's shorter side
CHIN_MARGIN = 0.10  # OC
MAX_DISAGREEMENT = 0.04  # OC, see mirror_distances: over 100 real and painted faces stay under .03, dogs are at .05
DIM = 0.85  # light of the second look in the mirror
HIDDEN_MOUTH = 0.03  # OC, the same of lips and chin alone: see mouth_hidden
HIDDEN_RATIO = 1.5  # of it to that of the rest of the face: a picture that is all blurred hides nothing
LYING, STANDING = 60.0, 45.0  # degrees of roll: more is a picture on its side, less an upright one
TURNS = {
    1: "lies on its side; turn the picture by 90 degrees counter-clockwise",
    2: "is upside down; turn the picture by 180 degrees",
    3: "lies on its side; turn the picture by 90 degrees clockwise",
}  # by quarter turns, counter-clockwise
IMPLAUSIBLE = 0.08  # OC, rms of the skull vertices: with more, a face found in a tile is taken for an accident


class FaceError(ModaError):
    """The portrait cannot be animated as it is."""


class NoFace(FaceError):
    """No face was found."""


class SeveralFaces(FaceError):
    """Several faces of similar size, and none was chosen; ``candidates`` lists them."""

    def __init__(self, candidates: tuple[FaceCandidate, ...]) -> None:
        self.candidates = candidates
        faces = [f"{c.index} at ({c.centre[0]:.0f}, {c.centre[1]:.0f})" for c in candidates[:LISTED]]
        more = ["..."] if len(candidates) > LISTED else []
        listing = ", ".join(faces + more)
        super().__init__(f"the picture shows {len(candidates)} faces; choose one with --face N: {listing}")


class NoSuchFace(FaceError):
    """A face was chosen that is not there."""


class FaceTooSmall(FaceError):
    """Too few pixels on the face."""


class FaceCutOff(FaceError):
    """Part of the face lies outside the picture, or at its very edge."""


class FaceTurned(FaceError):
    """The head is turned or tilted too far from the camera."""


class MouthTooOpen(FaceError):
    """The mouth is open too wide to be shut."""


@dataclass(frozen=True)
class FaceCandidate:
    """One face of a picture, as listed for the user to choose from."""

    index: int  # 1-based, from left to right
    box: tuple[float, float, float, float]  # x0, y0, x1, y1 of the landmarks, px
    size: float  # px between the outer eye corners, were the head turned to the camera
    pose: tuple[float, float, float]  # pitch, yaw, roll, degrees

    @property
    def centre(self) -> tuple[float, float]:
        x0, y0, x1, y1 = self.box
        return (x0 + x1) / 2, (y0 + y1) / 2


def list_faces(image: str | Path | Array) -> tuple[FaceCandidate, ...]:
    """The faces of a picture (file, or uint8 [H, W, 3] RGB), from left to right; empty if there are none.

    Raises ImageError and FaceModelError.
    """
    rgb = as_rgb(image)
    with FaceLandmarker(max_faces=MAX_FACES) as landmarker:
        return _candidates(find_faces(landmarker, rgb))


def encode_face(image: str | Path | Array, *, face: int | None = None) -> SourceFace:
    """Encode the face of a portrait (file, or uint8 [H, W, 3] RGB).

    ``face`` is the number :func:`list_faces` gives it. Without, the largest face is taken if its area is over 1.5
    times the next one's. What is less than ideal but workable comes back in ``SourceFace.warnings``.

    Raises ImageError, FaceModelError, and FaceError in one of its kinds.
    """
    rgb = as_rgb(image)
    with FaceLandmarker(max_faces=MAX_FACES) as landmarker:
        faces = find_faces(landmarker, rgb)
        if not faces:
            check_upright(landmarker, rgb)
        found = choose_face(faces, face)
        distances = mirror_distances(landmarker, rgb, found)
        disagreement, fit = rms(distances), fit_head(found.points)
        if disagreement > MAX_DISAGREEMENT or abs(fit.pose[2]) > LYING:
            check_upright(landmarker, rgb)
    warnings = check_face(found.points, fit, (rgb.shape[1], rgb.shape[0]), disagreement)
    if mouth_hidden(distances):
        warnings += ("the mouth seems to be covered, or is hard to see: it may look odd when it moves",)
    return SourceFace(
        image=rgb,
        crop=head_crop(found.points, (rgb.shape[1], rgb.shape[0])),
        landmarks=found.points,
        vertices=fit.vertices,
        fit_rotation=fit.rotation,
        fit_scale=fit.scale,
        fit_translation=fit.translation,
        pose=fit.pose,
        blendshapes=found.blendshapes,
        skull_rms=fit.rms,
        warnings=warnings,
        others=tuple(other.points for other in faces if other is not found),
        sha256=hashlib.sha256(Path(image).read_bytes()).hexdigest() if isinstance(image, str | Path) else "",
    )


def find_faces(landmarker: FaceLandmarker, image: Array, *, tiles: bool = True) -> list[Landmarks]:
    """All faces of ``image``, from left to right, each landmarked on its own head crop.

    MediaPipe's detector sees the picture at 128 x 128 and misses faces under about a sixth of it. Where the whole
    picture gives none, overlapping square tiles of half the side are searched, then of a quarter and of an eighth,
    unless ``tiles`` is off. So many looks would find faces in noise: there, only what is found again counts.
    """
    height, width = image.shape[:2]
    faces = [landmark_on_crop(landmarker, image, face) or face for face in landmarker.detect(image)]
    side = max(height, width)
    for _ in range(TILE_LEVELS if tiles else 0):
        side //= 2
        if faces or side < FINEST_TILE:
            break
        again = [
            landmark_on_crop(landmarker, image, found.moved(x, y))
            for y in _tile_starts(height, side)
            for x in _tile_starts(width, side)
            for found in landmarker.detect(image[y : y + side, x : x + side])
        ]
        faces = [face for face in again if face is not None and fit_head(face.points).rms < IMPLAUSIBLE]
    return _distinct(faces)


def choose_face(faces: list[Landmarks], number: int | None) -> Landmarks:
    """The face meant: number ``number`` (from 1), or the one clearly largest.

    Raises NoFace, NoSuchFace or SeveralFaces.
    """
    if not faces:
        raise NoFace("no face was found in the picture; use one that shows a face from the front, well lit")
    if number is not None:
        if not 1 <= number <= len(faces):
            count = "1 face" if len(faces) == 1 else f"{len(faces)} faces"
            raise NoSuchFace(f"there is no face {number}, the picture shows {count}; `moda faces` lists them")
        return faces[number - 1]
    by_area = sorted(faces, key=lambda face: face.area, reverse=True)
    if len(by_area) > 1 and by_area[0].area <= DOMINANT * by_area[1].area:
        raise SeveralFaces(_candidates(faces))
    return by_area[0]


def check_face(points: Array, fit: HeadFit, image_size: tuple[int, int], disagreement: float) -> tuple[str, ...]:
    """Refuse a face that cannot be animated well, and list what is wrong with one that can.

    ``points`` are the landmarks [478, 3] px, ``image_size`` is (width, height) px, ``disagreement`` is that of
    :func:`mirror_distances`, rms.

    Raises FaceTooSmall, FaceCutOff, FaceTurned or MouthTooOpen.
    """
    width, height = image_size
    pitch, yaw, _ = fit.pose
    if fit.scale < MIN_SIZE:
        raise FaceTooSmall(
            f"the face is too small ({fit.scale:.0f} px between the outer eye corners, {MIN_SIZE:.0f} needed); "
            "use a larger picture or a closer one"
        )
    oval = points[list(OVAL), :2]
    margin = np.concatenate([oval, (width, height) - oval]).min()
    if margin < BORDER * min(width, height):
        raise FaceCutOff("the face is cut off by the edge of the picture; use one with room around the whole head")
    if abs(yaw) > MAX_YAW:
        raise FaceTurned(f"the head is turned {abs(yaw):.0f} degrees to the side; use a picture within {MAX_YAW:.0f}")
    if abs(pitch) > MAX_PITCH:
        direction = "down" if pitch > 0 else "up"
        raise FaceTurned(
            f"the head is tilted {direction} {abs(pitch):.0f} degrees; use a picture within {MAX_PITCH:.0f}"
        )
    gap = float(fit.vertices[INNER_LIPS[0], 1] - fit.vertices[INNER_LIPS[1], 1])
    if gap > MAX_GAP:
        raise MouthTooOpen("the mouth is open too wide; use a picture with the mouth shut or nearly shut")

    aperture = min(fit.vertices[upper, 1] - fit.vertices[lower, 1] for upper, lower in LIDS)
    cases = (
        (abs(yaw) > TURNED_YAW, f"the head is turned {abs(yaw):.0f} degrees: it will turn less than it might"),
        (gap > OPEN_GAP, "the mouth is open: shutting it may look unnatural"),
        (aperture < SHUT_LIDS, "an eye is shut: it stays shut, without blink or gaze"),
        (SHUT_LIDS <= aperture < NARROW_LIDS, "the eyes are half shut: they will not open wider"),
        (
            height - points[CHIN, 1] < CHIN_MARGIN * fit.scale,
            "the chin is close to the lower edge: the jaw has little room to move",
        ),
        (
            disagreement > MAX_DISAGREEMENT,
            "this may not be a human face, or it is seen unusually: the result may look odd",
        ),
    )
    return tuple(text for holds, text in cases if holds)


def head_crop(points: Array, image_size: tuple[int, int]) -> tuple[int, int, int]:
    """x0, y0, side in px: the square around the head, moved and if need be shrunk to lie inside the picture."""
    oval = points[list(OVAL), :2]
    low, high = oval.min(0), oval.max(0)
    side = min(float((high - low).max()) * CROP, *image_size)
    corner = (low + high - side) / 2 - (0, CROP_RISE * side)
    x0, y0 = (int(np.clip(round(c), 0, limit - int(side))) for c, limit in zip(corner, image_size, strict=True))
    return x0, y0, int(side)


def landmark_on_crop(landmarker: FaceLandmarker, image: Array, face: Landmarks) -> Landmarks | None:
    """The face detected again on its own head crop, where the landmarks are finer; None if it is not found there."""
    x, y, side = head_crop(face.points, (image.shape[1], image.shape[0]))
    if side < 1:
        return None
    again = [found.moved(x, y) for found in landmarker.detect(image[y : y + side, x : x + side])]
    best = max(again, key=face.overlap, default=None)
    return best if best is not None and face.overlap(best) > SAME_FACE else None


def mirror_distances(landmarker: FaceLandmarker, image: Array, face: Landmarks) -> Array:
    """How far each keypoint is from where it is found in the mirror image, [21] in OC; infinite where nothing is.

    What was trained on faces sees the same face both ways round, and in dimmer light; in an animal it sees now this,
    now that. The worse of two looks counts. How well the skull fits tells less: it is worse for many a person than
    for some dogs.
    """
    x, y, side = head_crop(face.points, (image.shape[1], image.shape[0]))
    straight = face.points[list(KEYPOINT_VERTICES), :2]
    mirror = image[y : y + side, x : x + side][:, ::-1]
    looks = [
        min(
            (
                np.linalg.norm(found.points[_MIRRORED, :2] * (-1, 1) + (x + side, y) - straight, axis=1)
                for found in landmarker.detect(seen)
            ),
            key=rms, default=np.full(len(straight), np.inf),
        )
        for seen in (mirror, (mirror * DIM).astype(np.uint8))
    ]  # fmt: skip
    return max(looks, key=rms) / fit_head(face.points).scale


def rms(distances: Array) -> float:
    return float(np.sqrt((distances**2).mean()))


def mouth_hidden(distances: Array) -> bool:
    """Whether there seems to be something over the mouth, by :func:`mirror_distances`.

    Landmarks of a mouth that is not to be seen are guessed, and guessed differently in the mirror. Of 22 portraits
    none is taken for one with a hidden mouth, and about 6 in 10 are once a mask, a hand or a microphone is painted on.
    """
    mouth, rest = rms(distances[:LOWER_FACE]), rms(distances[LOWER_FACE:])
    return bool(np.isfinite(mouth)) and mouth > HIDDEN_MOUTH and mouth > HIDDEN_RATIO * rest


def check_upright(landmarker: FaceLandmarker, image: Array) -> None:
    """Refuse a picture that shows a face only, or better, once it is turned. Raises FaceTurned."""
    for turns, how in TURNS.items():
        turned = np.ascontiguousarray(np.rot90(image, turns))
        face = max(find_faces(landmarker, turned, tiles=False), key=lambda face: face.area, default=None)
        if face is None or abs(fit_head(face.points).pose[2]) > STANDING:
            continue
        if rms(mirror_distances(landmarker, turned, face)) <= MAX_DISAGREEMENT:
            raise FaceTurned(f"the face {how}")


def _distinct(faces: list[Landmarks]) -> list[Landmarks]:
    """Each face once, from left to right."""
    kept: list[Landmarks] = []
    for face in sorted(faces, key=lambda face: face.area, reverse=True):
        if all(face.overlap(other) < SAME_FACE for other in kept):
            kept.append(face)
    return sorted(kept, key=lambda face: face.box[0] + face.box[2])


def _candidates(faces: list[Landmarks]) -> tuple[FaceCandidate, ...]:
    fits = [fit_head(face.points) for face in faces]
    return tuple(
        FaceCandidate(index, face.box, fit.scale, fit.pose)
        for index, (face, fit) in enumerate(zip(faces, fits, strict=True), start=1)
    )


def _tile_starts(length: int, side: int) -> list[int]:
    """Where tiles of ``side`` px that overlap by half start, so that they cover ``length`` px."""
    last = max(length - side, 0)
    return sorted({*range(0, last, side // 2), last})
