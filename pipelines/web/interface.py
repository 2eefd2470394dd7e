"""What the page does, over HTTP: /talk, /swap and /faces, as Gradio serves functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from contracts import ModaError
from pipelines.web.form import picture_input
from pipelines.web.stage import signs
from pipelines.web.studio import Result, Studio, read_options

RENDER = "render"  # the queue of what takes long


def build_interface(studio: Studio, concurrency: int) -> None:
    """The same over HTTP: /talk, /swap and /faces."""

    def film(begin: Callable[[], Result]) -> Iterator[tuple[str | None, str | None, dict[str, Any]]]:
        try:
            result = begin()
            for step in signs(studio.film(result)):
                yield None, None, {"stage": step.stage, "done": step.done, "total": step.total}
            report = studio.report(result)
        except Exception as error:
            raise gr.Error(studio.tell(error), print_exception=False) from error
        yield str(result.video), report.motion, report.record

    def talk(portrait: str, voice: str, consent: bool, options: Any) -> Iterator[Any]:
        def begin() -> Result:
            if not portrait or not voice:
                raise ModaError("give a portrait and a voice")
            return studio.begin(Path(portrait), Path(voice), read_options(options), consent=consent)

        yield from film(begin)

    def swap(result: str, emotion: str, consent: bool) -> Iterator[Any]:
        yield from film(lambda: studio.swap(result, emotion, consent=consent))

    def faces(portrait: str) -> list[dict[str, Any]]:
        try:
            return studio.list_faces(Path(portrait or ""))
        except Exception as error:
            raise gr.Error(studio.tell(error), print_exception=False) from error

    slow: dict[str, Any] = {"concurrency_id": RENDER, "concurrency_limit": concurrency}
    with gr.Column(visible=False):
        ask = gr.Button()
        portrait, voice = picture_input(), gr.Audio(type="filepath")
        consent, options, name, emotion = gr.Checkbox(), gr.JSON(), gr.Textbox(), gr.Textbox()
        made = [gr.File(label="video"), gr.File(label="motion"), gr.JSON(label="report")]
        ask.click(talk, [portrait, voice, consent, options], made, api_name="talk", **slow)
        ask.click(swap, [name, emotion, consent], made, api_name="swap", **slow)
        ask.click(faces, portrait, gr.JSON(label="faces"), api_name="faces")
