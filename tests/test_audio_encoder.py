"""The audio encoder: frames aligned to the video, chunks that agree with the whole, and the published feature chain."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2Model

from contracts import SAMPLES_PER_FRAME
from encoders.visemes import VISEMES, frame_labels, phone_visemes
from encoders.wav2vec import AudioEncoder, EncoderError, FrameAligned, LiteConfig, LiteEncoder, load_lite, save_lite

GOLDEN = Path(__file__).parents[2] / "shared" / "golden"


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


def test_pretrained_folder_is_checked(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="no audio encoder in"):
        AudioEncoder.pretrained(tmp_path / "absent")


@pytest.mark.parametrize("kind", ["hubert", "wav2vec2"])
def test_pretrained_backbones_give_25_hz(kind: str, tmp_path: Path) -> None:
    shape = dict(hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24, conv_dim=(8,) * 7,
                 num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2)  # fmt: skip
    model = HubertModel(HubertConfig(**shape)) if kind == "hubert" else Wav2Vec2Model(Wav2Vec2Config(**shape))
    model.save_pretrained(tmp_path)
    encoder = AudioEncoder.pretrained(tmp_path)
    features = next(iter(encoder.stream(noise(16_000))))
    assert features.hidden.shape == (25, 3, 16)
    assert encoder.tokens(features).shape == (25, encoder.token_dim)


@pytest.mark.parametrize("kind", ["hubert", "wav2vec2"])
def test_published_feature_chain(kind: str) -> None:
    if not GOLDEN.is_dir():
        pytest.skip("no golden tensors beside the checkout (shared/golden)")
    configs = json.loads((GOLDEN / "audio_features_config.json").read_text())
    tensors = load_file(GOLDEN / "audio_features.safetensors")
    config = (HubertConfig if kind == "hubert" else Wav2Vec2Config)(**configs[kind])
    model = (HubertModel if kind == "hubert" else Wav2Vec2Model)(config).eval()
    prefix = f"weights/{kind}."
    weights = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    model.load_state_dict(weights)
    sound = torch.cat([tensors["out/preemphasised"], torch.zeros(32_000)])
    sound = (sound - sound.mean()) / torch.sqrt(sound.var(unbiased=False) + 1e-7)
    sound = sound[: len(sound) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME]
    network = FrameAligned(model)
    with torch.no_grad():
        _, hidden = network.transform(network.convolve(sound[None]))
    assert (hidden[0] - tensors[f"out/{kind}_features"]).abs().max() <= 1e-5


def test_visemes_of_phones() -> None:
    assert phone_visemes("p") == ("PP",) and phone_visemes("t͡ʃ") == ("CH",) and phone_visemes("aɪ") == ("aa", "I")
    assert phone_visemes("7") == ()


def test_frame_labels_split_diphthongs_and_leave_silence() -> None:
    labels = frame_labels([("b", 0.2, 0.4), ("aɪ", 0.4, 0.8)], frames=25, fps=25)
    names = [VISEMES[i] for i in labels]
    assert names == ["sil"] * 5 + ["PP"] * 5 + ["aa"] * 6 + ["I"] * 4 + ["sil"] * 5
