"""The audio encoder: frames aligned to the video, chunks that agree with the whole, and the published feature chain."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from contracts import SAMPLES_PER_FRAME
from encoders.audio import published, wav2vec
from encoders.audio.network import FrameAligned, LiteConfig, LiteEncoder
from encoders.audio.published import Recording, heard_frames
from encoders.audio.visemes import VISEMES, frame_labels, phone_visemes
from encoders.audio.wav2vec import (
    AudioEncoder,
    EncoderError,
    load_lite,
    save_lite,
)
from tests.encoders.audio.make_audio import FIXTURE, KINDS, TOLERANCE, TOY, build, encoder, feature_error, load_golden
from tests.moda.model_support import GOLDEN, needs_golden


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


@pytest.fixture(scope="module")
def listener() -> AudioEncoder:
    torch.manual_seed(0)
    return AudioEncoder(LiteEncoder(LiteConfig()))


@pytest.mark.parametrize("samples", [1, 639, 640, 641, 16_000, 25_000])
def test_one_frame_for_every_40_ms_begun(listener: AudioEncoder, samples: int) -> None:
    features = list(listener.stream(noise(samples)))
    assert sum(map(len, features)) == -(-samples // SAMPLES_PER_FRAME)
    assert listener.tokens(features[0]).shape[1] == listener.token_dim


def test_frame_k_hears_samples_640_k_to_640_k_plus_639(listener: AudioEncoder) -> None:
    """A click moves the convolutional features of its own frame most."""
    quiet = torch.zeros(1, 20 * SAMPLES_PER_FRAME)
    for k in (3, 11):
        click = quiet.clone()
        click[0, k * SAMPLES_PER_FRAME + 300 : k * SAMPLES_PER_FRAME + 340] = 1.0
        with torch.no_grad():
            moved = listener.network.frames.convolve(click) - listener.network.frames.convolve(quiet)
        change = moved.abs().sum(-1)[0]
        assert int(change.argmax()) == k
        assert change[: k - 1].max() < 1e-6 and change[k + 2 :].max() < 1e-6


def test_chunks_agree_with_the_whole(listener: AudioEncoder) -> None:
    """Only attention sees beyond the overlap, and at random weights it sees little."""
    sound = noise(24 * 16_000)
    whole = torch.cat([listener.tokens(f) for f in listener.stream(sound, chunk=10_000)])
    parts = torch.cat([listener.tokens(f) for f in listener.stream(sound, chunk=250)])
    assert whole.shape == parts.shape
    assert (whole - parts).abs().mean() < 0.05 * whole.abs().mean()
    convolved = listener.network.frames.convolve(torch.from_numpy(sound[None]))
    later = listener.network.frames.convolve(torch.from_numpy(sound[None, 100 * SAMPLES_PER_FRAME :]))
    assert (convolved[:, 102:] - later[:, 2:]).abs().max() < 1e-4  # no statistics over time


@pytest.mark.parametrize("lookahead", [0, 2, 4])
def test_a_live_voice_is_heard_so_far_and_no_further(
    listener: AudioEncoder, lookahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wav2vec, "loudness", lambda waveform: 1.0)
    sound, new = (noise(frames * SAMPLES_PER_FRAME, seed=frames).reshape(frames, -1) for frames in (90, 20))
    sound, new = (frames - frames.mean(1, keepdims=True) for frames in (sound, new))  # of no mean, wherever it is cut
    changed = np.concatenate([sound[:70], new]).ravel()
    sound = sound.ravel()
    one, other = (listener.hear(each, lookahead) for each in (sound, changed))
    difference = (one - other).abs().amax(1)
    assert one.shape == (90, listener.token_dim)
    assert difference[: 70 - lookahead].max() < 1e-4 < 1e-2 < difference[70 - lookahead]
    alone = listener.hear(sound[10 * SAMPLES_PER_FRAME : (61 + lookahead) * SAMPLES_PER_FRAME])  # two seconds before 60
    assert (one[60] - alone[50]).abs().max() < 1e-4
    assert (one - listener.hear(sound)).abs().max() > 0.01


def test_level_does_not_matter(listener: AudioEncoder) -> None:
    sound = noise(32_000)
    loud, soft = (next(iter(listener.stream(sound * gain))).hidden for gain in (1.0, 0.01))
    assert (loud - soft).abs().max() < 1e-3


def test_lite_has_about_four_million_parameters() -> None:
    count = sum(p.numel() for p in LiteEncoder(LiteConfig()).parameters())
    assert 3.5e6 < count < 4.5e6


def test_weights_round_trip_strictly(tmp_path: Path, listener: AudioEncoder) -> None:
    path = tmp_path / "encoder.safetensors"
    save_lite(listener.network, path)
    again = load_lite(path)
    for name, value in listener.network.state_dict().items():
        assert torch.allclose(value, again.state_dict()[name], atol=2e-3), name
    with pytest.raises(EncoderError, match="no audio encoder"):
        load_lite(tmp_path / "none.safetensors")


def test_junk_is_no_encoder(tmp_path: Path) -> None:
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(EncoderError, match="is not an audio encoder"):
        load_lite(tmp_path / "junk.safetensors")
    with pytest.raises(EncoderError, match="no model that loads"):
        AudioEncoder.pretrained(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"layers": 2**63}, {"layers": 0}, {"hidden": 10**6}, {"hidden": "wide"}, {"heads": 0}, {"heads": 3},
        {"conv_kernel": 1e308}, {"conv_stride": [640]}, {"conv_dim": []}, {"positions": True}, {"deep": 1},
    ],
)  # fmt: skip
def test_a_damaged_config_is_no_encoder(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(EncoderError, match="is not an audio encoder"):
        load_lite(with_config(tmp_path, json.dumps(asdict(LiteConfig()) | change)))


@pytest.mark.parametrize("config", ["[" * 20_000, "[" * 100_000, "{", "[]", "null"])
def test_a_config_that_is_none_is_no_encoder(tmp_path: Path, config: str) -> None:
    with pytest.raises(EncoderError, match="is not an audio encoder"):
        load_lite(with_config(tmp_path, config))


def test_tensors_of_another_shape_are_no_encoder(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="does not fit this version"):
        load_lite(with_config(tmp_path, json.dumps(asdict(LiteConfig()))))


def with_config(folder: Path, config: str) -> Path:
    save_file({"a": torch.zeros(1)}, folder / "odd.safetensors", {"config": config})
    return folder / "odd.safetensors"


def test_pretrained_folder_is_checked(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="no audio encoder in"):
        AudioEncoder.pretrained(tmp_path / "absent")


@pytest.mark.parametrize("kind", KINDS)
def test_pretrained_backbones_give_25_hz(kind: str, tmp_path: Path) -> None:
    build(kind, TOY | {"num_hidden_layers": 3}).save_pretrained(tmp_path)
    listener = AudioEncoder.pretrained(tmp_path)
    for tail, frames in ((0, 26), (10, 35)):
        (features,) = listener.stream(noise(16_100), tail=tail)
        assert features.hidden.shape == (frames, 3, 16)
        assert listener.tokens(features).shape == (frames, listener.token_dim)


def test_pretrained_backbones_are_of_50_hz(tmp_path: Path) -> None:
    build("hubert", TOY | {"conv_stride": (5, 2, 2, 2, 2, 2, 1), "num_hidden_layers": 1}).save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match="100 frames a second: give one of 50"):
        AudioEncoder.pretrained(tmp_path)


# ---- the published chain -------------------------------------------------------------------------------------------


@needs_golden
@pytest.mark.parametrize("kind", KINDS)
def test_features_agree_with_the_published(kind: str) -> None:
    tensors, configs = load_golden(GOLDEN)
    assert feature_error(encoder(kind, tensors, configs[kind]), kind, tensors) <= TOLERANCE


@pytest.fixture(scope="module")
def fixture() -> dict[str, torch.Tensor]:
    return load_file(FIXTURE)


@pytest.mark.parametrize("kind", KINDS)
def test_features_agree_with_the_fixture(kind: str, fixture: dict[str, torch.Tensor]) -> None:
    assert feature_error(encoder(kind, fixture), kind, fixture) <= TOLERANCE


def test_any_other_chain_is_noticed(fixture: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    listener = encoder("hubert", fixture)
    assert feature_error(listener, "hubert", fixture) <= TOLERANCE
    for name, value in (("_PREEMPHASIS", 1e-9), ("_PREEMPHASIS", 0.95), ("MARGINS", (40,))):
        with monkeypatch.context() as patch:
            patch.setattr(published, name, value)
            assert feature_error(listener, "hubert", fixture) > 100 * TOLERANCE, name


@pytest.mark.parametrize("samples", [1, 700, 40_000])
def test_pre_emphasis_is_librosas(samples: int) -> None:
    """The first sample included; then zero mean and unit variance, the silence counted."""
    sound = 0.1 * noise(samples) + 0.02
    heard = Recording(sound, tail=3).padded(0, heard_frames(samples, 3))[40:-40]
    emphasised = librosa.effects.preemphasis(np.pad(sound, (0, 3 * SAMPLES_PER_FRAME)))[: len(heard)]
    emphasised[samples:] = 0
    whole = np.pad(emphasised, (0, samples % SAMPLES_PER_FRAME))  # with what no frame holds, it counts as well
    np.testing.assert_allclose(heard, (emphasised - whole.mean()) / np.sqrt(whole.var() + 1e-7), atol=1e-5)


def test_silence_fills_the_frame_begun() -> None:
    assert [heard_frames(n) for n in (0, 1, 640, 641)] == [0, 1, 1, 2]
    assert [heard_frames(n, 50) for n in (1, 640, 641, 37_920)] == [50, 51, 51, 109]


def test_a_piece_sounds_the_same_wherever_it_is_cut() -> None:
    recording = Recording(noise(64_300), tail=5)
    whole = recording.padded(0, recording.frames)
    for first, last in ((0, 30), (7, 80), (50, recording.frames)):
        piece = recording.padded(first, last)
        np.testing.assert_array_equal(piece, whole[first * SAMPLES_PER_FRAME : last * SAMPLES_PER_FRAME + 80])


def test_moments_are_those_of_every_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "_BLOCK", 40)
    recording = Recording(noise(64_300))
    windows = np.lib.stride_tricks.sliding_window_view(recording.padded(0, recording.frames), 10)[::5].astype(
        np.float64
    )
    mean, covariance = recording.moments(10, 5)
    np.testing.assert_allclose(mean, windows.mean(0), atol=1e-9)
    np.testing.assert_allclose(covariance, np.cov(windows.T, bias=True), atol=1e-9)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_convolutions_do_not_know_where_a_piece_begins(norm: str) -> None:
    """And with group norm they are those of the network itself, which takes its statistics over all it is given."""
    network = FrameAligned(build("hubert", TOY | {"feat_extract_norm": norm, "conv_bias": True})).eval()
    nn.init.normal_(network.backbone.feature_extractor.conv_layers[0].conv.bias)
    sound = np.concatenate([noise(40_000), 0.1 * noise(60_000, 1)])  # loud, then soft
    recording = Recording(sound)
    with torch.no_grad():
        convolve = network.listen(recording)
        whole = convolve(0, recording.frames)
        pieces = [convolve(first, min(first + 45, recording.frames)) for first in range(0, recording.frames, 45)]
        padded = torch.from_numpy(recording.padded(0, recording.frames))[None]
        own = F.interpolate(
            network.backbone.feature_extractor(padded), recording.frames, mode="linear", align_corners=True
        )
        apart = network.listen(Recording(sound[40 * SAMPLES_PER_FRAME :]))(0, 5)
    assert (torch.cat(pieces, dim=1) - whole).abs().max() < 1e-5
    assert (whole - own.mT).abs().max() < 1e-5
    assert (whole[:, 40:45] - apart)[:, 1:].abs().max() > 1e-2  # what normalising by the piece would do


def test_chunks_of_published_features_agree_with_the_whole(fixture: dict[str, torch.Tensor]) -> None:
    """But for what attention sees beyond the overlap."""
    listener, sound = encoder("hubert", fixture), noise(30 * 16_000)
    whole, parts = (torch.cat([part.hidden for part in listener.stream(sound, chunk=chunk)]) for chunk in (10_000, 200))
    assert whole.shape == parts.shape == (750, 12, 16)
    assert (whole - parts).square().mean().sqrt() < 0.05 * whole.std()


def test_two_threads_hear_for_themselves(fixture: dict[str, torch.Tensor]) -> None:
    listener, sounds = encoder("hubert", fixture), [noise(16_000, seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(listener.hear, sounds))
    for sound, heard in zip(sounds, together, strict=True):
        assert torch.equal(heard, listener.hear(sound))


def test_visemes_of_phones() -> None:
    assert phone_visemes("p") == ("PP",) and phone_visemes("t͡ʃ") == ("CH",) and phone_visemes("aɪ") == ("aa", "I")
    assert phone_visemes("7") == ()


def test_frame_labels_split_diphthongs_and_leave_silence() -> None:
    labels = frame_labels([("b", 0.2, 0.4), ("aɪ", 0.4, 0.8)], frames=25, fps=25)
    names = [VISEMES[i] for i in labels]
    assert names == ["sil"] * 5 + ["PP"] * 5 + ["aa"] * 6 + ["I"] * 4 + ["sil"] * 5
