"""``moda app``: the web page."""

from __future__ import annotations

from typing import Annotated

import typer

from contracts import ModaError


def serve(
    host: Annotated[str, typer.Option(help="0.0.0.0 opens the page to the network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 7860,
    share: Annotated[bool, typer.Option("--share", help="Open a public link, through a server of Gradio's.")] = False,
    auth: Annotated[str | None, typer.Option(metavar="USER:PASS", help="Ask for this name and password.")] = None,
    max_seconds: Annotated[float, typer.Option(help="The longest recording that is taken.")] = 120.0,
    max_upload_mb: Annotated[float, typer.Option(help="The largest file that is taken.")] = 50.0,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Videos made at the same time; others wait.")] = 1,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Another name of the page, as behind a proxy; may be repeated."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
) -> None:
    """The web page, and the same over HTTP; Ctrl-C ends it."""
    from pipelines.web import Limits

    user, given, password = (auth or "").partition(":")
    if auth is not None and not (user and given and password):
        raise typer.BadParameter("give a name and a password, as in --auth ada:secret", param_hint="--auth")
    from importlib.metadata import entry_points

    pages = entry_points(group="moda.page")  # pyproject.toml says which: this floor does not import the one above
    if not pages:
        raise ModaError("the page comes with an installed moda; run `pip install .` in its folder first")
    launch = next(iter(pages)).load()
    launch(
        host, port, device, share=share, auth=(user, password) if auth else None,
        limits=Limits(max_seconds, max_upload_mb), concurrency=concurrency,
        allow_hosts=tuple(allow_host or ()),
    )  # fmt: skip
