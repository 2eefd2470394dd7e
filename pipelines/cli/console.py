"""What all commands say things with: one line on stderr for an error, and a progress bar."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
)

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


@contextmanager
def stages() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for long work, as a function that is told what is being done, how many items are, and of how many (0 where
    that is not known). What is done may name the item after a colon. Log lines pass above the bar; where there is no
    terminal, they are all there is."""
    with progress_bar(rate=True) as bar:
        task = bar.add_task("starting", total=None, rate="")
        handler = _Above(bar.console) if errors.is_terminal else logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        root = logging.getLogger()
        level = root.level
        root.addHandler(handler)
        root.setLevel(logging.INFO)

        stage = ""

        def tell(what: str, done: int, total: int) -> None:
            nonlocal stage
            if stage != what.partition(":")[0]:
                stage = what.partition(":")[0]
                bar.reset(task, total=total or None, completed=done)
            speed = bar.tasks[0].speed
            rate = f"{speed:.1f}/s" if speed and total else ""
            bar.update(task, description=escape(what), completed=done, rate=rate)

        try:
            yield tell
        finally:
            root.removeHandler(handler)
            root.setLevel(level)


class _Above(logging.Handler):
    """Log lines on a console that shows a bar."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        self.console.print(escape(self.format(record)))
