"""Face encoder: geometry, the choice among faces, the gates, and the model file."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from contracts import BLENDSHAPES, KEYPOINT_VERTICES, ModaError, SourceFace
from encoders.face import portrait as face_module
from encoders.face.headfit import HeadFit, euler_degrees, fit_head, rotation_matrix
from encoders.face.image import ImageError, load_image
from encoders.face.landmarks import model_file
from encoders.face.landmarks.landmarker import FaceLandmarker
from encoders.face.landmarks.model_file import FaceModelError, canonical_vertices, load_model
from encoders.face.portrait import (
    LOWER_FACE,
    MAX_DISAGREEMENT,
    OVAL,
    FaceCutOff,
    FaceTooSmall,
    FaceTurned,
    MouthTooOpen,
    NoFace,
    NoSuchFace,
    SeveralFaces,
    check_face,
    encode_face,
    head_crop,
    list_faces,
    mirror_distances,
    mouth_hidden,
    rms,
)

ROOT = Path(__file__).resolve().parents[3]
PORTRAIT = ROOT / "examples" / "portrait.jpg"
NOSE_TIP = (222, 125)  # px, found by eye


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return load_image(PORTRAIT)


@pytest.fixture(scope="module")
def face(picture: np.ndarray) -> SourceFace:
    return encode_face(picture)


def on_canvas(picture: np.ndarray, side: int, at: tuple[int, int]) -> np.ndarray:
    canvas = np.full((side, side, 3), 128, np.uint8)
    canvas[at[1] : at[1] + picture.shape[0], at[0] : at[0] + picture.shape[1]] = picture
    return canvas


def scaled(picture: np.ndarray, factor: float) -> np.ndarray:
    return cv2.resize(
        picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    )


# --- geometry --------------------------------------------------------------------------------------------------------


def test_source_face_keeps_its_contract(face: SourceFace, picture: np.ndarray) -> None:
    assert face.image.dtype == np.uint8 and face.image.shape == picture.shape
    for name, shape in dict(
        landmarks=(478, 3), vertices=(478, 3), fit_rotation=(3, 3), fit_translation=(3,), blendshapes=(52,)
    ).items():
        array = getattr(face, name)
        assert array.dtype == np.float32 and array.shape == shape, name
    assert face.blendshapes.min() >= 0 and face.blendshapes.max() <= 1
    assert face.keypoints.shape == (21, 3)
    x0, y0, side = face.crop
    assert x0 >= 0 and y0 >= 0 and x0 + side <= picture.shape[1] and y0 + side <= picture.shape[0]


def test_the_fit_inverts_exactly(face: SourceFace) -> None:
    image_frame = face.fit_scale * face.vertices @ face.fit_rotation.T + face.fit_translation
    np.testing.assert_allclose(image_frame * (1, -1, -1), face.landmarks, atol=2e-3)


def test_vertices_are_a_face_in_outer_canthal_units(face: SourceFace) -> None:
    assert 0.9 < np.linalg.norm(face.vertices[33] - face.vertices[263]) < 1.1
    mouth, chin, brow, nose = (face.vertices[v] for v in (13, 152, 9, 4))
    assert chin[1] < mouth[1] < nose[1] < brow[1]  # y is up
    assert nose[2] > face.vertices[234][2]  # z is towards the viewer
    assert face.vertices[263][0] > face.vertices[33][0]  # x is to the image right


def test_the_portrait_is_what_the_eye_sees(face: SourceFace) -> None:
    pitch, yaw, roll = face.pose
    assert abs(yaw) < 8 and abs(roll) < 8 and abs(pitch) < 15
    shapes = dict(zip(BLENDSHAPES, face.blendshapes, strict=True))
    assert shapes["mouthSmileLeft"] > 0.5 and shapes["eyeBlinkLeft"] < 0.2
    assert face.landmarks[4, :2] == pytest.approx(NOSE_TIP, abs=5)


@pytest.mark.parametrize("degrees", [-25, 15])
def test_rolling_the_picture_changes_the_roll_and_not_the_shape(
    face: SourceFace, picture: np.ndarray, degrees: float
) -> None:
    centre = face.landmarks[4, :2].tolist()
    turn = cv2.getRotationMatrix2D(centre, degrees, 1)  # counter-clockwise
    rolled = encode_face(cv2.warpAffine(picture, turn, (512, 512), borderMode=cv2.BORDER_REPLICATE))
    assert rolled.pose[2] - face.pose[2] == pytest.approx(degrees, abs=2)
    assert rolled.pose[1] - face.pose[1] == pytest.approx(0, abs=3)
    assert np.sqrt(((rolled.vertices - face.vertices) ** 2).sum(1).mean()) < 0.03


def test_a_mirrored_picture_gives_the_mirrored_face(face: SourceFace, picture: np.ndarray) -> None:
    mirrored = encode_face(picture[:, ::-1])
    np.testing.assert_allclose(mirrored.pose, np.multiply(face.pose, (1, -1, -1)), atol=3)
    swapped = [1, 0, 2, 3, 4, 5, 7, 6, 8, 10, 9, 12, 11, 14, 13, 16, 15, 18, 17, 20, 19]  # left and right keypoints
    np.testing.assert_allclose(mirrored.keypoints * (-1, 1, 1), face.keypoints[swapped], atol=0.06)


def test_shape_does_not_depend_on_the_size_of_the_picture(face: SourceFace, picture: np.ndarray) -> None:
    large = encode_face(scaled(picture, 2))
    assert large.fit_scale == pytest.approx(2 * face.fit_scale, rel=0.03)
    assert np.sqrt(((large.vertices - face.vertices) ** 2).sum(1).mean()) < 0.03


def test_encoding_is_deterministic(face: SourceFace) -> None:
    again = encode_face(PORTRAIT)
    np.testing.assert_array_equal(again.vertices, face.vertices)
    assert again.pose == face.pose and again.crop == face.crop


@pytest.mark.parametrize("pose", [(0, 0, 0), (12, -30, 8), (-20, 25, -40)])
def test_head_fit_recovers_a_known_similarity(pose: tuple[float, float, float]) -> None:
    rotation = rotation_matrix(*pose)
    assert euler_degrees(rotation) == pytest.approx(pose, abs=1e-9)
    points = (120 * canonical_vertices() @ rotation.T + (300, -200, 40)) * (1, -1, -1)
    fit = fit_head(points)
    assert fit.pose == pytest.approx(pose, abs=1e-4)
    assert fit.scale == pytest.approx(120) and fit.rms < 1e-6
    np.testing.assert_allclose(fit.vertices, canonical_vertices(), atol=1e-5)


@pytest.mark.parametrize(
    ("pose", "axis", "sign"), [((10, 0, 0), 1, -1), ((0, 10, 0), 0, 1)], ids=["pitch is down", "yaw is image right"]
)
def test_signs_of_the_pose(pose: tuple[float, float, float], axis: int, sign: int) -> None:
    nose = rotation_matrix(*pose) @ (0, 0, 1)
    assert np.sign(nose[axis]) == sign


def test_canonical_face_is_the_published_one() -> None:
    vertices = canonical_vertices()
    assert vertices.shape == (468, 3)
    assert np.linalg.norm(vertices[33] - vertices[263]) == pytest.approx(1)
    np.testing.assert_allclose(vertices[61], (-0.291, -0.498, 0.448), atol=0.05)  # right mouth corner
    np.testing.assert_allclose(vertices[152], (0, -1.015, 0.415), atol=0.1)  # chin
    assert abs(vertices[list(OVAL), 0].mean()) < 1e-3  # symmetric


def test_crop_is_square_raised_and_inside() -> None:
    points = np.zeros((478, 3), np.float32)
    points[list(OVAL), :2] = (500, 500) + 50 * np.stack(
        [np.cos(a := np.linspace(0, 2 * np.pi, len(OVAL), endpoint=False)), np.sin(a)], 1
    )
    x0, y0, side = head_crop(points, (1000, 1000))
    assert side == pytest.approx(230, abs=2)
    assert x0 + side / 2 == pytest.approx(500, abs=2) and y0 + side / 2 == pytest.approx(477, abs=2)
    assert head_crop(points - np.float32([480, 480, 0]), (1000, 1000))[:2] == (0, 0)
    x0, y0, side = head_crop(points - np.float32([300, 300, 0]), (300, 210))
    assert side == 210 and y0 == 0 and 0 <= x0 <= 90


# --- which face ------------------------------------------------------------------------------------------------------


def test_two_equal_faces_are_refused_and_listed(picture: np.ndarray) -> None:
    both = np.hstack([picture, picture[:, ::-1]])
    with pytest.raises(SeveralFaces, match=r"2 faces; choose one with --face N: 1 at \(\d+, \d+\), 2 at") as refusal:
        encode_face(both)
    listed = list_faces(both)
    assert listed == refusal.value.candidates
    assert [candidate.index for candidate in listed] == [1, 2]
    assert listed[0].centre[0] < 512 < listed[1].centre[0]
    left, right = (encode_face(both, face=n) for n in (1, 2))
    assert left.landmarks[4, 0] < 512 < right.landmarks[4, 0]
    for number in (0, 3):
        with pytest.raises(NoSuchFace, match="2 faces"):
            encode_face(both, face=number)


def test_a_clearly_larger_face_is_taken(picture: np.ndarray) -> None:
    large = picture[20:270, 90:350]
    small = scaled(large, 0.6)
    both = np.full((250, 440, 3), 128, np.uint8)
    both[:, :260] = large
    both[50 : 50 + small.shape[0], 270 : 270 + small.shape[1]] = small
    assert len(list_faces(both)) == 2
    assert encode_face(both).landmarks[4, 0] < 260


def test_a_face_too_small_for_the_detector_is_found_by_tiles(picture: np.ndarray, face: SourceFace) -> None:
    canvas = on_canvas(picture, 2000, (1200, 900))
    with FaceLandmarker() as landmarker:
        assert not landmarker.detect(canvas)  # else this proves nothing
    found = encode_face(canvas)
    np.testing.assert_allclose(found.landmarks[4, :2], face.landmarks[4, :2] + (1200, 900), atol=2)


# --- gates -----------------------------------------------------------------------------------------------------------


def test_no_face() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (400, 600, 3), dtype=np.uint8)
    for image in (noise, np.zeros((512, 512, 3), np.uint8), np.zeros((1, 1, 3), np.uint8), noise[:3]):
        with pytest.raises(NoFace, match="no face was found"):
            encode_face(image)
        assert list_faces(image) == ()


def test_small_faces(picture: np.ndarray, face: SourceFace) -> None:
    assert face.warnings == (), "how small is too small depends on how large it is drawn"  # 55 px
    with pytest.raises(FaceTooSmall, match="larger picture"):
        encode_face(on_canvas(scaled(picture, 0.6), 512, (100, 100)))


def test_a_cut_off_face(picture: np.ndarray, face: SourceFace) -> None:
    chin = int(face.landmarks[152, 1])
    with pytest.raises(FaceCutOff, match="cut off"):
        encode_face(picture[: chin - 6])


def synthetic(
    *, pose: tuple[float, float, float] = (0, 0, 0), scale: float = 120, gap: float = 0, lids: float = 0.116,
    at: tuple[float, float] = (500, 500),
) -> tuple[np.ndarray, HeadFit]:  # fmt: skip
    """The canonical face as it would be seen, with mouth and lids set."""
    vertices = np.zeros((478, 3))
    vertices[:468] = canonical_vertices()
    vertices[13, 1], vertices[14, 1] = -0.49, -0.49 - gap
    for upper, lower in ((159, 145), (386, 374)):
        vertices[upper, 1] = vertices[lower, 1] + lids
    rotation = rotation_matrix(*pose)
    points = (scale * vertices @ rotation.T) * (1, -1, -1) + (*at, 0)
    return points, HeadFit(rotation, scale, np.zeros(3), vertices, 0.03)


@pytest.mark.parametrize(
    ("case", "error", "remedy"),
    [
        (dict(scale=39), FaceTooSmall, "larger picture"),
        (dict(at=(100, 500)), FaceCutOff, "room around"),
        (dict(pose=(0, 36, 0)), FaceTurned, "within 35"),
        (dict(pose=(0, -36, 0)), FaceTurned, "within 35"),
        (dict(pose=(26, 0, 0)), FaceTurned, "down 26"),
        (dict(pose=(-26, 0, 0)), FaceTurned, "up 26"),
        (dict(gap=0.46), MouthTooOpen, "mouth shut"),
    ],
)
def test_refusals(case: dict, error: type[ModaError], remedy: str) -> None:
    with pytest.raises(error, match=remedy) as refusal:
        check_face(*synthetic(**case), (1000, 1000), 0)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("case", "warning"),
    [
        (dict(), None),
        (dict(pose=(24, 19, 60)), None),
        (dict(scale=41), None),
        (dict(pose=(0, 21, 0)), "turned 21"),
        (dict(gap=0.21), "mouth is open"),
        (dict(lids=0.03), "eye is shut"),
        (dict(lids=0.08), "half shut"),
    ],
)
def test_warnings(case: dict, warning: str | None) -> None:
    warnings = check_face(*synthetic(**case), (1000, 1000), 0.039)
    assert len(warnings) == (warning is not None)
    assert warning is None or warning in warnings[0]


def test_a_chin_close_to_the_edge_is_warned_of() -> None:
    points, fit = synthetic(at=(200, 500))
    points[:, 1] += 1000 - 0.09 * fit.scale - points[152, 1]
    (warning,) = check_face(points, fit, (400, 1000), 0)
    assert "chin" in warning


def test_what_looks_different_in_a_mirror_may_not_be_human(picture: np.ndarray, face: SourceFace) -> None:
    (warning,) = check_face(*synthetic(), (1000, 1000), 0.041)
    assert "human" in warning
    assert not any("human" in warning for warning in face.warnings)
    with FaceLandmarker() as landmarker:
        (found,) = landmarker.detect(picture)
        assert rms(mirror_distances(landmarker, picture, found)) < 0.03
        elsewhere = found.moved(0.05 * face.fit_scale, 0)
        assert rms(mirror_distances(landmarker, picture, elsewhere)) > MAX_DISAGREEMENT
        assert rms(mirror_distances(landmarker, np.zeros_like(picture), found)) == np.inf


@pytest.mark.parametrize(
    ("turns", "says"), [(1, "90 degrees clockwise"), (2, "180 degrees"), (3, "90 degrees counter-clockwise")]
)
def test_a_face_that_is_not_upright_is_refused_with_the_way_to_turn_it(
    picture: np.ndarray, turns: int, says: str
) -> None:
    with pytest.raises(FaceTurned, match=f"turn the picture by {says}"):
        encode_face(np.rot90(picture, turns))


def test_something_over_the_mouth_is_warned_of(picture: np.ndarray, face: SourceFace) -> None:
    assert not any("covered" in warning for warning in face.warnings)
    x, y = face.landmarks[13, :2].round().astype(int)
    axes = (round(0.85 * face.fit_scale), round(0.6 * face.fit_scale))
    for colour in ((120, 160, 220), (235, 235, 235), (25, 25, 28)):
        masked = cv2.ellipse(picture.copy(), (int(x), int(y)), axes, 0, 0, 360, colour, -1)
        assert any("mouth seems to be covered" in warning for warning in encode_face(masked).warnings)


def test_a_mouth_is_hidden_where_it_is_guessed_and_the_rest_is_not() -> None:
    distances = np.full(21, 0.01)
    assert not mouth_hidden(distances)
    distances[:LOWER_FACE] = 0.05
    assert mouth_hidden(distances)
    distances[LOWER_FACE:] = 0.04
    assert not mouth_hidden(distances), "a blurred picture"
    assert not mouth_hidden(np.full(21, np.inf))


def test_arrays_that_are_no_pictures() -> None:
    for array in (
        np.zeros((5, 5), np.uint8),
        np.zeros((5, 5, 4), np.uint8),
        np.zeros((5, 5, 3)),
        np.zeros((0, 5, 3), np.uint8),
    ):
        with pytest.raises(ImageError, match="RGB"):
            encode_face(array)


def test_every_keypoint_is_a_vertex_of_the_mesh() -> None:
    assert len(set(KEYPOINT_VERTICES)) == 21 and max(KEYPOINT_VERTICES) < 478


# --- model file ------------------------------------------------------------------------------------------------------


def test_the_shipped_model_is_the_official_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODA_FACE_MODEL", raising=False)
    assert len(load_model()) == 3_758_596


def test_a_missing_or_damaged_model_names_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MODA_FACE_MODEL", raising=False)
    monkeypatch.setattr(model_file, "MODEL", tmp_path / "face_landmarker.task")
    with pytest.raises(FaceModelError, match=r"cannot be read \(No such file.*install moda again"):
        load_model()
    model_file.MODEL.write_bytes(b"half of it")
    with pytest.raises(FaceModelError, match=r"is not the expected.*install moda again"):
        encode_face(PORTRAIT)


def test_the_variable_comes_first_and_is_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "mine.task"
    monkeypatch.setenv("MODA_FACE_MODEL", str(file))
    with pytest.raises(FaceModelError, match=r"mine\.task cannot be read.*name a copy"):
        load_model()
    file.write_bytes(b"something else")
    with pytest.raises(FaceModelError, match=r"not the expected.*name a copy"):
        encode_face(PORTRAIT)
    file.write_bytes(model_file.MODEL.read_bytes())
    assert encode_face(PORTRAIT).crop


def test_nothing_is_written_to_the_terminal() -> None:
    code = f"from encoders.face import encode_face; print(encode_face({str(PORTRAIT)!r}).crop[2])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.strip().isdigit()
    assert done.stderr == ""


def test_tiles_cover_and_overlap() -> None:
    for length, side in ((512, 256), (100, 256), (1000, 333), (4096, 512)):
        starts = face_module._tile_starts(length, side)
        assert starts[0] == 0 and starts[-1] == max(length - side, 0)
        assert all(b - a <= side // 2 for a, b in pairwise(starts))
