"""Knobs: each scales what it names, 0 switches it off, 1 changes nothing, and the others' things stay."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from moda.motion.blinks import AHEAD, DEPTH, change_blinks, find_blinks
from moda.motion.knobs import SMILE, KnobError, Knobs
from moda.motion.layout import LIPS, POSE
from moda.motion.templates import EMOTION_TEMPLATES, EMOTIONS
from moda.render.mesh.expression import Expression, lip_gap
from moda.render.mesh.topology import face_mesh
from pipelines.options import OptionError, TalkOptions

EYES, UPPER_LIDS = slice(33, 51), [34, 37]
BROWS, CHEEKS = slice(51, 63), slice(27, 33)
NAMES = [knob.name for knob in fields(Knobs)]
PERIOD = 75  # frames between the blinks of `talk`


def talk(frames: int = 1500) -> np.ndarray:
    """Motion [T, 70] that talks, nods and blinks every three seconds."""
    rng, t = np.random.default_rng(0), np.arange(frames)[:, None]
    motion = 0.04 * np.sin(t * rng.uniform(0.05, 0.5, 70) + rng.uniform(0, 6, 70)).astype(np.float32)
    motion[:, EYES] *= 0.2
    motion[:, 63] += 1
    motion[:, 67:] *= 100  # degrees
    for at in range(40, frames, PERIOD):
        for offset, depth in zip(range(-3, 4), (0.02, 0.07, 0.1, 0.12, 0.1, 0.06, 0.02), strict=True):
            motion[min(at + offset, frames - 1), UPPER_LIDS] -= depth
    return motion


def turn(motion: np.ndarray, seed: int = 0, pieces: int = 1, **knobs: float) -> np.ndarray:
    chunks = np.array_split(motion, pieces)
    return np.concatenate(list(Knobs(**knobs).turn(chunks, np.random.default_rng(seed))))


def gap(motion: np.ndarray) -> np.ndarray:
    return motion[:, 7] - motion[:, 10]


def blinks(motion: np.ndarray) -> int:
    return len(find_blinks(motion[:, UPPER_LIDS].mean(1)))


def test_at_one_nothing_changes() -> None:
    motion = talk()
    np.testing.assert_array_equal(turn(motion), motion)
    for name in NAMES:
        changed = Knobs(**{name: 0.5}).scale(motion)  # the three others are at 1
        kept = {"head_motion": slice(0, 63), "mouth": slice(27, 70), "expression": POSE, "blink_rate": slice(0, 70)}
        np.testing.assert_array_equal(changed[:, kept[name]], motion[:, kept[name]])


def test_what_goes_in_stays_as_it_was() -> None:
    motion = talk()
    before = motion.copy()
    turn(motion, head_motion=0, blink_rate=0, mouth=0, expression=0)
    np.testing.assert_array_equal(motion, before)


@pytest.mark.parametrize("amount", [0.0, 0.5, 1.5, 2.0])
def test_the_head_moves_in_proportion(amount: float) -> None:
    motion = talk()
    rest = np.array([1, 0, 0, 0, 0, 0, 0])
    turned = turn(motion, head_motion=amount)
    np.testing.assert_allclose(turned[:, POSE] - rest, amount * (motion[:, POSE] - rest), atol=1e-6)
    np.testing.assert_array_equal(turned[:, :63], motion[:, :63])


@pytest.mark.parametrize("amount", [0.0, 0.5, 1.5, 2.0])
def test_the_mouth_opens_in_proportion_and_smiles_as_before(amount: float) -> None:
    motion = talk()
    turned = turn(motion, mouth=amount)
    np.testing.assert_allclose(gap(turned), amount * gap(motion), atol=1e-6)
    np.testing.assert_allclose(turned[:, LIPS] @ SMILE, motion[:, LIPS] @ SMILE, atol=1e-6)
    np.testing.assert_array_equal(turned[:, LIPS.stop :], motion[:, LIPS.stop :])


@pytest.mark.parametrize("amount", [0.0, 0.5, 1.5, 2.0])
def test_expression_scales_and_leaves_the_lips_where_they_meet(amount: float) -> None:
    motion = talk()
    turned = turn(motion, expression=amount)
    np.testing.assert_allclose(turned[:, BROWS], amount * motion[:, BROWS], atol=1e-6)
    np.testing.assert_allclose(turned[:, CHEEKS], amount * motion[:, CHEEKS], atol=1e-6)
    np.testing.assert_allclose(turned[:, LIPS] @ SMILE, amount * (motion[:, LIPS] @ SMILE), atol=1e-6)
    np.testing.assert_array_equal(gap(turned), gap(motion))
    np.testing.assert_array_equal(turned[:, POSE], motion[:, POSE])
    down = motion[:, UPPER_LIDS] < 0  # a blink is as deep as it was
    np.testing.assert_array_equal(turned[:, UPPER_LIDS][down], motion[:, UPPER_LIDS][down])


def test_a_smile_is_known_from_an_open_jaw() -> None:
    smiling, frowning = (EMOTION_TEMPLATES[EMOTIONS.index(name)] for name in ("happiness", "sadness"))
    jaw = np.zeros(70, np.float32)  # blendshape jawOpen, in OC
    for keypoint, x, y, z in ((0, 26, -123, -77), (1, -26, -123, -77), (3, 0, -337, -116), (5, 0, -352, -170)):
        jaw[3 * keypoint : 3 * keypoint + 3] = x / 1000, y / 1000, z / 1000
    rise = [(row[LIPS] @ SMILE)[[1, 4]].mean() for row in (smiling, frowning, jaw)]  # y of the corners
    assert rise[0] > 0.07 and rise[1] < -0.05 and abs(rise[2]) < 0.01
    np.testing.assert_allclose(SMILE @ SMILE, SMILE, atol=1e-6)  # a smile is all smile


@pytest.mark.parametrize("name", ["happiness", "sadness", "contempt"])
def test_shut_lips_stay_shut_under_any_expression(name: str) -> None:
    face = Expression(face_mesh().neutral)
    rest = face(np.zeros((21, 3), np.float32))
    motion = np.zeros((1, 70), np.float32)
    template = EMOTION_TEMPLATES[EMOTIONS.index(name)]
    motion[:, LIPS] = template[LIPS] @ SMILE
    for amount in (0.0, 1.0, 2.0):
        keypoints = Knobs(expression=amount).scale(motion)[0, :63].reshape(21, 3)
        shape = face(keypoints)
        assert abs(shape.gap - rest.gap) <= 1e-6  # OC, in the middle
        assert lip_gap(shape.vertices) - lip_gap(rest.vertices) <= 0.005 + 0.015 * amount  # and along the lips


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.5, 0.75, 1.5, 2.0])
def test_blinks_in_proportion(rate: float) -> None:
    motion = talk(6000)
    natural = blinks(motion)
    assert natural == 80
    turned = turn(motion, blink_rate=rate)
    assert abs(blinks(turned) - rate * natural) <= (2 if rate <= 1 else 4)
    lids = np.r_[33:45]
    np.testing.assert_array_equal(np.delete(turned, lids, axis=1), np.delete(motion, lids, axis=1))


def test_no_blinks_and_no_traces_of_them() -> None:
    motion, turned = talk(), turn(talk(), blink_rate=0)
    lids = turned[:, UPPER_LIDS].mean(1)
    assert np.abs(np.diff(lids)).max() < 0.01
    assert lids.min() > -DEPTH
    assert motion[:, UPPER_LIDS].min() < -0.1


def test_an_added_blink_is_a_blink() -> None:
    """As deep as the others, at no fixed time, and not on top of another."""
    turned = turn(talk(6000), blink_rate=2)
    runs = find_blinks(turned[:, UPPER_LIDS].mean(1))
    depths = [turned[a : b + 1, UPPER_LIDS].min() for a, b in runs]
    assert min(depths) > -0.16 and max(depths) < -0.09
    assert {b - a for a, b in runs} <= {3, 4, 5}
    waits = np.diff([a for a, _ in runs])
    assert waits.min() > 10 and len(set(waits.tolist())) > 20
    assert np.abs(turned - turn(talk(6000), seed=1, blink_rate=2)).max() > 0.05


@pytest.mark.parametrize("rate", [0.0, 0.4, 1.3, 2.0])
@pytest.mark.parametrize("pieces", [3, 40, 1500])
def test_streamed_or_at_once(rate: float, pieces: int) -> None:
    motion = talk()
    np.testing.assert_array_equal(turn(motion, pieces=pieces, blink_rate=rate), turn(motion, blink_rate=rate))


def test_blinks_wait_for_no_more_than_they_say() -> None:
    motion = talk()
    asked = 0

    def frame_by_frame():
        nonlocal asked
        for frame in motion:
            asked += 1
            yield frame[None]

    given = 0
    for chunk in change_blinks(frame_by_frame(), 2.0, np.random.default_rng(0)):
        given += len(chunk)
        assert asked - given <= AHEAD
    assert given == len(motion)


def test_shut_eyes_are_no_blink() -> None:
    motion = np.zeros((200, 70), np.float32)
    motion[80:110, UPPER_LIDS] = -0.12
    np.testing.assert_array_equal(turn(motion, blink_rate=0), motion)


@pytest.mark.parametrize("frames", [1, 2, 30])
def test_a_short_motion(frames: int) -> None:
    motion = talk(100)[:frames]
    assert turn(motion, blink_rate=0).shape == turn(motion, blink_rate=2).shape == motion.shape


# ---- space liveportrait --------------------------------------------------------------------------------------------

PARTS = {
    "head_motion": range(63, 70),
    "mouth": [3 * keypoint + axis for keypoint in (6, 12, 14, 17, 19, 20) for axis in range(3)],
    "expression": [3 * keypoint + axis for keypoint in (0, 1, 2, 3, 4, 5, 7, 8, 9, 10) for axis in range(3)],
}


@pytest.mark.parametrize("amount", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("name", PARTS)
def test_published_motion_scales_about_the_portraits_own(name: str, amount: float) -> None:
    rng = np.random.default_rng(0)
    motion, rest = rng.standard_normal((90, 70), np.float32), rng.standard_normal(70, np.float32)
    before = motion.copy()
    turned = np.concatenate(list(Knobs(**{name: amount}).turn_about(np.array_split(motion, 7), rest)))
    np.testing.assert_array_equal(motion, before)
    part = list(PARTS[name])
    np.testing.assert_allclose(turned[:, part], rest[part] + amount * (motion - rest)[:, part], atol=1e-5)
    unchanged = part if amount == 1 else []  # bit for bit
    others = sorted({*range(70)} - {*part} | {*unchanged})
    np.testing.assert_array_equal(turned[:, others], motion[:, others])
    if amount == 0:
        np.testing.assert_array_equal(turned[:, part], np.broadcast_to(rest[part], (90, len(part))))


def test_published_blinks_cannot_be_counted() -> None:
    """And that is said before anything is sampled."""
    with pytest.raises(KnobError, match="leave blink_rate at 1"):
        Knobs(blink_rate=0.5).turn_about(iter(()), np.zeros(70, np.float32))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [-0.1, 2.1, float("nan"), float("inf")])
def test_out_of_range_is_one_line(name: str, value: float) -> None:
    with pytest.raises(OptionError, match=rf"^{name} .* is outside 0..2; 1 is the model itself, 0 is off$"):
        TalkOptions(**{name: value})
