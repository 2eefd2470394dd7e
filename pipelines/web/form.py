"""The form of the page: what a visitor gives and chooses, as Gradio's components."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from contracts import ModaError
from pipelines.options import LABELS, TalkOptions
from pipelines.web.panels import message
from pipelines.web.studio import suited
from pipelines.weights import installed

ROWS = 5  # of the timeline
CONSENT = "I have the right to use this face and this voice."
QUICK: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}  # of events that take no time
Given = Mapping[gr.components.Component, Any]


class Later(NamedTuple):
    """A row of the timeline."""

    second: gr.Number
    emotion: gr.Dropdown
    intensity: gr.Slider


@dataclass(frozen=True)
class Form:
    """The components, and what is read from them."""

    portrait: gr.Image
    outlines: gr.HTML  # of the faces, over the portrait
    face: gr.Radio
    seen: gr.HTML  # what is said of the portrait
    voice: gr.Audio
    heard: gr.HTML  # and of the voice
    emotion: gr.Radio
    intensity: gr.Slider
    rows: tuple[Later, ...]
    count: gr.State  # how many rows count
    settings: Mapping[str, Any]  # by their names in TalkOptions

    @property
    def inputs(self) -> set[gr.components.Component]:
        """All that :meth:`options` reads."""
        rows = (component for row in self.rows for component in row)
        own = (self.portrait, self.voice, self.emotion, self.intensity, self.count, self.face)
        return {*own, *self.settings.values(), *rows}

    def files(self, given: Given) -> tuple[Path, Path]:
        """Portrait and voice. Raises ModaError where one is missing."""
        files = (("portrait", self.portrait), ("voice", self.voice))
        missing = [name for name, file in files if given[file] is None]
        if missing:
            raise ModaError(f"give a {' and a '.join(missing)} first")
        return Path(given[self.portrait]), Path(given[self.voice])

    def options(self, given: Given) -> TalkOptions:
        """What was chosen. Raises ModaError."""
        chosen = {name: given[setting] for name, setting in self.settings.items()}
        chosen["frame"] = None if chosen["frame"] == "auto" else chosen["frame"]
        chosen["size"] = chosen["size"] if chosen["frame"] == "crop" else None
        chosen["seed"] = chosen["seed"] or 0
        chosen |= {name: None for name, value in suited(chosen["weights"]).items() if chosen[name] == value}
        later = [
            (given[row.second], given[row.emotion], given[row.intensity]) for row in self.rows[: given[self.count]]
        ]
        emotion = timeline(given[self.emotion], given[self.intensity], later)
        return TalkOptions(emotion=emotion, face=given[self.face], **chosen)


def build_form(samples: Mapping[str, Path], longest: float) -> Form:
    """Portrait, voice, emotion and settings, one below the other; ``samples`` are buttons that fill in a file, those
    that are named after a portrait or a voice. ``longest``: s of speech."""
    with gr.Group(elem_id="portrait"):
        portrait = picture_input(
            label="Portrait", sources=["upload", "webcam", "clipboard"], height=340, buttons=["fullscreen"],
            elem_id="picture", alt_text="the portrait",
        )  # fmt: skip
        outlines = gr.HTML(elem_id="outlines")
    face = gr.Radio([], label="Which face speaks?", visible=False, elem_id="face")
    seen = gr.HTML(message("a face from the front, mouth shut, works best"))
    voice = gr.Audio(label="Voice", type="filepath", sources=["upload", "microphone"], buttons=[], elem_id="voice")
    heard = gr.HTML(message(speech_hint(longest)))
    with gr.Row(elem_classes="examples"):
        for name, path in samples.items():
            button = gr.Button(f"Sample {name}", size="sm", min_width=80)
            target = portrait if "portrait" in name else voice
            button.click(lambda path=str(path): path, None, target, **QUICK)
    emotion = gr.Radio([*LABELS, ("from the portrait", "auto")], value="neutral", label="Emotion", elem_id="emotion")
    intensity = gr.Slider(0, 1, 1, step=0.05, label="Intensity")
    emotion.change(lambda label: gr.Slider(visible=label != "auto"), emotion, intensity, **QUICK)
    rows, count = _timeline()
    return Form(portrait, outlines, face, seen, voice, heard, emotion, intensity, rows, count, _settings())


def picture_input(**how: Any) -> gr.Image:
    """A picture that is handed over as it came: to look at it, and to complain, is for the pipeline."""
    picture = gr.Image(type="filepath", **how)
    picture.preprocess = lambda payload: None if payload is None else payload.path  # type: ignore[method-assign]
    return picture


def speech_hint(longest: float) -> str:
    return f"up to {longest:g} s of speech; the scissors trim it"


def timeline(first: str, intensity: float, later: list[tuple[float, str, float]]) -> str:
    """What TalkOptions calls an emotion that others follow: (second, emotion, intensity)."""
    begin = first if first in ("auto", "neutral") or intensity == 1 else f"{first}:{intensity:g}"
    if not later:
        return begin
    return ",".join([f"0:{begin}", *(f"{second:g}:{label}:{share:g}" for second, label, share in sorted(later))])


def _timeline() -> tuple[tuple[Later, ...], gr.State]:
    """The editor of what the face feels later on, and how many of its rows count."""
    rows, lines = [], []
    with gr.Accordion("Timeline", open=False):
        gr.Markdown("Later emotions, each from a second on; the one above holds until then.", elem_classes="fine")
        count = gr.State(0)
        for number in range(1, ROWS + 1):
            with gr.Row(visible=False, elem_classes="timeline") as line:
                second = gr.Number(2.0 * number, label=f"{number}. from second", minimum=0, step=0.1, min_width=90)
                emotion = gr.Dropdown(list(LABELS), value="happiness", label="Emotion", min_width=130)
                rows.append(Later(second, emotion, gr.Slider(0, 1, 1, step=0.05, label="Intensity", min_width=130)))
            lines.append(line)
        with gr.Row(elem_classes="examples"):
            more = gr.Button("Add a row", size="sm", min_width=80)
            fewer = gr.Button("Remove the last", size="sm", min_width=80)

    def set_rows(n: int) -> list[Any]:
        n = min(max(n, 0), ROWS)
        return [n, *(gr.Row(visible=at < n) for at in range(ROWS))]

    for button, step in ((more, 1), (fewer, -1)):
        button.click(lambda n, step=step: set_rows(n + step), count, [count, *lines], api_visibility="private")
    return tuple(rows), count


def _settings() -> dict[str, Any]:
    """The settings that few touch, by their names in TalkOptions."""
    plain = TalkOptions()
    with gr.Accordion("Advanced", open=False):
        with gr.Row():
            seed = gr.Number(plain.seed, precision=0, minimum=0, label="Seed", min_width=130)
            dice = gr.Button("Roll the dice", min_width=130, elem_classes="dice")
        dice.click(lambda: secrets.randbelow(2**31), None, seed, api_visibility="private")
        weights = gr.Dropdown(list(installed()), value=plain.weights, label="Weights")
        amounts = _amounts(weights)
        framing = _framing()
        with gr.Row():
            provenance = gr.Checkbox(plain.provenance, label="Sign the video as synthetic (C2PA)")
            mark = gr.Checkbox(plain.mark, label="Burn in a small visible mark")
        gr.Markdown(
            "Weights `lite` are embedded and drawn by `mesh`, without more; those of the published system, drawn by "
            "LivePortrait, can be chosen once `moda weights fetch` has them.",
            elem_classes="fine",
        )
    return {"seed": seed, "weights": weights, **amounts, **framing, "provenance": provenance, "mark": mark}


def _amounts(weights: gr.Dropdown) -> dict[str, Any]:
    """Knobs and sampler; what suits the weights goes with them."""
    plain = TalkOptions()
    values = vars(plain) | suited(plain.weights)
    sliders: dict[str, Any] = {}
    for pair in (
        (("head_motion", "Head motion", 2, 0.05), ("blink_rate", "Blink rate", 2, 0.05)),
        (("mouth", "Mouth", 2, 0.05), ("expression", "Expression", 2, 0.05)),
        (("guidance", "Speech guidance", 4, 0.1), ("emotion_guidance", "Emotion guidance", 4, 0.1)),
    ):
        with gr.Row():
            for name, label, high, step in pair:
                sliders[name] = gr.Slider(0, high, values[name], step=step, label=label, min_width=130)
    sliders["steps"] = gr.Slider(1, 20, values["steps"], step=1, label="Steps of the sampler")
    weights.input(
        lambda weights: list(suited(weights).values()), weights, [sliders[name] for name in suited(plain.weights)],
        api_visibility="private",
    )  # fmt: skip
    return sliders


def _framing() -> dict[str, Any]:
    with gr.Row():
        framings = [("automatic", "auto"), ("whole picture", "full"), ("head crop", "crop")]
        frame = gr.Radio(framings, value="auto", label="Frame", min_width=200)
        sizes = [256, 384, 512, 768, 1024]
        size = gr.Dropdown(sizes, value=512, label="Size of the crop, px", visible=False, min_width=130)
        background = gr.Radio(["still", "follow"], value="still", label="Background", min_width=130)
    frame.change(lambda frame: gr.Dropdown(visible=frame == "crop"), frame, size, api_visibility="private")
    return {"frame": frame, "size": size, "background": background}
