"""What the page shows beside gradio's own components: HTML and SVG, without scripts."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from contracts import FPS
from encoders.face import OVAL

if TYPE_CHECKING:
    from contracts import Array
    from pipelines.faces import JudgedFace
    from pipelines.render import Progress

ASSETS = Path(__file__).with_name("assets")  # style and script of the page
STILL = 480  # px, longer side of the frames shown while filming
STAGES = {"audio": "Listening", "face": "Looking", "track": "Tracking", "video": "Filming"}


class Pace:
    """Tells how far a pipeline is: stage, frames a second, time left; with ``stills`` also the newest frame."""

    def __init__(self, stills: bool) -> None:
        self._stills = stills
        self._begun: tuple[float, int] | None = None  # when filming began, and at which frame
        self._preview = ""

    def show(self, step: Progress) -> str:
        text, share = STAGES[step.stage], step.done / step.total
        if step.stage == "video":
            now = time.perf_counter()
            self._begun = self._begun or (now, step.done)
            begun, first = self._begun
            text += f" {step.done} of {step.total}"
            if step.done > first:
                rate = (step.done - first) / (now - begun)
                text += f" · {rate:.0f} frames/s · {_clock((step.total - step.done) / rate)} left"
            if self._stills and step.frame is not None:
                self._preview = f'<img src="{_jpeg(step.frame)}" alt="the newest frame"/>'
        bar = f'<div class="bar"><div style="width:{share:.0%}"></div></div>'
        role = f'role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{100 * share:.0f}"'
        progress = f'<div class="progress" {role} aria-label="{text}">{text}{bar}</div>'
        return f'<div class="screen busy">{self._preview}{progress}</div>'


def growing(name: str, frame: Array, total: int) -> str:
    """The element in which the page's script plays what is filmed so far of a result, of ``total``
    frames; until then its first one."""
    told = f'data-result="{escape(name)}" data-seconds="{total / FPS:.2f}" aria-label="the video so far"'
    return f'<video {told} poster="{_jpeg(frame)}" controls playsinline></video>'


def judge(faces: Sequence[JudgedFace], chosen: int | None) -> str:
    """What is to be said of a picture and of the face chosen in it."""
    if chosen is None and len(faces) > 1:
        return message("none of these faces can be animated; choose one to see why", kind="error")
    judged = faces[(chosen or 1) - 1]
    if judged.refusal:
        return message(judged.refusal, kind="error")
    return message(*judged.warnings, kind="warning") if judged.warnings else message("a good portrait", kind="good")


def message(*lines: str, kind: str = "") -> str:
    """Lines of text: ``kind`` is "good", "warning", "error" or nothing."""
    text = "".join(f"<p>{escape(line)}</p>" for line in lines if line)
    return f'<div class="message {kind}" role="{"alert" if kind == "error" else "status"}">{text}</div>'


def screen(text: str, kind: str = "") -> str:
    """The place where the video will be, with a line of text."""
    return f'<div class="screen">{message(text, kind=kind)}</div>'


def outline_faces(faces: Sequence[JudgedFace], chosen: int | None) -> str:
    """SVG to lie over the picture: every face outlined and numbered, one of them chosen."""
    width, height = faces[0].picture
    unit = max(width, height) / 400
    drawn = []
    for judged in faces:
        kind = "chosen" if judged.face.index == chosen else "refused" if judged.refusal else ""
        x0, y0, x1, y1 = judged.face.box
        if judged.source is None:
            place = f'x="{x0:.0f}" y="{y0:.0f}" width="{x1 - x0:.0f}" height="{y1 - y0:.0f}"'
            drawn.append(f'<rect class="{kind}" {place}/>')
        else:
            oval = " ".join(f"{x:.1f},{y:.1f}" for x, y in judged.source.landmarks[list(OVAL), :2])
            drawn.append(f'<polygon class="{kind}" points="{oval}"/>')
        if len(faces) > 1:
            drawn.append(
                f'<text class="{kind}" x="{(x0 + x1) / 2:.0f}" y="{y0 - 4 * unit:.0f}" font-size="{16 * unit:.0f}">'
                f"{judged.face.index}</text>"
            )
    box = f'viewBox="0 0 {width} {height}" style="stroke-width:{2 * unit:.2f}"'
    return f'<svg class="faces" {box} preserveAspectRatio="xMidYMid meet" aria-hidden="true">{"".join(drawn)}</svg>'


def _jpeg(frame: Array) -> str:
    """A frame, small, as a data URI."""
    image = Image.fromarray(frame)
    image.thumbnail((STILL, STILL), Image.Resampling.BILINEAR, reducing_gap=1.5)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
