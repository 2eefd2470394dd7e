"""A talking video at 25 frames a second: time, cuts, rates, and what lies before a face."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from contracts import FPS
from encoders.face.footage import EYES, TooFewPictures, at_25, eyes_dark, nearest, watch
from encoders.face.image import load_image
from encoders.face.landmarks import FaceLandmarker
from encoders.face.portrait import find_faces
from tests.media_support import PORTRAIT, write_pictures


def tracks(times: np.ndarray, hertz: float = 3.0) -> dict[str, np.ndarray]:
    motion = np.sin(2 * np.pi * hertz * times)
    return {
        "keypoints": motion[:, None, None] * np.ones((21, 3)),
        "change": np.ones(len(times)),
        "face_change": np.r_[np.nan, np.ones(len(times) - 1)],
    }


@pytest.mark.parametrize("fps", [24, 30, 30_000 / 1001, 50])
def test_motion_is_where_it_was_in_time(fps: float) -> None:
    """The nearest picture is up to half a picture off; what lies between two is not."""
    times = np.arange(round(4 * fps)) / fps
    found = at_25(times, tracks(times))["keypoints"][:, 0, 0]
    grid = np.arange(len(found)) / FPS
    assert len(found) == pytest.approx(100, abs=1)
    truth = np.sin(2 * np.pi * 3 * grid)
    picked = np.array(list(nearest(zip(times, tracks(times)["keypoints"][:, 0, 0], strict=True))))
    inside = grid < times[-1]
    error = np.abs(found - truth)[inside].mean()
    assert error < 0.04 and (fps == 50 or error < np.abs(picked[: len(truth)] - truth)[inside].mean() / 3)


def test_at_25_a_second_nothing_is_changed() -> None:
    times = np.arange(50) / FPS
    given = tracks(times)
    given["keypoints"][20] = np.nan
    found = at_25(times.round(3), given)
    np.testing.assert_array_equal(found["keypoints"], given["keypoints"])
    np.testing.assert_array_equal(found["face_change"][1:], 1)


def test_nothing_is_made_up_across_a_cut_or_beside_a_gap() -> None:
    times = np.arange(60) / 30
    given = tracks(times)
    given["keypoints"] = np.where(times < 1.0, 0.0, 1.0)[:, None, None] * np.ones((21, 3))
    given["change"][30] = 60
    found = at_25(times, given)
    assert set(np.unique(found["keypoints"])) == {0.0, 1.0}
    assert found["change"].argmax() == np.flatnonzero(found["keypoints"][:, 0, 0])[0]
    given["keypoints"][:] = 0.0
    given["keypoints"][33] = np.nan
    lost = np.isnan(at_25(times, given)["keypoints"][:, 0, 0])
    assert np.flatnonzero(lost).tolist() == [27, 28]  # between pictures 32 and 34 of 30 a second


def test_frames_of_one_picture_say_that_nothing_changed() -> None:
    times = np.arange(48) / 24
    changes = at_25(times, tracks(times))["face_change"]
    assert np.isnan(changes[0]) and sorted(set(changes[1:])) in ([0.0, 1.0], [1.0])


@pytest.fixture(scope="module")
def face() -> tuple[np.ndarray, np.ndarray]:
    picture = load_image(PORTRAIT)
    with FaceLandmarker(max_faces=1) as landmarker:
        return picture, find_faces(landmarker, picture)[0].points


def test_dark_lenses_are_seen_and_eyes_are_not(face: tuple[np.ndarray, np.ndarray]) -> None:
    picture, points = face
    assert not eyes_dark(picture, points)
    worn, width = picture.copy(), np.linalg.norm(points[33, :2] - points[263, :2])
    for eye in EYES:
        x, y = points[list(eye), :2].mean(0)
        cv2.ellipse(worn, (int(x), int(y)), (int(0.28 * width), int(0.25 * width)), 0, 0, 360, (25, 22, 24), -1)
    assert eyes_dark(worn, points)
    assert not eyes_dark((0.4 * picture).astype(np.uint8), points)  # a dim picture has light skin as seldom


def test_a_hand_before_the_mouth_is_seen(tmp_path: Path, face: tuple[np.ndarray, np.ndarray]) -> None:
    """From 1.25 s on; the mouth is looked at once a second."""
    picture, points = face
    scale = 480 / max(picture.shape)
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    small = small[: small.shape[0] // 2 * 2, : small.shape[1] // 2 * 2]
    (x, y), width = points[13, :2] * scale, np.linalg.norm(points[33, :2] - points[263, :2]) * scale
    axes = (round(0.85 * width), round(0.6 * width))
    hidden = cv2.ellipse(small.copy(), (int(x), int(y)), axes, 0, 0, 360, (120, 160, 220), -1)
    path = write_pictures(tmp_path / "talk.mp4", [small] * 25 + [hidden] * 35, rate=20)
    found = watch(path)
    assert len(found) == 75 and found.covered[30:].all() and not found.covered[:25].any()
    assert not found.several.any() and found.dark_eyes == 0


@pytest.mark.parametrize("repeated", [False, True])
def test_too_few_pictures_are_refused_with_the_least_rate(tmp_path: Path, repeated: bool) -> None:
    """Also where every one is there twice."""
    noise = np.random.default_rng(0).integers(0, 255, (30, 64, 64, 3)).astype(np.uint8)
    pictures = [picture for picture in noise for _ in range(1 + repeated)]
    path = write_pictures(tmp_path / "slow.mp4", pictures, rate=15 * (1 + repeated))
    with pytest.raises(TooFewPictures, match=r"slow.mp4 has 15(\.\d)? different pictures a second, and .* 20"):
        watch(path)
