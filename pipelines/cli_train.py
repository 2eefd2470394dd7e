"""``moda train encoder``, ``moda train motion`` and ``moda evaluate``: for those who bring footage of their own."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import torch

train = typer.Typer(no_args_is_help=True, help="Train the embedded networks from scratch.")

Corpus = Annotated[Path, typer.Argument(metavar="SET", help="A motion set: manifest.jsonl and npz/.")]
Work = Annotated[Path, typer.Option(help="Where teacher labels are kept between runs.")]
Seed = Annotated[int, typer.Option(help="The same seed and data give the same weights.")]
Threads = Annotated[int, typer.Option(min=1, help="Processor cores to use.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Fewer steps than the recipe's, to try things.")]
Bf16 = Annotated[bool, typer.Option("--bf16", help="bfloat16 arithmetic: twice as fast where the CPU has it.")]


@train.command()
def encoder(
    corpus: Corpus,
    out: Annotated[Path, typer.Option("--output", "-o", help="The weights, a .safetensors file.")],
    speech: Annotated[
        Path | None, typer.Option(help="A folder of `moda train speech`; without it, less is heard.")
    ] = None,
    work: Work = Path("runs"),
    steps: Steps = None,
    seed: Seed = 0,
    threads: Threads = 2,
    bf16: Bf16 = False,
) -> None:
    """The audio encoder (needs requirements-train.txt)."""
    from encoders.train import TrainConfig
    from pipelines.train import encoder as run
    from pipelines.video import check_output

    _start(threads)
    check_output(out, ".safetensors")
    config = TrainConfig(seed=seed, precision=_precision(bf16))
    run(corpus, speech, work, out, config if steps is None else replace(config, steps=steps))


@train.command()
def motion(
    corpus: Corpus,
    out: Annotated[Path, typer.Option("--output", "-o", help="The weights, a .safetensors file.")],
    listener: Annotated[Path | None, typer.Option("--encoder", help="Audio encoder; the embedded one.")] = None,
    steps: Steps = None,
    seed: Seed = 0,
    threads: Threads = 2,
    bf16: Bf16 = False,
) -> None:
    """The motion generator, heard through an audio encoder."""
    from encoders.wav2vec import EMBEDDED
    from moda.train import TrainConfig
    from pipelines.train import motion as run
    from pipelines.video import check_output

    _start(threads)
    check_output(out, ".safetensors")
    config = TrainConfig(seed=seed, precision=_precision(bf16))
    run(corpus, out, listener or EMBEDDED, config if steps is None else replace(config, steps=steps))


def evaluate(
    corpus: Corpus,
    listener: Annotated[Path | None, typer.Option("--encoder", help="Audio encoder; the embedded one.")] = None,
    generator: Annotated[Path | None, typer.Option("--motion", help="Motion generator; the embedded one.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Samples per clip.")] = 4,
    guidance: Annotated[float | None, typer.Option(min=0, help="As for `talk`, of speech and emotion alike.")] = None,
) -> None:
    """Sample the held-out speakers of SET and compare with how they really moved."""
    from rich.console import Console
    from rich.table import Table

    from encoders.wav2vec import EMBEDDED as EMBEDDED_ENCODER
    from moda.guidance import Guidance
    from moda.sampler import SamplerConfig
    from pipelines.evaluate import evaluate as run
    from pipelines.evaluate import summarise
    from pipelines.talk import EMBEDDED as EMBEDDED_MOTION

    config = SamplerConfig() if guidance is None else SamplerConfig(guidance=Guidance(guidance, guidance))
    scores = run(corpus, listener or EMBEDDED_ENCODER, generator or EMBEDDED_MOTION, config, samples)
    speakers = len({score.speaker for score in scores})
    table = Table("figure", "mean", "95 % interval", title=f"{len(scores)} clips, {speakers} held-out speakers")
    for name, (mean, low, high) in summarise(scores).items():
        table.add_row(name, f"{mean:.3f}", f"{low:.3f} to {high:.3f}")
    Console().print(table)


def _start(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")


def _precision(bf16: bool) -> torch.dtype:
    import torch

    return torch.bfloat16 if bf16 else torch.float32
