"""The face landmarker: its steps, each on its own, and the whole against MediaPipe, whose networks it runs."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from encoders.face.image import load_image
from encoders.face.landmarks.detector import FaceDetector, anchors, decode, merge
from encoders.face.landmarks.landmarker import FaceLandmarker, Landmarks
from encoders.face.landmarks.network import quiet_stderr
from encoders.face.landmarks.region import Region

ROOT = Path(__file__).resolve().parents[3]
PORTRAIT = ROOT / "examples" / "portrait.jpg"
CLOSE = 0.1  # px of a picture 512 px large; .05 is the most that was seen in over 600 pictures
CLOSE_SHAPES = 0.005  # .0016 is the most that was seen


def turned(picture: np.ndarray, degrees: float, size: tuple[int, int]) -> np.ndarray:
    turn = cv2.getRotationMatrix2D((256, 256), degrees, 1)
    return cv2.warpAffine(picture, turn, size, borderMode=cv2.BORDER_REPLICATE)


def scaled(picture: np.ndarray, side: int) -> np.ndarray:
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA if side < 512 else cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def pictures() -> dict[str, np.ndarray]:
    portrait = load_image(PORTRAIT)
    head = scaled(portrait[20:280, 90:350], 512)
    return {
        "plain": portrait,
        "mirrored": portrait[:, ::-1],
        "small": scaled(portrait, 150),
        "large": scaled(portrait, 1500),
        "positions between two steps": scaled(portrait, 506),
        "turned": turned(portrait, -35, (512, 512)),
        "turned, wide": turned(head, 30, (900, 512)),
        "upside down": portrait[::-1, ::-1],
        "cut off at the left": head[:, 150:],
        "cut off at the top": head[130:],
        "two faces": np.hstack([head, head[:, ::-1]]),
        "two faces, above each other": np.vstack([scaled(head, 300), turned(head, 10, (512, 512))[100:400, 100:400]]),
        "no face": np.random.default_rng(0).integers(0, 255, (400, 600, 3), np.uint8),
    }


@pytest.fixture(scope="module")
def reference(pictures: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Landmarks]]:
    """What MediaPipe finds; in a process of its own, which alone looks up a host of its maker's."""
    folder = tmp_path_factory.mktemp("reference")
    np.savez(folder / "pictures.npz", *pictures.values())
    code = """
        import sys
        import numpy as np
        from encoders.face.landmarks.reference import reference_landmarks
        pictures = np.load(sys.argv[1])
        try:
            found = list(reference_landmarks(pictures.values(), max_faces=5))
        except OSError as error:
            print(error)
            sys.exit(3)
        faces = {f"points {p} {f}": face.points for p, faces in enumerate(found) for f, face in enumerate(faces)}
        faces |= {f"shapes {p} {f}": face.blendshapes for p, faces in enumerate(found) for f, face in enumerate(faces)}
        np.savez(sys.argv[2], counts=[len(faces) for faces in found], **faces)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(folder / "pictures.npz"), str(folder / "found.npz")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    if done.returncode == 3:
        pytest.skip(f"MediaPipe cannot be loaded ({done.stdout.strip()}); sudo apt-get install libegl1 libgles2")
    assert done.returncode == 0, done.stderr
    with np.load(folder / "found.npz") as found:
        return {
            name: [Landmarks(found[f"points {p} {f}"], found[f"shapes {p} {f}"]) for f in range(found["counts"][p])]
            for p, name in enumerate(pictures)
        }


def distance(own: Landmarks, theirs: Landmarks, picture: np.ndarray) -> float:
    """The largest difference of a coordinate, px of a picture 512 px large."""
    return float(np.abs(own.points - theirs.points).max()) * 512 / max(picture.shape[:2])


# --- the whole -------------------------------------------------------------------------------------------------------


def test_it_finds_what_mediapipe_finds(pictures: dict[str, np.ndarray], reference: dict[str, list[Landmarks]]) -> None:
    assert {name: len(faces) for name, faces in reference.items()} == {
        name: 0 if name == "no face" else 2 if name.startswith("two") else 1 for name in pictures
    }, "else this proves less than it should"
    with FaceLandmarker(max_faces=5) as landmarker:
        for name, picture in pictures.items():
            found = landmarker.detect(picture)
            assert len(found) == len(reference[name]), name
            for own, theirs in zip(found, reference[name], strict=True):
                assert own.points.shape == (478, 3) and own.points.dtype == np.float32
                assert own.blendshapes.shape == (52,) and own.blendshapes.dtype == np.float32
                assert distance(own, theirs, picture) < CLOSE, name
                assert np.abs(own.blendshapes - theirs.blendshapes).max() < CLOSE_SHAPES, name


def test_a_region_off_by_a_pixel_would_be_noticed(
    pictures: dict[str, np.ndarray], reference: dict[str, list[Landmarks]], monkeypatch: pytest.MonkeyPatch
) -> None:
    look = FaceDetector.__call__

    def beside(self: FaceDetector, image: np.ndarray, limit: int) -> list[Region]:
        return [replace(region, x=region.x + 1) for region in look(self, image, limit)]

    monkeypatch.setattr(FaceDetector, "__call__", beside)
    with FaceLandmarker() as landmarker:
        (own,) = landmarker.detect(pictures["plain"])
    assert distance(own, reference["plain"][0], pictures["plain"]) > CLOSE


def test_no_more_faces_than_asked_for(pictures: dict[str, np.ndarray]) -> None:
    with FaceLandmarker(max_faces=1) as one, FaceLandmarker(max_faces=5) as more:
        (only,), (surest, _) = one.detect(pictures["two faces"]), more.detect(pictures["two faces"])
    np.testing.assert_array_equal(only.points, surest.points)


# --- the detector ----------------------------------------------------------------------------------------------------


def test_anchors_are_the_centres_of_two_grids() -> None:
    fine, coarse = anchors()[:512].reshape(16, 16, 2, 2), anchors()[512:].reshape(8, 8, 6, 2)  # row, column, box, x y
    for grid, cells in ((fine, 16), (coarse, 8)):
        centres = (np.arange(cells) + 0.5) / cells
        assert (grid[..., 0] == centres[None, :, None]).all() and (grid[..., 1] == centres[:, None, None]).all()


def test_boxes_start_from_their_anchors() -> None:
    boxes, logits = np.zeros((896, 16), np.float32), np.full(896, -200, np.float32)
    boxes[:, 2:4] = 64, 32
    boxes[895, :2], boxes[895, 14:] = (-12, 4), (0, -8)
    logits[[0, 895]] = 0, np.log(3)
    logits[5], boxes[5, 2] = 9, -1  # sure of itself, but inside out
    scores, faces = decode(boxes, logits)
    np.testing.assert_allclose(scores, (0.5, 0.75))
    np.testing.assert_allclose(faces[0, :4], np.array((4 - 32, 4 - 16, 4 + 32, 4 + 16)) / 128)
    np.testing.assert_allclose(faces[1, :4], np.array((120 - 12 - 32, 124 - 16, 120 - 12 + 32, 124 + 16)) / 128)
    np.testing.assert_allclose(faces[1, 4:6], (120 / 128, 120 / 128))
    np.testing.assert_allclose(faces[1, 14:], (120 / 128, 112 / 128))


def face(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([x0, y0, x1, y1, *np.linspace(x0, x1, 12)])


def test_overlapping_boxes_become_their_mean_by_score() -> None:
    first, second, apart = face(0, 0, 3, 3), face(0, 0, 3, 2), face(5, 5, 6, 6)
    sure, unsure = merge(np.array((0.6, 0.7, 0.9)), np.stack([second, apart, first]))
    np.testing.assert_allclose(sure, (0.9 * first + 0.6 * second) / 1.5)
    np.testing.assert_allclose(unsure, apart)


@pytest.mark.parametrize(("height", "count"), [(2.02, 1), (1.98, 2)])
def test_boxes_are_of_one_face_if_they_share_over_half_their_union(height: float, count: int) -> None:
    assert len(merge(np.array((0.9, 0.8)), np.stack([face(0, 0, 4, 4), face(0, 0, 4, height)]))) == count


def test_nothing_becomes_nothing() -> None:
    assert merge(np.zeros(0), np.zeros((0, 16))) == []


# --- regions ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)


def test_the_whole_picture_is_itself(noise: np.ndarray) -> None:
    np.testing.assert_array_equal(Region(32, 32, 64, 64).cut(noise, 64, cv2.BORDER_REPLICATE), noise)


def test_a_share_of_a_pixel_is_interpolated_in_steps_of_a_32nd(noise: np.ndarray) -> None:
    cut = Region(32 + 8.2 / 32, 32, 64, 64).cut(noise, 64, cv2.BORDER_REPLICATE)
    right = np.concatenate([noise[:, 1:], noise[:, -1:]], 1)
    np.testing.assert_array_equal(cut, np.floor(noise * 0.75 + right * 0.25 + 0.5).astype(np.uint8))


def test_what_lies_outside(noise: np.ndarray) -> None:
    beside = Region(-64, 32, 64, 64)
    assert not beside.cut(noise, 64, cv2.BORDER_CONSTANT).any()
    np.testing.assert_array_equal(beside.cut(noise, 64, cv2.BORDER_REPLICATE), np.repeat(noise[:, :1], 64, axis=1))


def test_points_go_back_where_the_picture_came_from() -> None:
    picture = np.zeros((80, 120, 3), np.uint8)
    picture[22:25, 69:72] = 255  # round (70, 23)
    region = Region(60, 40, 60, 60, np.pi / 6)
    row, column = np.argwhere(region.cut(picture, 128, cv2.BORDER_REPLICATE)[..., 0] > 250).mean(0)
    (point,) = region.project(np.array([(column / 128, row / 128, 0.5)]), (120, 80))
    assert point[:2] == pytest.approx((70, 23), abs=0.5)
    assert point[2] == pytest.approx(30 * np.hypot(np.cos(np.pi / 6), np.sin(np.pi / 6) * 1.5))


# --- stderr ----------------------------------------------------------------------------------------------------------


def test_two_threads_give_stderr_back() -> None:
    """One begins to be quiet while the other is, and ends after it."""
    first_in, second_out = threading.Event(), threading.Event()
    before = os.fstat(2)

    def first() -> None:
        with quiet_stderr():
            first_in.set()
            second_out.wait(0.3)  # in vain where the second has to wait for us

    def second() -> None:
        first_in.wait()
        with quiet_stderr():
            threads[0].join(0.6)
        second_out.set()

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert os.path.samestat(os.fstat(2), before)
