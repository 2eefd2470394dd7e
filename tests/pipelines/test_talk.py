"""A portrait and a voice to a talking video, with the embedded models."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from contracts import SAMPLE_RATE, Motion
from encoders.audio.media import frame_count, load_audio
from encoders.emotion import EmotionError
from encoders.face.portrait import encode_face
from moda.motion.layout import POSE, MotionError
from moda.motion.saved import load_motion, save_motion
from moda.render import RenderError
from pipelines import TalkingHead, TalkOptions
from pipelines.film.files import InputError, OutputError
from pipelines.film.provenance import verify
from pipelines.options import OptionError
from tests.media_support import PORTRAIT, files, read_frames, write_video, write_wav

UPPER_LIP_Y, LOWER_LIP_Y = 2 * 3 + 1, 3 * 3 + 1
SECONDS = 1.51


@pytest.fixture(scope="module")
def head():
    return TalkingHead("cpu")


@pytest.fixture(scope="module")
def speech():
    return load_audio(PORTRAIT.with_name("voice_en.wav"))


@pytest.fixture
def voice(tmp_path, speech):
    return write_wav(tmp_path / "voice.wav", speech[: round(SECONDS * SAMPLE_RATE)])


def test_a_portrait_speaks(head, tmp_path, voice):
    out, kept = tmp_path / "out.mp4", tmp_path / "motion.npz"
    steps = list(head.talk(PORTRAIT, voice, out, TalkOptions(size=256, save_motion=kept)))
    frames = frame_count(len(load_audio(voice)))
    assert frames == 38
    shown = [step for step in steps if step.shot is not None]
    assert [step.done for step in shown] == list(range(1, frames + 1))
    assert not any("small" in warning for step in steps for warning in step.warnings), "as large as it is"
    written = read_frames(out)
    assert len(written) == frames
    for read, meant in zip(written, (step.frame for step in shown), strict=True):
        assert np.abs(read.astype(int) - meant).mean() < 4
    assert len(load_audio(out)) == len(load_audio(voice))
    motion = load_motion(kept)
    assert len(motion) == frames
    assert np.ptp(motion.frames[:, UPPER_LIP_Y] - motion.frames[:, LOWER_LIP_Y]) > 0.03  # OC: the mouth opens
    assert files(tmp_path) == {"voice.wav", "out.mp4", "motion.npz"}
    verdict = verify(out)
    assert (verdict.signer, verdict.claim.task) == ("this installation", "talk")
    given = {"portrait": PORTRAIT, "audio": voice}
    assert verdict.claim.inputs == {what: hashlib.sha256(path.read_bytes()).hexdigest() for what, path in given.items()}
    assert verdict.claim.settings["size"] == 256


def test_a_seed_is_a_video(head, tmp_path, voice):
    def talk(seed: int) -> bytes:
        options = TalkOptions(size=256, seed=seed, provenance=False)  # a signature holds the time, and chance
        return head.make(PORTRAIT, voice, tmp_path / "out.mp4", options).read_bytes()

    first = talk(1)
    assert talk(1) == first
    assert talk(2) != first


def test_jobs_at_once_are_as_alone(head, tmp_path, speech):
    """The page runs several jobs with one set of models, of recordings that are not equally long."""
    face = encode_face(PORTRAIT)
    voices = [write_wav(tmp_path / f"{k}.wav", speech[: round((1 + 0.4 * k) * SAMPLE_RATE)]) for k in range(4)]

    def talk(job: tuple[str, int]) -> bytes:
        name, k = job
        options = TalkOptions(size=256, seed=k, provenance=False)
        return head.make(face, voices[k], tmp_path / f"{name}{k}.mp4", options).read_bytes()

    alone = [talk(("alone", k)) for k in range(4)]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(talk, [("together", k) for k in range(4)])) == alone


def test_a_voice_and_a_face_may_be_kept(head, tmp_path, voice):
    options = TalkOptions(size=256, provenance=False)
    plain = head.make(PORTRAIT, voice, tmp_path / "plain.mp4", options).read_bytes()
    kept = head.make(encode_face(PORTRAIT), head.listen(voice), tmp_path / "kept.mp4", options)
    assert kept.read_bytes() == plain


def test_two_emotions_share_a_head(head, tmp_path, voice):
    first, second = tmp_path / "neutral.npz", tmp_path / "happy.npz"
    head.make(PORTRAIT, voice, tmp_path / "a.mp4", TalkOptions(size=256, save_motion=first))
    happy = {"emotion": "happiness", "size": 256, "seed": 5}
    head.make(PORTRAIT, voice, tmp_path / "b.mp4", TalkOptions(**happy, head_from=first, save_motion=second))
    neutral, happy = load_motion(first).frames, load_motion(second).frames
    assert np.array_equal(neutral[:, POSE], happy[:, POSE])
    assert np.abs(neutral - happy)[:, :63].max() > 0.05  # OC


def test_a_head_of_another_recording_is_refused(head, tmp_path, voice):
    saved = tmp_path / "motion.npz"
    save_motion(saved, Motion(np.zeros((7, 70), np.float32)))
    with pytest.raises(MotionError, match="7 frames"):
        head.make(PORTRAIT, voice, tmp_path / "out.mp4", TalkOptions(size=256, head_from=saved))
    assert files(tmp_path) == {"voice.wav", "motion.npz"}


def test_closing_leaves_nothing(head, tmp_path, voice):
    steps = head.talk(PORTRAIT, voice, tmp_path / "out.mp4", TalkOptions(size=256, save_motion=tmp_path / "m.npz"))
    while next(steps).stage != "video":
        pass
    assert len(files(tmp_path)) == 2
    steps.close()
    assert files(tmp_path) == {"voice.wav"}


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"audio": "nothing.wav"}, InputError),
        ({"out": "out.mov"}, OutputError),
        ({"emotion": "joy"}, EmotionError),
        ({"save_motion": "motion.mp4"}, OutputError),
    ],
)
def test_bad_input_is_refused_and_leaves_nothing(head, tmp_path, voice, monkeypatch, changed, kind):
    monkeypatch.chdir(tmp_path)
    given = {"audio": voice, "out": "out.mp4"} | changed
    with pytest.raises(kind):
        head.make(PORTRAIT, given.pop("audio"), given.pop("out"), TalkOptions(**given))
    assert files(tmp_path) == {"voice.wav"}


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0},
        {"guidance": -1},
        {"guidance": float("inf")},
        {"emotion_guidance": float("nan")},
        {"seed": -1},
        {"seed": 10**22},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(OptionError):
        TalkOptions(**options)


def test_an_impossible_size_is_refused_at_once():
    with pytest.raises(RenderError, match="333"):
        TalkOptions(size=333)


def test_the_largest_seed_is_a_seed():
    torch.Generator().manual_seed(TalkOptions(seed=2**63 - 1).seed)


def test_the_voice_is_never_the_output(head, tmp_path):
    voice = write_video(tmp_path / "voice.mp4")
    before = voice.read_bytes()
    with pytest.raises(OutputError, match="one of the files given"):
        head.make(PORTRAIT, voice, voice)
    assert voice.read_bytes() == before


def test_the_mouth_follows_the_voice(head, tmp_path, speech):
    """Two seconds of speech, two of a quiet room: the lips move more in the first."""
    room = 1e-3 * np.random.default_rng(0).normal(size=2 * SAMPLE_RATE)
    voice = write_wav(tmp_path / "voice.wav", np.concatenate([speech[: 2 * SAMPLE_RATE], room]))
    kept = tmp_path / "motion.npz"
    head.make(PORTRAIT, voice, tmp_path / "out.mp4", TalkOptions(size=256, save_motion=kept))
    frames = load_motion(kept).frames
    gap = frames[:, UPPER_LIP_Y] - frames[:, LOWER_LIP_Y]
    assert np.abs(np.diff(gap[5:45])).mean() > 1.5 * np.abs(np.diff(gap[60:])).mean()
