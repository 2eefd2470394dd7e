"""The web page: a portrait, a voice, an emotion; then a video. And the same over HTTP."""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported

import gradio as gr

from pipelines import LABELS, ModaError, Progress, TalkingHead, TalkOptions
from pipelines.web import (
    ASSETS,
    Guard,
    Limits,
    Pace,
    Result,
    Studio,
    growing,
    judge,
    message,
    open_workspace,
    outline_faces,
    read_options,
    screen,
    suited,
)
from pipelines.weights import installed

EXAMPLES = Path(__file__).parent / "examples"  # in a checkout, not in a wheel
PORTRAIT, ENGLISH, SPANISH = (EXAMPLES / name for name in ("portrait.jpg", "voice_en.wav", "voice_es.wav"))
ROWS = 5  # of the timeline
EVERY = 0.2  # seconds between two signs of life; a stop takes effect at one
WAITING = 32  # more are told to come back later
CONSENT = "I have the right to use this face and this voice."
LOOPBACK = ("127.0.0.1", "localhost", "::1")
THEME = gr.themes.Soft(
    primary_hue="teal", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
).set(
    block_title_background_fill="none", block_title_text_color="*body_text_color", block_title_padding="0",
    body_background_fill="*neutral_100", checkbox_border_color="*neutral_400", input_border_color="*neutral_200",
)  # fmt: skip
RENDER = "render"  # the queue of what takes long
Given = dict[gr.components.Component, Any]
Update = dict[gr.blocks.Block, Any]


def build(studio: Studio, concurrency: int = 1) -> gr.Blocks:
    """The page and its interface, for models that are loaded already."""
    limits = studio.limits

    def more(asked: Any) -> str | None:
        """What the page asks for while it plays a preview: (name of the result, bytes it has) -> more of them."""
        match asked:
            case [str(name), int(begin)] if 0 <= begin < 2**63:
                piece = studio.preview(name, begin)
                return None if piece is None else base64.b64encode(piece).decode()
        return None

    with gr.Blocks(title="moda", analytics_enabled=False) as page:
        gr.Markdown("# moda\nA portrait and a voice become a talking video.", elem_id="title")
        with gr.Row(elem_id="desk"):
            with gr.Column(scale=5, min_width=320):
                with gr.Group(elem_id="portrait"):
                    portrait = _portrait(
                        label="Portrait", sources=["upload", "webcam", "clipboard"], height=340, buttons=["fullscreen"],
                        elem_id="picture", alt_text="the portrait",
                    )  # fmt: skip
                    outlines = gr.HTML(elem_id="outlines")
                face = gr.Radio([], label="Which face speaks?", visible=False, elem_id="face")
                seen = gr.HTML(message("a face from the front, mouth shut, works best"))
                voice = gr.Audio(
                    label="Voice", type="filepath", sources=["upload", "microphone"], buttons=[], elem_id="voice"
                )
                heard = gr.HTML(message(f"up to {limits.seconds:g} s of speech; the scissors trim it"))
                with gr.Row(elem_classes="examples"):
                    samples = {
                        gr.Button(name, size="sm", min_width=80): (path, target)
                        for name, path, target in (
                            ("Sample portrait", PORTRAIT, portrait),
                            ("Sample voice, English", ENGLISH, voice),
                            ("Sample voice, Spanish", SPANISH, voice),
                        )
                        if path.is_file()
                    }
                emotion = gr.Radio(
                    [*LABELS, ("from the portrait", "auto")], value="neutral", label="Emotion", elem_id="emotion"
                )
                intensity = gr.Slider(0, 1, 1, step=0.05, label="Intensity")
                rows, count = _timeline()
                settings = _advanced()
            with gr.Column(scale=6, min_width=320):
                consent = gr.Checkbox(label=CONSENT, elem_id="consent")
                with gr.Row():
                    speak = gr.Button("Speak", variant="primary", scale=3, min_width=120, elem_id="speak")
                    cancel = gr.Button("Cancel", interactive=False, scale=1, min_width=90, elem_id="cancel")
                preview = gr.HTML(
                    elem_id="preview", js_on_load="growPreview(element, server, watch)", server_functions=[more]
                )
                stage = gr.HTML(screen("Your video will appear here."), elem_id="stage")
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
                    with gr.Tabs():
                        with gr.Tab("Motion"):
                            plot = gr.HTML(elem_id="plot")
                        with gr.Tab("Settings"):
                            command = gr.Code(
                                label="Command", language="shell", lines=2, wrap_lines=True, interactive=False
                            )
                            record = gr.Code(
                                label="JSON", language="json", max_lines=12, wrap_lines=True, interactive=False
                            )
                        with gr.Tab("Provenance"):
                            origin = gr.HTML()
        grows = gr.Checkbox(visible=False)  # whether this browser can play a preview
        last = gr.State("")  # the name of the result that a swap starts from

        def look(path: str | None) -> Update:
            """The gate: what speaks against the portrait, before anything runs."""
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
                return message(f"up to {limits.seconds:g} s of speech; the scissors trim it")
            try:
                return message(f"{studio.seconds(Path(path)):.1f} s of speech", kind="good")
            except Exception as error:
                return message(studio.tell(error), kind="error")

        def perform(begin: Callable[[], Result], grow: bool) -> Iterator[Update]:
            """Film a result, and show it. A generator, because that is what gradio can stop: it closes us, and the
            pipeline with us."""
            yield {
                preview: "", stage: gr.HTML(screen("Starting"), visible=True),
                video: gr.Video(None, visible=False), after: gr.Column(visible=False),
                speak: gr.Button(interactive=False), cancel: gr.Button(interactive=True),
            }  # fmt: skip
            idle: Update = {speak: gr.Button(interactive=True), cancel: gr.Button(interactive=False)}
            warnings: list[str] = []
            try:
                result, pace, due = begin(), Pace(stills=not grow), grow
                for step in _signs(studio.film(result, preview=grow)):
                    warnings += step.warnings
                    shows: Update = {stage: pace.show(step)}
                    if due and step.frame is not None:
                        shows[preview], due = growing(result.name, step.frame, step.total), False
                    yield shows
                report = studio.report(result)
            except Exception as error:
                yield {preview: "", stage: screen(studio.tell(error), "error"), **idle}
                return
            yield {
                preview: "", stage: gr.HTML(visible=False),
                video: gr.Video(str(result.video), visible=True),
                after: gr.Column(visible=True),
                notes: "".join(message(text, kind="warning") for text in warnings) + message(report.provenance[0]),
                save_video: str(result.video),
                save_motion: gr.DownloadButton(value=report.motion, visible=report.motion is not None),
                plot: report.plot, command: report.command, record: json.dumps(result.settings, indent=2),
                origin: message(*report.provenance),
                last: result.name if result.grid is None else gr.skip(),
                **idle,
            }  # fmt: skip

        def speaks(given: Given) -> Iterator[Update]:
            def begin() -> Result:
                missing = [name for name, file in (("portrait", portrait), ("voice", voice)) if given[file] is None]
                if missing:
                    raise ModaError(f"give a {' and a '.join(missing)} first")
                chosen = {name: given[setting] for name, setting in settings.items()}
                chosen["frame"] = None if chosen["frame"] == "auto" else chosen["frame"]
                chosen["size"] = chosen["size"] if chosen["frame"] == "crop" else None
                chosen["seed"] = chosen["seed"] or 0
                chosen |= {name: None for name, value in suited(chosen["weights"]).items() if chosen[name] == value}
                later = [tuple(given[part] for part in row) for row in rows[: given[count]]]
                feeling = _emotion(given[emotion], given[intensity], later)
                options = TalkOptions(emotion=feeling, face=given[face], **chosen)
                return studio.begin(Path(given[portrait]), Path(given[voice]), options, consent=given[consent])

            yield from perform(begin, given[grows])

        def swap(label: str) -> Callable[[str, float, bool, bool], Iterator[Update]]:
            def swapped(name: str, intensity: float, agreed: bool, grow: bool) -> Iterator[Update]:
                yield from perform(lambda: studio.swap(name, f"{label}:{intensity:g}", consent=agreed), grow)

            return swapped

        downloads = [save_video, save_motion]
        shown = [preview, stage, video, after, speak, cancel, notes, *downloads, plot, command, record, origin, last]
        quick: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}
        slow: dict[str, Any] = {
            "outputs": shown, "concurrency_id": RENDER, "concurrency_limit": concurrency, "api_visibility": "private",
            "show_progress_on": [stage], "scroll_to_output": False,
        }  # fmt: skip
        portrait.change(look, portrait, [seen, outlines, face], **quick)
        face.input(choose, [portrait, face], [seen, outlines], **quick)
        voice.change(hear, voice, heard, **quick)
        emotion.change(lambda label: gr.Slider(visible=label != "auto"), emotion, intensity, **quick)
        for button, (path, target) in samples.items():
            button.click(lambda path=str(path): path, None, target, **quick)
        inputs = {portrait, voice, consent, emotion, intensity, count, face, grows, *settings.values(), *sum(rows, ())}
        running: list[Any] = [speak.click(speaks, inputs, **slow)]
        running += [
            button.click(swap(label), [last, intensity, consent, grows], **slow) for button, label in swaps.items()
        ]
        cancel.click(None, cancels=running, **quick).then(  # after it: or a last frame might be shown over the message
            lambda: ("", screen("Cancelled."), gr.Button(interactive=True), gr.Button(interactive=False)),
            None, [preview, stage, speak, cancel], **quick,
        )  # fmt: skip
        first = [str(path) if path.is_file() else None for path in (PORTRAIT, ENGLISH)]
        page.load(lambda: first, None, [portrait, voice], **quick)
        page.load(None, None, grows, js="() => canGrow", **quick)
        _interface(studio, concurrency)
    return page.queue(max_size=WAITING)


def _portrait(**how: Any) -> gr.Image:
    """A picture that is handed over as it came: to look at it, and to complain, is for the pipeline."""
    picture = gr.Image(type="filepath", **how)
    picture.preprocess = lambda payload: None if payload is None else payload.path  # type: ignore[method-assign]
    return picture


def _timeline() -> tuple[list[tuple[gr.Number, gr.Dropdown, gr.Slider]], gr.State]:
    """The editor of what the face feels later on: rows of second, emotion and intensity, and how many of them count."""
    rows, lines = [], []
    with gr.Accordion("Timeline", open=False):
        gr.Markdown("Later emotions, each from a second on; the one above holds until then.", elem_classes="fine")
        count = gr.State(0)
        for number in range(1, ROWS + 1):
            with gr.Row(visible=False, elem_classes="timeline") as line:
                rows.append(
                    (
                        gr.Number(2.0 * number, label=f"{number}. from second", minimum=0, step=0.1, min_width=90),
                        gr.Dropdown(LABELS, value="happiness", label="Emotion", min_width=130),
                        gr.Slider(0, 1, 1, step=0.05, label="Intensity", min_width=130),
                    )
                )
            lines.append(line)
        with gr.Row(elem_classes="examples"):
            more = gr.Button("Add a row", size="sm", min_width=80)
            fewer = gr.Button("Remove the last", size="sm", min_width=80)

    def set_rows(n: int) -> list[Any]:
        n = min(max(n, 0), ROWS)
        return [n, *(gr.Row(visible=at < n) for at in range(ROWS))]

    for button, step in ((more, 1), (fewer, -1)):
        button.click(lambda n, step=step: set_rows(n + step), count, [count, *lines], api_visibility="private")
    return rows, count


def _emotion(first: str, intensity: float, later: list[tuple[float, str, float]]) -> str:
    """What TalkOptions calls it."""
    begin = first if first in ("auto", "neutral") or intensity == 1 else f"{first}:{intensity:g}"
    if not later:
        return begin
    return ",".join([f"0:{begin}", *(f"{second:g}:{label}:{share:g}" for second, label, share in sorted(later))])


def _advanced() -> dict[str, Any]:
    """The settings that few touch, by their names in TalkOptions."""
    plain = TalkOptions()
    with gr.Accordion("Advanced", open=False):
        with gr.Row():
            seed = gr.Number(plain.seed, precision=0, minimum=0, label="Seed", min_width=130)
            dice = gr.Button("Roll the dice", min_width=130, elem_classes="dice")
        weights = gr.Dropdown(list(installed()), value=plain.weights, label="Weights")
        settings: dict[str, Any] = {"seed": seed, "weights": weights}
        values = vars(plain) | suited(plain.weights)
        for pair in (
            (("head_motion", "Head motion", 2, 0.05), ("blink_rate", "Blink rate", 2, 0.05)),
            (("mouth", "Mouth", 2, 0.05), ("expression", "Expression", 2, 0.05)),
            (("guidance", "Speech guidance", 4, 0.1), ("emotion_guidance", "Emotion guidance", 4, 0.1)),
        ):
            with gr.Row():
                for name, label, high, step in pair:
                    settings[name] = gr.Slider(0, high, values[name], step=step, label=label, min_width=130)
        settings["steps"] = gr.Slider(1, 20, values["steps"], step=1, label="Steps of the sampler")
        with gr.Row():
            framings = [("automatic", "auto"), ("whole picture", "full"), ("head crop", "crop")]
            settings["frame"] = gr.Radio(framings, value="auto", label="Frame", min_width=200)
            sizes = [256, 384, 512, 768, 1024]
            settings["size"] = gr.Dropdown(sizes, value=512, label="Size of the crop, px", visible=False, min_width=130)
            settings["background"] = gr.Radio(["still", "follow"], value="still", label="Background", min_width=130)
        with gr.Row():
            settings["provenance"] = gr.Checkbox(plain.provenance, label="Sign the video as synthetic (C2PA)")
            settings["mark"] = gr.Checkbox(plain.mark, label="Burn in a small visible mark")
        gr.Markdown(
            "Weights `lite` are embedded and drawn by `mesh`, without more; those of the published system, drawn by "
            "LivePortrait, can be chosen once `moda weights fetch` has them.",
            elem_classes="fine",
        )
    frame, size = settings["frame"], settings["size"]
    frame.change(lambda frame: gr.Dropdown(visible=frame == "crop"), frame, size, api_visibility="private")
    sampler = list(suited(plain.weights))
    weights.input(
        lambda weights: list(suited(weights).values()), weights, [settings[name] for name in sampler],
        api_visibility="private",
    )  # fmt: skip
    dice.click(lambda: secrets.randbelow(2**31), None, seed, api_visibility="private")
    return settings


def _signs(steps: Iterator[Progress]) -> Iterator[Progress]:
    """Those steps that are worth telling: a few a second, the first of a stage, all with a warning. Closes ``steps`` at
    the end."""
    told, stage = 0.0, ""
    with closing(steps):  # type: ignore[type-var]
        for step in steps:
            if step.warnings or step.stage != stage or time.monotonic() - told >= EVERY:
                told, stage = time.monotonic(), step.stage
                yield step


def _interface(studio: Studio, concurrency: int) -> None:
    """The same over HTTP: /talk, /swap and /faces."""

    def film(begin: Callable[[], Result]) -> Iterator[tuple[str | None, str | None, dict[str, Any]]]:
        try:
            result = begin()
            for step in _signs(studio.film(result)):
                yield None, None, {"stage": step.stage, "done": step.done, "total": step.total}
            report = studio.report(result)
        except Exception as error:
            raise gr.Error(studio.tell(error), print_exception=False) from error
        yield str(result.video), report.motion, report.record

    def talk(portrait: str, voice: str, consent: bool, options: dict[str, Any] | None) -> Iterator[Any]:
        def begin() -> Result:
            if not portrait or not voice:
                raise ModaError("give a portrait and a voice")
            return studio.begin(Path(portrait), Path(voice), read_options(options or {}), consent=consent)

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
        portrait, voice = _portrait(), gr.Audio(type="filepath")
        consent, options, name, emotion = gr.Checkbox(), gr.JSON(), gr.Textbox(), gr.Textbox()
        made = [gr.File(label="video"), gr.File(label="motion"), gr.JSON(label="report")]
        ask.click(talk, [portrait, voice, consent, options], made, api_name="talk", **slow)
        ask.click(swap, [name, emotion, consent], made, api_name="swap", **slow)
        ask.click(faces, portrait, gr.JSON(label="faces"), api_name="faces")


def launch(
    host: str = "127.0.0.1", port: int = 7860, device: str = "auto", share: bool = False,
    auth: tuple[str, str] | None = None, limits: Limits | None = None, concurrency: int = 1,
) -> None:  # fmt: skip
    """Serve the page until Ctrl-C. What visitors bring and what is made for them lies in one folder that only we can
    read, and goes with us."""
    if (share or host not in LOOPBACK) and auth is None:
        advice = "--auth USER:PASS asks for a name and a password"
        print(f"warning: whoever reaches this page can use it; {advice}", file=sys.stderr)
    with open_workspace() as workspace:
        os.environ["GRADIO_TEMP_DIR"] = str(workspace.root)  # where gradio puts what comes in
        studio = Studio(TalkingHead(device), workspace, limits)
        page = build(studio, concurrency)
        try:
            page.launch(server_name=host, server_port=port, share=share, auth=auth, **serving(studio.limits))
        except OSError as error:  # gradio's, when it cannot listen
            raise ModaError(f"the page cannot be served at {host}:{port}; choose another --port") from error


def serving(limits: Limits) -> dict[str, Any]:
    """How gradio is to serve a page of ours."""
    return {
        "allowed_paths": [str(EXAMPLES)], "max_file_size": limits.bytes, "show_error": True, "ssr_mode": False,
        "enable_monitoring": False, "run_history": False, "mcp_server": False, "pwa": False, "footer_links": ["api"],
        "app_kwargs": {"middleware": [(Guard, (), {"largest": limits.bytes})]},
        "theme": THEME, "css_paths": [ASSETS / "page.css"],
        "head": f"<script>{(ASSETS / 'page.js').read_text('utf-8')}</script>",
    }  # fmt: skip
