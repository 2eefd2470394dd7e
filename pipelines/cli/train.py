"""``moda train encoder``, ``motion`` and ``speech``: for those who bring footage of their own."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contracts import ModaError
from pipelines.cli.console import stages

if TYPE_CHECKING:
    import torch

MOST_MINUTES = 10_000  # of speech: a week
train = typer.Typer(no_args_is_help=True, help="Train the embedded networks from scratch.")

Corpora = Annotated[list[Path], typer.Argument(metavar="SET...", help="Motion sets, as `moda prepare` makes them.")]
Work = Annotated[Path, typer.Option(help="Where teacher labels are kept between runs.")]
Beds = Annotated[
    list[Path] | None, typer.Option(help="A folder of noise, babble or music to lie under speech; may be repeated.")
]
Seed = Annotated[int, typer.Option(help="The same seed and data give the same weights.")]
Threads = Annotated[int, typer.Option(min=1, max=1024, help="Processor cores to use.")]
Steps = Annotated[int | None, typer.Option(min=1, max=10_000_000, help="Fewer steps than the recipe's, to try things.")]
Bf16 = Annotated[bool, typer.Option("--bf16", help="bfloat16 arithmetic: twice as fast where the CPU has it.")]


class WeightsMissing(ModaError):
    """There is no file of weights under the name given."""


@train.command()
def encoder(
    corpora: Corpora,
    out: Annotated[Path, typer.Option("--output", "-o", help="The weights, a .safetensors file.")],
    speech: Annotated[
        list[Path] | None,
        typer.Option(help="A folder of `moda train speech`; may be repeated. Without any, less is heard."),
    ] = None,
    beds: Beds = None,
    former: Annotated[Path | None, typer.Option(help="An encoder to go on from; else training begins anew.")] = None,
    work: Work = Path("runs"),
    steps: Steps = None,
    seed: Seed = 0,
    threads: Threads = 2,
    bf16: Bf16 = False,
) -> None:
    """The audio encoder (needs requirements-train.txt)."""
    from pipelines.training import find_beds

    _check(corpora, out)
    find_beds(beds or ())
    with stages() as tell:
        from encoders.audio import TrainConfig
        from pipelines.training import fit_encoder, load_beds

        _limit(threads)
        config = TrainConfig(seed=seed, precision=_precision(bf16))
        config = config if steps is None else replace(config, steps=steps)
        fit_encoder(corpora, speech or (), work, out, config, tell, load_beds(beds) if beds else None, former)


@train.command()
def speech(
    folder: Annotated[Path, typer.Option("--output", "-o", help="The folder; one that is there is gone on with.")],
    minutes: Annotated[float, typer.Option(help="Of all sources together but recorded, which is taken whole.")] = 210.0,
    seed: Annotated[int, typer.Option(help="Another seed says other things in other voices.")] = 0,
    kokoro: Annotated[list[Path] | None, typer.Option(help="Where Kokoro's unpacked packages are.")] = None,
    recordings: Annotated[
        list[Path] | None, typer.Option(help="A folder of recordings with manifest.jsonl; may be repeated.")
    ] = None,
    source: Annotated[list[str] | None, typer.Option(help="Only this source; may be repeated.")] = None,
) -> None:
    """Labelled speech for the audio encoder, recorded and synthesised (needs requirements-train.txt)."""
    if not 0 <= minutes <= MOST_MINUTES:  # not a number is outside as well
        raise typer.BadParameter(f"{minutes:g} is not in the range 0 to {MOST_MINUTES}", param_hint="--minutes")
    from pipelines.training import read_recordings

    read_recordings(recordings or ())
    from rich.console import Console
    from rich.table import Table

    from encoders.audio import PhoneReader
    from pipelines.training import SHARES, SpeechSources, summarise, write_speech

    for name in source or ():
        if name not in SHARES:
            raise typer.BadParameter(f"{name} is none of {', '.join(SHARES)}")
    _limit(1)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    write_speech(
        folder, SpeechSources(tuple(recordings or ()), tuple(kokoro or ())), minutes, seed, tuple(source or SHARES)
    )
    table = Table("source", "recordings", "minutes", "mean s", "silent", "phones heard as labelled, by lag in frames")
    for row in summarise(folder, PhoneReader()):
        lags = " ".join(f"{lag:+d}: {share:.2f}" for lag, share in row.agreement.items()) or "no labels"
        means = f"{row.minutes * 60 / row.recordings:.1f}"
        table.add_row(row.source, str(row.recordings), f"{row.minutes:.1f}", means, f"{row.silent:.2f}", lags)
    Console().print(table)


@train.command()
def motion(
    corpora: Corpora,
    out: Annotated[Path, typer.Option("--output", "-o", help="The weights, a .safetensors file.")],
    listener: Annotated[Path | None, typer.Option("--encoder", help="Audio encoder; the embedded one.")] = None,
    beds: Beds = None,
    steps: Steps = None,
    seed: Seed = 0,
    threads: Threads = 2,
    bf16: Bf16 = False,
) -> None:
    """The motion generator, heard through an audio encoder."""
    from pipelines.training import find_beds

    _check(corpora, out)
    check_weights(listener, None)
    find_beds(beds or ())
    with stages() as tell:
        from encoders.audio import EMBEDDED
        from moda import TrainConfig
        from pipelines.training import fit_motion, load_beds

        _limit(threads)
        config = TrainConfig(seed=seed, precision=_precision(bf16))
        config = config if steps is None else replace(config, steps=steps)
        fit_motion(corpora, out, listener or EMBEDDED, config, tell, load_beds(beds) if beds else None)


def check_weights(listener: Path | None, generator: Path | None) -> None:
    """Raise WeightsMissing unless the weights that are named are there."""
    for path, what in ((listener, "encoder"), (generator, "motion")):
        if path is not None and not path.is_file():
            raise WeightsMissing(
                f"there is no file {path}; `moda train {what}` makes one, and without --{what} moda's own is used"
            )


def _check(corpora: list[Path], out: Path) -> None:
    """What can be said before anything heavy is imported. Raises ModaError."""
    from pipelines.film import check_output
    from pipelines.training import check_sets

    check_output(out, ".safetensors")
    check_sets(corpora)


def _limit(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def _precision(bf16: bool) -> torch.dtype:
    import torch

    return torch.bfloat16 if bf16 else torch.float32
