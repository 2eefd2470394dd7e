"""What of the picture is filmed: nothing but the head changes, and it changes without a seam."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from contracts import SourceFace
from moda.render import Framing, MeshRenderer, RenderError
from moda.render.mesh.topology import OVAL
from pipelines.render import Film
from tests.media_support import read_frames
from tests.moda.render.test_mesh import JAW, drawn_face, motion

if TYPE_CHECKING:
    from contracts import Array
    from moda.render import Background

EXTREME = np.stack(
    [
        motion(),
        motion(pose=(20, 25, -20), jaw=JAW, translation=(0.2, 0.2, 0.2), scale=1.2),
        motion(pose=(-20, -25, 20), jaw=JAW, translation=(-0.2, -0.2, 0), scale=0.8),
    ]
)
MODERATE = np.stack([motion(), motion(0.4, (4, 8, -6), jaw=JAW), motion(0.4, (-4, -8, 6), jaw=JAW)])


def film(face: SourceFace, framing: Framing, rows: Array = EXTREME) -> list[Array]:
    """Whole frames."""
    scene = framing.scene(face)
    prepared = MeshRenderer().prepare(scene.face, scene.size, framing.background)
    return [scene.compose(head) for head in MeshRenderer().render(prepared, rows)]


def two_faces(away: int = 150) -> SourceFace:
    """The drawn face, and the same once more ``away`` px to its right, cut by the head crop's border."""
    face = drawn_face()
    picture = np.pad(face.image, ((0, 0), (0, away), (0, 0)), mode="edge")
    between = face.image.shape[1] // 2 + away // 2
    picture[:, between:] = face.image[:, between - away :]
    return replace(face, image=picture, others=(face.landmarks + np.float32([away, 0, 0]),))


def on_face(landmarks: Array, picture: Array) -> Array:
    mask = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(landmarks[list(OVAL), :2].astype(np.float32)).astype(np.int32), 1)
    return mask > 0


@pytest.mark.parametrize(
    ("framing", "shape"),
    [
        (Framing(), (318, 320)),
        (Framing("full"), (318, 320)),
        (Framing("crop"), (512, 512)),
        (Framing("crop", 300), (300, 300)),
        (Framing(size=256), (256, 256)),
    ],
)
def test_what_is_filmed(framing: Framing, shape: tuple[int, int]) -> None:
    face = drawn_face()
    scene = framing.scene(replace(face, image=face.image[:319]))
    assert scene.compose(np.zeros((scene.size, scene.size, 3), np.uint8)).shape[:2] == shape


def test_a_picture_that_is_nothing_but_the_head_is_a_crop_of_the_usual_size() -> None:
    face = drawn_face()
    scene = Framing().scene(replace(face, image=face.image[:300, :300], crop=(0, 0, 300)))
    assert (scene.size, scene.picture) == (512, None)


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ({"size": 333}, "333"),
        ({"size": 128}, "256 to 1024"),
        ({"size": 1026}, "256 to 1024"),
        ({"frame": "full", "size": 512}, "leave out --size"),
        ({"frame": "round"}, "full or crop"),
        ({"background": "moving"}, "still or follow"),
    ],
)
def test_impossible_choices_are_refused(choice: dict, says: str) -> None:
    with pytest.raises(RenderError, match=says):
        Framing(**choice)


@pytest.mark.parametrize(("crop", "cut"), [((10, 8, 300), 0), ((11, 9, 299), 1), ((19, 19, 300), 1), ((0, 0, 319), 1)])
def test_the_resting_full_frame_is_the_picture_to_the_bit(crop: tuple[int, int, int], cut: int) -> None:
    face = drawn_face()
    picture = face.image[: 320 - cut, : 320 - cut]
    (frame,) = film(replace(face, image=picture, crop=crop), Framing("full"), EXTREME[:1])
    even = 320 - 2 * cut
    np.testing.assert_array_equal(frame, picture[:even, :even])


@pytest.mark.parametrize("background", ["still", "follow"])
def test_the_head_moves_without_a_seam(background: Background) -> None:
    """What lies outside the head crop never changes, nor does its border; inside, change sets in gently."""
    face = drawn_face()
    picture = np.pad(face.image, ((0, 100), (100, 100), (0, 0)), mode="edge")
    face = replace(
        face, image=picture, crop=(111, 9, 299), landmarks=face.landmarks + np.float32([100, 0, 0]),
        fit_translation=face.fit_translation + np.float32([100, 0, 0]),
    )  # fmt: skip
    framing = Framing("full", background=background)
    (x, y), side = framing.scene(face).corner, framing.scene(face).size
    for frame in film(face, framing)[1:]:
        change = np.abs(frame.astype(int) - picture).max(axis=-1)
        head = change[y + 1 : y + side - 1, x + 1 : x + side - 1].copy()
        change[y + 1 : y + side - 1, x + 1 : x + side - 1] = 0
        assert head.mean() > 5
        assert change.max() == 0
        if background == "still":  # a sheet that is stretched moves right beside where it is held
            assert max(edge.max() for edge in (head[0], head[-1], head[:, 0], head[:, -1])) <= 3


def test_a_background_may_follow() -> None:
    """The wall beside the head: pinned, or drawn along."""
    face = drawn_face()
    x, y = face.landmarks[454, :2].astype(int)
    beside = np.s_[y - 20 : y + 20, x + 45 : x + 65]
    changes = {}
    backgrounds: tuple[Background, ...] = ("still", "follow")
    for background in backgrounds:
        rest, moved, _ = film(face, Framing("full", background=background), MODERATE)
        changes[background] = np.abs(moved.astype(int) - rest)[beside].mean()
    assert changes["still"] < 1 < 5 < changes["follow"]


@pytest.mark.parametrize("background", ["still", "follow"])
def test_other_faces_stay_still(background: Background) -> None:
    face = two_faces()
    framing = Framing("full", background=background)
    mask = on_face(face.others[0], face.image)
    rest, *moved = film(face, framing, MODERATE)
    for frame in moved:
        assert np.abs(frame.astype(int) - rest)[on_face(face.landmarks, face.image)].mean() > 5
        assert np.abs(frame.astype(int) - rest)[mask].max() == 0
    if background == "follow":  # what the test is worth
        dragged = film(replace(face, others=()), framing, MODERATE)[1]
        assert np.abs(dragged.astype(int) - rest)[mask].mean() > 1


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="memory in use is read from /proc, as on Linux")
def test_memory_does_not_grow_with_the_frames(tmp_path: Path) -> None:
    """One kept head crop in ten would show; bench/memory.py films ten thousand frames."""
    face = drawn_face()
    side = 96  # px: the count matters
    scale = np.float32(side / face.crop[2])
    picture = cv2.resize(face.image, None, fx=float(scale), fy=float(scale), interpolation=cv2.INTER_AREA)
    small = replace(
        face, image=picture, crop=(3, 2, side), landmarks=face.landmarks * scale, fit_scale=face.fit_scale * scale,
        fit_translation=face.fit_translation * scale,
    )  # fmt: skip
    rows = np.stack([motion(0.3 + 0.3 * np.sin(k), (5 * np.sin(k / 3), 0, 0), jaw=JAW) for k in range(100)])
    used = {}
    for step in Film(small, tmp_path / "out.mp4", Framing("full")).shoot(MeshRenderer(), [rows] * 20, 2_000, "mesh"):
        if step.done in (400, 2_000):
            used[step.done] = int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    assert used[2_000] - used[400] < 4 * 2**20
    assert len(read_frames(tmp_path / "out.mp4")) == 2_000


@pytest.mark.parametrize(
    ("crop", "framing", "said"),
    [
        (300, Framing("full"), ""),  # as large as it is
        (300, Framing("crop", 374), ""),  # 1.247 times
        (300, Framing("crop", 376), "enlarged 1.3 times"),
        (100, Framing("crop"), "enlarged 5.1 times"),
        (100, Framing("full"), ""),
    ],
)
def test_a_small_face_is_warned_of_where_it_is_drawn_larger(crop: int, framing: Framing, said: str) -> None:
    face = replace(drawn_face(), crop=(10, 8, crop))
    warnings = framing.scene(face).warnings
    assert bool(warnings) == bool(said)
    assert all("the face is small (70 px between the eyes)" in warning and said in warning for warning in warnings)
