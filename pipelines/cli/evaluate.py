"""``moda evaluate``: tables of how well motion follows speech, next to what is easily had."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from pipelines.cli.console import stages
from pipelines.cli.train import check_weights

if TYPE_CHECKING:
    from rich.table import Table

    from pipelines.evaluation import Estimate, Report

#: Title, then the figures: as they are called, and as the column is headed.
TABLES: tuple[tuple[str, dict[str, str]], ...] = (
    (
        "Mouth opening",
        {"gap r": "r", "gap r in speech": "r, speech", "lag": "lag (frames)", "gap r at lag": "r at lag",
         "lag within 1": "lag < 2", "amplitude x": "amplitude x", "speed x": "speed x", "gap CRPS": "CRPS (OC)"},
    ),
    (
        "Closures and openings in speech",
        {"closure recall": "recall", "closure precision": "precision", "closure F1": "F1", "closure AUC": "AUC",
         "opening F1": "openings F1"},
    ),
    (
        "Correlation of other channels",
        {"width r": "width", "jaw r": "jaw", "pucker r": "pucker", "smile r": "smile", "brow r": "brow",
         "blink r": "blink"},
    ),
    (
        "Samples against each other",
        {"lips diversity": "lips", "brows diversity": "brows", "head diversity": "head",
         "gap spread / error": "gap spread / error"},
    ),
    (
        "Head and eyes",
        {"pitch std": "pitch std", "yaw std": "yaw std", "roll std": "roll std", "blinks/min": "blinks/min"},
    ),
    (
        "Share of clips within the real 10 to 90 %",
        {"pitch std inside": "pitch", "yaw std inside": "yaw", "roll std inside": "roll",
         "blinks/min inside": "blinks"},
    ),
)  # fmt: skip
#: Figures in which the others are compared with the baseline that hears what the generator hears.
AGAINST = {"gap r": "r", "gap r in speech": "r, speech", "closure AUC": "AUC", "closure F1": "closures F1",
           "opening F1": "openings F1", "gap CRPS": "CRPS (OC)"}  # fmt: skip


def evaluate(
    corpora: Annotated[list[Path], typer.Argument(metavar="SET...", help="Motion sets, as `moda prepare` makes them.")],
    listener: Annotated[Path | None, typer.Option("--encoder", help="Audio encoder; the embedded one.")] = None,
    generator: Annotated[Path | None, typer.Option("--motion", help="Motion generator; the embedded one.")] = None,
    part: Annotated[
        Literal["test", "tune"], typer.Option(help="Speakers to report on, or those that settings are chosen on.")
    ] = "test",
    samples: Annotated[int, typer.Option(min=1, max=1000, help="Samples per clip.")] = 16,
    baselines: Annotated[bool, typer.Option("--baselines/--no-baselines", help="Fit and judge them too.")] = True,
    guidance: Annotated[float | None, typer.Option(help="As for `talk`, of speech and emotion alike.")] = None,
    out: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file too.")] = None,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Processor cores to use.")] = 2,
) -> None:
    """Sample the held-out speakers of the sets and compare with how they really moved, and with baselines."""
    from pipelines.film import check_output
    from pipelines.options import TalkOptions
    from pipelines.training import check_sets

    TalkOptions(guidance=guidance)  # says what is impossible
    if out is not None:
        check_output(out, ".json")
    check_sets(corpora, part)  # before anything heavy is imported
    check_weights(listener, generator)
    with stages() as tell:
        import torch

        from encoders.audio import EMBEDDED as EMBEDDED_ENCODER
        from moda.flow import Guidance, SamplerConfig
        from moda.network import EMBEDDED as EMBEDDED_MOTION
        from pipelines.evaluation import evaluate_sets

        torch.set_num_threads(threads)
        config = SamplerConfig() if guidance is None else SamplerConfig(guidance=Guidance(guidance, guidance))
        report = evaluate_sets(
            corpora, listener or EMBEDDED_ENCODER, generator or EMBEDDED_MOTION, config, part, samples, baselines,
            progress=tell,
        )  # fmt: skip
    for name, one in {"": report, **report.by_set()}.items():
        for table in tables(one, name):
            Console().print(table)
    if out is not None:
        write(report, out)


def tables(report: Report, name: str = "") -> list[Table]:
    """One table for each of TABLES, a row for each system that has one of its figures; ``name`` of the set, if one."""
    from pipelines.evaluation import FRONT_END

    found = [table for title, columns in TABLES if (table := _table(report, title, columns)).row_count]
    if FRONT_END in report.scores:
        found.append(_differences(report))
    speakers = len({clip.speaker for clip in report.clips})
    found[0].title = (
        f"{name and f'{name}: '}{len(report.clips)} clips, {speakers} {report.part} speakers, "
        f"{report.seconds / 60:.1f} min, {report.samples} samples a clip; means, 95 % intervals over speakers\n\n"
        f"{found[0].title}"
    )
    return found


def _table(report: Report, title: str, columns: dict[str, str]) -> Table:
    """A row for each system that has one of the figures."""
    from rich.table import Table

    table = Table("", *columns.values(), title=title)
    for system, figures in report.summary.items():
        if any(math.isfinite(figures[name].mean) for name in columns if name in figures):
            table.add_row(system, *(_cell(name, figures.get(name)) for name in columns))
    if columns.keys() & report.ranges.keys():
        table.add_row("real, 10 to 90 %", *("{:.1f} to {:.1f}".format(*report.ranges[name]) for name in columns))
    return table


def _differences(report: Report) -> Table:
    """All systems less the one that hears what the generator hears."""
    from rich.table import Table

    from pipelines.evaluation import FRONT_END, REAL, compare

    table = Table("", *AGAINST.values(), title=f"Less {FRONT_END}, clip by clip")
    for system, scores in report.scores.items():
        if system not in (FRONT_END, REAL):
            differences = compare(scores, report.scores[FRONT_END])
            table.add_row(system, *(_cell(name, differences.get(name)) for name in AGAINST))
    return table


def write(report: Report, out: Path) -> None:
    """The same figures as JSON; what has no value is null."""
    from moda import replacing

    content = _content(report)
    if sets := report.by_set():
        content["sets"] = {name: _content(one) for name, one in sets.items()}
    with replacing(out) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def _content(report: Report) -> dict[str, Any]:
    def number(value: float) -> float | None:
        return round(value, 5) if math.isfinite(value) else None

    return {
        "part": report.part, "clips": len(report.clips), "speakers": len({clip.speaker for clip in report.clips}),
        "seconds": report.seconds, "samples": report.samples,
        "systems": {
            system: {name: [number(value) for value in estimate] for name, estimate in figures.items()}
            for system, figures in report.summary.items()
        },
        "real 10 to 90 %": report.ranges,
    }  # fmt: skip


def _cell(name: str, estimate: Estimate | None) -> str:
    if estimate is None or not math.isfinite(estimate.mean):
        return ""
    digits = 1 if name in ("pitch std", "yaw std", "roll std", "blinks/min") else 3 if name == "gap CRPS" else 2
    mean, low, high = (f"{value:.{digits}f}" for value in estimate)
    return f"{mean}\n[dim]{low} {high}[/]"
