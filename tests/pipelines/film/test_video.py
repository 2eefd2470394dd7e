"""Writing videos: what is in the file, and that there is either a whole file or none."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from contracts import FPS, SAMPLE_RATE
from encoders.audio.media import AudioError, frame_count, load_audio, probe_audio
from moda.files import replacing
from pipelines.film.files import OutputError, check_output
from pipelines.film.video import open_video
from tests.media_support import Array, files, read_frames, tone, write_sound, write_video, write_wav

ROOT = Path(__file__).parents[3]
SIZE = 64


def pictures(count: int) -> Iterator[Array]:
    """Colour gradients, each frame another shade of blue."""
    y, x = np.mgrid[:SIZE, :SIZE] * (255 / SIZE)
    for k in range(count):
        yield np.stack([x, y, np.full_like(x, 7 * k % 256)], axis=-1).astype(np.uint8)


def film(path: Path, count: int, **sound: object) -> Path:
    with open_video(path, **sound) as video:
        for picture in pictures(count):
            video.write(picture)
    return path


def test_the_file_is_h264_and_aac_at_25_frames_a_second(tmp_path):
    voice = write_wav(tmp_path / "voice.wav", tone(1.01, 44_100), 44_100)
    count = frame_count(len(load_audio(voice)))
    path = film(tmp_path / "out.mp4", count, sound=voice)
    with av.open(str(path)) as container:
        video, sound = container.streams.video[0], container.streams.audio[0]
        assert (video.codec.name, video.pix_fmt, video.average_rate) == ("h264", "yuv420p", FPS)
        assert (sound.codec.name, sound.rate, sound.channels) == ("aac", 44_100, 1)
        assert video.frames == count == 26
        assert (video.start_time, sound.start_time) == (0, 0)
        assert sound.duration * sound.time_base == pytest.approx(1.01, abs=1 / 44_100)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # a browser can play before it has all


def test_the_colours_are_those_of_the_frames(tmp_path):
    path = film(tmp_path / "out.mp4", 10)
    for shown, meant in zip(read_frames(path), pictures(10), strict=True):
        assert np.abs(shown.astype(int) - meant).mean() < 4


@pytest.mark.parametrize(
    ("name", "codec", "rate", "layout", "kept"),
    [
        ("a.wav", "pcm_s16le", 16_000, "mono", (16_000, 1)),
        ("b.wav", "pcm_s16le", 8_000, "mono", (8_000, 1)),
        ("c.wav", "pcm_s24le", 96_000, "stereo", (48_000, 2)),
        ("d.wav", "pcm_s16le", 44_100, "5.1", (44_100, 1)),
        ("e.mp3", "libmp3lame", 44_100, "stereo", (44_100, 2)),
        ("f.m4a", "aac", 22_050, "mono", (22_050, 1)),
        ("g.webm", "libopus", 48_000, "stereo", (48_000, 2)),
        ("h.wav", "pcm_s16le", 17_123, "mono", (22_050, 1)),
    ],
)
def test_the_sound_is_as_long_as_it_was(tmp_path, name, codec, rate, layout, kept):
    voice = write_sound(tmp_path / name, tone(1.234, rate), codec, rate, layout)
    before = load_audio(voice)
    path = film(tmp_path / "out.mp4", frame_count(len(before)), sound=voice)
    info = probe_audio(path)
    assert (info.rate, info.channels) == kept
    assert abs(len(load_audio(path)) - len(before)) <= 1


@pytest.mark.parametrize("delay", [0.0, 0.1, -0.1])
def test_the_sound_is_in_step(tmp_path, delay):
    """The lag of best agreement between the sound that went in and the sound that comes out."""
    noise = np.random.default_rng(0).normal(size=SAMPLE_RATE // 4).cumsum()
    burst = np.concatenate([np.zeros(SAMPLE_RATE // 2), noise - noise.mean(), np.zeros(SAMPLE_RATE // 2)])
    voice = write_wav(tmp_path / "voice.wav", 0.5 * burst / np.abs(burst).max())
    before = load_audio(voice)
    after = load_audio(film(tmp_path / "out.mp4", 40, sound=voice, delay=delay))
    length = 2 * max(len(before), len(after))
    agreement = np.fft.irfft(np.fft.rfft(after, length) * np.conj(np.fft.rfft(before, length)), length)
    lag = int(agreement.argmax())
    lag -= length if lag > length // 2 else 0
    assert abs(lag - delay * SAMPLE_RATE) <= 2


def test_the_sound_ends_with_the_picture(tmp_path):
    voice = write_wav(tmp_path / "voice.wav", tone(3, SAMPLE_RATE))
    assert len(load_audio(film(tmp_path / "out.mp4", 25, sound=voice))) == SAMPLE_RATE


def test_a_short_sound_leaves_the_rest_mute(tmp_path):
    voice = write_wav(tmp_path / "voice.wav", tone(0.5, SAMPLE_RATE))
    path = film(tmp_path / "out.mp4", 50, sound=voice)
    assert len(read_frames(path)) == 50
    assert len(load_audio(path)) == SAMPLE_RATE // 2


def test_the_same_frames_give_the_same_file(tmp_path):
    voice = write_wav(tmp_path / "voice.wav", tone(2, SAMPLE_RATE))
    first, second = (film(tmp_path / name, 50, sound=voice).read_bytes() for name in ("a.mp4", "b.mp4"))
    assert first == second


@pytest.mark.parametrize("corner", [(0, 0), (46, 20), (80, 56)])
def test_laying_a_part_into_the_picture_is_writing_the_whole_of_it(tmp_path, corner):
    """To the byte, also where colours are shared between neighbours across the part's border."""
    picture = np.random.default_rng(0).integers(0, 256, (120, 144, 3), dtype=np.uint8)
    (x, y), whole, part = corner, tmp_path / "whole.mp4", tmp_path / "part.mp4"
    with open_video(whole) as video:
        for patch in pictures(30):
            frame = picture.copy()
            frame[y : y + SIZE, x : x + SIZE] = patch
            video.write(frame)
    with open_video(part, picture=picture, corner=corner) as video:
        for patch in pictures(30):
            video.write(patch)
    assert part.read_bytes() == whole.read_bytes()


def test_an_older_file_is_replaced_only_by_a_whole_one(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"older")
    with pytest.raises(RuntimeError, match="renderer"), open_video(path) as video:
        video.write(next(pictures(1)))
        raise RuntimeError("renderer")
    assert path.read_bytes() == b"older"
    film(path, 3)
    assert len(read_frames(path)) == 3
    assert files(tmp_path) == {"out.mp4"}


@pytest.mark.parametrize("frames", [1, 60])
def test_a_closed_generator_leaves_nothing(tmp_path, frames):
    def endless() -> Iterator[set[str]]:
        with open_video(tmp_path / "out.mp4") as video:
            while True:
                for picture in pictures(50):
                    video.write(picture)
                    yield files(tmp_path)

    generator = endless()
    for _ in range(frames):
        (partial,) = next(generator)
    assert partial.startswith(".out.")
    generator.close()
    assert files(tmp_path) == set()
    assert "video-encoder" not in [thread.name for thread in threading.enumerate()]


def test_a_video_without_frames_is_refused(tmp_path):
    with pytest.raises(OutputError, match="not one frame"), open_video(tmp_path / "out.mp4"):
        pass
    assert files(tmp_path) == set()


def test_sound_that_cannot_be_decoded_stops_the_writer(tmp_path):
    mute = write_video(tmp_path / "mute.mp4")
    with pytest.raises(AudioError, match="no sound track"):
        film(tmp_path / "out.mp4", 10_000, sound=mute)
    assert files(tmp_path) == {"mute.mp4"}


def test_a_slow_renderer_hears_of_a_broken_encoder(tmp_path):
    """``write`` itself raises, so that an hour of rendering is not thrown away at its end."""
    mute = write_video(tmp_path / "mute.mp4")
    with pytest.raises(AudioError), open_video(tmp_path / "out.mp4", sound=mute) as video:
        for picture in pictures(100):
            video.write(picture)
            time.sleep(0.01)
        pytest.fail("the error came too late")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "is a folder"),
        ("nowhere/out.mp4", "nowhere does not exist"),
        ("out.avi", "does not end in .mp4"),
        ("out", "does not end in .mp4"),
    ],
)
def test_an_impossible_output_is_refused_at_once(tmp_path, name, says):
    with pytest.raises(OutputError, match=says):
        check_output(tmp_path / name)
    assert files(tmp_path) == set()


def test_a_name_that_is_too_long_is_one_clear_line(tmp_path):
    with (
        pytest.raises(OutputError, match="is too long a name here; choose a shorter one"),
        open_video(tmp_path / f"{'x' * 300}.mp4"),
    ):
        pass


def test_a_name_that_cannot_be_given_is_one_clear_line(tmp_path):
    """Something stands where the finished file should go."""
    with pytest.raises(OutputError, match=r"cannot write \S*/out\.mp4"), open_video(tmp_path / "out.mp4") as video:
        video.write(next(pictures(1)))
        (tmp_path / "out.mp4").mkdir()
    assert files(tmp_path) == {"out.mp4"}


def test_the_longest_name_is_written(tmp_path):
    path = tmp_path / f"{'é' * 125}.mp4"  # 254 bytes
    with open_video(path) as video:
        video.write(next(pictures(1)))
    assert files(tmp_path) == {path.name}


def test_a_name_with_a_colon_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_video("12:30.mp4") as video:
        video.write(next(pictures(1)))
    assert files(tmp_path) == {"12:30.mp4"}


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path, there):
    (tmp_path / "far").mkdir()
    (tmp_path / "out.mp4").symlink_to("far/real.mp4")
    if there:
        (tmp_path / "far" / "real.mp4").write_text("old")
    with open_video(tmp_path / "out.mp4") as video:
        video.write(next(pictures(1)))
    assert (tmp_path / "out.mp4").is_symlink() and files(tmp_path / "far") == {"real.mp4"}
    assert len(read_frames(tmp_path / "far" / "real.mp4")) == 1


def test_a_link_into_no_folder_is_one_clear_line(tmp_path):
    (tmp_path / "out.mp4").symlink_to("none/real.mp4")
    with pytest.raises(OutputError, match=r"the folder \S*/none does not exist"), open_video(tmp_path / "out.mp4"):
        pass


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    with replacing(tmp_path / "one") as first, replacing(tmp_path / "one") as second:
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "one").read_text() == "first"  # it was last to end
    assert files(tmp_path) == {"one"}


def test_a_folder_closed_to_us_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.film.files.os.access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(OutputError, match="no permission"):
        check_output(tmp_path / "out.mp4")


@pytest.mark.skipif(sys.platform == "win32", reason="limits on the size of files are POSIX")
@pytest.mark.parametrize("with_sound", [False, True])
def test_a_full_disk_is_one_clear_line_and_no_file(tmp_path, with_sound):
    """A limit on the size of files stands in for the end of the disk: the same failing write."""
    voice = write_wav(tmp_path / "voice.wav", tone(20, SAMPLE_RATE))
    folder = tmp_path / "out"
    folder.mkdir()
    program = f"""
        import resource
        import numpy as np
        from pipelines.film.video import (open_video)
        from pipelines.film.files import (OutputError)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        noise = np.random.default_rng(0).integers(0, 256, (500, 256, 256, 3), dtype=np.uint8)
        try:
            with open_video({str(folder / "out.mp4")!r}, sound={str(voice) if with_sound else None!r}) as video:
                for frame in noise:
                    video.write(frame)
        except OutputError as error:
            print(error)
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "File too large" in result.stdout
    assert "free some space" in result.stdout
    assert files(folder) == set()
