"""The doctor's comparison of the face landmarker with MediaPipe, which the tests of the landmarker make in earnest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from encoders.face.landmarks.landmarker import FaceLandmarker, Landmarks
from pipelines.cli import doctor

Reference = Callable[[list[np.ndarray]], Iterator[list[Landmarks]]]


def finding(reference: Reference, monkeypatch: pytest.MonkeyPatch) -> doctor.Finding:
    monkeypatch.setattr("encoders.face.reference_landmarks", reference)
    for slow in ("_networks", "_self_test", "_signing"):
        monkeypatch.setattr(doctor, slow, lambda *_: "")
    (found,) = [finding for finding in doctor.examine(reference=True) if "mediapipe" in finding.name]
    return found


def shifted(by: float) -> Reference:
    def look(images: list[np.ndarray]) -> Iterator[list[Landmarks]]:
        with FaceLandmarker() as landmarker:
            yield [replace(face, points=face.points + np.float32(by)) for face in landmarker.detect(images[0])]

    return look


def test_the_largest_difference_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    found = finding(shifted(1 / 16), monkeypatch)
    assert found.ok and "0.0625 px of a landmark, 0.0000 of a blendshape" in found.detail


def test_landmarks_elsewhere_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    found = finding(shifted(0.5), monkeypatch)
    assert not found.ok and "0.5000 px" in found.detail and "at most 0.1 px" in found.detail


def test_a_missing_library_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def look(images: list[np.ndarray]) -> Iterator[list[Landmarks]]:
        raise OSError("libEGL.so.1: cannot open shared object file")

    found = finding(look, monkeypatch)
    assert not found.ok and "libEGL" in found.detail and "apt-get install libegl1 libgles2" in found.detail


def test_without_being_asked_it_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for slow in ("_networks", "_self_test", "_signing"):
        monkeypatch.setattr(doctor, slow, lambda *_: "")
    assert not [finding for finding in doctor.examine() if "mediapipe" in finding.name]
