"""Windows and the sampler: nothing is lost, shifted or dependent on how the audio arrives."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from contracts import Conditions, EmotionKey, EmotionTimeline
from moda.flow.guidance import Guidance, GuidedVelocity
from moda.flow.path import uniform_sigmas
from moda.flow.sampler import SamplerConfig, carry_on, sample, sample_normalised, sample_window, smooth_pose
from moda.flow.windows import crossfade, cut, hold
from moda.motion.layout import LIPS, MotionError
from moda.motion.space import MotionSpace
from moda.motion.timeline import evaluate_timeline
from moda.network.config import ModelConfig
from tests.moda.model_support import generator, random_inputs, random_model

SPACE = MotionSpace("mesh", torch.linspace(-1, 1, 70), torch.linspace(0.1, 2, 70), torch.linspace(0.2, 1, 70))
CHANGING = EmotionTimeline((EmotionKey(0.0, "neutral"), EmotionKey(1.5, "happiness", 0.8)))


def chunks_of(audio: torch.Tensor, seed: int) -> Iterator[torch.Tensor]:
    """The audio in pieces of 1 to 99 frames."""
    g = generator(seed)
    while len(audio):
        n = int(torch.randint(1, 100, (), generator=g))
        yield audio[:n]
        audio = audio[n:]


def test_windows_cover_the_clip() -> None:
    for frames in range(401):
        windows = list(cut(chunks_of(torch.arange(frames)[:, None], frames), 80))
        assert len(windows) == (1 + max(0, math.ceil((frames - 80) / 64)) if frames else 0)
        assert [w.start for w in windows] == [64 * i for i in range(len(windows))]
        assert all(w.frames == 80 for w in windows[:-1])
        assert sum(w.frames for w in windows) - 16 * max(0, len(windows) - 1) == frames
        for w in windows:
            expected = torch.arange(w.start, w.start + 80).clamp(max=frames - 1)
            assert torch.equal(w.audio[:, 0], expected), "the padding holds the last frame"


def test_padding_with_zeros() -> None:
    (window,) = cut([torch.ones(5, 2)], 80, padding="zeros")
    assert window.audio[:5].all() and not window.audio[5:].any()


def test_windows_come_as_soon_as_their_audio_is_there() -> None:
    taken = []

    def endless() -> Iterator[torch.Tensor]:
        for i in range(10**9):
            taken.append(i)
            yield torch.full((16, 1), float(i))

    windows = cut(endless(), 80)
    for n in range(1, 6):
        window = next(windows)
        assert len(taken) == 5 + 4 * (n - 1)
        assert window.audio[0, 0] == 4 * (n - 1)


def test_crossfade_weights_sum_to_one() -> None:
    later = crossfade(16)
    assert later[0] == 0 and later[-1] == 15 / 16 and ((1 - later) + later == 1).all()


def test_held_context() -> None:
    known = torch.arange(6.0).reshape(1, 3, 2)
    track = hold(known, 5)
    assert torch.equal(track[:, :3], known) and (track[:, 3:] == known[:, -1]).all()


class Parrot:
    """A model whose motion is its audio: what comes out says which frames went where."""

    def __init__(self) -> None:
        self.config, self.null_audio = ModelConfig.tiny(70), torch.zeros(70)

    def start(self, _audio: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        return noise

    def embed(self, audio: torch.Tensor, *_: torch.Tensor) -> ParrotEmbedded:
        return ParrotEmbedded(audio)

    def velocity(
        self, x: torch.Tensor, sigma: torch.Tensor, context: torch.Tensor, heard: ParrotEmbedded
    ) -> torch.Tensor:
        return (x - heard.audio) / sigma[:, None, None]


class ParrotEmbedded:
    def __init__(self, audio: torch.Tensor) -> None:
        self.audio = audio

    def rows(self, rows: slice) -> ParrotEmbedded:
        return ParrotEmbedded(self.audio[rows])


@pytest.mark.parametrize("join", ["pin", "crossfade"])
@pytest.mark.parametrize("smooth", [False, True])
def test_every_length_comes_out_frame_for_frame(join: str, smooth: bool) -> None:
    config = SamplerConfig(steps=1, solver="euler", join=join, smooth_pose=smooth)
    voice = torch.randn(400, 70, generator=generator())
    for frames in (1, 2, 3, 16, 17, 63, 64, 79, 80, 81, 143, 144, 145, 400) if smooth else range(1, 401):
        audio = voice[:frames]
        conditions = Conditions(chunks_of(audio, frames), torch.zeros(63), EmotionTimeline())
        out = torch.cat(list(sample(Parrot(), SPACE, conditions, config, generator())))
        assert out.shape == (frames, 70)
        columns = slice(0, 63) if smooth else slice(0, 70)
        expected = SPACE.denormalise(audio)[:, columns]
        kept = torch.ones(frames, dtype=torch.bool)
        if join == "pin":  # where a window carries on from the one before, noise as motion is bent
            kept[[i + j for i in range(80, frames, 64) for j in (0, 1) if i + j < frames]] = False
        torch.testing.assert_close(out[kept][:, columns], expected[kept], rtol=0, atol=1e-4)
        if smooth and join == "pin":
            kept[:-1] &= kept[1:].clone()  # a mean of three frames
            kept[1:] &= kept[:-1].clone()
            torch.testing.assert_close(out[kept], SPACE.denormalise(smooth_pose(audio))[kept], rtol=0, atol=1e-4)


def test_no_audio_no_motion() -> None:
    assert (
        list(sample(Parrot(), SPACE, Conditions([], torch.zeros(63), EmotionTimeline()), SamplerConfig(), generator()))
        == []
    )


def test_tokens_of_another_encoder_are_refused() -> None:
    model = random_model()
    conditions = Conditions([torch.zeros(10, 99)], torch.zeros(63), EmotionTimeline())
    with pytest.raises(MotionError, match="width 99 for a motion model that hears 8"):
        next(sample(model, SPACE, conditions, SamplerConfig(), generator()))


def test_an_overlap_must_leave_something_new() -> None:
    with pytest.raises(ValueError, match="leaves nothing new"):
        next(cut([torch.zeros(10, 1)], 80, overlap=80))


CONFIGS = {
    "house": SamplerConfig(steps=3),
    "guided": SamplerConfig(steps=3, guidance=Guidance(1.3, 1.8, (0.2, 0.9))),
    "smoothed": SamplerConfig(steps=2, smooth_pose=True),
    "published": replace(SamplerConfig.published(), steps=3),
    "no overlap": SamplerConfig(steps=2, overlap=0),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_streamed_or_at_once(config: SamplerConfig) -> None:
    model = random_model()
    audio = torch.randn(190, model.config.audio_dim, generator=generator(3))

    def run(chunks: object) -> torch.Tensor:
        return torch.cat(
            list(sample(model, SPACE, Conditions(chunks, torch.zeros(63), CHANGING), config, generator(7)))
        )

    at_once = run([audio])
    assert at_once.shape == (190, 70) and at_once.isfinite().all()
    assert torch.equal(run(chunks_of(audio, 5)), at_once)
    assert torch.equal(run(audio.split(1)), at_once)


def test_chunks_come_before_the_audio_ends() -> None:
    model = random_model()
    asked = 0

    def microphone() -> Iterator[torch.Tensor]:
        nonlocal asked
        while True:
            asked += 1
            yield torch.randn(20, model.config.audio_dim)

    conditions = Conditions(microphone(), torch.zeros(63), EmotionTimeline())
    motion = (chunk for chunk in sample(model, SPACE, conditions, SamplerConfig(steps=1), generator()) if len(chunk))
    assert len(next(motion)) == 80 and asked == 4
    assert len(next(motion)) == 64 and asked == 8
    motion.close()


def test_seeds() -> None:
    model = random_model()
    audio = [torch.randn(100, model.config.audio_dim, generator=generator(3))]

    def run(seed: int) -> torch.Tensor:
        conditions = Conditions(audio, torch.zeros(63), EmotionTimeline())
        return torch.cat(list(sample(model, SPACE, conditions, SamplerConfig(steps=2), generator(seed))))

    assert torch.equal(run(1), run(1))
    assert (run(1) - run(2)).abs().max() > 0.1


def test_rows_of_a_window_are_sampled_alone() -> None:
    model = random_model()
    inputs = random_inputs(model.config)
    config = SamplerConfig(steps=4, guidance=Guidance(1.4, 1.9))
    noise, known = inputs["x"], torch.randn(2, 16, 70, generator=generator(9))

    def run(rows: slice) -> torch.Tensor:
        mix = evaluate_timeline(CHANGING, 0, 80)
        fixed = (inputs[name][rows] for name in ("audio", "identity", "context"))
        with torch.no_grad():
            velocity = GuidedVelocity(model, config.guidance, *fixed, mix)
            *_, z = sample_window(velocity, noise[rows], config, known[rows])
        return z

    together = run(slice(None))
    for i in range(2):
        torch.testing.assert_close(together[i : i + 1], run(slice(i, i + 1)), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "config",
    [
        SamplerConfig(steps=7),
        SamplerConfig(steps=7, join="crossfade"),
        SamplerConfig(steps=7, join="crossfade", smooth_pose=True),
    ],
)
def test_it_can_be_left_after_every_step(config: SamplerConfig) -> None:
    """Somebody who wants to stop waits for one evaluation of the network, not for a window."""
    model = random_model()
    asked = []
    velocity = model.velocity
    model.velocity = lambda *given: asked.append(1) or velocity(*given)
    audio = [torch.randn(200, model.config.audio_dim, generator=generator(3))]
    motion = sample(model, SPACE, Conditions(audio, torch.zeros(63), EmotionTimeline()), config, generator())
    lengths = []
    for n, chunk in enumerate(motion):
        lengths.append(len(chunk))
        if not any(lengths):
            assert len(asked) == n + 1
    assert sum(lengths) == 200 and lengths.count(0) == len(asked) == 3 * 7


@pytest.mark.parametrize("solver", ["euler", "ab2", "dpmpp2m", "heun"])
def test_pinned_frames_stay(solver: str) -> None:
    noise = torch.randn(1, 80, 70, generator=generator())
    known = torch.randn(1, 16, 70, generator=generator(1))
    seen = {}

    def velocity(x: torch.Tensor, sigma: float) -> torch.Tensor:
        seen[sigma] = x[:, :16]
        return torch.tanh(x) - 1

    *_, z = sample_window(velocity, noise, SamplerConfig(solver=solver), known)
    assert torch.equal(z[:, :16], known)
    for sigma in uniform_sigmas(5, 2.0)[:-1]:
        torch.testing.assert_close(seen[sigma], (1 - sigma) * known + sigma * noise[:, :16])


def test_a_window_carries_on() -> None:
    """What a border breaks is mended within the easing, and no more is touched."""
    t = torch.arange(80.0)[:, None]
    smooth = torch.sin(t / torch.linspace(4, 20, 70)).expand(2, 80, 70).contiguous()
    easing = torch.linspace(2, 17, 70)
    torch.testing.assert_close(carry_on(smooth, 16, easing), smooth, rtol=0, atol=0.05)  # nothing is broken here
    broken = smooth.clone()
    broken[:, 16:] += (
        torch.randn(2, 1, 70, generator=generator()) + 0.05 * torch.randn(70, generator=generator()) * t[16:]
    )
    mended = carry_on(broken, 16, easing)
    assert torch.equal(mended[:, :16], smooth[:, :16])
    for channel, frames in enumerate(easing.ceil().int().tolist()):
        assert torch.equal(mended[:, 16 + frames :, channel], broken[:, 16 + frames :, channel])
    speed, usual = mended.diff(dim=1)[:, 15].abs(), smooth.diff(dim=1).abs().amax(1)
    assert (speed < usual + 0.1).all() and (broken.diff(dim=1)[:, 15].abs() > usual + 0.1).float().mean() > 0.8


@pytest.mark.parametrize("context", ["overlap", "previous"])
def test_a_window_is_told_of_the_one_before(context: str) -> None:
    model = random_model(replace(ModelConfig.tiny(), context=context))
    contexts = []
    embed, velocity = model.embed, model.velocity
    model.embed = embed
    model.velocity = lambda x, sigma, given, embedded: contexts.append(given[:1]) or velocity(x, sigma, given, embedded)
    audio = [torch.randn(144, model.config.audio_dim, generator=generator(3))]
    start = torch.randn(70, generator=generator(4))
    noise = torch.randn(2, 1, 80, 70, generator=generator(5))
    conditions = Conditions(audio, torch.zeros(63), EmotionTimeline())
    out = torch.cat(list(sample_normalised(model, conditions, SamplerConfig(steps=1), noise, start)))
    first, second = contexts
    assert (first == start).all()
    expected = hold(out[None, 64:80] if context == "overlap" else out[None, 63:64], 80)
    assert torch.equal(second, expected)


def test_noise_is_scaled_per_channel() -> None:
    """A network that predicts no velocity returns the noise itself; the lips' share of it can be turned down."""
    model = random_model()
    model.velocity = lambda x, *_: torch.zeros_like(x)
    audio = [torch.randn(2000, model.config.audio_dim, generator=generator(3))]
    conditions = Conditions(audio, torch.zeros(63), EmotionTimeline())
    for temperature in (1.0, 0.2):
        config = SamplerConfig(steps=1, overlap=0, lip_temperature=temperature)
        out = torch.cat(list(sample(model, SPACE, conditions, config, generator())))
        expected = SPACE.noise.clone()
        expected[LIPS] *= temperature
        torch.testing.assert_close(SPACE.normalise(out).std(0), expected, rtol=0.08, atol=0)


def test_pose_smoothing() -> None:
    x = torch.zeros(5, 70)
    x[[0, 2, 4]] = 6.0
    y = smooth_pose(x)
    assert torch.equal(y[:, :63], x[:, :63])
    torch.testing.assert_close(y[:, 63], torch.tensor([3.0, 4.0, 2.0, 4.0, 3.0]))
    assert torch.equal(smooth_pose(x[:1]), x[:1])
    torch.testing.assert_close(smooth_pose(x.expand(3, 5, 70)), y.expand(3, 5, 70))
