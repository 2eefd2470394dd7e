"""What the renderer was told against what a face tracker sees in its frames: mouth, yaw, roll and blinks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from contracts import BLENDSHAPES, KEYPOINT_VERTICES
from encoders.face.headfit import fit_head
from encoders.face.landmarks.landmarker import FaceLandmarker
from encoders.face.portrait import encode_face
from moda.render import MeshRenderer

PORTRAIT = Path(__file__).parents[3] / "examples" / "portrait.jpg"
FRAMES = 24
OPEN_JAW = {14: (0, -0.27, -0.09), 17: (0, -0.28, -0.13), 152: (0, -0.19, -0.15), 61: (0.02, -0.1, -0.06),
            291: (-0.02, -0.1, -0.06)}  # fmt: skip


@pytest.mark.slow
def test_the_tracker_sees_what_was_told() -> None:
    turn = np.linspace(0, 2 * np.pi, FRAMES, endpoint=False)
    told = {"gap": 0.5 - 0.5 * np.cos(3 * turn), "yaw": 9 * np.sin(turn), "roll": 6 * np.sin(2 * turn)}
    frames = np.zeros((FRAMES + 1, 70), np.float32)  # the last one is a blink
    frames[:, 63] = 1
    frames[:-1, 68], frames[:-1, 69] = told["yaw"], told["roll"]
    for vertex, xyz in OPEN_JAW.items():
        at = 3 * KEYPOINT_VERTICES.index(vertex)
        frames[:-1, at : at + 3] = told["gap"][:, None] * xyz
    for lid in (11, 12):
        frames[-1, 3 * lid + 1] = -0.13

    face = encode_face(PORTRAIT)
    renderer = MeshRenderer()
    seen: dict[str, list[float]] = {"gap": [], "yaw": [], "roll": [], "blink": []}
    with FaceLandmarker() as landmarker:
        for frame in renderer.render(renderer.prepare(face, 512), frames):
            (found,) = landmarker.detect(frame)
            fit = fit_head(found.points)
            seen["gap"].append(float(fit.vertices[13, 1] - fit.vertices[14, 1]))
            seen["yaw"].append(fit.pose[1] - face.pose[1])
            seen["roll"].append(fit.pose[2] - face.pose[2])
            blinks = (BLENDSHAPES.index("eyeBlinkLeft"), BLENDSHAPES.index("eyeBlinkRight"))
            seen["blink"].append(float(np.mean([found.blendshapes[i] for i in blinks])))

    gap, yaw, roll = (np.array(seen[name][:-1]) for name in ("gap", "yaw", "roll"))
    assert np.corrcoef(gap, told["gap"])[0, 1] >= 0.95
    assert np.abs(yaw - told["yaw"]).mean() <= 1.5
    assert np.abs(roll - told["roll"]).mean() <= 1.0
    assert seen["blink"][-1] >= max(seen["blink"][0], 0.1) + 0.25
