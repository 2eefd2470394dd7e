"""Models by the name of their weights: the published system end to end at toy widths, and at its full size."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import HubertConfig, HubertModel

from contracts import SAMPLE_RATE, ModaError, Motion, SourceFace
from encoders.audio.media import load_audio
from encoders.audio.wav2vec import EMBEDDED as ENCODER
from encoders.emotion import parse_emotion
from encoders.face.image import load_image
from encoders.face.portrait import encode_face
from moda.motion.layout import EXPRESSION, LIP_CHANNELS, POSE, MotionError
from moda.motion.published import LOOK_UP
from moda.motion.saved import load_motion, save_motion
from moda.network.checkpoint import EMBEDDED
from moda.network.shapes import published_shapes, random_state
from moda.render.liveportrait.shapes import published_shapes as renderer_shapes
from pipelines import TalkingHead, TalkOptions
from pipelines.options import OptionError
from pipelines.render import render_motion
from pipelines.web.grid import film_emotions
from pipelines.web.plot import plot_motion
from pipelines.weights.catalogue import PublishedWeightsError
from pipelines.weights.names import ModelsError, installed, model_files
from pipelines.weights.store import import_weights
from tests.media_support import PORTRAIT, read_frames, write_wav
from tests.moda.render.make_liveportrait import TINY, random_states
from tests.moda.render.test_liveportrait import save_published

SECONDS, FRAMES = 0.22, 6  # the last of them is half a frame of sound
HUBERT = {
    "hidden_size": 4, "num_hidden_layers": 12, "num_attention_heads": 2, "intermediate_size": 8, "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the published weights are kept: all their names, at toy widths."""
    came, home = tmp_path_factory.mktemp("came"), tmp_path_factory.mktemp("weights")
    torch.save(random_state(published_shapes(8, 2, 12, 4), torch.Generator().manual_seed(0)), came / "net-200.pth")
    torch.manual_seed(0)
    HubertModel(HubertConfig(**HUBERT)).save_pretrained(came / "hubert")
    shapes = renderer_shapes(replace(TINY, keypoints=21))
    save_published(random_states(shapes, torch.Generator().manual_seed(1)), came / "liveportrait")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODA_WEIGHTS", str(home))
        assert len(list(import_weights(came))) == 3
        yield home


@pytest.fixture(scope="module")
def head(weights: Path) -> TalkingHead:
    return TalkingHead("cpu")


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    speech = load_audio(PORTRAIT.with_name("voice_en.wav"))[SAMPLE_RATE:][: round(SECONDS * SAMPLE_RATE)]
    return write_wav(tmp_path_factory.mktemp("voice") / "voice.wav", speech)


@pytest.fixture(scope="module")
def face() -> SourceFace:
    return encode_face(PORTRAIT)


@pytest.fixture(scope="module")
def move(head: TalkingHead, voice: Path, face: SourceFace) -> Callable[..., np.ndarray]:
    """Motion [T, 70] of the published models."""

    def moved(emotion: str = "neutral", **asked: object) -> np.ndarray:
        options = TalkOptions(weights="moda", **asked)
        identity, start = head.models("moda").likeness(face)
        speech, feeling = head.listen(voice, options=options).features, parse_emotion(emotion, face.blendshapes)
        return np.concatenate(list(head.perform(speech, identity, feeling, options, start, FRAMES)))

    return moved


def test_the_published_models_make_a_video(head: TalkingHead, voice: Path, move, tmp_path: Path) -> None:
    out, kept, again = tmp_path / "out.mp4", tmp_path / "motion.npz", tmp_path / "again.mp4"
    head.make(PORTRAIT, voice, out, TalkOptions(weights="moda", size=256, save_motion=kept))
    frames, motion = read_frames(out), load_motion(kept)
    assert len(frames) == FRAMES and len(load_audio(out)) == len(load_audio(voice))
    assert np.ptp(frames, axis=0).max() > 20  # grey levels: something moves
    assert motion.space == "liveportrait"
    np.testing.assert_array_equal(motion.frames, move())
    for _ in render_motion(PORTRAIT, kept, again, audio=voice, size=256):
        pass
    np.testing.assert_array_equal(read_frames(again), frames)
    options = TalkOptions(weights="moda", seed=5, head_from=kept, save_motion=tmp_path / "steered.npz")
    assert head.make(PORTRAIT, voice, out, options)
    assert read_frames(out)[0].shape == load_image(PORTRAIT).shape  # the whole picture
    steered = load_motion(tmp_path / "steered.npz").frames
    np.testing.assert_array_equal(steered[:, POSE], motion.frames[:, POSE])
    assert np.abs(steered[:, EXPRESSION] - motion.frames[:, EXPRESSION]).max() > 1e-4


def test_every_option_of_the_embedded_path_is_there(move) -> None:
    plain = move()
    assert plain.shape == (FRAMES, 70)
    np.testing.assert_array_equal(move(), plain)
    angry = move("anger")
    for other in (angry, move("0:neutral,0.08:anger:0.5"), move(seed=1), move(guidance=2.0), move(steps=2)):
        assert np.abs(other - plain).max() > 1e-4
    assert np.abs(move("anger", emotion_guidance=2.0) - angry).max() > 1e-4
    expected = np.zeros_like(plain)
    for keypoint, step in LOOK_UP.items():
        expected[:, 3 * keypoint + 1] = step
    np.testing.assert_allclose(move(look_up=True) - plain, expected, atol=1e-6)


def test_published_jobs_at_once_are_as_alone(head: TalkingHead, face: SourceFace, tmp_path: Path) -> None:
    speech = load_audio(PORTRAIT.with_name("voice_en.wav"))[SAMPLE_RATE:]
    voices = [write_wav(tmp_path / f"{k}.wav", speech[: (5 + 3 * k) * SAMPLE_RATE // 25]) for k in range(3)]

    def talk(job: tuple[str, int]) -> bytes:
        name, k = job
        options = TalkOptions(weights="moda", size=256, seed=k, provenance=False)
        return head.make(face, voices[k], tmp_path / f"{name}{k}.mp4", options).read_bytes()

    alone = [talk(("alone", k)) for k in range(3)]
    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(talk, [("together", k) for k in range(3)])) == alone


def test_published_sampling_is_another_walk_to_as_many_frames(move) -> None:
    published = move(sampling="published")
    assert published.shape == (FRAMES, 70)
    np.testing.assert_array_equal(move(sampling="published"), published)
    assert np.abs(published - move()).max() > 1e-3
    assert np.abs(published - move(sampling="published", steps=4)).max() > 1e-4


def test_the_lips_are_what_the_mouth_knob_turns(move) -> None:
    still = move(mouth=0.0)
    assert np.ptp(still[:, LIP_CHANNELS], axis=0).max() < 1e-6 < np.ptp(move()[:, LIP_CHANNELS], axis=0).max()
    assert np.ptp(move(head_motion=0.0)[:, POSE], axis=0).max() < 1e-5
    with pytest.raises(ModaError, match="blink"):
        move(blink_rate=0.5)


def test_all_emotions_side_by_side(head: TalkingHead, voice: Path, tmp_path: Path) -> None:
    """The voice was heard by the embedded encoder, and is heard again by that of the weights."""
    options = TalkOptions(weights="moda")
    for _ in film_emotions(head, encode_face(PORTRAIT), head.listen(voice), tmp_path / "grid.mp4", options):
        pass
    assert np.shape(read_frames(tmp_path / "grid.mp4")) == (FRAMES, 2 * (256 + 32), 4 * 256, 3)


def test_motion_of_one_space_is_not_steered_by_another(head: TalkingHead, voice: Path, move, tmp_path: Path) -> None:
    save_motion(tmp_path / "motion.npz", Motion(move(), "liveportrait"))
    options = TalkOptions(size=256, head_from=tmp_path / "motion.npz")
    with pytest.raises(MotionError, match="space liveportrait, where 6 of mesh are needed"):
        head.make(PORTRAIT, voice, tmp_path / "mesh.mp4", options)


def test_its_motion_is_drawn_as_what_it_is(move) -> None:
    drawing = plot_motion(Motion(move(), "liveportrait"))
    assert [name for name in ("mouth", "lids", "pitch", "yaw", "roll") if f"<title>{name}</title>" in drawing] == [
        "mouth", "pitch", "yaw", "roll",
    ]  # fmt: skip


def test_what_is_installed(weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert installed() == ("lite", "moda")
    assert [path.parent.name for path in model_files("moda")] == ["moda", "chinese-hubert-base", "liveportrait"]
    monkeypatch.setenv("MODA_WEIGHTS", str(tmp_path))
    assert installed() == ("lite",)
    with pytest.raises(PublishedWeightsError, match="`moda weights fetch moda`"):
        TalkOptions(weights="moda")


def test_an_own_training_speaks(head: TalkingHead, voice: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    with pytest.raises(ModelsError, match=r"folder with encoder.safetensors and motion.safetensors"):
        TalkOptions(weights=str(own))
    shutil.copy(ENCODER, own / "encoder.safetensors")
    shutil.copy(EMBEDDED, own / "motion.safetensors")
    videos = []
    for name in ("lite", str(own)):
        options = TalkOptions(weights=name, size=256, provenance=False)
        videos.append(head.make(PORTRAIT, voice, tmp_path / "out.mp4", options).read_bytes())
    assert videos[0] == videos[1]
    assert options.settings["weights"] == "own"  # what is signed does not tell where it lies


@pytest.mark.parametrize("asked", [{"sampling": "published"}, {"look_up": True}])
def test_what_only_published_weights_have_is_refused(asked: dict) -> None:
    with pytest.raises(OptionError, match="of the published weights; add weights moda"):
        TalkOptions(**asked)


FULL_SIZE = """
import resource, sys
from pipelines.cli.main import app
try:
    app(sys.argv[1:], standalone_mode=False)
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)
"""
PEAK = 5_000  # MB: 2.4 GB of weights, those of the generator for a moment twice; measured 3,700


@pytest.mark.slow
@pytest.mark.timeout(900)  # a frame takes seconds
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as Linux gives it")
def test_the_published_system_at_its_full_size(tmp_path: Path) -> None:
    """All but the numbers in the published files: every tensor by name and shape, strictly, and a second of video."""
    speech = load_audio(PORTRAIT.with_name("voice_en.wav"))[:SAMPLE_RATE]
    voice, out, kept = write_wav(tmp_path / "voice.wav", speech), tmp_path / "out.mp4", tmp_path / "motion.npz"
    words = ["talk", PORTRAIT, voice, "-o", out, "--weights", "random-base", "--size", 512, "--save-motion", kept]
    run = subprocess.run([sys.executable, "-c", FULL_SIZE, *map(str, words)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert np.shape(read_frames(out)) == (25, 512, 512, 3)
    motion = load_motion(kept)
    assert (motion.space, motion.frames.shape) == ("liveportrait", (25, 70))
    assert int(run.stderr.split()[-1]) < PEAK
