"""The command line: ``moda talk``, ``drive``, ``render``, ``batch``, ``verify``, ``faces``, ``doctor``, ``app``,
``prepare``, ``train``, ``evaluate`` and ``weights``.

Exit codes: 0 done, 1 a bad file or a failure (one line on stderr), 2 a bad command line, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import sys
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from contracts import ModaError
from pipelines.cli import films
from pipelines.cli.app import serve
from pipelines.cli.batch import RayCommand, batch
from pipelines.cli.console import complain
from pipelines.cli.evaluate import evaluate
from pipelines.cli.prepare import prepare
from pipelines.cli.train import train
from pipelines.cli.verify import verify
from pipelines.cli.weights import weights


class _OneLineErrors(TyperGroup):
    """What goes wrong is one line on stderr; ``--debug`` shows the traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ModaError as error:
            if ctx.params.get("debug"):
                raise
            complain(str(error))
            raise typer.Exit(1) from None
        except (typer.Exit, typer.Abort, typer.TyperException, BrokenPipeError):  # the last: `moda ... | head`
            raise
        except OSError as error:
            if ctx.params.get("debug"):
                raise
            what = error.filename or "a file"
            complain(f"cannot read or write {what} ({error.strerror or error}); free some space or name another place")
            raise typer.Exit(1) from None
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            complain(f"{type(error).__name__}: {error} (this is a fault of moda; `moda --debug ...` shows where)")
            raise typer.Exit(1) from None


app = typer.Typer(cls=_OneLineErrors, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _options(debug: Annotated[bool, typer.Option(help="Show where an error comes from.")] = False) -> None:
    """A portrait and a voice become a talking video."""


for command in (films.talk, films.drive, films.render, films.faces):
    app.command()(command)


@app.command()
def doctor(
    device: films.Device = "auto",
    reference: Annotated[
        bool, typer.Option("--reference", help="Compare the face landmarker with MediaPipe, which uses the network.")
    ] = False,
) -> None:
    """Versions, device, models, and a self-test of the whole chain; exit code 1 if anything fails."""
    from pipelines.cli.doctor import examine

    healthy = True
    for finding in examine(device, reference=reference):
        healthy &= finding.ok
        mark = "[green]ok  [/]" if finding.ok else "[red]FAIL[/]"
        Console(soft_wrap=True, highlight=False).print(mark, escape(f"{finding.name}: {finding.detail}"))
    raise typer.Exit(0 if healthy else 1)


app.add_typer(train, name="train")
app.add_typer(weights, name="weights")
app.command(cls=RayCommand)(batch)
app.command(name="app")(serve)
app.command()(prepare)
app.command()(evaluate)
app.command()(verify)


def main() -> None:
    """The console script. A ``kill`` ends it as Ctrl-C does, so that it leaves no half file either."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a name that the terminal cannot show is shown escaped
            stream.reconfigure(errors="backslashreplace")
    try:
        os.getcwd()
    except OSError:
        complain("the current folder is gone or closed to you; change to another one")
        raise SystemExit(1) from None
    app()
