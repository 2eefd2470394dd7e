"""The visible mark: there, legible, inside the frame, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from contracts import SourceFace
from encoders.face.portrait import encode_face
from moda.render import Framing, MeshRenderer, Scene
from pipelines.film.mark import Mark
from pipelines.film.provenance import Claim
from pipelines.render import Film
from tests.media_support import PORTRAIT, read_frames

SIZES = [(256, 256), (512, 512), (720, 406), (1080, 1920), (2160, 3840)]


def box(mark: Mark) -> tuple[slice, slice]:
    (x, y), (tall, wide) = mark.corner, mark.opacity.shape[:2]
    return slice(y, y + tall), slice(x, x + wide)


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("grey", [0, 128, 255])
def test_the_letters_stand_out_on_any_picture(height, width, grey):
    """Ink and plate differ as much as is asked of text on the web (WCAG 2: a contrast of 4.5)."""
    mark = Mark.of_frame(height, width)
    marked = mark.burn(np.full((height, width, 3), grey, np.uint8))
    plate = marked[box(mark)].astype(float)
    inner = plate[len(plate) // 5 : -len(plate) // 5, len(plate) // 5 : -len(plate) // 5]
    light = np.where(inner <= 10, inner / 255 / 12.92, ((inner / 255 + 0.055) / 1.055) ** 2.4) @ (
        0.2126,
        0.7152,
        0.0722,
    )
    ink, ground = np.quantile(light, 0.97), np.quantile(light, 0.2)
    assert (ink + 0.05) / (ground + 0.05) > 4.5


@pytest.mark.parametrize(("height", "width"), SIZES[:-1])
def test_it_lies_inside_the_frame_and_touches_nothing_else(height, width):
    picture = np.resize(np.random.default_rng(0).integers(0, 256, 9973, dtype=np.uint8), (height, width, 3))
    before = picture.copy()
    mark = Mark.of_frame(height, width)
    rows, columns = box(mark)
    assert 0 < rows.start < rows.stop < height
    assert 0 < columns.start < columns.stop < width
    assert (rows.stop - rows.start) * (columns.stop - columns.start) < 0.02 * height * width
    marked = mark.burn(picture)
    beside = np.ones((height, width), bool)
    beside[rows, columns] = False
    np.testing.assert_array_equal(marked[beside], before[beside])
    np.testing.assert_array_equal(picture, before)
    assert np.abs(marked[~beside].astype(int) - before[~beside]).mean() > 30


@pytest.mark.parametrize("corner", [(0, 0), (10, 4), (26, 20), (40, 0), (0, 60), (100, 100)])
def test_a_head_over_the_mark_shows_its_part_of_it(corner):
    """Marking the parts is marking the whole, wherever the head lies."""
    chance = np.random.default_rng(0)
    picture, head = (chance.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((300, 400), (150, 150)))
    mark = Mark.of_frame(300, 400)
    face = type("Face", (), {"crop": (*corner, 150)})()
    whole = mark.burn(Scene(face, 150, picture).compose(head))
    parts = Scene(face, 150, mark.burn(picture)).compose(mark.burn(head, corner))
    np.testing.assert_array_equal(parts, whole)


@pytest.fixture(scope="module")
def face() -> SourceFace:
    return encode_face(PORTRAIT)


@pytest.mark.parametrize("frame", ["full", "crop"])
def test_every_frame_of_a_video_bears_it(tmp_path, face, frame):
    motion = np.zeros((3, 70), np.float32)
    motion[:, 63] = 1
    motion[:, 68] = (0, 4, 8)  # the head turns

    def film(out: str, mark: bool) -> list[np.ndarray]:
        claim = Claim("render", {})
        shot = Film(face, tmp_path / out, Framing(frame), claim=claim, mark=mark)
        return [step.frame for step in shot.shoot(MeshRenderer(), [motion], 3, "mesh")]

    marked, unmarked = film("marked.mp4", True), film("unmarked.mp4", False)
    assert len(marked) == 3
    mark = Mark.of_frame(*marked[0].shape[:2])
    for with_it, without, decoded in zip(marked, unmarked, read_frames(tmp_path / "marked.mp4"), strict=True):
        np.testing.assert_array_equal(with_it, mark.burn(without))
        assert np.abs(decoded[box(mark)].astype(int) - with_it[box(mark)]).mean() < 12
        assert np.abs(with_it[box(mark)].astype(int) - without[box(mark)]).mean() > 30
