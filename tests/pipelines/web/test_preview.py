"""The preview: a video that plays as far as it is filmed, and is gone when the whole one is there."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest

from contracts import SAMPLE_RATE
from encoders.audio.media import AudioError
from moda.render import Scene
from pipelines.render import Progress
from pipelines.web.preview import film_preview, read_preview
from tests.media_support import Array, files, tone, write_video, write_wav

SIZE, CORNER = 64, (64, 32)
FRAMES = 75
FRAGMENT = 12  # frames


@pytest.fixture
def voice(tmp_path):
    (tmp_path / "in").mkdir()
    return write_wav(tmp_path / "in" / "voice.wav", tone(FRAMES / 25, SAMPLE_RATE))


@pytest.fixture
def path(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "preview.mp4"


def grey(k: int) -> int:
    return 40 + 2 * k


def steps(shape: tuple[int, int] | None = None, ended: list[int] | None = None) -> Iterator[Progress]:
    """Frames that tell their number by how bright they are; in a picture of ``shape``, a part of it."""
    face = cast("Any", Crop())
    scene = Scene(face, SIZE, None if shape is None else np.full((*shape, 3), 128, np.uint8))
    done = 0
    try:
        yield Progress("face", 100, 100)
        for done in range(1, FRAMES + 1):
            head = np.full((SIZE, SIZE, 3), grey(done - 1), np.uint8)
            yield Progress("video", done, FRAMES, shot=(scene, head))
        yield Progress("video", done, FRAMES, ("it is not signed",), shot=(scene, head))
    finally:
        (ended if ended is not None else []).append(done)


class Crop:
    crop = (*CORNER, SIZE)


def play(data: bytes) -> list[Array]:
    """The frames that a browser would have by now, uint8 [H, W, 3]."""
    if not data:
        return []
    with av.open(io.BytesIO(data)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def follow(path: Path, data: bytes, at_least: int) -> bytes:
    """``data`` and what comes to it, until so many frames play. The suite's time limit ends a wait in vain."""
    while len(play(data)) < at_least:
        data += read_preview(path, len(data)) or b""
        time.sleep(0.01)
    return data


@pytest.mark.parametrize("stop", [40, FRAMES])
def test_it_plays_as_far_as_it_is_filmed(path, voice, stop):
    """What came in pieces plays from the beginning, all but the fragment that is being made and what x264 has yet to
    be given; and goes on with the next pieces."""
    making, data = film_preview(steps(), path, voice), b""
    for step in making:
        if step.stage == "video" and step.done in (25, stop):
            data = follow(path, data, (step.done - 1) // FRAGMENT * FRAGMENT - FRAGMENT)
            frames = play(data)
            assert len(frames) <= step.done
            assert [frame.mean() for frame in frames] == pytest.approx([grey(k) for k in range(len(frames))], abs=2)
        if step.done == stop:
            break
    making.close()
    assert read_preview(path, len(data)) is None
    assert files(path.parent) == set()


def test_it_has_the_sound_from_the_start(path, voice):
    making, data = film_preview(steps(), path, voice), b""
    for step in making:
        if step.stage == "video" and step.done == 50:
            data = follow(path, data, 36)
            break
    making.close()
    with av.open(io.BytesIO(data)) as container:
        assert [stream.codec_context.name for stream in container.streams] == ["h264", "aac"]
        assert [stream.start_time for stream in container.streams] == [0, 0]
        sound = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)[0]
    assert len(sound) >= 36 * SAMPLE_RATE // 25 - 1024
    assert sound.std() == pytest.approx(tone(1, SAMPLE_RATE).std(), rel=0.2)


@pytest.mark.parametrize(
    ("shape", "shown"), [((128, 256), (128, 256)), ((400, 2048), (100, 512)), ((1026, 300), (512, 150))]
)
def test_a_large_picture_is_scaled_down(path, voice, shape, shown):
    for step in (making := film_preview(steps(shape), path, voice)):
        if step.done == 30 and step.stage == "video":
            frame = play(follow(path, b"", 12))[0]
            break
    making.close()
    assert frame.shape == (*shown, 3)
    share = shown[1] / shape[1]
    x, y = (round((at + SIZE / 2) * share) for at in CORNER)
    assert frame[y, x].mean() == pytest.approx(grey(0), abs=3)  # the head lies where it belongs
    assert frame[-4, -4].mean() == pytest.approx(128, abs=3)


def test_all_steps_pass_and_nothing_stays(path, voice):
    told = list(film_preview(steps(), path, voice))
    assert [step.done for step in told] == [step.done for step in steps()]
    assert told[-1].warnings == ("it is not signed",)
    assert files(path.parent) == set()


@pytest.mark.parametrize("after", [1, 2, 30])
def test_closing_it_closes_the_filming(path, voice, after):
    ended: list[int] = []
    making = film_preview(steps(ended=ended), path, voice)
    for _ in range(after):
        next(making)
    making.close()
    assert ended == [after - 1]
    assert files(path.parent) == set()
    assert "video-encoder" not in [thread.name for thread in threading.enumerate()]


def test_a_fault_of_its_own_is_told(path, tmp_path):
    ended: list[int] = []
    with pytest.raises(AudioError, match="no sound track"):
        for _ in film_preview(steps(ended=ended), path, write_video(tmp_path / "mute.mp4")):
            time.sleep(0.01)
    assert ended and files(path.parent) == set()
