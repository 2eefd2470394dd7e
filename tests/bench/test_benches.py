"""What the benches under bench/ count, on motion made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from contracts import EMOTIONS
from encoders.audio.visemes import VISEME_INDEX
from encoders.face.headfit import euler_degrees, rotation_matrix
from encoders.face.portrait import encode_face
from tests.bench.bench_support import bench
from tests.bench.test_plain import SMALL
from tests.encoders.test_emotion import shapes
from tests.media_support import PORTRAIT
from tests.moda.render.test_mesh import drawn_face

LOWER_LIP = 10  # y of the lower inner lip


def test_strips_find_what_is_wrong_and_draw_every_second_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strips = bench("strips", monkeypatch)
    motion = np.zeros((100, 70), np.float32)
    motion[:, LOWER_LIP] = -0.2
    motion[20:24, LOWER_LIP] = 0  # the first p is shut, the second is not
    phones = [""] * 100
    phones[20:24], phones[50:53], phones[60:64] = ["p"] * 4, ["b"] * 3, ["ɑ"] * 4
    silence = np.zeros(100)
    silence[80:] = 1
    shown = strips.Take(motion, ["aa"] * 100, phones, silence, None)
    assert strips.faults(shown) == [
        "p b m, lips never shut: 1 of 2 at 2.00 s",
        "silence, lips open: 1 of 1 at 3.20 s",
        "open vowel, lips shut: 0 of 1",
    ]
    motion[60:64, LOWER_LIP] = motion[80:, LOWER_LIP] = 0
    assert strips.faults(shown)[1:] == ["silence, lips open: 0 of 1", "open vowel, lips shut: 1 of 1 at 2.40 s"]

    recording = strips.Recording("x", np.zeros(64_000, np.float32), np.full(100, 0.1))
    crops = [np.full((strips.TILE, strips.TILE, 3), 9 * (k % 20), np.uint8) for k in range(50)]
    strips.draw(recording, replace(shown, foretold=np.full(100, 0.3)), crops, tmp_path / "x.png")
    sheet = np.asarray(Image.open(tmp_path / "x.png"))
    rows, height = 4, strips.TILE + strips.TEXT + strips.CURVE
    assert sheet.shape == (rows * height, strips.COLUMNS * strips.TILE, 3)
    for k in (0, 14, 15, 49):
        row, column = divmod(k, strips.COLUMNS)
        tile = sheet[row * height :][: strips.TILE, column * strips.TILE :][:, : strips.TILE]
        assert (tile == crops[k]).all()


def test_emotion_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    emotion = bench("emotion", monkeypatch)
    frame = np.zeros((4, 4, 3), np.uint8)
    person = emotion.Portrait.__new__(emotion.Portrait)
    person.neutral = emotion.Look(shapes(mouthSmile=0.1), frame)
    smile = emotion.Look(shapes(mouthSmile=0.7), frame)
    assert person.judge("happiness", smile) == "named" and person.score("happiness", smile) > 0.8
    assert person.judge("anger", smile) == "no" and person.score("anger", smile) == 0
    assert person.judge("happiness", person.neutral) == "no"
    mixed = emotion.Look(shapes(mouthSmile=0.4, browDown=0.6), frame)
    assert person.judge("happiness", mixed) != "named" and person.judge("anger", mixed) == "named"


def test_the_longest_clip_of_each_speaker(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = bench("rendered", monkeypatch)

    class Clip(str):
        @property
        def speaker(self) -> str:
            return self[0]

    clips = [Clip("a1"), Clip("a1234"), Clip("b12"), Clip("c1234567")]
    assert rendered.longest(clips, 2) == ["c1234567", "a1234"]


def test_a_pop_is_a_step_larger_than_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    pops = bench("pops", monkeypatch)
    values, steps = np.linspace(0.1, 1, 10), np.full(10, 0.5)
    assert pops.Sweep("even", values, steps).ratio == 1
    steps[3] = 5.0
    popped = pops.Sweep("pop", values, steps)
    assert popped.ratio == 10 and popped.worst == pytest.approx(0.4)
    assert pops.Sweep("never seen", values, np.full(10, 0.001)).ratio == 1
    steps[5:] = 0  # clamped: what does not move is no yardstick
    assert pops.Sweep("clamped", values, steps).ratio == 10

    motion = np.random.default_rng(0).normal(size=(500, 70)).astype(np.float32)
    walks = pops.directions(motion)
    row, low, high = walks["yaw"]
    assert (
        row.nonzero()[0].tolist() == [68] and low == pytest.approx(np.percentile(motion[:, 68], 1)) and low < 0 < high
    )
    assert walks["eyes shut"][0].sum() == 2 and len(walks) == 70 + 4


def test_motion_from_a_frame_rests_there(monkeypatch: pytest.MonkeyPatch) -> None:
    reenact = bench("reenact", monkeypatch)
    rng = np.random.default_rng(0)
    motion = rng.normal(0, 0.02, (20, 70)).astype(np.float32)
    motion[:, 63] += 1
    motion[:, 67:] *= 400
    motion[:, LOWER_LIP + 1 - 3] = 0
    shut = reenact.lip_gap(motion).argmin()
    moved = reenact.from_frame(motion, motion[shut])
    np.testing.assert_allclose(moved[shut], np.eye(70)[63], atol=1e-5)
    for t in (3, 11):  # turned from the portrait's pose, the head is where it was in the video
        turned = rotation_matrix(*moved[t, 67:]) @ rotation_matrix(*motion[shut, 67:])
        assert euler_degrees(turned) == pytest.approx(motion[t, 67:], abs=1e-3)
        assert moved[t, 63] * motion[shut, 63] == pytest.approx(motion[t, 63])
    wide = reenact.lip_gap(motion).argmax()
    gap = float(reenact.lip_gap(motion)[wide])
    assert gap > reenact.SHUT and reenact.lip_gap(reenact.from_frame(motion, motion[wide]))[wide] == pytest.approx(gap)


def test_a_portrait_is_where_its_picture_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not where motion smoothed in time has it."""
    reenact = bench("reenact", monkeypatch)
    truth = np.random.default_rng(0).normal(0, 0.02, (9, 70)).astype(np.float32)
    truth[:, 63] += 1
    truth[:, 66] = 0
    truth[:, 67:] *= 300
    upright, size, fits = rotation_matrix(5, -8, 3), 120.0, {}
    for t, row in enumerate(truth):
        rotation, scale = rotation_matrix(*row[67:]) @ upright, size * row[63]
        pivot = size * np.array([1 + row[64], -2 + row[65], 0])
        vertices = np.zeros((478, 3))
        fits[t] = reenact.HeadFit(rotation, scale, pivot - scale * rotation @ reenact.NECK_PIVOT, vertices, 0.0)
    smoothed = truth.copy()
    smoothed[4, 64:66] += 0.05
    np.testing.assert_allclose(reenact.as_pictured(smoothed, fits, 4), truth[4], atol=1e-4)


def test_what_is_meant_at_rest_is_the_portrait(monkeypatch: pytest.MonkeyPatch) -> None:
    figures, commands = bench("figures", monkeypatch), bench("commands", monkeypatch)
    face = encode_face(PORTRAIT)
    prepared = figures.prepare(face, 256)
    rest, turned = (figures.meant(prepared, row) for row in (figures.still()[0], commands.turns()[1][3]))
    assert rest.pose == pytest.approx(face.pose, abs=0.3)
    assert turned.pose[1] - rest.pose[1] == pytest.approx(commands.TURN, abs=0.3)
    assert np.abs(turned.vertices - rest.vertices)[:, :2].max() < 0.02
    missed = figures.Figure("r", float("nan"), 0.9)
    assert not missed.reached and figures.Figure("ms", 3, 4, most=True).reached


def test_tracks_are_compared_where_a_face_is_found_and_drift_is_told_from_expression(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commands = bench("commands", monkeypatch)
    rng = np.random.default_rng(0)
    commanded = rng.normal(size=(40, 5))
    seen = 0.5 * commanded + 3
    seen[7] = np.nan
    track = commands.Track(commanded, seen)
    assert track.r == pytest.approx(np.ones(5)) and track.slope == pytest.approx(np.full(5, 0.5))
    assert len(track.kept[0]) == 39 and (track.error > 0.1).all()

    neutral = encode_face(PORTRAIT).vertices
    way = rng.normal(size=neutral.shape)
    way *= 0.02 / commands.TURN / np.sqrt((way**2).sum(1).mean())  # 2 % at TURN degrees
    fits = []
    for degrees, gap in rng.normal(size=(60, 2)) * (5, 0.1):
        shape = neutral + degrees * way
        shape[14, 1] -= gap
        pose = rotation_matrix(degrees, *rng.normal(size=2))
        fits.append(commands.HeadFit(pose, 100.0, np.zeros(3), shape, 0.0))
    assert commands.drift_with_pitch(fits) == pytest.approx(2.0, abs=0.15)


def test_signs_of_an_emotion(monkeypatch: pytest.MonkeyPatch) -> None:
    templates = bench("templates", monkeypatch)
    assert set(templates.SIGNS) == set(templates.SHOWN) == set(EMOTIONS) - {"neutral", "none"}
    grin = shapes(mouthSmile=0.4, browInnerUp=0.3)
    assert templates.sign(grin, "mouthSmile") == pytest.approx(0.4)
    assert templates.sign(grin, "browInnerUp") == pytest.approx(0.3)
    assert templates.sign(grin, "one-sided smile") == 0


def test_the_published_networks_are_measured_and_agree(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    published = bench("published", monkeypatch)
    figures = [
        *published.motion(1, layers=2, width=4, hidden=8, heads=2),
        *published.frames(1, 1, drawn_face(), 96, SMALL),
    ]
    agreement = [figure for figure in figures if "largest difference" in figure.name]
    assert len(agreement) == 2
    for figure in agreement:
        assert figure.reached and figure.target == 1e-4 and figure.found > 0
    assert all(np.isfinite(figure.found) for figure in figures)

    chance = torch.Generator().manual_seed(0)
    states = {name: published.random_state(shapes, chance) for name, shapes in published.renderer_shapes(SMALL).items()}
    took = published.modules(published.load_networks(states), torch.float32, 1)
    assert took.keys() == published.PUBLISHED_MS.keys() and min(took.values()) > 0
    published.on_gpu(torch.device("cpu"), 1)
    assert "no CUDA device here" in capsys.readouterr().out


def test_moments_are_where_the_sound_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    found = bench("moments", monkeypatch)
    loud = np.full(100, 0.1)
    loud[40:52] = 0
    loud[70] = 0.3
    noise = np.random.default_rng(0).standard_normal(100 * 640)
    posteriors = np.full((100, 15), 0.01)
    for frame, viseme in ((20, "aa"), (70, "aa"), (30, "U"), (60, "PP"), (45, "PP")):  # the last is in the pause
        posteriors[frame, VISEME_INDEX[viseme]] = 0.8 + frame / 1e4
    at = found.moments((np.repeat(loud, 640) * noise).astype(np.float32), posteriors)
    assert at == {"first": 0, "pause": 46, "open vowel": 70, "rounded": 30, "bilabial": 60, "last": 99}
    steady = found.moments((0.1 * noise).astype(np.float32), posteriors)
    assert "pause" not in steady and list(steady) == ["first", "open vowel", "rounded", "bilabial", "last"]
