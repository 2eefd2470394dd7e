"""The mesh renderer, on a drawn face: no detector and no picture needed."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import torch

from contracts import EMOTIONS, KEYPOINT_VERTICES, SourceFace
from moda.motion.templates import EMOTION_TEMPLATES, WIDE, express
from moda.render import MeshRenderer, RenderError
from moda.render.mesh.expression import MAX_LID_RATIO, Expression, lid_ratio
from moda.render.mesh.geometry import HEAD_SHIFT, MAX_TRANSLATION, HeadFit, HeadMotion, clamp_yaw, rotation, soft_clamp
from moda.render.mesh.renderer import MeshPortrait, _one_thread
from moda.render.mesh.topology import EYES, INNER_LOWER_LIP, INNER_UPPER_LIP, OVAL, face_mesh
from moda.render.mesh.warp import HAIR_STRETCH, SLANT, _gaps, _room

if TYPE_CHECKING:
    from collections.abc import Iterator

    from contracts import Array

SIZE = 256
JAW = {61: (26, -123, -77), 291: (-26, -123, -77), 14: (0, -337, -116), 17: (0, -352, -170), 40: (-14, -46, -42),
       270: (14, -46, -42), 152: (0, -239, -190)}  # fmt: skip
BLINK = {159: (18, -140, 14), 386: (-18, -140, 14), 145: (0, -2, -3), 374: (0, -2, -3)}
GAZE = {468: (50, 0, 0), 473: (50, 0, 0)}


def motion(
    amount: float = 1.0, pose: tuple[float, float, float] = (0, 0, 0),
    translation: tuple[float, float, float] = (0, 0, 0), scale: float = 1.0, **groups: dict,
) -> Array:  # fmt: skip
    """One motion row: keypoint displacements in 1/1000 OC times ``amount``, and a pose."""
    row = np.zeros(70, np.float32)
    row[63], row[64:67], row[67:] = scale, translation, pose
    for group in groups.values():
        for vertex, xyz in group.items():
            at = 3 * KEYPOINT_VERTICES.index(vertex)
            row[at : at + 3] += amount * np.array(xyz, np.float32) / 1000
    return row


def drawn_face(yaw: float = 0.0, gap: float = 0.0) -> SourceFace:
    """The mean face, drawn as a cartoon on a checked wall. ``gap``: OC between its lips."""
    vertices = face_mesh().neutral.copy()
    vertices[list(INNER_LOWER_LIP[1:-1]), 1] -= gap
    vertices[[13, 14], 1] += (0.0, 0.02)
    scale, side = 70.0, 320
    fit = rotation(4, yaw, 2)
    origin = np.array([side / 2, -side / 2 + 10, 0], np.float32)
    points = vertices @ fit.T * scale + origin
    landmarks = (points * [1, -1, -1]).astype(np.float32)

    rows, columns = np.mgrid[0:side, 0:side]
    image = np.where(((rows // 16 + columns // 16) % 2)[..., None] > 0, [120, 150, 170], [90, 110, 150]).astype(
        np.uint8
    )

    def fill(ring: list[int], colour: tuple[int, int, int], grow: float = 1.0) -> None:
        contour = landmarks[ring, :2]
        contour = (contour - contour.mean(axis=0)) * grow + contour.mean(axis=0)
        cv2.fillPoly(image, [contour.round().astype(np.int32)], colour, cv2.LINE_AA)

    cv2.ellipse(image, (side // 2, side), (110, 70), 0, 0, 360, (60, 60, 90), -1)
    fill(list(OVAL), (70, 45, 30), 1.25)
    fill(list(OVAL), (215, 170, 150))
    for eye in EYES:
        fill([*eye.upper, *eye.lower[::-1]], (240, 240, 235))
        centre = landmarks[eye.iris, :2]
        cv2.circle(image, (int(centre[0]), int(centre[1])), 4, (60, 80, 40), -1, cv2.LINE_AA)
    fill([61, 40, 0, 270, 291, 17], (190, 90, 90))
    cv2.polylines(image, [landmarks[list(INNER_LOWER_LIP), :2].round().astype(np.int32)], False, (110, 40, 40), 2)
    image = cv2.GaussianBlur(image, (0, 0), 0.8)
    grain = np.random.default_rng(0).normal(0, 2, image.shape)
    return SourceFace(
        image=np.clip(image + grain, 0, 255).astype(np.uint8),
        crop=(10, 8, 300),
        landmarks=landmarks,
        vertices=vertices,
        fit_rotation=fit,
        fit_scale=scale,
        fit_translation=origin,
        pose=(4.0, yaw, 2.0),
        blendshapes=np.zeros(52, np.float32),
        skull_rms=0.0,
    )


@pytest.fixture(scope="module")
def portrait() -> MeshPortrait:
    return MeshRenderer().prepare(drawn_face(), SIZE)


def draw(portrait: MeshPortrait, *rows: Array) -> list[Array]:
    return list(MeshRenderer().render(portrait, np.stack(rows)))


def test_no_motion_is_the_photo_to_the_bit(portrait: MeshPortrait) -> None:
    face = drawn_face()
    x0, y0, side = face.crop
    photo = cv2.resize(face.image[y0 : y0 + side, x0 : x0 + side], (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    (frame,) = draw(portrait, motion())
    assert frame.dtype == np.uint8
    np.testing.assert_array_equal(frame, photo)


def test_the_same_motion_gives_the_same_frames(portrait: MeshPortrait) -> None:
    rows = [motion(0.7, (5, -8, 3), jaw=JAW, lids=BLINK, gaze=GAZE), motion(0.2, jaw=JAW)]
    again = MeshRenderer().prepare(drawn_face(), SIZE)
    for first, second in zip(draw(portrait, *rows), draw(again, *rows), strict=True):
        np.testing.assert_array_equal(first, second)


def test_opencv_threads_are_left_as_they_were(portrait: MeshPortrait) -> None:
    threads = cv2.getNumThreads()
    for count, _ in zip((2, 3), MeshRenderer().render(portrait, np.stack([motion()] * 2)), strict=True):
        assert cv2.getNumThreads() == (threads if count == 2 else 2)
        cv2.setNumThreads(2)
    cv2.setNumThreads(threads)


def test_renders_side_by_side_leave_opencv_as_it_was() -> None:
    """Two frames drawn in two threads, the first begun being the first to end."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(3)
    first, second = ExitStack(), ExitStack()
    for frame in (first, second):
        frame.enter_context(_one_thread())
    for frame in (first, second):
        assert cv2.getNumThreads() == 1
        frame.close()
    assert cv2.getNumThreads() == 3
    cv2.setNumThreads(threads)


@pytest.mark.parametrize("group", [JAW, BLINK, GAZE], ids=["jaw", "lids", "gaze"])
def test_nothing_pops_in_a_slow_sweep(portrait: MeshPortrait, group: dict) -> None:
    frames = MeshRenderer().render(portrait, np.stack([motion(i / 40, part=group) for i in range(41)]))
    steps = [np.abs(a.astype(np.int16) - b).mean() for a, b in itertools.pairwise(frames)]
    assert min(steps) > 0
    assert max(steps) / np.median(steps) <= 2


def test_an_open_jaw_changes_the_mouth_and_not_the_border(portrait: MeshPortrait) -> None:
    rest, opened = draw(portrait, motion(), motion(jaw=JAW))
    change = np.abs(opened.astype(np.int16) - rest).max(axis=-1)
    x, y = portrait.points[[13, 14], :2].mean(axis=0) * [1, -1]
    assert change[int(y) + 4 : int(y) + 14, int(x) - 5 : int(x) + 6].mean() > 40
    assert change[: int(-portrait.points[105, 1])].max() <= 2, "the jaw moved the forehead"
    for edge in (change[0], change[-1], change[:, 0], change[:, -1]):
        assert edge.max() == 0


def test_the_upper_lip_is_lined() -> None:
    """Else teeth begin where the skin ends, and a lip as pale as skin is not told from them."""
    portrait = MeshRenderer().prepare(drawn_face(), 512)
    row = motion(jaw=JAW)
    (frame,) = draw(portrait, row)
    shape = portrait.expression(row[:63].reshape(21, 3))
    x, y = (portrait.fit.to_render(shape.vertices[13])[:2] * [1, -1]).round().astype(int)
    red, green, _ = frame[y : y + 2, x - 4 : x + 5].mean(axis=(0, 1))
    assert green < 0.68 * red, "of teeth it is .82"


def test_a_turned_head_leaves_the_border_pinned(portrait: MeshPortrait) -> None:
    rest, turned = draw(portrait, motion(), motion(pose=(8, 15, -10)))
    change = np.abs(turned.astype(np.int16) - rest).max(axis=-1)
    assert change.mean() > 5
    for edge in (change[0], change[-1], change[:, 0], change[:, -1]):
        assert edge.max() <= 2  # the half-resolution map is not exact where the border meets a moving neighbour


@pytest.mark.parametrize(("pose", "axis", "sign"), [((0, 10, 0), 0, 1), ((10, 0, 0), 1, -1)], ids=["yaw", "pitch"])
def test_the_nose_goes_where_the_head_turns(portrait: MeshPortrait, pose: tuple, axis: int, sign: int) -> None:
    moved = portrait.warp.move(np.zeros((478, 3), np.float32), HeadMotion.of(motion(pose=pose), portrait.fit))
    ahead = moved[4] - moved[[234, 454]].mean(axis=0) - (portrait.points[4] - portrait.points[[234, 454]].mean(axis=0))
    assert sign * ahead[axis] > 0.08 * portrait.fit.unit


def test_roll_is_counter_clockwise_on_screen(portrait: MeshPortrait) -> None:
    moved = portrait.warp.move(np.zeros((478, 3), np.float32), HeadMotion.of(motion(pose=(0, 0, 10)), portrait.fit))
    assert moved[263, 1] - moved[33, 1] > portrait.points[263, 1] - portrait.points[33, 1]


def random_keypoints(n: int) -> Iterator[Array]:
    generator = np.random.default_rng(1)
    for _ in range(n):
        yield generator.normal(0, 0.15, (21, 3)).astype(np.float32)


@pytest.mark.parametrize("gap", [0.0, 0.12])
def test_lips_never_cross(gap: float) -> None:
    expression = Expression(drawn_face(gap=gap).vertices)
    assert expression.mouth_open == (gap > 0)
    pairs = list(zip(INNER_UPPER_LIP[1:-1], INNER_LOWER_LIP[1:-1], strict=True))
    at_rest = [min(0.0, float(expression.rest[u, 1] - expression.rest[w, 1])) for u, w in pairs]
    for keypoints in random_keypoints(200):
        shape = expression(keypoints)
        assert shape.gap >= 0
        for (upper, lower), rest in zip(pairs, at_rest, strict=True):
            assert shape.vertices[upper, 1] - shape.vertices[lower, 1] >= rest - 1e-6


def test_lids_shut_but_do_not_cross() -> None:
    expression = Expression(drawn_face().vertices)
    for keypoints in random_keypoints(200):
        shape = expression(keypoints)
        for eye, lid in zip(EYES, shape.lids, strict=True):
            assert 0 <= lid <= MAX_LID_RATIO
            assert (shape.vertices[list(eye.upper), 1] - shape.vertices[list(eye.lower), 1] >= 0).all()
    shut = expression(motion(lids=BLINK)[:63].reshape(21, 3))
    assert shut.lids == (0, 0)


def test_lid_ratio() -> None:
    assert lid_ratio(0, 0) == 1
    assert lid_ratio(-0.116, 0) == 0
    assert lid_ratio(-0.03, 0) == pytest.approx(1 - 0.03 / 0.116)
    assert lid_ratio(0, 0.02) == pytest.approx(1 - 0.01 / 0.116)
    assert lid_ratio(0.3, 0) <= MAX_LID_RATIO


def test_a_portrait_with_parted_lips_can_shut_them() -> None:
    opened = Expression(drawn_face(gap=0.12).vertices)
    assert opened(np.zeros((21, 3), np.float32)).gap < 0.03
    assert opened(motion(0.5, jaw=JAW)[:63].reshape(21, 3)).gap > 0.1


def test_keypoints_go_where_they_are_told() -> None:
    """The expansion keeps the keypoints themselves; lids follow their own formula and are left out."""
    expression = Expression(drawn_face().vertices)
    told = motion(0.4, jaw=JAW)[:63].reshape(21, 3)
    shape = expression(told)
    others = [i for i in range(21) if i not in range(11, 17)]
    at = [KEYPOINT_VERTICES[i] for i in others]
    np.testing.assert_allclose(shape.vertices[at] - expression.rest[at], told[others], atol=2e-3)


def test_head_motion_is_clamped() -> None:
    fit = HeadFit(np.eye(3, dtype=np.float32), 100.0, np.zeros(3, np.float32), yaw=0.0)
    row = motion(pose=(90, 90, 90))
    row[63:67] = 5, 9, -9, 9
    head = HeadMotion.of(row, fit)
    assert np.abs(head.shift).max() <= MAX_TRANSLATION * 100 + 1e-4
    assert np.abs(head.shift - head.carried).max() <= HEAD_SHIFT * 100 + 1e-4, "the shoulders go with it"
    narrow = HeadMotion.of(row, fit, np.full((2, 2), 0.2, np.float32))
    assert np.abs(narrow.shift[:2]).max() <= 0.2 * 100 + 1e-4
    assert np.cbrt(np.linalg.det(head.rotation.astype(float))) <= 1.08 + 1e-6
    assert clamp_yaw(90, 0) == pytest.approx(18)
    assert clamp_yaw(-90, 30) == pytest.approx(-1.5), "a face turned to one side turns back only little"
    assert clamp_yaw(90, 30) == pytest.approx(8)
    assert soft_clamp(3, 18) == 3
    assert 0 < soft_clamp(17, 18) < 17


def test_a_shifted_head_takes_the_shoulders_along_and_leaves_inner_borders(portrait: MeshPortrait) -> None:
    (frame,) = draw(portrait, motion(translation=(0.4, 0.2, 0)))
    for border in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        np.testing.assert_array_equal(frame[border], portrait.photo[border])
    still, moved = (
        portrait.warp.move(np.zeros((478, 3), np.float32), HeadMotion.of(motion(translation=(x, 0, 0)), portrait.fit))
        for x in (0, 0.4)
    )
    below_chin = portrait.points[152, :2] - (0, 0.5 * portrait.fit.unit)
    neck = 468 + int(np.linalg.norm(still[468:, :2] - below_chin, axis=1).argmin())
    shifts = (moved - still)[:, 0] / portrait.fit.unit
    assert shifts[4] == pytest.approx(0.4, abs=0.05)
    assert 0.1 < shifts[neck] < shifts[4]


def test_what_reaches_the_border_of_the_picture_slides_along_it_and_comes_in_from_nowhere() -> None:
    face = drawn_face()
    x0, y0, side = face.crop
    moved = np.array([x0, y0, 0], np.float32)
    cut = replace(
        face,
        image=face.image[y0 : y0 + side, x0 : x0 + side],
        crop=(0, 0, side),
        landmarks=face.landmarks - moved,
        fit_translation=face.fit_translation - moved * (1, -1, 1),
    )
    warp = MeshRenderer().prepare(cut, SIZE).warp
    at, fit = warp.rest, HeadFit(np.eye(3, dtype=np.float32), 60.0, np.zeros(3, np.float32), yaw=0.0)
    for x, y in itertools.product((-0.4, 0, 0.4), (-0.4, 0, 0.4)):
        there = warp.move(np.zeros((478, 3), np.float32), HeadMotion.of(motion(translation=(x, y, 0)), fit, warp.room))
        bottom, left, top = at[:, 1] == -SIZE, at[:, 0] == 0, at[:, 1] == 0
        assert (there[bottom, 1] <= -SIZE).all()
        assert (there[left, 0] <= 0).all()
        assert (there[top, 1] >= 0).all()
        if x:
            assert np.abs(there[bottom, 0] - at[bottom, 0]).max() > 5, "shoulders slide along the lower border"


def test_a_head_goes_far_where_it_takes_the_shoulders_out_of_the_picture_and_no_hair_is_torn() -> None:
    gaps = np.array([0.0, 0.05, 1.0, 0.0])  # OC of wall: none at the left, a little above, much at the right
    free = _room((False, False, False, False), gaps)
    assert free[0, 0] == pytest.approx(MAX_TRANSLATION), "away from the wall at the right"
    assert free[1, 0] == pytest.approx(HAIR_STRETCH) and HAIR_STRETCH < free[0, 1] < MAX_TRANSLATION
    assert _room((False, False, False, True), gaps).max() == pytest.approx(SLANT), "the shoulders stay at the border"


def test_a_strip_of_wall_beside_the_head_is_not_its_hair() -> None:
    matte = np.zeros((100, 100), bool)
    matte[20:90, 30:70] = True
    matte[50:54, :30] = True
    np.testing.assert_array_equal(_gaps(matte, 80), [30, 20, 30, 0])
    assert not _gaps(np.zeros((100, 100), bool), 80).any()


@pytest.mark.parametrize("size", [255, 62, 3842])
def test_impossible_sizes_are_refused(size: int) -> None:
    with pytest.raises(RenderError, match="64 to 3840"):
        MeshRenderer().prepare(drawn_face(), size)


def test_broken_motion_is_refused(portrait: MeshPortrait) -> None:
    with pytest.raises(RenderError, match="70"):
        next(iter(MeshRenderer().render(portrait, np.zeros((2, 63), np.float32))))
    broken = motion()
    broken[5] = np.nan
    with pytest.raises(RenderError, match="finite"):
        next(iter(MeshRenderer().render(portrait, broken[None])))


def test_frames_come_one_by_one(portrait: MeshPortrait) -> None:
    """An hour of motion must not be rendered before the first frame is out."""
    frames = MeshRenderer().render(portrait, np.broadcast_to(motion(0.5, jaw=JAW), (90_000, 70)))
    first, second = next(frames), next(frames)
    assert first is not second
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("yaw", [-30.0, 24.0])
def test_turned_portraits_and_larger_frames(yaw: float) -> None:
    portrait = MeshRenderer().prepare(drawn_face(yaw, gap=0.1), 384)
    (frame,) = draw(portrait, motion(0.5, (4, 10, -4), jaw=JAW, lids=BLINK))
    assert frame.shape == (384, 384, 3)


def test_templates() -> None:
    assert EMOTION_TEMPLATES.shape == (9, 70)
    assert EMOTION_TEMPLATES.dtype == np.float32
    for name in ("neutral", "none"):
        assert not EMOTION_TEMPLATES[EMOTIONS.index(name)].any()
    happy = EMOTION_TEMPLATES[EMOTIONS.index("happiness")].reshape(-1)[:63].reshape(21, 3)
    np.testing.assert_allclose(happy[0] * [-1, 1, 1], happy[1])  # mirrored corners
    assert happy[0, 1] > 0.05
    contempt = EMOTION_TEMPLATES[EMOTIONS.index("contempt")][:63].reshape(21, 3)
    assert contempt[1, 1] > 0 > contempt[0, 1]


@pytest.mark.parametrize("emotion", range(9))
def test_an_emotion_leaves_shut_lips_shut_and_the_gap_in_order(emotion: int) -> None:
    gaps = torch.linspace(0, 0.3, 31)
    speech = torch.zeros(31, 70)
    speech[:, 10] = -gaps  # the lower inner lip's y
    shown = express(speech, emotion, 1.0)
    found = shown[:, 7] - shown[:, 10]
    assert abs(float(found[0])) < 1e-6 and (found.diff() > 0).all()
    template = torch.from_numpy(EMOTION_TEMPLATES[emotion].copy())
    wide = found[gaps > WIDE] - gaps[gaps > WIDE]
    torch.testing.assert_close(wide, wide[:1].expand_as(wide))
    assert torch.sign(wide[0].round(decimals=5)) == torch.sign((template[7] - template[10]).round(decimals=5))
    torch.testing.assert_close(shown[:, 27:] - speech[:, 27:], template[27:].expand(31, -1), atol=1e-6, rtol=0)
    half = express(speech, emotion, 0.5)
    torch.testing.assert_close(half - speech, (shown - speech) / 2, atol=1e-6, rtol=0)
