"""Sound decoding: every format gives the same waveform, and every unusable file one clear line."""

from __future__ import annotations

import numpy as np
import pytest

from contracts import SAMPLE_RATE
from encoders.audio.media import AudioError, AudioInfo, audio_blocks, frame_count, load_audio, probe_audio
from tests.media_support import PORTRAIT, tone, write_sound, write_video, write_wav

SECONDS = 1.3


@pytest.mark.parametrize(
    ("name", "codec", "rate", "layout"),
    [
        ("16 bit.wav", "pcm_s16le", 44_100, "mono"),
        ("8 bit.wav", "pcm_u8", 8_000, "mono"),
        ("24 bit, six channels.wav", "pcm_s24le", 48_000, "5.1"),
        ("float.wav", "pcm_f32le", 96_000, "stereo"),
        ("odd rate.wav", "pcm_s16le", 11_127, "mono"),
        ("lossless.flac", "flac", 22_050, "stereo"),
        ("music.mp3", "libmp3lame", 44_100, "stereo"),
        ("phone.m4a", "aac", 44_100, "mono"),
        ("message.ogg", "libopus", 48_000, "mono"),
        ("browser.webm", "libopus", 48_000, "stereo"),
        ("only sound.mp4", "aac", 48_000, "stereo"),
    ],
)
def test_every_format_gives_the_same_waveform(tmp_path, name, codec, rate, layout):
    samples = tone(SECONDS, rate)
    wave = load_audio(write_sound(tmp_path / name, samples, codec, rate, layout))
    assert wave.dtype == np.float32
    assert len(wave) == -(-len(samples) * SAMPLE_RATE // rate)  # to the sample, lossy codecs and their padding too
    expected = tone(len(wave) / SAMPLE_RATE, SAMPLE_RATE)[: len(wave)]
    error = np.sqrt(np.mean((wave - expected) ** 2))
    assert error < (0.01 if codec.startswith(("pcm", "flac")) else 0.05)


def test_the_channels_are_averaged(tmp_path):
    samples = np.stack([tone(1, SAMPLE_RATE), np.zeros(SAMPLE_RATE, np.float32)], axis=1)
    path = write_wav(tmp_path / "left.wav", samples)
    np.testing.assert_allclose(load_audio(path), samples[:, 0] / 2, atol=1e-3)
    both = np.concatenate(list(audio_blocks(path, SAMPLE_RATE, mono=False)), axis=1)  # [2, N]
    np.testing.assert_allclose(both, samples.T, atol=1e-3)


def test_sound_comes_out_of_a_video_and_in_blocks(tmp_path):
    path = write_sound(tmp_path / "talk.mp4", tone(30, 16_000), "aac", 16_000)
    blocks = [block.shape[1] for block in audio_blocks(path, SAMPLE_RATE)]
    assert sum(blocks) == 30 * SAMPLE_RATE
    assert max(blocks) < SAMPLE_RATE  # an hour is never in memory as a whole
    info = probe_audio(path)
    assert info == AudioInfo(16_000, 1, 30.0)


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (1, 1), (640, 1), (641, 2), (16_000, 25), (16_001, 26)])
def test_frames_cover_the_sound(samples, frames):
    assert frame_count(samples) == frames


def test_a_damaged_packet_is_passed_over(tmp_path):
    path = write_sound(tmp_path / "talk.mp3", tone(4, 44_100), "libmp3lame", 44_100)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 600] = bytes(600)
    path.write_bytes(data)
    assert len(load_audio(path)) > 3 * SAMPLE_RATE


def _missing(folder):
    return folder / "nothing.wav"


def _folder(folder):
    return folder


def _empty_file(folder):
    (folder / "empty.wav").touch()
    return folder / "empty.wav"


def _no_samples(folder):
    return write_wav(folder / "header only.wav", np.zeros(0, np.float32))


def _text(folder):
    (folder / "text.wav").write_text("this is no sound\n" * 100)
    return folder / "text.wav"


def _picture(_folder):
    return PORTRAIT


def _video_without_sound(folder):
    return write_video(folder / "mute.mp4")


def _silent(folder):
    return write_wav(folder / "silent.wav", np.full(SAMPLE_RATE, 2e-4, np.float32))


def _not_a_number(folder):
    return write_sound(folder / "nan.wav", np.full(SAMPLE_RATE, np.nan, np.float32), "pcm_f32le", SAMPLE_RATE)


def _one_not_a_number(folder):
    samples = tone(1, SAMPLE_RATE)
    samples[500] = np.nan
    return write_sound(folder / "one nan.wav", samples, "pcm_f32le", SAMPLE_RATE)


def _short(folder):
    return write_wav(folder / "short.wav", tone(0.19, SAMPLE_RATE))


def _cut_off(folder):
    path = write_sound(folder / "talk.m4a", tone(2, 44_100), "aac", 44_100)
    path.write_bytes(path.read_bytes()[:2000])  # the index of an MP4 is at its end
    return path


def _too_long_a_name(folder):
    return folder / f"{'x' * 300}.wav"


def _playlist(folder):
    """It would make FFmpeg fetch another file."""
    write_wav(folder / "target.wav", tone(1, SAMPLE_RATE))
    (folder / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/target.wav\n#EXT-X-ENDLIST\n")
    return folder / "list.m3u8"


BAD_SOUND = [
    (_missing, "there is no file"),
    (_folder, "is a folder"),
    (_empty_file, "is an empty file"),
    (_no_samples, "convert it to WAV"),
    (_text, "is not a readable recording"),
    (_picture, "has no sound track"),
    (_video_without_sound, "has no sound track"),
    (_silent, "is silent"),
    (_not_a_number, "not numbers"),
    (_one_not_a_number, "not numbers"),
    (_short, "lasts 0.19 s"),
    (_cut_off, "is not a readable recording"),
    (_too_long_a_name, "there is no file"),
    (_playlist, "list.m3u8"),
]


@pytest.mark.parametrize(("make", "says"), BAD_SOUND)
def test_an_unusable_file_is_one_clear_line(tmp_path, make, says):
    with pytest.raises(AudioError) as caught:
        load_audio(make(tmp_path))
    line = str(caught.value)
    assert says in line
    assert "\n" not in line
    assert ";" in line  # what is wrong; what to do
