"""The network: what must hold whatever its weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from moda.network.block import Block, Layout
from moda.network.config import FOUR, MODALITIES, ONE, TWO, ModelConfig, Stage, coarse_to_fine
from moda.network.layers import rope_angles, rotate
from moda.network.model import MMDiT
from tests.moda.model_support import generator, random_inputs, random_model, randomise

PRESETS = {"tiny": ModelConfig.tiny(), "lite": ModelConfig.lite(), "base": ModelConfig.base()}


def layout(*lengths: int, head_dim: int = 8) -> Layout:
    angles = torch.cat([rope_angles(n, head_dim, 256.0) for n in lengths])[:, None, None]
    return Layout(angles.cos(), angles.sin(), None)


def streams(*lengths: int, batch: int = 2, hidden: int = 16) -> list[torch.Tensor]:
    return [torch.randn(batch, n, hidden, generator=generator(n)) for n in lengths]


@pytest.mark.parametrize("config", PRESETS.values(), ids=PRESETS)
def test_a_config_survives_json(config: ModelConfig) -> None:
    assert ModelConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    "plan",
    [
        (Stage("motion|audio|emotion", 1),),
        (Stage("audio|motion|emotion|identity", 1),),
        (Stage(TWO, 1), Stage(FOUR, 1)),
    ],
    ids=["identity missing", "motion not first", "a joined stream split again"],
)
def test_an_impossible_plan_is_refused(plan: tuple[Stage, ...]) -> None:
    with pytest.raises(ValueError, match="stage"):
        replace(ModelConfig.tiny(), plan=plan)


def test_the_published_network_has_the_published_size() -> None:
    with torch.device("meta"):
        model = MMDiT(ModelConfig.base())
        lite = MMDiT(ModelConfig.lite())
    assert model.parameter_count - model.null_audio.numel() == 372_983_878
    assert 7_500_000 < lite.parameter_count < 8_500_000


@pytest.mark.parametrize("parallel", [False, True])
def test_a_new_block_is_the_identity(parallel: bool) -> None:
    block = randomise(Block(["a", "b"], 16, 2, 4, parallel))
    for stream in block.streams.values():
        torch.nn.init.zeros_(stream.modulation.weight)
        torch.nn.init.zeros_(stream.modulation.bias)
    xs = streams(5, 3)
    for x, y in zip(xs, block(xs, [torch.randn(2, 1, 16)] * 2, layout(5, 3)), strict=True):
        assert torch.equal(x, y)


def test_a_new_model_predicts_no_motion() -> None:
    model = MMDiT(ModelConfig.tiny())
    assert not model(**random_inputs(model.config)).any()
    assert model.stages[0][0].streams["motion"].qkv.weight.std() > 0.1  # though it is not all zero


@pytest.mark.parametrize("parallel", [False, True])
def test_streams_with_tied_weights_are_one_stream(parallel: bool) -> None:
    apart, joined = randomise(Block(["a", "b"], 16, 2, 4, parallel)), Block(["ab"], 16, 2, 4, parallel)
    apart.streams["b"].load_state_dict(apart.streams["a"].state_dict())
    joined.streams["ab"].load_state_dict(apart.streams["a"].state_dict())
    xs, c = streams(5, 3), torch.randn(2, 1, 16, generator=generator())
    expected = torch.cat(apart(xs, [c, c], layout(5, 3)), dim=1)
    (got,) = joined([torch.cat(xs, dim=1)], [c], layout(5, 3))
    torch.testing.assert_close(got, expected, rtol=0, atol=2e-6)
    assert not torch.allclose(expected, torch.cat(xs, dim=1), atol=0.1)


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("names", [["a"], ["a", "b"]])
def test_a_pruned_block_gives_the_same_first_tokens(names: list[str], parallel: bool) -> None:
    block = randomise(Block(names, 16, 2, 4, parallel))
    xs, c = streams(*(7, 3)[: len(names)]), torch.randn(2, 1, 16, generator=generator())
    place = layout(*(x.shape[1] for x in xs))
    cs = [c] * len(xs)
    full, (pruned,) = block(xs, cs, place), block(xs, cs, place, queries=4)
    assert pruned.shape[1] == 4
    torch.testing.assert_close(pruned, full[0][:, :4], rtol=0, atol=2e-6)


@pytest.mark.parametrize("attention", ["joint", "asymmetric"])
def test_asymmetric_conditions_see_neither_motion_nor_noise(attention: str) -> None:
    """The condition tokens that enter the last stage are caught there, under two motions and noise levels."""
    config = replace(ModelConfig.tiny(), condition_attention=attention)
    model = random_model(config)
    caught: list[torch.Tensor] = []
    last = model.stages[-1][0]
    last.register_forward_pre_hook(lambda _module, args: caught.append(args[0][0][:, config.window :]))
    inputs = random_inputs(config)
    other = {**inputs, "x": inputs["x"] + 1, "sigma": 0.5 * inputs["sigma"]}
    assert not torch.allclose(model(**inputs), model(**other), atol=1e-3)
    assert torch.allclose(*caught, atol=1e-5) == (attention == "asymmetric")


def test_conditions_may_come_in_any_order() -> None:
    config = ModelConfig.tiny()
    model = random_model(config)
    shuffled = (
        Stage("motion|identity|audio|emotion", 1),
        Stage("motion|identity+emotion+audio", 1),
        Stage("motion+emotion+audio+identity", 1, parallel=True),
    )
    other = MMDiT(replace(config, plan=shuffled)).eval()
    renamed = {}
    for name, value in model.state_dict().items():
        name = name.replace(ONE, shuffled[2].streams).replace(TWO.split("|")[1], "identity+emotion+audio")
        renamed[name] = value
    other.load_state_dict(renamed)
    inputs = random_inputs(config)
    torch.testing.assert_close(other(**inputs), model(**inputs), rtol=0, atol=5e-6)


def collapsing() -> MMDiT:
    """Emotion and identity 80 times, positions only in the last stage: the copies are equal for two stages."""
    plan = (Stage(FOUR, 1), Stage(TWO, 1), Stage(ONE, 2, parallel=True, rope=MODALITIES))
    return random_model(replace(ModelConfig.tiny(), plan=plan, repeat=80))


def uncollapsed(model: MMDiT, **conditions: torch.Tensor) -> tuple:
    """Conditions with every copy spelt out, and layouts to match."""
    embedded = model.embed(**conditions)
    tokens = {m: t.expand(-1, 80, -1) for m, t in embedded.tokens.items()}

    def spell_out(stage: Layout) -> Layout:
        if stage.bias is None:
            return stage
        ones = torch.ones(320 - 160, *stage.cos.shape[1:])
        return Layout(torch.cat([stage.cos[:160], ones]), torch.cat([stage.sin[:160], 0 * ones]), None)

    return embedded, replace(embedded, tokens=tokens, layouts=tuple(map(spell_out, embedded.layouts)))


def test_one_token_stands_for_equal_ones() -> None:
    model = collapsing()
    inputs = random_inputs(model.config)
    noisy = {name: inputs.pop(name) for name in ("x", "sigma", "context")}
    embedded, spelt_out = uncollapsed(model, **inputs)
    assert [layout.cos.shape[0] for layout in embedded.layouts] == [162, 162, 320]
    assert [layout.cos.shape[0] for layout in spelt_out.layouts] == [320, 320, 320]
    expected = model.velocity(**noisy, embedded=spelt_out)
    torch.testing.assert_close(model.velocity(**noisy, embedded=embedded), expected, rtol=0, atol=1e-5)

    unbiased = replace(embedded, layouts=tuple(layout._replace(bias=None) for layout in embedded.layouts))
    error = (model.velocity(**noisy, embedded=unbiased) - expected).norm() / expected.norm()
    assert error > 0.01, "without the log of the multiplicity the result must differ"


def test_single_condition_tokens_need_no_bias() -> None:
    assert all(layout.bias is None for layout in MMDiT(ModelConfig.tiny()).layouts(80))
    with torch.device("meta"):
        biases = [layout.bias is not None for layout in MMDiT(ModelConfig.base()).layouts(80)]
    assert biases == [True, False, False]


def test_rows_of_a_batch_do_not_see_each_other() -> None:
    model = random_model()
    inputs = random_inputs(model.config, batch=3)
    together = model(**inputs)
    for i in range(3):
        alone = model(**{name: value[i : i + 1] for name, value in inputs.items()})
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=5e-6)


def test_every_condition_is_heard() -> None:
    model = random_model()
    inputs = random_inputs(model.config)
    before = model(**inputs)
    for name, value in inputs.items():
        changed = model(**{**inputs, name: value.flip(0)})
        assert (changed - before).abs().max() > 1e-2, name


def test_dropped_audio_is_the_null_vector() -> None:
    model = random_model()
    inputs = random_inputs(model.config)
    null = inputs | {"audio": torch.stack([inputs["audio"][0], model.null_audio.detach().expand(80, -1)])}
    torch.testing.assert_close(model(**inputs, drop_audio=torch.tensor([False, True])), model(**null))


def test_intensity_interpolates_the_emotion() -> None:
    model = random_model()
    inputs = random_inputs(model.config)
    half = torch.zeros(2, 9)
    half[:, [4, 5]] = 0.5
    embedded = model.embed(inputs["audio"], half, inputs["identity"])
    torch.testing.assert_close(embedded.emotion, model.emotion_table[4:6].mean(0).expand(2, -1))


def test_rotation_knows_only_distances() -> None:
    angles = rope_angles(40, 8, 256.0)
    q, k = torch.randn(2, 8, generator=generator()).unbind()

    def score(i: int, j: int) -> torch.Tensor:
        turn = (rotate(t[None, None], angles[p][None].cos(), angles[p][None].sin()) for t, p in ((q, i), (k, j)))
        return (next(turn) * next(turn)).sum()

    torch.testing.assert_close(score(3, 10), score(30, 37), rtol=1e-4, atol=1e-4)
    assert (score(3, 10) - score(3, 11)).abs() > 1e-3


@pytest.mark.parametrize("plan", [coarse_to_fine(0, 1, 2), (Stage(FOUR, 2),)], ids=["no four", "four only"])
def test_other_plans_run_and_learn(plan: tuple[Stage, ...]) -> None:
    model = random_model(replace(ModelConfig.tiny(), plan=plan))
    out = model(**random_inputs(model.config, frames=24))
    assert out.shape == (2, 24, 70)
    out.square().mean().backward()
    assert model.motion_in[0].weight.grad.abs().sum() > 0


def test_half_precision_stays_close() -> None:
    model = random_model()
    inputs = random_inputs(model.config)
    expected = model(**inputs)
    low = {name: value if name == "sigma" else value.bfloat16() for name, value in inputs.items()}
    rough = model.bfloat16()(**low).float()
    assert (rough - expected).norm() / expected.norm() < 0.05
