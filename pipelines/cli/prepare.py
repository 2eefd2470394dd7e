"""``moda prepare``: videos of one's own become a motion set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.cli.console import progress_bar

if TYPE_CHECKING:
    from pipelines.training import Record, Step


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
) -> None:
    """Track VIDEOS and check their sound: a motion set to train on. Run again, it goes on where it was."""
    from pipelines.training import prepare_set

    with progress_bar() as bar:
        task = bar.add_task("searching", total=None)

        def show(step: Step) -> None:
            label = f"{step.index + 1}/{step.videos} {escape(Path(step.video).name)}"
            bar.update(task, description=label, total=step.videos, completed=step.index + step.fraction)
            if step.record is not None and not step.known:
                bar.console.print(_line(step.record))

        records = prepare_set(videos, out, by_folder=by_folder, table=table, progress=show)
    _summarise(records, out)


def _line(record: Record) -> str:
    name = escape(record.path)
    if record.refusal:
        return f"[red]left out[/] {name}: {escape(' '.join(record.refusal.split()))}"
    kept = sum(row["seconds"] for row in record.clips)
    sync = record.clips[0]["sync"]
    lag = f", picture {sync['lag_removed']:+d} frames: corrected" if sync["lag_removed"] else ""
    warning = f" [yellow]({escape(record.warning)})[/]" if record.warning else ""
    count = len(record.clips)
    length = f"{kept:.1f} of {record.seconds:.1f} s"
    return f"{name}: {count} clip{'s' * (count > 1)}, {length}, r {sync['r']:.2f}{lag}{warning}"


def _summarise(records: list[Record], out: Path) -> None:
    clips = [row for record in records for row in record.clips]
    minutes = sum(row["seconds"] for row in clips) / 60
    speakers = len({row["speaker"] for row in clips})
    lost: dict[str, float] = {}
    for record in records:
        reasons = {f"{record.path}: {record.refusal}": record.seconds} if record.refusal else record.lost
        for reason, seconds in reasons.items():
            lost[reason] = lost.get(reason, 0.0) + seconds
    if lost:
        listing = Table("left out", "seconds")
        for reason, seconds in sorted(lost.items(), key=lambda item: -item[1]):
            listing.add_row(escape(reason), f"{seconds:.1f}" if seconds else "")
        Console().print(listing)
    dropped = sum(bool(record.refusal) for record in records)
    typer.echo(
        f"{out}: {len(clips)} clips, {minutes:.1f} minutes, {speakers} speakers, from {len(records) - dropped} of "
        f"{len(records)} videos"
    )
