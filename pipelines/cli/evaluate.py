"""``moda evaluate``: tables of how well motion follows speech, next to what is easily had."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from contracts import FPS
from pipelines.cli.console import stages
from pipelines.cli.train import WeightsMissing, check_weights

if TYPE_CHECKING:
    from rich.table import Table

    from pipelines.evaluation import Estimate, Report

PAUSES = ("0.3 to 0.5 s", "0.5 to 1 s", "1 to 3 s", "3 s and more")
ENDS = {"begin": "first frame", "end": "last frame"}
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
        "Gap (OC): in speech, 95th percentile of the clip, distance of gaps and of speeds (OC/s) to the real ones",
        {"gap median": "median", "gap shut": "share shut", "gap p95": "p95", "gap distance": "gaps",
         "speed distance": "speeds"},
    ),
    (
        "Effort: correlation over clips; drawn over real, by speaker",
        {"gap p95 over clips r": "r of p95", "speed over clips r": "r of median speed",
         "amplitude of speakers x": "amplitude x", "speed of speakers x": "speed x"},
    ),
    (
        "Share of frames with shut lips where nobody speaks: pauses by length, ends of silence",
        {f"pause {length} shut": length for length in PAUSES} | {f"{end} shut": name for end, name in ENDS.items()},
    ),
    (
        "Median gap there (OC), and where it lies in the middle half of all people's pauses",
        {f"pause {length} gap": length for length in PAUSES} | {f"{end} gap": name for end, name in ENDS.items()},
    ),
    (
        "Vowels: correlation on them; O and U less E and I (OC)",
        {"width on vowels r": "r of width", "pucker on vowels r": "r of protrusion", "width of rounded": "width",
         "pucker of rounded": "protrusion"},
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
ONE_DIGIT = {"pitch std", "yaw std", "roll std", "blinks/min"}
THREE_DIGITS = {
    "gap CRPS", "gap median", "gap p95", "gap distance", "width of rounded", "pucker of rounded",
    *(f"pause {length} gap" for length in PAUSES), *(f"{end} gap" for end in ENDS),
}  # fmt: skip
#: Figures in which the others are compared with the baseline that hears what the generator hears.
AGAINST = {"gap r": "r", "gap r in speech": "r, speech", "closure AUC": "AUC", "closure F1": "closures F1",
           "opening F1": "openings F1", "gap CRPS": "CRPS (OC)"}  # fmt: skip
#: Figures in which groups of speakers are told apart.
OF_GROUPS = {"gap r": "r", "gap r in speech": "r, speech", "closure AUC": "AUC", "closure F1": "closures F1",
             "amplitude of speakers x": "amplitude x", "speed of speakers x": "speed x",
             "pause 0.5 to 1 s shut": "shut, 0.5 to 1 s", "pause 0.5 to 1 s gap": "gap, 0.5 to 1 s"}  # fmt: skip


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
    beside: Annotated[
        Path | None, typer.Option(help="Folder with encoder.safetensors and motion.safetensors to compare with.")
    ] = None,
    noise: Annotated[
        float | None, typer.Option(help="Hear each clip again, speech so many dB over pink noise: -20 to 60.")
    ] = None,
    lookahead: Annotated[
        list[int] | None,
        typer.Option(min=0, max=25, help="Hear each clip again, so many frames ahead of each; may be repeated."),
    ] = None,
    work: Annotated[Path, typer.Option(help="Where labels of vowels are kept between runs.")] = Path("runs"),
    out: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file too.")] = None,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Processor cores to use.")] = 2,
) -> None:
    """Sample the held-out speakers of the sets and compare with how they really moved, and with baselines."""
    from pipelines.film import check_output
    from pipelines.options import TalkOptions
    from pipelines.training import check_sets

    TalkOptions(guidance=guidance)  # says what is impossible
    if noise is not None and not -20 <= noise <= 60:  # not a number is outside as well
        raise typer.BadParameter(f"{noise:g} is not in the range -20 to 60", param_hint="--noise")
    if out is not None:
        check_output(out, ".json")
    check_sets(corpora, part)  # before anything heavy is imported
    check_weights(listener, generator)
    former = None if beside is None else _own_weights(beside)
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
            beside=former, noise=noise, lookaheads=lookahead or (), work=work, progress=tell,
        )  # fmt: skip
    for name, one in {"": report, **report.by("set")}.items():
        for table in tables(one, name):
            Console().print(table)
    for table in (groups_table(report), people_table(report)):
        if table.row_count:
            Console().print(table)
    if out is not None:
        write(report, out)


def _own_weights(folder: Path) -> tuple[Path, Path]:
    """Encoder and generator of a folder. Raises WeightsMissing."""
    from pipelines.weights import ENCODER, MOTION

    if missing := [name for name in (ENCODER, MOTION) if not (folder / name).is_file()]:
        raise WeightsMissing(
            f"there is no {' and no '.join(missing)} in {folder}; give a folder with {ENCODER} and {MOTION}"
        )
    return folder / ENCODER, folder / MOTION


def tables(report: Report, name: str = "") -> list[Table]:
    """One table for each of TABLES, a row for each system that has one of its figures; ``name`` of the set, if one."""
    from pipelines.evaluation import FRONT_END

    found = [table for title, columns in TABLES if (table := _table(report, title, columns)).row_count]
    if FRONT_END in report.scores:
        found.append(_differences(report))
    if report.beside:
        found.append(_beside(report))
    if report.noisy:
        found.append(_fall(report))
    if report.live:
        found.append(_ahead(report))
    found[0].title = (
        f"{name and f'{name}: '}{len(report.clips)} clips, {report.speakers} {report.part} speakers, "
        f"{report.seconds / 60:.1f} min, {report.samples} samples a clip; means, 95 % intervals over speakers\n\n"
        f"{found[0].title}"
    )
    return found


def _table(report: Report, title: str, columns: dict[str, str]) -> Table:
    """A row for each system that has one of the figures, and what is real of those that have ranges."""
    from rich.table import Table

    table = Table("", *columns.values(), title=title)
    for system, figures in report.summary.items():
        if any(math.isfinite(figures[name].mean) for name in columns if name in figures):
            places = report.places.get(system, {})
            table.add_row(system, *(_cell(name, figures.get(name), places.get(name, "")) for name in columns))
    if columns.keys() & report.ranges.keys():
        table.add_row("real, 10 to 90 %", *("{:.1f} to {:.1f}".format(*report.ranges[name]) for name in columns))
    if columns.keys() & report.counts.keys():
        counts = (report.counts.get(name) for name in columns)
        table.add_row("counted", *(f"{count[0]} of {count[1]} speakers" if count else "none" for count in counts))
    rest = {f"pause {length} gap": real for length, real in report.rest.get("", {}).items()}
    if columns.keys() & rest.keys():
        cells = (f"{rest[name].low:.3f} to {rest[name].high:.3f}" if name in rest else "" for name in columns)
        table.add_row("all people, 25 to 75 %", *cells)
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


def _beside(report: Report) -> Table:
    """The generator less the one beside it, a row for each figure of TABLES."""
    from rich.table import Table

    table = Table("", *report.beside, title="Less those beside, clip by clip")
    for title, columns in TABLES:
        for name, heading in columns.items():
            found = [differences.get(name) for differences in report.beside.values()]
            if any(one and math.isfinite(one.mean) for one in found):
                table.add_row(
                    f"{title.partition(':')[0].partition(' (')[0]}: {heading}", *(_cell(name, one) for one in found)
                )
    return table


def _fall(report: Report) -> Table:
    from rich.table import Table

    from pipelines.evaluation import FALL

    headings = (AGAINST[name] for name in FALL)
    table = Table("", *headings, title=f"Lost where speech is {report.noise:g} dB over pink noise, clip by clip")
    for system, lost in report.fall.items():
        table.add_row(system, *(_cell(name, lost.get(name)) for name in FALL))
    return table


def _ahead(report: Report) -> Table:
    """How much what is heard beyond a frame is worth."""
    from rich.table import Table

    from pipelines.evaluation import FALL

    table = Table("", *(AGAINST[name] for name in FALL), title="Heard beyond each frame")
    for frames, systems in report.ahead.items():
        for system, figures in systems.items():
            table.add_row(f"{1000 * frames // FPS} ms: {system}", *(_cell(name, figures[name]) for name in FALL))
    for system in next(iter(report.live.values())):
        table.add_row(f"all: {system}", *(_cell(name, report.summary[system].get(name)) for name in FALL))
    return table


def groups_table(report: Report) -> Table:
    """What is shown, by set, language and sex."""
    from rich.table import Table

    from pipelines.evaluation import FEW, GROUPS, SHOWN

    title = f"{SHOWN}, by group; no interval under {FEW} speakers"
    table = Table("", "speakers", "clips", *OF_GROUPS.values(), title=title)
    for kind in GROUPS:
        for name, one in report.by(kind).items():
            figures = one.summary[SHOWN]
            cells = (_cell(figure, figures.get(figure), alone=one.speakers < FEW) for figure in OF_GROUPS)
            known = "not known" if name == "?" else name
            table.add_row(f"{kind} {known}", str(one.speakers), str(len(one.clips)), *cells)
    return table


def people_table(report: Report) -> Table:
    """How all the people of the footage rest in pauses."""
    from rich.table import Table

    table = Table("", "pause", "pauses", "speakers", "share shut", "median gap (OC)", "25 to 75 % of the pauses",
                  title="All people of the footage, judged or not: lips in pauses")  # fmt: skip
    for name, lengths in report.rest.items():
        for length, real in lengths.items():
            counts = (str(real.pauses), str(real.speakers), f"{real.shut:.2f}", f"{real.gap:.3f}")
            table.add_row(name or "all", length, *counts, f"{real.low:.3f} to {real.high:.3f}")
    return table


def write(report: Report, out: Path) -> None:
    """The same figures as JSON; what has no value is null."""
    from moda import replacing
    from pipelines.evaluation import GROUPS

    content = _content(report)
    if sets := report.by("set"):
        content["sets"] = {name: _content(one) for name, one in sets.items()}
    content["groups"] = {kind: {name: _content(one) for name, one in report.by(kind).items()} for kind in GROUPS[1:]}
    content["all people in pauses"] = {
        name or "all": {length: real._asdict() for length, real in lengths.items()}
        for name, lengths in report.rest.items()
    }
    with replacing(out) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def _content(report: Report) -> dict[str, Any]:
    content: dict[str, Any] = {
        "part": report.part, "clips": len(report.clips), "speakers": report.speakers,
        "seconds": report.seconds, "samples": report.samples, "systems": _numbers(report.summary),
        "real 10 to 90 %": report.ranges, "counted": report.counts, "pauses in the real 25 to 75 %": report.places,
    }  # fmt: skip
    if report.beside:
        content["less those beside"] = _numbers(report.beside)
    if report.noisy:
        content["lost under noise"] = {"dB": report.noise, "systems": _numbers(report.fall)}
    if report.live:
        content["frames heard beyond each"] = {frames: _numbers(found) for frames, found in report.ahead.items()}
    return content


def _numbers(found: dict[str, dict[str, Estimate]]) -> dict[str, dict[str, list[float | None]]]:
    def number(value: float) -> float | None:
        return round(value, 5) if math.isfinite(value) else None

    return {
        system: {name: [number(value) for value in estimate] for name, estimate in figures.items()}
        for system, figures in found.items()
    }


def _cell(name: str, estimate: Estimate | None, place: str = "", alone: bool = False) -> str:
    """A figure over its interval, unless it stands ``alone``, and where it lies."""
    if estimate is None or not math.isfinite(estimate.mean):
        return ""
    digits = 1 if name in ONE_DIGIT else 3 if name in THREE_DIGITS else 2
    mean, low, high = (f"{value:.{digits}f}" for value in estimate)
    mean = f"{mean} {place}".rstrip()
    return mean if alone or not math.isfinite(estimate.low) else f"{mean}\n[dim]{low} {high}[/]"
