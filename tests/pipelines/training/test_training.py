"""The corpus, the losses and the figures that the two embedded networks are trained and judged by."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from contracts import EMOTIONS, SAMPLES_PER_FRAME
from encoders.audio.augmentation import Beds, augment
from encoders.audio.lesson import SETTLING, Lesson, Speech, _excerpt, _odds
from encoders.audio.lesson import TrainConfig as EncoderTrainConfig
from encoders.audio.lesson import batches as stretches
from encoders.audio.network import ARTICULATION_CHANNELS, LiteConfig, LiteEncoder
from encoders.audio.teachers import Phonetics
from encoders.audio.train import Heads, log_mel, train_encoder
from encoders.audio.wav2vec import load_lite, loudness, save_lite
from moda.motion.layout import LIPS, POSE, lip_gap
from moda.motion.templates import express
from moda.network.checkpoint import load_checkpoint
from moda.network.config import ModelConfig
from moda.network.model import MMDiT
from moda.train import (
    NEUTRAL,
    NONE,
    Example,
    TrainConfig,
    batches,
    emphasise,
    fit_prior,
    flow_loss,
    lite_space,
    mirror,
    settle,
    train_motion,
)  # fmt: skip
from pipelines.cli.main import app
from pipelines.training import corpus as corpora
from pipelines.training import ears
from pipelines.training.corpus import load_corpus, retake, speaker_weights, split
from pipelines.training.ears import by_speaker, fit_encoder
from pipelines.training.resume import Resume
from pipelines.training.sets import CorpusError, check_sets, part
from pipelines.training.tcn import TcnConfig, train_tcn
from pipelines.training.train import motion_examples


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two made-up speakers; the second opens the mouth half as far."""
    rng = np.random.default_rng(0)
    (tmp_path / "npz").mkdir()
    rows = []
    for name, speaker, frames, opening in (("a", "ann", 120, 0.3), ("b", "bob", 60, 0.15), ("c", "bob", 240, 0.15)):
        exp = rng.normal(0, 0.01, (frames, 21, 3))
        exp[:, 2, 1] += opening * np.abs(np.sin(np.arange(frames)))
        np.savez(
            tmp_path / "npz" / f"{name}.npz", audio=rng.normal(0, 2000, frames * SAMPLES_PER_FRAME).astype(np.int16),
            exp=exp.astype(np.float16), pose=rng.normal(5, 1, (frames, 3)).astype(np.float16),
            translation=rng.normal(0.5, 0.5, (frames, 2)).astype(np.float16),
            scale=np.full(frames, 1.4, np.float16), blendshapes=np.zeros((frames, 52), np.uint8),
            ok=np.ones(frames, bool), neutral=rng.normal(0, 1, (21, 3)).astype(np.float32),
        )  # fmt: skip
        rows.append({"name": name, "speaker": speaker, "language": "en", "face_px": 120, "pose_med": [5, 5, 5]})
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def examples(frames: int = 100, count: int = 2, audio_dim: int = 8) -> list[Example]:
    generator = torch.Generator().manual_seed(0)
    made = []
    for _ in range(count):
        motion = 0.05 * torch.randn(frames, 70, generator=generator)
        motion[:, 63] += 1.0
        tokens = torch.randn(frames, audio_dim, generator=generator)
        shown = torch.eye(9)[NEUTRAL].expand(frames, -1)
        seen = torch.ones(frames, dtype=torch.bool)
        made.append(Example(tokens, motion, seen, ~seen, torch.zeros(63), shown, True, 1.0))
    return made


def test_corpus_keeps_how_far_people_open_and_centres_the_pose(corpus: Path) -> None:
    clips = {clip.name: clip for clip in load_corpus(corpus)}
    assert [len(clips[name]) for name in "abc"] == [120, 60, 240]
    for name, clip in clips.items():
        with np.load(corpus / "npz" / f"{name}.npz") as file:
            exp = file["exp"].astype(np.float32)
        assert np.array_equal(clip.articulation[:, -1], exp[:, 2, 1] - exp[:, 3, 1])
    motion = clips["a"].motion
    assert np.abs(motion[:, 67:70]).max() < 2.5  # relative to the clip's own median
    assert np.abs(motion[:, 64:66]).max() <= 0.1 and np.all(motion[:, 66] == 0)
    assert np.allclose(motion[:, 63], 1.0, atol=0.01)  # how near the person sat is no motion
    assert clips["a"].articulation.shape == (120, ARTICULATION_CHANNELS)


def test_a_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="manifest"):
        load_corpus(tmp_path)


@pytest.mark.parametrize("spoil", ["manifest", "npz", "key"])
def test_a_spoilt_set_is_one_clear_line(corpus: Path, spoil: str) -> None:
    if spoil == "manifest":
        (corpus / "manifest.jsonl").write_text("{not json")
    elif spoil == "npz":
        (corpus / "npz" / "a.npz").write_bytes(b"PK")
    else:
        np.savez(corpus / "npz" / "a.npz", audio=np.zeros(640, np.int16))
    with pytest.raises(CorpusError, match=r"is no (clip of a )?motion set"):
        load_corpus(corpus)


def test_several_sets_are_read_as_one(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Names that recur are led by their set's."""
    other = tmp_path_factory.mktemp("others") / "more"
    shutil.copytree(corpus, other)
    with np.load(other / "npz" / "a.npz") as file:
        arrays = dict(file)
    np.savez(other / "npz" / "a.npz", **{**arrays, "exp": arrays["exp"] / 1.5})
    clips = load_corpus(corpus, other)
    assert [clip.name for clip in clips] == [f"{name}.{clip}" for name in (corpus.name, "more") for clip in "abc"]
    assert [clip.set for clip in clips] == [corpus.name] * 3 + ["more"] * 3
    assert clips[0].speaker == clips[3].speaker == "ann"
    assert np.allclose(clips[0].articulation, 1.5 * clips[3].articulation, atol=1e-3)
    again = shutil.copytree(corpus, other.parent / "again" / "more")
    assert [clip.name for clip in load_corpus(other, again)][::3] == ["more-1.a", "more-2.a"]
    with pytest.raises(CorpusError, match="is given twice"):
        check_sets([other, other.parent / "." / "more"])


def test_listening_faces_are_left_out_unless_asked_for(corpus: Path) -> None:
    manifest = corpus / "manifest.jsonl"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    rows[1]["kind"], rows[2]["kind"] = "listen", "talk"
    manifest.write_text("\n".join(map(json.dumps, rows)))
    told: list[tuple[int, int]] = []
    assert [clip.name for clip in load_corpus(corpus, progress=lambda *step: told.append(step))] == ["a", "c"]
    assert told == [(1, 2), (2, 2)]
    clips = load_corpus(corpus, listening=True)
    assert [(clip.name, clip.listens) for clip in clips] == [("a", False), ("b", True), ("c", False)]
    np.testing.assert_array_equal(clips[2].motion, load_corpus(corpus)[1].motion)


def write_manifest(folder: Path, frames: int = 100, **speakers: str) -> Path:
    folder.mkdir()
    rows = [{"name": name, "speaker": speaker, "frames": frames} for name, speaker in speakers.items()]
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_what_is_missing_is_said_at_once(tmp_path: Path) -> None:
    """speaker18 is of the part tune, speaker20 of train, speaker21 of test."""
    one, two = (
        write_manifest(tmp_path / "one", a="speaker18", b="speaker20"),
        write_manifest(tmp_path / "two", a="speaker21"),
    )
    check_sets([one, two], "test")
    with pytest.raises(CorpusError, match=r"2 speakers are too few: by their names, nobody is left to test on; .* 12 "):
        check_sets([one])
    with pytest.raises(
        CorpusError, match="1 speaker is too few: by their names, nobody is left to train or to tune on"
    ):
        check_sets([two])
    short = write_manifest(tmp_path / "short", frames=99, a="speaker21")
    check_sets([one, short])
    with pytest.raises(CorpusError, match="no test speaker has a clip of four seconds"):
        check_sets([one, short], "test")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["evaluate", "one"], "nobody is left to test on; add videos of other people"),
        (["evaluate", "one", "two", "--motion", "no.safetensors"], "`moda train motion` makes one"),
        (["evaluate", "one", "two", "--encoder", "no.safetensors"], "`moda train encoder` makes one"),
        (["evaluate", "one", "two", "--beside", "one"], "no encoder.safetensors and no motion.safetensors in one"),
        (["train", "motion", "one", "-o", "m.safetensors"], "nobody is left to test on"),
        (["train", "motion", "one", "two", "-o", "m.safetensors", "--encoder", "no"], "`moda train encoder` makes one"),
    ],
)
def test_the_commands_say_it_before_they_read_a_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_manifest(tmp_path / "one", a="speaker18", b="speaker20")
    write_manifest(tmp_path / "two", a="speaker21")
    result = CliRunner().invoke(app, line, env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert result.exit_code == 1 and says in result.stderr, result.output


def test_a_set_that_cannot_be_split_is_refused(corpus: Path) -> None:
    with pytest.raises(CorpusError, match="too few"):
        split(load_corpus(corpus))


def test_speaker_counts_as_the_root_of_their_seconds(corpus: Path) -> None:
    a, b, c = speaker_weights(load_corpus(corpus))
    assert b + c == pytest.approx(np.sqrt(12.0)) and a == pytest.approx(np.sqrt(4.8))


def test_split_is_by_speaker_and_never_moves() -> None:
    parts = [part(f"speaker{i}") for i in range(600)]
    assert all(70 < parts.count(name) < 130 for name in ("tune", "test"))
    assert parts[18:22] == ["tune", "tune", "train", "test"]


def test_folds_keep_a_speaker_together_and_want_two(corpus: Path) -> None:
    ann, *bob = load_corpus(corpus)
    people = [replace(clip, speaker=f"{clip.speaker}{i}") for i in range(3) for clip in (ann, *bob)]
    folds = by_speaker(people)
    assert folds.keys() == {clip.speaker for clip in people}
    assert [sum(len(clip) for clip in people if folds[clip.speaker] == k) for k in range(3)] == [420] * 3
    with pytest.raises(CorpusError, match="add more"):
        by_speaker(bob)


def test_a_retake_keeps_sound_and_motion_together(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpora, "augment", lambda sound, *_: sound)
    monkeypatch.setattr(corpora, "another_voice", lambda sound, _: (sound, 0.0))
    clip = load_corpus(corpus)[0]
    time = (np.arange(len(clip.waveform)) + 0.5) / SAMPLES_PER_FRAME - 0.5  # the middle of frame k is at k
    clip = replace(clip, waveform=time.astype(np.float32), valid=np.arange(len(clip)) < 60)
    lengths = set()
    for seed in range(4):
        take = retake(clip, np.random.default_rng(seed))
        heard = take.waveform.reshape(-1, SAMPLES_PER_FRAME).mean(1)
        (shown,) = take.track(np.arange(len(clip))[:, None]).T
        assert np.abs(heard - shown).max() < 0.1 and take.track(clip.motion).shape == (len(heard), 70)
        assert shown[take.valid].max() < 59.6 and shown[~take.valid].min() > 59.4
        lengths.add(len(heard))
    assert len(lengths) > 1 and min(lengths) >= 105 and max(lengths) <= 137


def test_mirror_is_its_own_inverse_and_keeps_the_gap() -> None:
    motion = torch.randn(4, 70, generator=torch.Generator().manual_seed(0))
    assert torch.equal(mirror(mirror(motion)), motion)
    assert torch.equal(lip_gap(mirror(motion)), lip_gap(motion))
    assert torch.equal(mirror(motion)[:, 0], -motion[:, 3])  # right corner x <-> left corner x
    assert torch.equal(mirror(motion)[:, 68], -motion[:, 68]) and torch.equal(mirror(motion)[:, 67], motion[:, 67])


def test_batches_mix_the_template_by_intensity_and_skip_the_given_frames() -> None:
    plain = [Example(**{**vars(e), "motion": torch.zeros(100, 70)}) for e in examples()]
    settings = TrainConfig(steps=1, batch=64)
    batch = next(iter(batches(plain, 80, settings, 0)))
    templates = torch.stack([express(torch.zeros(70), i, 1.0) for i in range(len(EMOTIONS))])
    weights = batch.emotion.clone()
    weights[:, [NEUTRAL, NONE]] = 0
    assert torch.allclose(batch.motion[:, 40], weights @ templates, atol=1e-6)  # never mirrored: contempt has a side
    assert torch.allclose(batch.emotion.sum(1), torch.ones(64))
    assert 0.1 < float((batch.emotion[:, NONE] == 1).float().mean()) < 0.45
    for row, known in enumerate(batch.known.tolist()):
        assert known in (0, settings.overlap)
        assert batch.weight[row, :known].sum() == 0 and batch.weight[row, known:].min() > 0


def test_short_clips_are_padded_and_the_padding_does_not_count() -> None:
    batch = next(iter(batches(examples(frames=50), 80, TrainConfig(steps=1, batch=4), 0)))
    assert batch.motion.shape == (4, 80, 70) and batch.weight[:, 50:].sum() == 0


def test_the_flow_starts_about_the_mouth_that_the_sound_foretells() -> None:
    data = examples(frames=400)
    chance = torch.Generator().manual_seed(1)
    reading = torch.randn(27, 5, generator=chance)
    data = [replace(e, motion=torch.cat([e.tokens[:, -5:] @ reading.T, e.motion[:, 27:]], 1)) for e in data]
    space = lite_space(data)
    model = MMDiT(replace(ModelConfig.tiny(), prior=5))
    fit_prior(model.prior, data, space, ridge=1e-6)
    noise = torch.randn(1, 400, 70, generator=chance)
    start = model.start(data[0].tokens[None], noise)[0] - noise[0]
    foretold = space.normalise(
        (data[0].motion + mirror(data[0].motion)) / 2
    )  # either side alike: tokens have no mirror
    torch.testing.assert_close(start[:, :27], foretold[:, :27], atol=0.02, rtol=0.02)
    assert not start[:, 33:].any()


def test_lips_are_set_further_from_their_mean_and_nearer_to_what_the_sound_foretells() -> None:
    (example, *_) = data = examples(frames=200)
    space = lite_space(data)
    far = emphasise(example, space, 1.5)
    mean = space.mean[LIPS]
    torch.testing.assert_close(far.motion[:, LIPS] - mean, 1.5 * (example.motion[:, LIPS] - mean))
    assert torch.equal(far.motion[:, 27:], example.motion[:, 27:])
    prior = torch.nn.Linear(5, 70)
    foretold = space.denormalise(prior(example.tokens[:, -5:])).detach()[:, LIPS]
    near = settle(example, prior, space, 0.25)
    torch.testing.assert_close(near.motion[:, LIPS] - foretold, 0.25 * (example.motion[:, LIPS] - foretold))
    assert torch.equal(near.motion[:, 27:], example.motion[:, 27:])


def test_loss_of_the_true_velocity_is_zero() -> None:
    """An oracle in the model's place makes every part of the loss vanish."""
    data = examples()
    space = lite_space(data)
    batch = next(iter(batches(data, 80, TrainConfig(steps=1, batch=4), 0)))
    x0 = space.normalise(batch.motion)

    class Oracle(MMDiT):
        def forward(self, x, sigma, *_conditions):  # type: ignore[no-untyped-def, override]
            return (x - x0) / sigma[:, None, None]  # the noise follows from x and x0

    oracle = Oracle(ModelConfig.tiny())
    losses = flow_loss(oracle, space, batch, TrainConfig(), torch.Generator().manual_seed(0))
    assert all(value < 1e-4 for value in losses.values())
    plain = flow_loss(MMDiT(ModelConfig.tiny()), space, batch, TrainConfig(), torch.Generator().manual_seed(0))
    assert all(value > 1e-3 for value in plain.values())


def from_disk(state: dict, folder: Path) -> dict | None:
    """A training's state as one that is started again finds it."""
    resume = Resume(folder / "weights.safetensors", "recipe")
    resume.keep(state)
    return resume.kept


def test_motion_training_writes_a_model_that_loads_and_repeats(tmp_path: Path) -> None:
    """The second run is stopped after two steps, and goes on."""
    data, settings = examples(), TrainConfig(steps=4, batch=2, checkpoint=2)
    states: list[dict] = []
    done: list[int] = []
    train_motion(data, data, ModelConfig.tiny(), tmp_path / "one", settings, lambda s: states.append(deepcopy(s)))
    kept = from_disk(states[0], tmp_path)
    train_motion(data, data, ModelConfig.tiny(), tmp_path / "two", settings, lambda _: None, kept, done.append)
    assert done == [3, 4]
    one, two = (load_checkpoint(tmp_path / name)[0].state_dict() for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    _, space = load_checkpoint(tmp_path / "one")
    assert space.noise[0] < 1 and torch.all(space.noise[POSE] == 1)


def lesson_of(frames: int) -> Lesson:
    rng = np.random.default_rng(0)
    item = Speech(
        rng.integers(-9000, 9000, frames * SAMPLES_PER_FRAME).astype(np.int16), rng.integers(1, 15, frames),
        rng.standard_normal((frames, ARTICULATION_CHANNELS)).astype(np.float32),
        rng.normal(-5, 1, (frames, 191)).astype(np.float16), np.ones((frames, 4), np.float32), 1.0,
    )  # fmt: skip
    phonetics = Phonetics.fit(rng.normal(-5, 1, (400, 191)).astype(np.float32), ["<blank>"] + ["b"] * 190)
    return Lesson([item], [], [item], phonetics, rest=np.full(ARTICULATION_CHANNELS, -2, np.float32))


def test_beds_lie_under_what_is_trained_on_and_only_then() -> None:
    """A tone as a bed stands out of some excerpts, and of none without beds; alone, nobody speaks."""
    lesson, tone = lesson_of(60), np.sin(2 * np.pi * 3210 * np.arange(64_000) / 16_000).astype(np.float32)
    config = EncoderTrainConfig(steps=1, batch=40, frames=50)

    def drawn(beds: Beds, **change: float) -> dict:
        return next(stretches(replace(lesson, beds=beds), replace(config, **change), 0))

    def toned(batch: dict) -> int:
        spectra = np.abs(np.fft.rfft(batch["waveform"].numpy()))
        at = 3210 * config.frames * SAMPLES_PER_FRAME // 16_000
        return int((spectra[:, at] > 8 * np.median(spectra[:, at - 200 : at + 200], axis=1)).sum())

    assert 2 < toned(drawn(Beds(noise=[tone]))) < 25 and toned(drawn(Beds())) == 0
    nobody = drawn(Beds(noise=[tone]), nobody=1.0)
    assert toned(nobody) > 30 and (nobody["visemes"] == 0).all() and (nobody["articulation"] == -2).all()
    assert drawn(Beds(), nobody=1.0)["visemes"].max() > 0  # there is nothing else to hear


def test_footage_and_speech_without_pictures_have_their_shares() -> None:
    footage = lesson_of(60)
    short = replace(footage.footage[0], weight=0.001)
    both = replace(footage, speech=[short, replace(short, weight=0.003)])
    assert np.allclose(_odds(both, 0.6), [0.4, 0.15, 0.45])
    assert np.allclose(_odds(footage, 0.6), [1.0]) and np.allclose(_odds(replace(both, footage=[]), 0.6), [0.25, 0.75])


def test_the_recogniser_is_asked_for_phones_in_english_and_for_mouth_shapes_elsewhere() -> None:
    """Two phones of one shape exchanged: a fault in English, none elsewhere; one of another shape is one everywhere."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    names = ["<blank>", "b", "p", "s"] + ["<none>"] * 187
    heads = Heads(LiteConfig.large(), Phonetics.fit(rng.normal(-5, 1, (400, 191)).astype(np.float32), names))
    hidden = torch.zeros(1, 3, LiteConfig.large().hidden)
    torch.nn.init.zeros_(heads.phones.weight)
    with torch.no_grad():
        heads.phones.bias.copy_(torch.full((191,), -12.0))
        heads.phones.bias[1] = 0
    teacher = {name: torch.full((1, 3, 191), -12.0) for name in "bps"}
    for column, name in enumerate("bps", 1):
        teacher[name][..., column] = 0
    lost = {
        (name, english): heads.losses(hidden, wanted, torch.tensor([english]), 0.3)
        for name, wanted in teacher.items() for english in (True, False)
    }  # fmt: skip
    assert lost["b", True]["phones"] < 1e-3 < 5 < lost["p", True]["phones"] and lost["p", True]["shapes"] == 0
    assert lost["p", False]["shapes"] < 1e-2 < 1 < lost["s", False]["shapes"] and lost["s", False]["phones"] == 0
    nothing = heads.losses(hidden, torch.full((1, 3, 191), np.nan), torch.tensor([True]), 0.3)
    assert all(value == 0 for value in nothing.values())


def test_a_mouth_rests_where_a_recording_has_ended() -> None:
    lesson, config = lesson_of(60), EncoderTrainConfig(frames=50, quiet=1.0)
    sides = set()
    for seed in range(20):
        drawn = _excerpt(lesson.footage[0], config, lesson, np.random.default_rng(seed))
        silent = drawn["visemes"] == 0
        assert silent.any() and not silent.all()
        sides.add((bool(silent[0]), bool(silent[-1])))
        assert np.array_equal(silent, drawn["prosody"][:, 0] == 0) and np.isnan(drawn["prosody"][silent, 3]).all()
        resting = (drawn["articulation"] == -2).all(1)
        assert not resting[~silent].any() and resting.sum() >= silent.sum() - SETTLING - 1
        assert np.isnan(drawn["articulation"][silent & ~resting]).all() and np.isnan(drawn["phones"][silent]).all()
    assert sides == {(True, False), (False, True)}


def test_a_clip_is_heard_with_silence_around_it_in_which_the_mouth_comes_to_rest(corpus: Path) -> None:
    clip = load_corpus(corpus)[0]
    ends = set()
    for seed in range(12):
        take = retake(clip, np.random.default_rng(seed), quiet=0.5)
        assert len(take.waveform) == SAMPLES_PER_FRAME * len(take.at) == SAMPLES_PER_FRAME * len(take.motion)
        silent = take.silent > 0
        ends.add((bool(silent[0]), bool(silent[-1])))
        gap = lip_gap(take.motion)
        assert np.abs(gap[take.silent > 7]).max(initial=0) < 1e-6
        if silent[0]:
            first = int(np.flatnonzero(~silent)[0])
            assert np.all(np.diff(np.abs(gap[first - 7 : first + 1])) > 0)  # it opens ahead of the voice
        assert np.array_equal(take.motion[~silent], take.track(clip.motion)[~silent])
    assert len(ends) == 4
    assert not retake(clip, np.random.default_rng(0)).silent.any()


def test_encoder_training_writes_an_encoder_that_loads_and_repeats(tmp_path: Path) -> None:
    lesson = lesson_of(60)
    config = EncoderTrainConfig(steps=4, batch=2, frames=25, checkpoint=2)
    states: list[dict] = []
    done: list[int] = []
    train_encoder(lesson, tmp_path / "one", config, lambda s: states.append(deepcopy(s)), progress=done.append)
    assert done == [1, 2, 3, 4]
    train_encoder(lesson, tmp_path / "two", config, lambda _: None, from_disk(states[0], tmp_path))
    one, two = (load_lite(tmp_path / name) for name in ("one", "two"))
    assert one.config == LiteConfig.large()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_an_encoder_goes_on_from_a_shallower_one_as_it_was(tmp_path: Path) -> None:
    torch.manual_seed(0)
    former, deeper = LiteEncoder(LiteConfig(layers=2)).eval(), LiteEncoder(LiteConfig(layers=3, prosody=True)).eval()
    sound = torch.randn(1, 30 * SAMPLES_PER_FRAME)
    deeper.go_on_from(former)
    with torch.no_grad():
        for name, value in former(sound)._asdict().items():
            assert value is None or torch.equal(value, getattr(deeper(sound), name)), name
    for other in (LiteConfig(layers=4), LiteConfig(layers=3, mlp=512)):
        with pytest.raises(ValueError, match="no deeper"):
            deeper.go_on_from(LiteEncoder(other))
    config = EncoderTrainConfig(steps=1, batch=2, frames=25, learning_rate=0.0, shape=deeper.config)
    train_encoder(lesson_of(60), tmp_path / "one", config, lambda _: None, former=former)
    assert torch.allclose(load_lite(tmp_path / "one").viseme_head.weight, former.viseme_head.weight, atol=1e-3)


def test_a_former_encoder_that_does_not_fit_is_told_before_anything_is_read(corpus: Path, tmp_path: Path) -> None:
    save_lite(LiteEncoder(LiteConfig(layers=2, mlp=512)), tmp_path / "other")
    with pytest.raises(CorpusError, match="of other widths"):
        fit_encoder([corpus], [], tmp_path, tmp_path / "out", EncoderTrainConfig(), former=tmp_path / "other")


def test_progress_is_kept_until_the_training_is_done(tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    with pytest.raises(KeyboardInterrupt), Resume(out, "recipe") as resume:
        assert resume.kept is None
        resume.keep({"step": 7, "model": {"weight": torch.ones(2)}})
        raise KeyboardInterrupt
    assert Resume(out, "another recipe").kept is None
    with Resume(out, "recipe") as resume:
        assert resume.kept["step"] == 7 and resume.kept["model"]["weight"].sum() == 2
    assert Resume(out, "recipe").kept is None and not list(tmp_path.iterdir())


def test_augmentation_keeps_length_and_brings_unit_loudness() -> None:
    rng = np.random.default_rng(0)
    sound = (0.01 * np.random.default_rng(1).standard_normal(32_000)).astype(np.float32)
    for _ in range(10):
        heard = augment(sound, rng)
        assert heard.shape == sound.shape and np.isfinite(heard).all()
        assert 0.8 < loudness(heard) < 1.2


def test_loudness_makes_no_second_copy() -> None:
    sound = np.zeros(20_000_000, np.float32)
    tracemalloc.start()
    loudness(sound)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.2 * sound.nbytes


def test_log_mel_has_four_rows_a_frame() -> None:
    sound = torch.randn(2, 10 * SAMPLES_PER_FRAME, generator=torch.Generator().manual_seed(0))
    assert log_mel(sound).shape == (2, 10, 4, 40)


class Deaf:
    """Hears how loud each frame is, and nothing else."""

    def hear(self, waveform: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(waveform.reshape(-1, SAMPLES_PER_FRAME).std(1, keepdims=True))


def test_the_generator_hears_silence_around_clips_and_noise_alone(corpus: Path) -> None:
    clips = load_corpus(corpus)
    tone = np.sin(np.arange(160_000) / 5).astype(np.float32)
    heard = motion_examples(clips, Deaf(), 0, Beds(music=[tone]))
    talking, nobody = heard[: 5 * len(clips)], heard[5 * len(clips) :]
    assert any(example.resting.any() for example in talking) and not all(example.resting.any() for example in talking)
    assert all(example.resting.all() and not lip_gap(example.motion).any() for example in nobody)
    assert all(0.2 < example.tokens.float().median() < 2 for example in nobody), "as loud as speech"
    weight = sum(example.weight for example in talking[: len(clips)])
    assert sum(example.weight for example in nobody) == pytest.approx(0.04 * weight)
    assert len(motion_examples(clips, Deaf(), 0)) == 5 * len(clips)
    assert not any(example.resting.any() for example in motion_examples(clips, Deaf()))


def test_lips_that_rest_are_not_moved_to_what_is_foretold() -> None:
    example = examples()[0]
    resting = torch.zeros(100, dtype=torch.bool)
    resting[:30] = True
    example = replace(example, resting=resting)
    space = lite_space([example])
    prior = torch.nn.Linear(8, 70)
    for made in (emphasise(example, space, 1.5), settle(example, prior, space, 0.3)):
        assert torch.equal(made.motion[:30], example.motion[:30])
        assert not torch.equal(made.motion[30:, LIPS], example.motion[30:, LIPS])


def test_masked_frames_are_not_heard_and_alone_are_asked_for() -> None:
    torch.manual_seed(0)
    lesson, shape = lesson_of(60), LiteConfig.large()
    batch = next(stretches(lesson, EncoderTrainConfig(steps=1, batch=6, frames=50, masked=0.5), 0))
    rows = batch["masked"].float().mean(1)
    assert (rows == 0).any() and ((rows > 0.15) & (rows < 0.5)).any()
    network, heads = LiteEncoder(shape).eval(), Heads(shape, lesson.phonetics)
    masked = torch.zeros(1, 20, dtype=torch.bool)
    masked[0, 8:13] = True
    sound = torch.randn(1, 20 * SAMPLES_PER_FRAME)
    other = sound.clone()
    other[0, 8 * SAMPLES_PER_FRAME + 60 : 13 * SAMPLES_PER_FRAME - 60] = 0
    with torch.no_grad():
        difference = network(sound, masked=masked).hidden - network(other, masked=masked).hidden
        assert difference.abs().max() < 1e-5 < (network(sound).hidden - network(other).hidden).abs().max()
        spectrogram = log_mel(sound).flatten(2)
        hidden = network(sound, masked=masked).hidden
        loss = heads.masked_loss(hidden, spectrogram, masked)
        changed = spectrogram.clone()
        changed[:, ~masked[0]] = 0
        assert heads.masked_loss(hidden, changed, masked) == loss > 3
        assert heads.masked_loss(hidden, spectrogram, ~masked) != loss
        assert heads.masked_loss(hidden, spectrogram, torch.zeros_like(masked)) == 0


def test_teachers_are_kept_and_taught_by_the_other_folds(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ears, "TcnConfig", partial(TcnConfig, steps=2, channels=8, dilations=(1,)))
    heard: list[int] = []
    monkeypatch.setattr(ears, "train_tcn", lambda items, *rest: heard.append(len(items)) or train_tcn(items, *rest))
    clips = load_corpus(corpus)
    phones = {clip.name: np.zeros((len(clip), 40), np.float32) for clip in clips}
    folds = {"ann": 0, "bob": 1}

    def teachers() -> list[ears.Teacher]:
        return ears.read_teachers(clips, folds, phones, tmp_path / "work", lambda *_: None, torch.float32)

    first = teachers()
    assert heard == [10, 10, 5, 5, 15, 15], "five times the two clips of bob, then the one of ann, then all"
    again = teachers()
    assert len(heard) == 6 and len(again) == ears.FOLDS
    features = ears.teacher_features(clips[0].waveform, phones["a"])
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.think(features), other.think(features))
    assert not np.array_equal(first[0].think(features), first[1].think(features))
    one, other = (network.predict(features) for network in first[0].networks)
    assert not np.array_equal(one, other)
    np.testing.assert_allclose(first[0].think(features), (one + other) / 2, rtol=1e-6)
    folds["bob"] = 2
    teachers()
    assert len(heard) == 12
    clips[0] = replace(clips[0], waveform=0.5 * clips[0].waveform)  # of the same name and length
    teachers()
    assert len(heard) == 18


def test_speech_and_level_are_known_everywhere() -> None:
    """Also of a frame that lies on the very edge of a recording, as happens at some tempi."""
    lesson, config = lesson_of(13), EncoderTrainConfig(frames=25, quiet=1.0)
    for seed in range(300):
        drawn = _excerpt(lesson.footage[0], config, lesson, np.random.default_rng(seed))
        assert np.isfinite(drawn["prosody"][:, :3]).all() and np.isfinite(drawn["waveform"]).all()
