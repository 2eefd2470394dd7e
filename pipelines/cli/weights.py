"""``moda weights``: list, fetch, import and verify the published weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from contracts import ModaError

weights = typer.Typer(no_args_is_help=True, help="The published weights: list, fetch, import, verify.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="As `moda weights list` names it.", show_default=False)]


@weights.command(name="list")
def list_weights(
    files: Annotated[bool, typer.Option("--files", help="Name the files, too, with size and SHA-256.")] = False,
) -> None:
    """What can be had, under which licence, and what is here; no network is asked."""
    from pipelines.weights import CATALOGUE, PublishedWeightsError, megabytes, read_record, weights_folder

    console = Console(soft_wrap=True, highlight=False)
    for entry in CATALOGUE.values():
        size, revision, state = entry.size, entry.revision, "not here"
        try:
            if record := read_record(entry.name):
                size, revision = record.size, revision or record.revision
                state = f"[green]{record.origin} {record.when[:10]}[/]"
        except PublishedWeightsError:
            state = "[red]damaged[/]"
        console.print(f"[bold]{entry.name}[/]: {state}")
        console.print(f"  {entry.purpose}; {megabytes(size)}; licence: {entry.licence}")
        if entry.remark:
            console.print(f"  [yellow]{escape(entry.remark)}[/]")
        console.print(f"  huggingface.co/{entry.repository} at {revision or 'the newest revision'}")
        for file in entry.files if files else ():
            console.print(f"    {file.path}: {megabytes(file.size)}, sha256 {file.sha256 or 'unknown'}")
    console.print(f"kept in {escape(str(weights_folder()))}; MODA_WEIGHTS names another folder")


@weights.command()
def fetch(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Agree to licence and size without being asked.")] = False,
) -> None:
    """Fetch weights from the Hugging Face hub; begun again, it goes on where it was."""
    from pipelines.weights import fetch_weights, look_up_weights, megabytes, published, verify_weights, weights_folder

    console, entry = Console(soft_wrap=True, highlight=False), published(name)
    if (weights_folder() / name).exists():
        try:
            verify_weights(name)
        except ModaError as error:
            console.print(f"[yellow]{escape(str(error))}[/]")
        else:
            console.print(f"{name} is here and as recorded: {escape(str(weights_folder() / name))}")
            return
    console.print(f"{name}: {entry.purpose}")
    console.print(f"  licence: {entry.licence}" + (f" [yellow]({escape(entry.remark)})[/]" if entry.remark else ""))
    if not yes and not _at_a_terminal():
        raise typer.BadParameter(f"nobody is there to agree to this ({megabytes(entry.size)}); say --yes")
    download = look_up_weights(name)
    for file in download.files:
        console.print(f"  {file.path}: {megabytes(file.size)}")
    left = "" if download.left == download.size else f", {megabytes(download.left)} of it still to come"
    console.print(f"  {megabytes(download.size)}{left}, from huggingface.co/{entry.repository} at {download.revision}")
    if not yes:
        typer.confirm("Fetch it?", abort=True)
    console.print(f"{name} is here: {escape(str(fetch_weights(download)))}")


@weights.command(name="import")
def import_folder(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Searched to the bottom.", show_default=False)],
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only these.", show_default=False)] = None,
) -> None:
    """Take over weights that you have, if they load strictly; hard-linked where that goes, else copied."""
    from pipelines.weights import import_weights

    console = Console(soft_wrap=True, highlight=False)
    for imported in import_weights(folder, name):
        console.print(f"{imported.name} is here: {escape(str(imported.folder))}")
        for remark in imported.remarks:
            console.print(f"  [yellow]{escape(remark)}[/]")


@weights.command()
def verify(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="All that are here.", show_default=False)] = None,
) -> None:
    """Hash the files again and load them strictly; exit code 1 if anything is wrong. No network is asked."""
    from pipelines.weights import here, verify_weights

    console, good = Console(soft_wrap=True, highlight=False), True
    names = [name] if name else here()
    for each in names:
        try:
            record = verify_weights(each)
        except ModaError as error:
            good = False
            console.print(f"[red]{each}:[/] {escape(str(error))}")
        else:
            origin = f"{record.repository} at {record.revision}" if record.revision else "a folder"
            console.print(f"[green]{each}:[/] as {record.origin} from {origin} on {record.when[:10]}, and it loads")
    if not names:
        console.print("no published weights are here; `moda weights list` names them")
    raise typer.Exit(0 if good else 1)


def _at_a_terminal() -> bool:
    return sys.stdin.isatty()
