"""``moda verify``: what a video claims of where it comes from."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

COLOURS = {"valid": "green", "invalid": "red", "unsigned": "yellow"}


def verify(
    file: Annotated[Path, typer.Argument(help="An MP4, made by moda or anything else.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
) -> None:
    """What FILE claims of where it comes from, and whether that holds; exit code 0 if it does, 1 if not."""
    from pipelines.film import verify as verify_video

    verdict = verify_video(file)
    if as_json:
        typer.echo(json.dumps({"file": str(file)} | asdict(verdict)))
    else:
        first, *others = verdict.lines
        console = Console(soft_wrap=True, highlight=False)
        console.print(f"{escape(str(file))}: [{COLOURS[verdict.state]}]{escape(first)}[/]")
        for line in others:
            console.print(f"  {escape(line)}")
    raise typer.Exit(0 if verdict.valid else 1)
