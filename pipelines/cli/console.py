"""What all commands say things with: one line on stderr for an error, and a progress bar."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)  # fmt: skip

errors = Console(stderr=True, soft_wrap=True, highlight=False)


def complain(message: str) -> None:
    """One line on stderr."""
    errors.print("[red]error:[/]", escape(" ".join(message.split())))


def progress_bar(*, counted: bool = False, rate: bool = False, quiet: bool = False) -> Progress:
    """A bar on stderr, where that is a terminal: with the share done, or ``counted`` as M/N; with a column ``rate``."""
    columns: list[ProgressColumn] = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn()]
    columns.append(MofNCompleteColumn() if counted else TaskProgressColumn())
    columns += [TextColumn("{task.fields[rate]}")] if rate else []
    return Progress(
        *columns, TimeRemainingColumn(), console=errors, transient=True, disable=quiet or not errors.is_terminal
    )
