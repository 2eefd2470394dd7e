"""``moda batch``: many videos from a manifest, or from two folders crossed."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperCommand

from pipelines.cli.console import complain, progress_bar

if TYPE_CHECKING:
    from pipelines.batch import Plan, Step

ADDRESS = re.compile(r"auto|local|ray://.+|[\w.\[\]:-]+:\d+")


class RayCommand(TyperCommand):
    """The address after ``--ray`` may be left out."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given: list[str] = []
        for word, after in zip(args, [*args[1:], ""], strict=False):
            given += [word, "local"] if word == "--ray" and not ADDRESS.fullmatch(after) else [word]
        return super().parse_args(ctx, given)


def batch(
    out: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="The folder of the videos and of report.jsonl.")
    ],
    manifest: Annotated[
        Path | None,
        typer.Argument(help="CSV or JSON lines: portrait, audio, output, any option of talk.", show_default=False),
    ] = None,
    cross: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="PORTRAITS VOICES", help="Two folders, all of one with all of the other: no manifest."),
    ] = None,
    emotions: Annotated[
        str, typer.Option(help="With --cross, each pair with each of these: neutral,happiness:0.8,...")
    ] = "",
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="An option of talk for all rows that do not state it."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=1024, help="Processes, or actors of Ray.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    ray: Annotated[
        str | None,
        typer.Option(metavar="[ADDRESS]", help="Work on a Ray cluster; on one of this machine's own if bare."),
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Rows with a fault are reported, and the others are made.")
    ] = False,
    lines: Annotated[bool, typer.Option("--json", help="JSON lines on stdout, for programs.")] = False,
) -> None:
    """Make all videos of MANIFEST. Run again, it goes on where it was, and makes anew only what has changed."""
    from pipelines.batch import ManifestError

    start = time.perf_counter()
    try:
        plan = _plan(manifest, cross, emotions, dict(_pair(text) for text in setting or []))
        if not skip_bad and not out.is_dir():
            plan.check()  # before anything heavy is imported; with what lies in the folder it is checked again
        from pipelines.batch import run_batch
        from pipelines.crews import Processes, RayActors

        crew = Processes(workers, device) if ray is None else RayActors(workers, device, ray)
        with closing(run_batch(plan, out, crew, skip_bad=skip_bad)) as steps:  # type: ignore[type-var]
            counts = Counter(_kind(step) for step in _shown(steps, lines) if step.entry)
    except ManifestError as error:
        for line in error.lines:
            complain(line)
        raise typer.Exit(2) from None
    _sum_up(counts, time.perf_counter() - start, out, lines)
    raise typer.Exit(1 if counts["error"] else 0)


def _plan(
    manifest: Path | None, folders: tuple[Path, Path] | None, emotions: str, defaults: dict[str, str]
) -> Plan:  # fmt: skip
    """All videos asked for. Raises ManifestError."""
    from pipelines.batch import cross, read_manifest

    if manifest is not None and folders is None:
        if emotions:
            raise typer.BadParameter("--emotions goes with --cross; a manifest has a column emotion")
        return read_manifest(manifest, defaults)
    if folders is None or manifest is not None:
        raise typer.BadParameter("give either a MANIFEST or --cross PORTRAITS VOICES")
    return cross(*folders, [word.strip() for word in emotions.split(",") if word.strip()], defaults)


def _sum_up(counts: Counter[str], seconds: float, out: Path, lines: bool) -> None:
    if lines:
        _say("end", **{kind: counts[kind] for kind in ("made", "kept", "error")}, seconds=round(seconds, 3))
        return
    kept = f", {counts['kept']} there already" if counts["kept"] else ""
    failed = f", {counts['error']} failed" if counts["error"] else ""
    typer.echo(f"{out}: {counts['made']} made{kept}{failed}, {seconds:.1f} s; see {out / 'report.jsonl'}")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"--set {text}: write NAME=VALUE, such as --set size=256")
    return name, value


def _kind(step: Step) -> str:
    assert step.entry is not None
    return "kept" if step.known else "made" if step.entry.status == "done" else "error"


def _shown(steps: Iterator[Step], lines: bool) -> Iterator[Step]:
    """The steps, told to people or to programs as they come."""
    with progress_bar(counted=True, quiet=lines) as bar:
        task, warned = bar.add_task("checking", total=None), set[str]()
        for step in steps:
            bar.update(task, description="making", total=step.jobs, completed=step.done)
            if step.entry and lines:
                _say("job", **asdict(step.entry), known=step.known)
            elif step.entry and step.entry.status == "error":
                place = f"line {step.entry.line}" + (f", {step.entry.output}" if step.entry.output else "")
                bar.console.print("[red]error:[/]", escape(f"{place}: {step.entry.error}"))
            elif step.entry and not step.known:
                for warning in set(step.entry.warnings) - warned:  # the same of a thousand videos is said once
                    bar.console.print("[yellow]warning:[/]", escape(f"{step.entry.output}: {warning}"))
                    warned.add(warning)
                speed = f"{step.entry.frames} frames in {step.entry.seconds:.1f} s"
                bar.console.print(escape(f"{step.entry.output}: {speed}"))
            yield step


def _say(event: str, **what: Any) -> None:
    typer.echo(json.dumps({"event": event, **what}))  # in ASCII, which any terminal takes
