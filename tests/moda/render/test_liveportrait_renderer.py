"""The LivePortrait renderer with toy networks: keypoint rules, crop, seam and batches."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from contracts import SourceFace
from moda.motion.published import lift_gaze
from moda.render import RenderError
from moda.render.liveportrait import LivePortrait, LivePortraitRenderer
from moda.render.liveportrait.checkpoint import load_published
from moda.render.liveportrait.crop import (
    MIDDLE,
    cut,
    film_square,
    film_to_crop,
    frame_grid,
    frame_mask,
    openings,
    to_crop,
)
from moda.render.liveportrait.keypoints import (
    SPOKEN,
    KeypointMotion,
    angles,
    rotation,
    spoken_keypoints,
    told_keypoints,
)
from moda.render.liveportrait.renderer import LivePortraitPortrait, compose
from moda.render.liveportrait.shapes import published_shapes
from tests.moda.render.make_liveportrait import TINY, random_states
from tests.moda.render.test_mesh import drawn_face

if TYPE_CHECKING:
    from contracts import Array

SIZE = 96


def networks(seed: int = 0) -> LivePortrait:
    """Toy networks that go down to 16 x 16 places, and paint 128 px from them."""
    widths = replace(TINY, keypoints=21, appearance=(4, 4, 4, 4, 6))
    return load_published(random_states(published_shapes(widths), torch.Generator().manual_seed(seed)))


@pytest.fixture(scope="module")
def face() -> SourceFace:
    return drawn_face()


@pytest.fixture(scope="module")
def renderer() -> LivePortraitRenderer:
    return LivePortraitRenderer(networks())


@pytest.fixture(scope="module")
def portrait(renderer: LivePortraitRenderer, face: SourceFace) -> LivePortraitPortrait:
    return renderer.prepare(face, SIZE)


def motion(portrait: LivePortraitPortrait, frames: int) -> Array:
    """The portrait's own motion, and what changes of it from frame to frame."""
    steps = torch.randn(frames, 70, generator=torch.Generator().manual_seed(1)).cumsum(0)
    steps[:, :67] *= 0.1
    return (portrait.source.rows + steps).numpy()


# ---- keypoints -----------------------------------------------------------------------------------------------------


def source(seed: int = 0) -> KeypointMotion:
    g = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g)

    return KeypointMotion(draw(1, 21, 3), 0.1 * draw(1, 21, 3), 1.2 + 0.1 * draw(1, 1), draw(1, 3), 20 * draw(1, 3))


def test_rotations_are_those_of_pitch_then_yaw_then_roll() -> None:
    angles = torch.tensor([[20.0, -35.0, 50.0]])
    turns = []
    for axis, angle in enumerate(torch.deg2rad(angles[0]).double()):
        turn = torch.eye(3, dtype=torch.float64)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn[i, i] = turn[j, j] = angle.cos()
        turn[j, i], turn[i, j] = angle.sin(), -angle.sin()
        turns.append(turn)
    x, y, z = turns
    torch.testing.assert_close(rotation(angles)[0].double(), (z @ y @ x).T, rtol=0, atol=1e-6)


def test_angles_are_those_a_rotation_was_made_of() -> None:
    there = torch.tensor([[20.0, -35.0, 50.0], [-80.0, 85.0, -170.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(angles(rotation(there)), there, rtol=0, atol=1e-3)


def test_a_portraits_own_motion_leaves_it_as_it_is() -> None:
    mine = source()
    for rule in (spoken_keypoints, told_keypoints):
        torch.testing.assert_close(rule(mine, mine.rows), mine.keypoints, rtol=0, atol=1e-5)


def test_speech_drives_what_the_published_rules_say() -> None:
    mine, other = source(), source(1)
    moved = spoken_keypoints(mine, other.rows)
    for keypoint in range(21):
        for axis, name in enumerate("xyz"):
            rows = mine.rows.clone()
            rows[0, 3 * keypoint + axis] += 0.5
            shift = spoken_keypoints(mine, rows) - mine.keypoints
            expected = torch.zeros(1, 21, 3)
            if name in SPOKEN.get(keypoint, ""):
                expected[0, keypoint, axis] = 0.5 * mine.scale[0, 0]
            torch.testing.assert_close(shift, expected, rtol=0, atol=1e-5)
    kept = {keypoint for keypoint in range(21) if keypoint not in SPOKEN}
    assert kept == {0, 7, 10}
    assert [SPOKEN[k] for k in (3, 4, 5, 8, 9)] == ["y", "y", "z", "z", "yz"]
    assert all(SPOKEN[k] == "xyz" for k in (1, 2, 6, *range(11, 21)))
    for column in (63, 66):  # neither the generated scale nor depth
        rows = other.rows.clone()
        rows[0, column] += 3
        assert torch.equal(spoken_keypoints(mine, rows), moved)


def test_looking_up_moves_the_eyes_alone() -> None:
    mine = source()
    shift = spoken_keypoints(mine, lift_gaze(mine.rows)) - spoken_keypoints(mine, mine.rows)
    expected = torch.zeros(1, 21, 3)
    expected[0, [11, 15], 1], expected[0, [13, 16], 1] = 0.0025, 0.00075
    torch.testing.assert_close(shift, expected * mine.scale, rtol=0, atol=1e-6)


# ---- crop and seam -------------------------------------------------------------------------------------------------


def test_the_crop_turns_and_grows_with_the_face(face: SourceFace) -> None:
    points = face.landmarks[:, :2].astype(np.float64)
    turn = cv2.getRotationMatrix2D((40.0, 70.0), 25.0, 1.7)
    placed = points @ to_crop(points)[:, :2].T + to_crop(points)[:, 2]
    moved = points @ turn[:, :2].T + turn[:, 2]
    matrix = to_crop(moved)
    np.testing.assert_allclose(moved @ matrix[:, :2].T + matrix[:, 2], placed, atol=1e-6)


def test_the_crop_is_upright_and_as_large_as_published() -> None:
    landmarks = np.full((478, 2), 100.0)
    landmarks[[127, 356], 0] = 60, 140  # as wide as 80 px,
    landmarks[[105, 152], 1] = 80, 150  # as high as 70, middle at 115
    landmarks[[61, 291], 1] = 130
    side = 2.3 * 80
    x, y = 100, 115 - 0.125 * side
    # The published matrix takes (x, y) to (256, 256) of 512 px, whose centres are whole numbers.
    expected = np.array([[512 / side, 0, 256 - 512 * x / side], [0, 512 / side, 256 - 512 * y / side]])
    expected[:, 2] += 0.5
    np.testing.assert_allclose(to_crop(landmarks), expected / 512, atol=1e-9)


def test_a_film_has_one_upright_crop(face: SourceFace) -> None:
    points = face.landmarks[:, :2]
    one = film_to_crop(film_square(points)[None])
    assert one[0, 1] == one[1, 0] == 0
    assert one[0, 0] == one[1, 1]
    turned = to_crop(points, 2.2, 0.1)  # about the same middle, and as large
    np.testing.assert_allclose(np.hypot(*turned[:, 0]), one[0, 0])
    middle = np.linalg.solve(turned[:, :2], MIDDLE - turned[:, 2])
    np.testing.assert_allclose(one[:, :2] @ middle + one[:, 2], MIDDLE)
    far = points + np.array([40, 0], np.float32)
    mean = film_to_crop(np.stack([film_square(p) for p in (points, far, far, far)]))
    np.testing.assert_allclose(mean[:, :2] @ (middle + np.array([30, 0])) + mean[:, 2], MIDDLE)


def test_openings_are_heights_over_widths() -> None:
    landmarks = np.zeros((478, 3))
    landmarks[[133, 362, 291], 0] = 10, 20, 40
    landmarks[[145, 374, 14], 1] = 4, 2, 10
    landmarks[:, 2] = np.arange(478)  # depth does not count
    np.testing.assert_allclose(openings(landmarks), [0.4, 0.1, 0.25], atol=1e-6)
    assert (openings(np.zeros((478, 2))) == 0).all()


@pytest.mark.parametrize("size", [300, 128])
def test_a_crop_laid_back_meets_the_photo(face: SourceFace, portrait: LivePortraitPortrait, size: int) -> None:
    smooth = replace(face, image=cv2.GaussianBlur(face.image, (0, 0), 3))
    matrix = to_crop(smooth.landmarks)
    grid = frame_grid(smooth, matrix, size)
    x0, y0, side = smooth.crop
    photo = cv2.resize(smooth.image[y0 : y0 + side, x0 : x0 + side], (size, size), interpolation=cv2.INTER_AREA)
    laid = replace(
        portrait,
        photo=torch.from_numpy(photo).permute(2, 0, 1).float(),
        grid=torch.from_numpy(grid)[None],
        mask=torch.from_numpy(frame_mask(smooth, grid)),
        finest=round(1 / np.hypot(*matrix[:, 0]) * size / side),
    )

    def misfit(painted: Array) -> float:
        frame = compose(torch.from_numpy(painted).permute(2, 0, 1)[None].float() / 255, laid)
        return float((frame - laid.photo).abs().mean())

    painted = cut(smooth.image, matrix, 512)
    assert misfit(painted) < 0.5
    assert misfit(np.roll(painted, 3, axis=1)) > 2 * misfit(painted)  # less than 2 px of the frame


def test_the_seam_is_inside_and_fades(face: SourceFace) -> None:
    mask = frame_mask(face, frame_grid(face, to_crop(face.landmarks), 300))
    edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    assert not edge.any()
    assert mask.max() == 1
    assert np.abs(np.diff(mask, axis=0)).max() < 0.1
    assert np.abs(np.diff(mask, axis=1)).max() < 0.1
    height, width = face.image.shape[:2]
    whole = replace(face, crop=(0, 0, min(height, width)))  # no photo around it to meet
    grid = np.zeros((300, 300, 2), np.float32)
    assert (frame_mask(whole, grid) == 1).all()


# ---- frames --------------------------------------------------------------------------------------------------------


def frames(renderer: LivePortraitRenderer, portrait: LivePortraitPortrait, rows: Array) -> Array:
    return np.stack(list(renderer.render(portrait, rows)))


def test_frames_move_inside_a_photo_that_does_not(
    renderer: LivePortraitRenderer, portrait: LivePortraitPortrait
) -> None:
    drawn = frames(renderer, portrait, motion(portrait, 4))
    assert drawn.shape == (4, SIZE, SIZE, 3)
    assert drawn.dtype == np.uint8
    photo = portrait.photo.permute(1, 2, 0).round().to(torch.uint8).numpy()
    border = np.ones((SIZE, SIZE), bool)
    border[1:-1, 1:-1] = False
    assert (drawn[:, border] == photo[border]).all()
    assert all(np.abs(np.diff(drawn.astype(int), axis=0)).max(axis=(1, 2, 3)) > 10)
    assert (frames(renderer, portrait, motion(portrait, 4)) == drawn).all()


def test_batches_and_chunks_change_nothing(renderer: LivePortraitRenderer, portrait: LivePortraitPortrait) -> None:
    rows = motion(portrait, 5)
    drawn = frames(renderer, portrait, rows).astype(int)
    batched = frames(LivePortraitRenderer(renderer.networks, batch=3), portrait, rows)
    assert np.abs(batched - drawn).max() <= 1
    chunked = np.concatenate([frames(renderer, portrait, rows[:2]), frames(renderer, portrait, rows[2:])])
    assert (chunked == drawn).all()


@pytest.mark.slow
@pytest.mark.timeout(900)  # compilers take their time
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles with g++, which is not here")
def test_compiled_networks_draw_the_same(renderer: LivePortraitRenderer, portrait: LivePortraitPortrait) -> None:
    """The last frames, too, which are fewer than a batch; and all shapes are compiled once."""
    rows = motion(portrait, 5)
    compiled = LivePortraitRenderer(networks().compile_drawing(), batch=2, fixed=True)
    torch._dynamo.reset()
    counted = torch._dynamo.utils.counters["stats"]
    drawn = frames(compiled, portrait, rows)
    assert drawn.shape == (5, SIZE, SIZE, 3)
    assert np.abs(drawn.astype(int) - frames(renderer, portrait, rows)).max() <= 1
    before = counted["unique_graphs"]
    assert before > 0
    frames(compiled, portrait, rows[:3])
    assert counted["unique_graphs"] == before


def test_no_more_frames_are_drawn_than_asked_for(
    renderer: LivePortraitRenderer, portrait: LivePortraitPortrait
) -> None:
    lazy, drawn = LivePortraitRenderer(renderer.networks, batch=2), []
    draw = lazy._draw
    lazy._draw = lambda *arguments: drawn.append(1) or draw(*arguments)  # type: ignore[method-assign, func-returns-value]
    render = lazy.render(portrait, motion(portrait, 7))
    counts = [len(drawn) for _ in render]
    assert counts == [1, 1, 2, 2, 3, 3, 4]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layout_and_precision_change_little(
    renderer: LivePortraitRenderer, portrait: LivePortraitPortrait, face: SourceFace, dtype: torch.dtype
) -> None:
    other = LivePortraitRenderer(networks().place("cpu", dtype, channels_last=True), batch=2)
    rows = motion(portrait, 2)
    theirs = other.prepare(face, SIZE)
    assert theirs.feature.dtype == dtype
    assert theirs.keypoints.dtype == torch.float32
    difference = np.abs(frames(other, theirs, rows) - frames(renderer, portrait, rows).astype(int))
    assert difference.max() <= (1 if dtype == torch.float32 else 16)


def test_impossible_sizes_and_motions_are_refused(
    renderer: LivePortraitRenderer, portrait: LivePortraitPortrait, face: SourceFace
) -> None:
    with pytest.raises(RenderError, match="even"):
        renderer.prepare(face, 97)
    with pytest.raises(RenderError, match="70 numbers"):
        next(renderer.render(portrait, np.zeros((3, 69), np.float32)))
    with pytest.raises(RenderError, match="not finite"):
        next(renderer.render(portrait, np.full((3, 70), np.nan, np.float32)))


def test_a_background_that_follows_is_refused(renderer: LivePortraitRenderer, face: SourceFace) -> None:
    with pytest.raises(RenderError, match="LivePortrait cannot draw --background follow"):
        renderer.prepare(face, SIZE, "follow")
