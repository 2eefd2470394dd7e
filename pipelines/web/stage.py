"""The stage of the page: buttons, preview, video, and what is to be said of it, as Gradio's components."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from pipelines.options import LABELS
from pipelines.render import Progress
from pipelines.web.panels import Pace, growing, message, screen
from pipelines.web.studio import Report, Result, Studio

EVERY = 0.2  # seconds between two signs of life; a stop takes effect at one
Update = dict[gr.blocks.Block, Any]


@dataclass(frozen=True)
class Stage:
    """The components, and what they show while a result is filmed."""

    speak: gr.Button
    cancel: gr.Button
    preview: gr.HTML
    screen: gr.HTML  # the place of the video before it is there
    video: gr.Video
    after: gr.Column  # all below is shown with a finished video
    notes: gr.HTML
    save_video: gr.DownloadButton
    save_motion: gr.DownloadButton
    plot: gr.HTML
    command: gr.Code
    record: gr.Code
    origin: gr.HTML
    last: gr.State  # the name of the result that a swap starts from
    swaps: Mapping[gr.Button, str]  # button -> emotion

    @property
    def shown(self) -> list[gr.blocks.Block]:
        """All that :meth:`perform` changes."""
        return [getattr(self, part.name) for part in fields(self) if part.name != "swaps"]

    def perform(self, studio: Studio, begin: Callable[[], Result], grow: bool) -> Iterator[Update]:
        """Film a result, and show it. A generator, because that is what gradio can stop: it closes us, and the
        pipeline with us. ``grow``: this browser can play a preview."""
        yield {
            self.preview: "", self.screen: gr.HTML(screen("Starting"), visible=True),
            self.video: gr.Video(None, visible=False), self.after: gr.Column(visible=False),
            self.speak: gr.Button(interactive=False), self.cancel: gr.Button(interactive=True),
        }  # fmt: skip
        warnings: list[str] = []
        try:
            result, pace, due = begin(), Pace(stills=not grow), grow
            for step in signs(studio.film(result, preview=grow)):
                warnings += step.warnings
                shows: Update = {self.screen: pace.show(step)}
                if due and step.frame is not None:
                    shows[self.preview], due = growing(result.name, step.frame, step.total), False
                yield shows
            report = studio.report(result)
        except Exception as error:
            yield {self.preview: "", self.screen: screen(studio.tell(error), "error"), **self._idle()}
            return
        yield self._finished(result, report, warnings)

    def cancelled(self) -> Update:
        """After a stop: a last frame must not be shown over the message."""
        return {self.preview: "", self.screen: screen("Cancelled."), **self._idle()}

    def _idle(self) -> Update:
        return {self.speak: gr.Button(interactive=True), self.cancel: gr.Button(interactive=False)}

    def _finished(self, result: Result, report: Report, warnings: list[str]) -> Update:
        said = "".join(message(text, kind="warning") for text in warnings) + message(report.provenance[0])
        return {
            self.preview: "", self.screen: gr.HTML(visible=False),
            self.video: gr.Video(str(result.video), visible=True), self.after: gr.Column(visible=True),
            self.notes: said, self.save_video: str(result.video),
            self.save_motion: gr.DownloadButton(value=report.motion, visible=report.motion is not None),
            self.plot: report.plot, self.command: report.command,
            self.record: json.dumps(result.settings, indent=2), self.origin: message(*report.provenance),
            self.last: result.name if result.grid is None else gr.skip(), **self._idle(),
        }  # fmt: skip


def build_stage(studio: Studio) -> Stage:
    """Buttons, the place of the video, and what comes with a finished one."""

    def more(asked: Any) -> str | None:
        """What the page asks for while it plays a preview: (name of the result, bytes it has) -> more of them."""
        match asked:
            case [str(name), int(begin)] if 0 <= begin < 2**63:
                piece = studio.preview(name, begin)
                return None if piece is None else base64.b64encode(piece).decode()
        return None

    with gr.Row():
        speak = gr.Button("Speak", variant="primary", scale=3, min_width=120, elem_id="speak")
        cancel = gr.Button("Cancel", interactive=False, scale=1, min_width=90, elem_id="cancel")
    preview = gr.HTML(elem_id="preview", js_on_load="growPreview(element, server, watch)", server_functions=[more])
    place = gr.HTML(screen("Your video will appear here."), elem_id="stage")
    video = gr.Video(label="Video", visible=False, autoplay=True, buttons=[], elem_id="video")
    with gr.Column(visible=False, elem_id="after") as after:
        notes = gr.HTML()
        with gr.Row(elem_classes="examples"):
            save_video = gr.DownloadButton("Download the video", size="sm")
            save_motion = gr.DownloadButton("Download its motion", size="sm")
        gr.HTML(message("The same voice, seed and head with another emotion, at the intensity above:"))
        with gr.Row(elem_classes="examples"):
            swaps = {gr.Button(label, size="sm", min_width=90): label for label in LABELS}
            swaps[gr.Button("all eight", size="sm", min_width=90, variant="primary")] = "all"
        told = _tabs()
    return Stage(
        speak, cancel, preview, place, video, after, notes, save_video, save_motion, *told, gr.State(""), swaps
    )  # fmt: skip


def _tabs() -> tuple[gr.HTML, gr.Code, gr.Code, gr.HTML]:
    """Plot, command line, settings and origin of a video."""
    with gr.Tabs():
        with gr.Tab("Motion"):
            plot = gr.HTML(elem_id="plot")
        with gr.Tab("Settings"):
            command = gr.Code(label="Command", language="shell", lines=2, wrap_lines=True, interactive=False)
            record = gr.Code(label="JSON", language="json", max_lines=12, wrap_lines=True, interactive=False)
        with gr.Tab("Provenance"):
            origin = gr.HTML()
    return plot, command, record, origin


def signs(steps: Iterator[Progress]) -> Iterator[Progress]:
    """Those steps that are worth telling: a few a second, the first of a stage, all with a warning. Closes ``steps`` at
    the end."""
    told, stage = 0.0, ""
    with closing(steps):  # type: ignore[type-var]
        for step in steps:
            if step.warnings or step.stage != stage or time.monotonic() - told >= EVERY:
                told, stage = time.monotonic(), step.stage
                yield step
