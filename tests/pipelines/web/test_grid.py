"""Eight emotions side by side, another emotion for the same take, and the plot of a motion."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import av
import numpy as np
import pytest

from contracts import FPS, MOTION_DIM, Motion
from encoders.audio.visemes import VISEMES
from moda.motion.layout import POSE, lip_gap
from moda.motion.saved import load_motion
from pipelines import TalkingHead, TalkOptions
from pipelines.web.grid import BAND, COLUMNS, LABELS, SIZE, _together
from pipelines.web.plot import POINTS, plot_motion
from pipelines.web.studio import Studio
from pipelines.web.workspace import Workspace
from tests.media_support import PORTRAIT


def test_streams_are_joined_whatever_their_chunks():
    """And only one is asked at a time, once all have begun."""
    chance, asked = np.random.default_rng(0), []
    motions = [chance.normal(size=(100, MOTION_DIM)).astype(np.float32) for _ in range(3)]

    def stream(k, length):
        for start in range(0, 100, length):
            asked.append(k)
            yield motions[k][start : start + length]

    streams = [stream(k, length) for k, length in enumerate((40, 17, 64))]
    joined = []
    for chunk in _together(streams, [next(stream) for stream in streams]):
        joined.append(chunk)
        assert len(chunk) <= 8
    assert np.array_equal(np.concatenate(joined), np.stack(motions, axis=1))
    assert sorted(asked) == [0] * 3 + [1] * 6 + [2] * 2


def test_the_plot_is_one_drawing_of_bounded_size():
    frames = np.random.default_rng(0).normal(size=(30_000, MOTION_DIM)).astype(np.float32)
    visemes = np.eye(15, dtype=np.float32)[np.arange(30_000) // 1000 % 15]
    drawing = plot_motion(Motion(frames), visemes)
    root = ElementTree.fromstring(drawing)
    paths = [element.get("d") for element in root.iter() if element.tag.endswith("path")]
    assert len(paths) == 5 and all(path.count(" ") <= POINTS for path in paths)
    assert float(root.get("data-seconds")) == 30_000 / FPS
    named = {element.text for element in root.iter() if element.get("class") == "heard"}
    assert named == {*VISEMES} - {"sil"}


def test_the_plot_of_a_still_face_is_flat():
    drawing = plot_motion(Motion(np.zeros((1, MOTION_DIM), np.float32)))
    assert "nan" not in drawing and "inf" not in drawing
    assert re.search(r'class="playhead"', drawing)


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    return Studio(TalkingHead("cpu"), Workspace(tmp_path_factory.mktemp("workspace")))


@pytest.fixture(scope="module")
def take(studio, tmp_path_factory):
    """A finished video of two seconds."""
    voice = Path(__file__).parents[3] / "examples" / "voice_en.wav"
    result = studio.begin(PORTRAIT, voice, TalkOptions(size=256, seed=3), consent=True)
    for _ in studio.film(result):
        pass
    return result


@pytest.mark.slow
def test_another_emotion_keeps_head_and_lips(studio, take):
    other = studio.swap(take.name, "happiness", consent=True)
    for _ in studio.film(other):
        pass
    before, after = load_motion(take.motion).frames, load_motion(other.motion).frames
    assert np.array_equal(before[:, POSE], after[:, POSE])
    likeness = np.corrcoef(lip_gap(before), lip_gap(after))[0, 1]
    print(f"opening of the lips, neutral against happiness: r = {likeness:.2f}")
    assert likeness > 0.8
    assert np.abs(before - after)[:, :63].max() > 0.05  # OC
    report = studio.report(other)
    assert "--head-from moda-neutral.npz" in report.command and 'class="viseme PP"' in report.plot


@pytest.mark.slow
def test_all_emotions_are_side_by_side(studio, take):
    result = studio.swap(take.name, "all:0.9", consent=True)
    shown = [step.frame for step in studio.film(result) if step.frame is not None]
    tall, wide = len(LABELS) // COLUMNS * (SIZE + BAND), COLUMNS * SIZE
    assert shown[0].shape == (tall, wide, 3)
    with av.open(str(result.video)) as container:
        assert len(container.streams.audio) == 1
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == len(load_motion(take.motion)) and frames[0].shape == (tall, wide, 3)
    tiles = frames[50].reshape(2, SIZE + BAND, COLUMNS, SIZE, 3).swapaxes(1, 2).reshape(8, SIZE + BAND, SIZE, 3)
    apart = [np.abs(a[:SIZE].astype(int) - b[:SIZE]).mean() for i, a in enumerate(tiles) for b in tiles[:i]]
    assert min(apart) > 0.3  # no two faces are the same
    assert studio.report(result).motion is None


@pytest.mark.slow
def test_a_grid_that_is_stopped_leaves_nothing(studio, take):
    result = studio.swap(take.name, "all", consent=True)
    steps = studio.film(result)
    assert next(steps).stage == "audio"
    steps.close()
    assert not result.folder.exists()
