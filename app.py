"""The web page: a portrait, a voice, an emotion; then a video. And the same over HTTP."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported

import gradio as gr

from pipelines import ModaError, TalkingHead
from pipelines.web import (
    ASSETS,
    CONSENT,
    QUICK,
    RENDER,
    Form,
    Given,
    Guard,
    Limits,
    Names,
    Result,
    Stage,
    Studio,
    Update,
    build_form,
    build_interface,
    build_stage,
    judge,
    message,
    open_workspace,
    outline_faces,
    speech_hint,
)  # fmt: skip

EXAMPLES = Path(__file__).parent / "examples"  # in a checkout, not in a wheel
SAMPLES = {"portrait": "portrait.jpg", "voice, English": "voice_en.wav", "voice, Spanish": "voice_es.wav"}
WAITING = 32  # more are told to come back later
LOOPBACK = ("127.0.0.1", "localhost", "::1")
THEME = gr.themes.Soft(
    primary_hue="teal", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
).set(
    block_title_background_fill="none", block_title_text_color="*body_text_color", block_title_padding="0",
    body_background_fill="*neutral_100", checkbox_border_color="*neutral_400", input_border_color="*neutral_200",
)  # fmt: skip


def build(studio: Studio, concurrency: int = 1) -> gr.Blocks:
    """The page and its interface, for models that are loaded already."""
    samples = {name: EXAMPLES / file for name, file in SAMPLES.items() if (EXAMPLES / file).is_file()}
    with gr.Blocks(title="moda", analytics_enabled=False) as page:
        gr.Markdown("# moda\nA portrait and a voice become a talking video.", elem_id="title")
        with gr.Row(elem_id="desk"):
            with gr.Column(scale=5, min_width=320):
                form = build_form(samples, studio.limits.seconds)
            with gr.Column(scale=6, min_width=320):
                consent = gr.Checkbox(label=CONSENT, elem_id="consent")
                stage = build_stage(studio)
        grows = gr.Checkbox(visible=False)  # whether this browser can play a preview
        _look_and_hear(studio, form)
        _film(studio, form, stage, consent, grows, concurrency)
        first = [str(samples[name]) if name in samples else None for name in ("portrait", "voice, English")]
        page.load(lambda: first, None, [form.portrait, form.voice], **QUICK)
        page.load(None, None, grows, js="() => canGrow", **QUICK)
        build_interface(studio, concurrency)
    return page.queue(max_size=WAITING)


def _look_and_hear(studio: Studio, form: Form) -> None:
    """The gates: what speaks against portrait and voice, before anything runs."""
    seen, outlines, face = form.seen, form.outlines, form.face

    def look(path: str | None) -> Update:
        if path is None:
            return {seen: message(""), outlines: "", face: gr.Radio(visible=False)}
        try:
            faces = studio.look(Path(path))
        except Exception as error:
            return {seen: message(studio.tell(error), kind="error"), outlines: "", face: gr.Radio(visible=False)}
        usable = [judged for judged in faces if judged.source is not None]
        chosen = max(usable, key=lambda judged: judged.face.size).face.index if usable else None
        several = len(faces) > 1
        picker = gr.Radio(list(range(1, len(faces) + 1)), value=chosen if several else None, visible=several)
        return {seen: judge(faces, chosen), outlines: outline_faces(faces, chosen), face: picker}

    def choose(path: str, number: int | None) -> Update:
        faces = studio.look(Path(path))
        return {seen: judge(faces, number), outlines: outline_faces(faces, number)}

    def hear(path: str | None) -> str:
        if path is None:
            return message(speech_hint(studio.limits.seconds))
        try:
            return message(f"{studio.seconds(Path(path)):.1f} s of speech", kind="good")
        except Exception as error:
            return message(studio.tell(error), kind="error")

    form.portrait.change(look, form.portrait, [seen, outlines, face], **QUICK)
    face.input(choose, [form.portrait, face], [seen, outlines], **QUICK)
    form.voice.change(hear, form.voice, form.heard, **QUICK)


def _film(studio: Studio, form: Form, stage: Stage, consent: gr.Checkbox, grows: gr.Checkbox, concurrency: int) -> None:
    """Speak, swap, cancel."""

    def speaks(given: Given) -> Iterator[Update]:
        def begin() -> Result:
            portrait, voice = form.files(given)
            return studio.begin(portrait, voice, form.options(given), consent=given[consent])

        yield from stage.perform(studio, begin, given[grows])

    def swap(label: str) -> Callable[[str, float, bool, bool], Iterator[Update]]:
        def swapped(name: str, intensity: float, agreed: bool, grow: bool) -> Iterator[Update]:
            emotion = f"{label}:{intensity:g}"
            yield from stage.perform(studio, lambda: studio.swap(name, emotion, consent=agreed), grow)

        return swapped

    slow: dict[str, Any] = {
        "outputs": stage.shown, "concurrency_id": RENDER, "concurrency_limit": concurrency,
        "api_visibility": "private", "show_progress_on": [stage.screen], "scroll_to_output": False,
    }  # fmt: skip
    running: list[Any] = [stage.speak.click(speaks, {*form.inputs, consent, grows}, **slow)]
    for button, label in stage.swaps.items():
        running.append(button.click(swap(label), [stage.last, form.intensity, consent, grows], **slow))
    idle = [stage.preview, stage.screen, stage.speak, stage.cancel]
    stage.cancel.click(None, cancels=running, **QUICK).then(stage.cancelled, None, idle, **QUICK)


def launch(
    host: str = "127.0.0.1", port: int = 7860, device: str = "auto", share: bool = False,
    auth: tuple[str, str] | None = None, limits: Limits | None = None, concurrency: int = 1,
    allow_hosts: tuple[str, ...] = (),
) -> None:  # fmt: skip
    """Serve the page until Ctrl-C. What visitors bring and what is made for them lies in one folder that only we can
    read, and goes with us. ``allow_hosts``: more names that the page goes by."""
    if (share or host not in LOOPBACK) and auth is None:
        advice = "--auth USER:PASS asks for a name and a password"
        print(f"warning: whoever reaches this page can use it; {advice}", file=sys.stderr)
    with open_workspace() as workspace:
        os.environ["GRADIO_TEMP_DIR"] = str(workspace.root)  # where gradio puts what comes in
        studio = Studio(TalkingHead(device), workspace, limits)
        page, names = build(studio, concurrency), Names(host, allow_hosts, share)
        try:
            page.launch(server_name=host, server_port=port, share=share, auth=auth, **serving(studio, names))
        except OSError as error:  # gradio's, when it cannot listen
            raise ModaError(f"the page cannot be served at {host}:{port}; choose another --port") from error


def serving(studio: Studio, names: Names | None = None) -> dict[str, Any]:
    """How gradio is to serve a page of ours."""
    largest, folders = studio.limits.bytes, (studio.workspace.root, EXAMPLES.absolute())

    @asynccontextmanager
    async def guarded(server: Any) -> AsyncIterator[None]:
        """Before gradio's own middleware, which would answer other pages; a middleware of ours would come after it."""
        server.middleware_stack = Guard(server.middleware_stack, largest, names or Names(), folders)
        yield

    return {
        "allowed_paths": [str(EXAMPLES)], "max_file_size": largest, "show_error": True, "ssr_mode": False,
        "enable_monitoring": False, "run_history": False, "mcp_server": False, "pwa": False, "footer_links": ["api"],
        "app_kwargs": {"lifespan": guarded},
        "theme": THEME, "css_paths": [ASSETS / "page.css"],
        "head": f"<script>{(ASSETS / 'page.js').read_text('utf-8')}</script>",
    }  # fmt: skip
