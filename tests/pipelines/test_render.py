"""Saved motion played on a portrait, and a portrait driven by a video."""

from __future__ import annotations

import errno
import os
import time

import numpy as np
import pytest

from contracts import FPS, SAMPLE_RATE, Motion
from encoders.audio.media import AudioError, load_audio
from encoders.face.image import load_image
from encoders.face.portrait import NoSuchFace, encode_face
from encoders.face.track import NoFaceInVideo
from moda.motion.layout import MotionError
from moda.motion.saved import load_motion, save_motion
from moda.render import Framing, MeshRenderer, RenderError
from pipelines.drive import drive_portrait
from pipelines.film.files import InputError, OutputError
from pipelines.render import Film, render_motion
from pipelines.weights.catalogue import PublishedWeightsError
from tests.media_support import PORTRAIT, files, read_frames, tone, write_video, write_wav

LOWER_LIP_Y, CHIN_Y, YAW = 3 * 3 + 1, 8 * 3 + 1, 68


def jaw_motion(frames: int) -> Motion:
    """The jaw opens and shuts twice a second, while the head turns from side to side."""
    phase = 2 * np.pi * np.arange(frames) / FPS
    motion = np.zeros((frames, 70), np.float32)
    motion[:, 63] = 1
    drop = 0.08 * (1 - np.cos(2 * phase))
    for keypoint, share in ((3, 1.0), (5, 1.0), (8, 0.7)):
        motion[:, 3 * keypoint + 1] = -share * drop
    motion[:, YAW] = 6 * np.sin(phase)
    return Motion(motion)


@pytest.fixture
def motion(tmp_path):
    save_motion(tmp_path / "motion.npz", jaw_motion(30))
    return tmp_path / "motion.npz"


def run(steps):
    """The last word of a pipeline, and all that it warned of."""
    warnings: list[str] = []
    step = None
    for step in steps:
        warnings += step.warnings
    return step, warnings


def test_a_saved_motion_moves_the_portrait(tmp_path, motion):
    voice = write_wav(tmp_path / "voice.wav", tone(1.2, SAMPLE_RATE))
    out = tmp_path / "out.mp4"
    steps = list(render_motion(PORTRAIT, motion, out, audio=voice, size=256))
    pictures = [step.frame for step in steps if step.stage == "video"]
    assert [step.done for step in steps if step.stage == "video"] == list(range(1, 31))
    assert {step.total for step in steps if step.stage == "video"} == {30}
    written = read_frames(out)
    assert len(written) == 30
    assert written[0].shape == (256, 256, 3)
    for shown, meant in zip(written, pictures, strict=True):
        assert np.abs(shown.astype(int) - meant).mean() < 4
    assert np.abs(pictures[0].astype(int) - pictures[6]).mean() > 2  # a quarter of a second later it has moved
    assert len(load_audio(out)) == round(1.2 * SAMPLE_RATE)
    assert files(tmp_path) == {"motion.npz", "voice.wav", "out.mp4"}


def test_the_whole_picture_is_filmed_unless_told_otherwise(tmp_path, motion):
    out = tmp_path / "out.mp4"
    steps = list(render_motion(PORTRAIT, motion, out))
    assert not any("small" in warning for step in steps for warning in step.warnings), "it is as large as it is"
    pictures = [step.frame for step in steps if step.stage == "video"]
    source = load_image(PORTRAIT)
    x, y, side = encode_face(source).crop
    beside = np.ones(source.shape[:2], bool)
    beside[y : y + side, x : x + side] = False
    for shown, meant in zip(read_frames(out), pictures, strict=True):
        np.testing.assert_array_equal(meant[beside], source[beside])
        assert np.abs(shown.astype(int) - meant).mean() < 4
    assert np.abs(pictures[0].astype(int) - pictures[6])[~beside].mean() > 2


def test_a_small_face_drawn_larger_is_told_once(tmp_path, motion):
    steps = list(render_motion(PORTRAIT, motion, tmp_path / "out.mp4", frame="crop"))
    warnings = [warning for step in steps for warning in step.warnings]
    assert sum("the face is small (55 px between the eyes): enlarged 2.1 times" in said for said in warnings) == 1


def test_sound_of_another_length_is_told(tmp_path, motion):
    voice = write_wav(tmp_path / "voice.wav", tone(2, SAMPLE_RATE))
    _, warnings = run(render_motion(PORTRAIT, motion, tmp_path / "out.mp4", audio=voice, size=256))
    assert any("1.20 s" in warning for warning in warnings)
    assert len(load_audio(tmp_path / "out.mp4")) == round(1.2 * SAMPLE_RATE)


def test_a_closed_pipeline_leaves_nothing(tmp_path, motion):
    steps = render_motion(PORTRAIT, motion, tmp_path / "out.mp4", size=256)
    while next(steps).done != 10:
        pass
    assert len(files(tmp_path)) == 2
    steps.close()
    assert files(tmp_path) == {"motion.npz"}


def test_motion_of_another_space_is_refused(tmp_path, monkeypatch):
    save_motion(tmp_path / "motion.npz", Motion(jaw_motion(5).frames, space="liveportrait"))
    with pytest.raises(RenderError, match="space 'liveportrait', the renderer draws 'mesh'"):
        run(render_motion(PORTRAIT, tmp_path / "motion.npz", tmp_path / "out.mp4", size=256, renderer="mesh"))
    monkeypatch.setenv("MODA_WEIGHTS", str(tmp_path / "none"))
    with pytest.raises(PublishedWeightsError, match="`moda weights fetch liveportrait`"):
        run(render_motion(PORTRAIT, tmp_path / "motion.npz", tmp_path / "out.mp4", size=256))
    with pytest.raises(RenderError, match="there is no renderer 'mash'; choose from mesh, "):
        run(render_motion(PORTRAIT, tmp_path / "motion.npz", tmp_path / "out.mp4", size=256, renderer="mash"))
    assert files(tmp_path) == {"motion.npz"}


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"motion": "nothing.npz"}, InputError),
        ({"motion": PORTRAIT}, MotionError),
        ({"audio": "nothing.wav"}, InputError),
        ({"out": "out.gif"}, OutputError),
        ({"size": 255}, RenderError),
        ({"frame": "full"}, RenderError),
        ({"face": 2}, NoSuchFace),
    ],
)
def test_bad_input_is_refused_and_leaves_nothing(tmp_path, motion, monkeypatch, changed, kind):
    monkeypatch.chdir(tmp_path)
    given = {"motion": motion, "out": "out.mp4", "size": 256} | changed
    with pytest.raises(kind):
        run(render_motion(PORTRAIT, given.pop("motion"), given.pop("out"), **given))
    assert files(tmp_path) == {"motion.npz"}


def test_a_driven_portrait_repeats_what_it_sees(tmp_path):
    """The portrait is filmed with a known motion; driven by that film, it makes the same motion again."""
    known = jaw_motion(50)
    save_motion(tmp_path / "motion.npz", known)
    voice = write_wav(tmp_path / "voice.wav", tone(2, SAMPLE_RATE))
    run(render_motion(PORTRAIT, tmp_path / "motion.npz", tmp_path / "film.mp4", audio=voice))

    kept = tmp_path / "again.npz"
    steps = list(drive_portrait(PORTRAIT, tmp_path / "film.mp4", tmp_path / "out.mp4", size=256, save_motion=kept))
    assert [step.stage for step in steps if step.stage == "track"]
    again = load_motion(kept)
    assert len(again) == len(known) == len(read_frames(tmp_path / "out.mp4"))
    for channel in (LOWER_LIP_Y, CHIN_Y, YAW):
        assert np.corrcoef(again.frames[:, channel], known.frames[:, channel])[0, 1] > 0.9
    assert len(load_audio(tmp_path / "out.mp4")) == 2 * SAMPLE_RATE


def test_a_bad_driving_video_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(InputError):
        run(drive_portrait(PORTRAIT, tmp_path / "nothing.mp4", tmp_path / "out.mp4"))
    black = write_video(tmp_path / "black.mp4")
    with pytest.raises(NoFaceInVideo):
        run(drive_portrait(PORTRAIT, black, tmp_path / "out.mp4"))
    assert files(tmp_path) == {"black.mp4"}


def test_closing_stops_the_tracker(tmp_path, monkeypatch):
    """Ten seconds of tracking, if nobody stops it."""
    told = []

    def track(video, *, progress):
        for _ in range(10_000):
            progress(0.0)
            told.append(video)
            time.sleep(0.001)

    monkeypatch.setattr("pipelines.drive.track_video", track)
    film = write_video(tmp_path / "film.mp4")
    steps = drive_portrait(PORTRAIT, film, tmp_path / "out.mp4")
    while next(steps).stage != "track":
        pass
    steps.close()
    assert len(told) < 10_000
    assert files(tmp_path) == {"film.mp4"}


def test_an_input_is_never_the_output(tmp_path, motion, monkeypatch):
    monkeypatch.chdir(tmp_path)
    video = write_video(tmp_path / "in.mp4")
    before = video.read_bytes()
    os.symlink("in.mp4", "same.mp4")
    for out in ("in.mp4", "same.mp4"):
        with pytest.raises(OutputError, match="one of the files given"):
            next(render_motion(PORTRAIT, motion, out, audio=video))
        with pytest.raises(OutputError, match="one of the files given"):
            next(drive_portrait(PORTRAIT, video, out))
    with pytest.raises(OutputError, match="one of the files given"):
        next(drive_portrait(PORTRAIT, motion, "out.mp4", save_motion="motion.npz"))
    assert video.read_bytes() == before


def test_a_bad_size_is_refused_before_anything_is_read(tmp_path, motion):
    with pytest.raises(RenderError, match="333"):
        next(render_motion(PORTRAIT, motion, tmp_path / "out.mp4", size=333))
    with pytest.raises(RenderError, match="333"):
        next(drive_portrait(PORTRAIT, tmp_path / "nothing.mp4", tmp_path / "out.mp4", size=333))


def test_motion_that_cannot_be_kept_is_named_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("moda.motion.saved.np.savez_compressed", full)
    film = Film(encode_face(PORTRAIT), tmp_path / "out.mp4", Framing(size=256), tmp_path / "m.npz")
    with pytest.raises(MotionError, match=r"cannot write \S*/m\.npz \(No space"):
        run(film.shoot(MeshRenderer(), [jaw_motion(3).frames], 3, "mesh"))
    assert files(tmp_path) == set()


def test_a_video_that_cannot_be_finished_leaves_no_motion_either(tmp_path):
    mute = write_video(tmp_path / "mute.mp4")
    film = Film(encode_face(PORTRAIT), tmp_path / "out.mp4", Framing(size=256), tmp_path / "m.npz", sound=mute)
    with pytest.raises(AudioError):
        run(film.shoot(MeshRenderer(), [jaw_motion(1).frames], 1, "mesh"))
    assert files(tmp_path) == {"mute.mp4"}
