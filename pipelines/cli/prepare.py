"""``moda prepare``: videos of one's own become a motion set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.cli.console import errors, progress_bar

if TYPE_CHECKING:
    from pipelines.training.footage import Outcome, Record, Step


def prepare(
    videos: Annotated[Path, typer.Argument(help="A folder of talking videos, searched to the bottom.")],
    out: Annotated[Path, typer.Option("--output", "-o", metavar="SET", help="The motion set, a folder.")],
    by_folder: Annotated[
        bool, typer.Option("--by-folder", help="VIDEOS/SPEAKER/...: the folder says who speaks, not the file.")
    ] = False,
    table: Annotated[
        Path | None,
        typer.Option(help="CSV: path (below VIDEOS), speaker, sex, language, emotion; all but path optional."),
    ] = None,
    shortest: Annotated[float, typer.Option(min=0.4, max=30, help="Seconds; shorter takes are left out.")] = 1.5,
) -> None:
    """Track VIDEOS and check their sound: a motion set to train on. Run again, it goes on where it was."""
    from pipelines.training.footage import find_videos, read_table

    find_videos(videos)  # what is wrong with them is said before anything heavy is imported
    if table is not None:
        read_table(table, videos)
    with progress_bar() as bar:
        task = bar.add_task("starting", total=None)
        from pipelines.training.footage import prepare_set

        def show(step: Step) -> None:
            label = f"{step.index + 1}/{step.videos} {escape(Path(step.video).name)}"
            bar.update(task, description=label, total=step.videos, completed=step.index + step.fraction)
            if step.record is not None and (step.record.refusal or not step.known):
                bar.console.print(_line(step.record))

        outcome = prepare_set(videos, out, by_folder=by_folder, table=table, shortest=shortest, progress=show)
    _summarise(outcome, out)


def _line(record: Record) -> str:
    name = escape(record.path)
    if record.refusal:
        return f"[red]left out[/] {name}: {escape(' '.join(record.refusal.split()))}"
    sync = record.clips[0]["sync"]
    lag = f", picture {sync['lag_removed']:+d} frames: corrected" if sync["lag_removed"] else ""
    warning = f" [yellow]({escape(record.warning)})[/]" if record.warning else ""
    talk, listening = ([row for row in record.clips if (row.get("kind") == "listen") == kind] for kind in (False, True))
    length = f"{_seconds(talk):.1f} of {record.seconds:.1f} s"
    more = f", {_seconds(listening):.1f} s listening" if listening else ""
    return f"{name}: {len(talk)} clip{'s' * (len(talk) > 1)}, {length}{more}, r {sync['r']:.2f}{lag}{warning}"


def _seconds(rows: list[dict[str, Any]]) -> float:
    return float(sum(row["seconds"] for row in rows))


def _summarise(outcome: Outcome, out: Path) -> None:
    """What was left out of the videos that are used, and the sum; whole videos have had their line."""
    used = [record for record in outcome.records if not record.refusal]
    clips = [row for record in used for row in record.clips]
    talk = [row for row in clips if row.get("kind") != "listen"]
    lost: dict[str, float] = {}
    for record in used:
        for reason, seconds in record.lost.items():
            lost[reason] = lost.get(reason, 0.0) + seconds
    if lost:
        listing = Table("left out of the videos used", "seconds")
        for reason, seconds in sorted(lost.items(), key=lambda item: -item[1]):
            listing.add_row(escape(reason), f"{seconds:.1f}")
        Console().print(listing)
    for remark in outcome.remarks:
        errors.print(f"[yellow]note:[/] {escape(remark)}")
    aside = f" and {_seconds(clips) / 60 - _seconds(talk) / 60:.1f} of listening" if len(talk) < len(clips) else ""
    typer.echo(
        f"{out}: {len(talk)} clips, {_seconds(talk) / 60:.1f} minutes{aside}, {len({row['speaker'] for row in talk})} "
        f"speakers, from {len(used)} of {len(outcome.records)} videos"
    )
