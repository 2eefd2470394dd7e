"""Identity encoder: neutral keypoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from contracts import LOWER_LIP, UPPER_LIP
from encoders.face.portrait import encode_face
from encoders.identity import encode_identity, shut_lips

PORTRAIT = Path(__file__).resolve().parents[2] / "examples" / "portrait.jpg"


def test_identity_is_the_face_with_its_mouth_shut() -> None:
    face = encode_face(PORTRAIT)  # a smile with teeth
    identity = encode_identity(face)
    assert identity.shape == (63,) and identity.dtype == np.float32
    points = identity.reshape(21, 3)
    assert face.keypoints[UPPER_LIP, 1] - face.keypoints[LOWER_LIP, 1] > 0.08
    assert points[UPPER_LIP, 1] - points[LOWER_LIP, 1] == pytest.approx(0.004, abs=1e-5)
    untouched = [0, 1, 4, 6, 7, *range(9, 21)]
    np.testing.assert_array_equal(points[untouched], face.keypoints[untouched])
    np.testing.assert_array_equal(points[:, [0, 2]], face.keypoints[:, [0, 2]])


def test_shut_lips_stay_as_they_are() -> None:
    keypoints = np.random.default_rng(0).normal(size=(7, 21, 3))
    keypoints[:, LOWER_LIP, 1] = keypoints[:, UPPER_LIP, 1] + np.linspace(0, 0.01, 7)  # touching or crossed
    np.testing.assert_array_equal(shut_lips(keypoints), keypoints)


def test_shutting_is_proportional_and_leaves_the_input_alone() -> None:
    keypoints = np.zeros((2, 21, 3))
    keypoints[:, LOWER_LIP, 1] = (-0.104, -0.204)
    before = keypoints.copy()
    moved = shut_lips(keypoints) - keypoints
    np.testing.assert_array_equal(keypoints, before)
    np.testing.assert_allclose(moved[1], 2 * moved[0])
    np.testing.assert_allclose(moved[0, [2, 3, 5, 8], 1], (-0.025, 0.075, 0.06, 0.04))
