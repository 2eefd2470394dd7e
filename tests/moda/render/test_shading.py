"""What an expression does to the light on a face, and what follows it: folds, lids, the outline of a turned head."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from contracts import EMOTIONS
from moda.motion.templates import EMOTION_TEMPLATES
from moda.render import MeshRenderer
from moda.render.mesh.expression import LIDS_FOLLOW, Expression, follow_gaze
from moda.render.mesh.renderer import MeshPortrait
from moda.render.mesh.topology import OVAL
from moda.render.mesh.warp import _unfold
from tests.moda.render.test_mesh import BLINK, JAW, SIZE, draw, drawn_face, motion

GRIN = {61: (-80, 115, -90), 291: (80, 115, -90), 40: (-45, 75, -60), 270: (45, 75, -60), 205: (-34, 45, -20),
        425: (34, 45, -20), 145: (0, 26, 0), 374: (0, 26, 0)}  # fmt: skip
SNEER = {13: (0, 80, 10), 0: (0, 80, 10), 40: (0, 85, 5), 270: (0, 85, 5), 107: (30, -85, 10), 336: (-30, -85, 10)}
RAISED = {107: (0, 85, 0), 336: (0, 85, 0), 105: (0, 90, 0), 334: (0, 90, 0)}


@pytest.fixture(scope="module")
def portrait() -> MeshPortrait:
    return MeshRenderer().prepare(drawn_face(), SIZE)


def shade(portrait: MeshPortrait, *groups: dict, amount: float = 1.0) -> np.ndarray:
    """Change of the photo's brightness, float [S, S], under an expression."""
    row = sum(motion(amount, group=group)[:63] for group in groups)
    lit = portrait.shading(portrait.expression(row.reshape(21, 3)))
    return lit.astype(float).mean(-1) - portrait.photo.astype(float).mean(-1)


def at(portrait: MeshPortrait, change: np.ndarray, *vertices: int) -> float:
    """Mean over 5 x 5 px around where the mean of ``vertices`` lies."""
    x, y = (portrait.points[list(vertices), :2].mean(axis=0) * [1, -1]).round().astype(int)
    return float(change[y - 2 : y + 3, x - 2 : x + 3].mean())


def test_a_face_at_rest_or_speaking_with_its_jaw_alone_is_the_photo(portrait: MeshPortrait) -> None:
    for row in (motion(), motion(0.4, jaw=JAW), motion(lids=BLINK)):
        assert portrait.shading(portrait.expression(row[:63].reshape(21, 3))) is portrait.photo


def test_a_grin_darkens_the_fold_and_lights_the_cheek_on_both_sides(portrait: MeshPortrait) -> None:
    change = shade(portrait, GRIN)
    for fold, apple in (((206, 216), (50, 101)), ((426, 436), (280, 330))):
        assert at(portrait, change, *fold) < -15
        assert at(portrait, change, *apple) > 2
    assert abs(at(portrait, change, 199)) < 1, "the chin is left alone"
    assert abs(at(portrait, change, 151)) < 1, "so is the forehead"
    outside = np.ones(change.shape, np.uint8)
    cv2.fillPoly(outside, [(portrait.points[list(OVAL), :2] * [1, -1]).astype(np.int32)], 0)
    assert np.abs(change[outside > 0]).max() <= 12  # the edge of the face, no more
    assert not change[: int(-portrait.points[10, 1]) - 2].any()


def test_one_corner_makes_one_fold(portrait: MeshPortrait) -> None:
    change = shade(portrait, {291: GRIN[291]})
    assert at(portrait, change, 426, 436) < -10
    assert abs(at(portrait, change, 206, 216)) < 1


def test_a_sneer_wrinkles_the_nose_and_raised_brows_the_forehead(portrait: MeshPortrait) -> None:
    sneer, raised = shade(portrait, SNEER), shade(portrait, RAISED)
    nose, forehead = ((6, 197, 122, 351), (109, 338, 151, 67, 297))

    def variation(change: np.ndarray, vertices: tuple[int, ...]) -> float:
        (x0, y0), (x1, y1) = (f(portrait.points[list(vertices), :2] * [1, -1], axis=0) for f in (np.min, np.max))
        return float(np.ptp(change[int(y0) : int(y1) + 1, int(x0) : int(x1) + 1]))

    assert variation(sneer, nose) > 15 > 2 > variation(raised, nose)
    assert variation(raised, forehead) > 8 > 2 > variation(sneer, forehead)


def test_folds_deepen_with_the_expression_and_never_jump(portrait: MeshPortrait) -> None:
    sweep = np.stack([shade(portrait, GRIN, SNEER, RAISED, amount=i / 40) for i in range(41)])
    depth = np.abs(sweep).mean(axis=(1, 2))
    assert depth[0] == 0 and (np.diff(depth) > -0.02).all()
    steps = np.abs(np.diff(sweep, axis=0))
    assert steps.max() <= 10, "levels in a fortieth of the expression"


def test_dark_skin_is_darkened_in_proportion_and_a_grey_photo_stays_grey() -> None:
    face = drawn_face()
    grey = np.repeat(face.image.mean(axis=-1, keepdims=True), 3, axis=-1)
    shares = []
    for picture in (grey, grey * 0.4):
        portrait = MeshRenderer().prepare(type(face)(**{**vars(face), "image": picture.astype(np.uint8)}), SIZE)
        lit = portrait.shading(portrait.expression(motion(group=GRIN)[:63].reshape(21, 3)))
        assert np.ptp(lit, axis=-1).max() == 0
        shares.append(at(portrait, lit.mean(-1) / np.maximum(portrait.photo.mean(-1), 1) - 1, 206, 216))
    assert shares[0] < -0.08 and shares[1] == pytest.approx(shares[0], abs=0.03)


def test_a_rough_cheek_is_spared() -> None:
    """A beard hides its folds."""
    face = drawn_face()
    bearded = face.image.copy()
    mask = np.zeros(bearded.shape[:2], np.uint8)
    x, y = face.landmarks[216, :2].round().astype(int).tolist()
    cv2.circle(mask, (x, y), 24, 1, -1)
    hair = np.random.default_rng(0).integers(20, 150, bearded.shape[:2])
    bearded[mask > 0] = hair[mask > 0, None]
    bare = MeshRenderer().prepare(face, SIZE)
    beard = MeshRenderer().prepare(type(face)(**{**vars(face), "image": bearded}), SIZE)
    share = [at(p, shade(p, GRIN) / np.maximum(p.photo.mean(-1), 1), 216) for p in (bare, beard)]
    assert abs(share[1]) < 0.5 * abs(share[0])


@pytest.mark.parametrize("emotion", ["happiness", "disgust", "contempt", "fear", "anger", "surprise"])
def test_emotions_show_in_the_light(portrait: MeshPortrait, emotion: str) -> None:
    row = EMOTION_TEMPLATES[EMOTIONS.index(emotion)][:63].reshape(21, 3)
    lit = portrait.shading(portrait.expression(row))
    assert np.abs(lit.astype(int) - portrait.photo).max() > 8


def test_shading_moves_with_the_head(portrait: MeshPortrait) -> None:
    """A grin on a turned head is the turned grin: the same light, elsewhere."""
    (flat,), (turned,) = draw(portrait, motion(group=GRIN)), draw(portrait, motion(pose=(0, 12, 0), group=GRIN))
    assert abs(float(flat.mean()) - float(turned.mean())) < 3


def test_lids_follow_a_gaze_unless_they_are_moved_already() -> None:
    assert follow_gaze(0, 0, -0.04) == (-0.04 * LIDS_FOLLOW, -0.04 * LIDS_FOLLOW)
    assert follow_gaze(-0.05, -0.03, -0.04) == (-0.05, -0.03)
    assert follow_gaze(0.06, 0.05, -0.01) == pytest.approx((0.055, 0.045)), "wide eyes and squints stay such"
    assert follow_gaze(0, 0, 0.03) == (0.03 * LIDS_FOLLOW, 0)
    assert follow_gaze(0.06, 0, 0.03) == (0.06, 0)
    assert follow_gaze(-0.12, 0, 0.03) == (-0.12, 0), "a look up opens no shut lid"
    for upper in np.linspace(-0.12, 0.06, 19):
        assert follow_gaze(upper, 0.01, 0) == pytest.approx((upper, 0.01))
    expression = Expression(drawn_face().vertices)
    down = expression(motion(gaze={468: (0, -40, 0), 473: (0, -40, 0)})[:63].reshape(21, 3))
    assert all(0.7 < lid < 0.95 for lid in down.lids)


def test_a_turned_face_reaches_its_outline() -> None:
    """With the far cheek hidden, no vertex of the face lies outside the oval that its surroundings hang on."""
    points = MeshRenderer().prepare(drawn_face(yaw=-30), SIZE).points
    frontal = MeshRenderer().prepare(drawn_face(), SIZE).points

    def outside(moved: np.ndarray) -> float:
        hull = moved[list(OVAL), :2].astype(np.float32)
        distance = [cv2.pointPolygonTest(hull, (float(x), float(y)), True) for x, y in moved[:468, :2]]
        return max(0.0, -min(distance))

    assert outside(points) > 2 > 0.5 > outside(_unfold(points))
    np.testing.assert_allclose(_unfold(frontal), frontal, atol=1.0)


def test_an_opening_jaw_takes_back_a_smile_of_the_photo() -> None:
    vertices = drawn_face().vertices
    wide = vertices.copy()
    wide[[61, 291, 78, 308], 0] *= 1.3
    told = motion(jaw=JAW)[:63].reshape(21, 3)
    narrower = [
        Expression(v)(told).width - Expression(v)(np.zeros((21, 3), np.float32)).width for v in (vertices, wide)
    ]
    assert narrower[1] < narrower[0] - 0.05
