"""Which track and which channels are heard, and what the clock of a sound track says."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from contracts import SAMPLE_RATE
from encoders.audio.media import AudioError, load_audio, probe_audio, sound_delay, sound_remarks
from encoders.face.reel import open_reel
from tests.media_support import tone, write_channels, write_tracks, write_wav

RATE = 48_000
VOICE, HUM = tone(1, RATE), tone(1, RATE, 60)
NOTHING = 0 * VOICE


def like(path: Path, samples: np.ndarray = VOICE) -> float:
    """The size of ``samples`` [N] in what is heard of the file; not a number if anything else is."""
    expected = load_audio(write_wav(path.with_suffix(".expected.wav"), samples, RATE))
    wave = load_audio(path)
    share = float(wave @ expected / (expected @ expected))
    return share if np.abs(wave - share * expected).max() < 0.02 else np.nan


@pytest.mark.parametrize(
    ("tracks", "default", "remarks"),
    [
        ([VOICE, HUM], None, 0),
        ([HUM, VOICE], 1, 0),
        ([VOICE, HUM], 0, 0),
        ([NOTHING, VOICE], 0, 1),
        ([VOICE, NOTHING, HUM], 1, 1),
    ],
)
def test_the_default_track_is_heard_unless_it_is_silent(tmp_path, tracks, default, remarks) -> None:
    path = write_tracks(tmp_path / "film.mkv", tracks, RATE, default=default)
    assert like(path) == pytest.approx(1, abs=0.01)
    assert len(sound_remarks(path)) == remarks


def test_a_file_of_silent_tracks_is_silent(tmp_path) -> None:
    with pytest.raises(AudioError, match="silent"):
        load_audio(write_tracks(tmp_path / "film.mkv", [NOTHING, NOTHING], RATE))


@pytest.mark.parametrize(
    ("left", "right", "size", "remarks"),
    [(1, 1, 1, 0), (1, 0, 0.5, 0), (1, -1, 1, 1), (1, -0.8, 1, 1), (-0.3, 0.9, 0.9, 1), (0.9, 0.3, 0.6, 0)],
)
def test_channels_do_not_cancel(tmp_path, left, right, size, remarks) -> None:
    samples = np.stack([left * VOICE, right * VOICE], 1)
    path = write_wav(tmp_path / "stereo.wav", samples, RATE)
    assert abs(like(path)) == pytest.approx(size, abs=0.01)
    assert len(sound_remarks(path)) == remarks


@pytest.mark.parametrize(
    ("layout", "channel", "least"),
    [("5.1", 2, 0.99), ("5.1", 0, 0.99), ("7.1", 2, 0.99), ("3.0", 2, 0.99), ("quad", 3, 0.99), ("5.1(side)", 2, 0.99)],
)
def test_a_voice_in_one_channel_of_many_is_heard(tmp_path, layout, channel, least) -> None:
    channels = np.zeros((av.AudioLayout(layout).nb_channels, len(VOICE)), np.float32)
    channels[channel] = VOICE
    assert like(write_channels(tmp_path / "surround.wav", channels, RATE, layout)) > least


def test_the_centre_carries_the_voice(tmp_path) -> None:
    music = [tone(1, RATE, hertz) / 2 for hertz in (500, 700, 90, 900, 1100)]
    channels = np.stack([music[0], music[1], VOICE, *music[2:]])
    wave = load_audio(write_channels(tmp_path / "film.mkv", channels, RATE, "5.1"))
    voice = load_audio(write_wav(tmp_path / "voice.wav", VOICE, RATE))
    share = float(wave @ voice / (voice @ voice))
    rest = wave - share * voice
    assert share > 0.5
    assert np.sqrt((rest**2).mean()) < 0.3 * share * np.sqrt((voice**2).mean())


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "pcm_s16le"), ("b.webm", "libopus"), ("c.mp4", "aac")])
def test_a_gap_in_the_sound_stays(tmp_path, name, codec) -> None:
    rate = RATE
    samples = tone(2, rate)
    plain = load_audio(write_tracks(tmp_path / f"whole_{name}", [samples], rate, codec=codec))
    wave = load_audio(write_tracks(tmp_path / name, [samples], rate, gap=(rate * 6 // 10, rate), codec=codec))
    assert abs(len(wave) - len(plain)) <= 0.06 * SAMPLE_RATE
    assert np.abs(wave[round(0.7 * SAMPLE_RATE) : round(0.95 * SAMPLE_RATE)]).max() < 0.02
    late = slice(round(1.2 * SAMPLE_RATE), round(1.8 * SAMPLE_RATE))
    assert np.abs(wave[late]).max() == pytest.approx(0.5, abs=0.05)


def test_sound_that_starts_late_by_itself_is_just_a_recording(tmp_path) -> None:
    samples = tone(11, RATE)
    path = write_tracks(tmp_path / "late.mkv", [samples], RATE, gap=(0, 10 * RATE))
    assert len(load_audio(path)) == SAMPLE_RATE
    assert sound_delay(path) == 0


def test_a_clock_that_jumps_is_not_believed(tmp_path) -> None:
    path = tmp_path / "jump.mkv"
    samples = tone(1, RATE)[None]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for second in (0, 20_000):
            frame = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, second * RATE, Fraction(1, RATE)
            container.mux(stream.encode(frame))
    assert len(load_audio(path)) == 2 * SAMPLE_RATE


def test_recordings_put_end_to_end(tmp_path) -> None:
    """Transport streams may be joined by their bytes: clock and channels begin anew."""
    one = write_tracks(tmp_path / "one.ts", [tone(1, RATE)], RATE, codec="aac")
    two = write_channels(tmp_path / "two.ts", np.stack([tone(1, RATE)] * 2), RATE, "stereo", codec="aac")
    both = tmp_path / "both.ts"
    both.write_bytes(one.read_bytes() + two.read_bytes())
    assert len(load_audio(both)) == pytest.approx(2 * SAMPLE_RATE, abs=0.1 * SAMPLE_RATE)


def test_sound_in_no_known_format(tmp_path) -> None:
    path = write_tracks(tmp_path / "odd.mkv", [VOICE], RATE, codec="aac")
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    with pytest.raises(AudioError, match="unknown format; convert it"):
        probe_audio(path)


def film(path: Path, late: int = 0) -> Path:
    """Two seconds in which picture k is of grey 4 k, and the sound grows by .2 a second; the picture comes late by
    ``late`` frames."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"g": "15", "bf": "0", "crf": "5"})
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=RATE, layout="mono")
        samples = (0.1 + 0.2 * np.arange(2 * RATE) / RATE) * tone(2, RATE, 1000) * 2
        packets = []
        for k in range(late, 50):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 4 * k, np.uint8), "rgb24")
            picture.pts, picture.time_base = k, Fraction(1, 25)
            packets += video.encode(picture)
        for begin in range(0, len(samples), 1024):
            frame = av.AudioFrame.from_ndarray(samples[None, begin : begin + 1024].astype(np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, begin, Fraction(1, RATE)
            packets += audio.encode(frame)
        packets += [*video.encode(None), *audio.encode(None)]
        for packet in sorted((p for p in packets if p.dts is not None), key=lambda p: p.dts * p.time_base):
            container.mux(packet)
    return path


@pytest.mark.parametrize("cut", [0, 0.22, 0.4])
def test_sound_keeps_its_place_in_a_stream_cut_between_key_pictures(tmp_path, cut) -> None:
    data = film(tmp_path / "whole.ts").read_bytes()
    path = tmp_path / "cut.ts"
    path.write_bytes(data[188 * round(cut * len(data) / 188) :])
    with open_reel(path) as reel:
        grey = reel.picture(next(frame for _, frame in reel.frames())).mean()
    wave = load_audio(path)
    begun = (np.abs(wave[800:1600]).max() - 0.1) / 0.2 - 0.1  # s, of the first sample, by how loud it is at 0.1 s
    assert sound_delay(path) == pytest.approx(begun - grey / 4 / 25, abs=0.04)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.mov"])
@pytest.mark.parametrize("late", [0, 10])
def test_a_picture_that_comes_late(tmp_path, name, late) -> None:
    assert sound_delay(film(tmp_path / name, late)) == pytest.approx(-late / 25, abs=0.03)
