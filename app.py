"""The web page: a portrait, a voice, an emotion; then a video."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported

import gradio as gr

from pipelines import EMOTIONS, ModaError, TalkingHead, TalkOptions

EXAMPLES = Path(__file__).parent / "examples"
SAMPLE = [EXAMPLES / name for name in ("portrait.jpg", "voice_en.wav")]  # in a checkout, not in a wheel
LABELS = [("as the portrait shows", "auto"), *((name, name) for name in EMOTIONS if name != "none")]
STAGES = {"audio": "Listening", "face": "Looking", "video": "Filming"}
EVERY = 5  # frames between two signs of life; a stop takes effect at one
HOUR = 3600


def build(head: TalkingHead, work: str) -> gr.Blocks:
    """The page, on models that are loaded already; ``work`` is the folder where videos are made."""

    def speak(
        portrait: str | None, voice: str | None, emotion: str, intensity: float, seed: float | None
    ) -> Iterator[tuple[str | None, str]]:
        # A generator, because that is what gradio can stop: it closes us, and the pipeline with us.
        if portrait is None or voice is None:
            yield None, f"Give a {'portrait' if portrait is None else 'voice'} first."
            return
        asked = emotion if emotion == "auto" else f"{emotion}:{intensity}"
        notes: list[str] = []
        with tempfile.TemporaryDirectory(dir=work) as folder:
            out = Path(folder) / "moda.mp4"
            try:
                for step in head.talk(portrait, voice, out, TalkOptions(emotion=asked, seed=int(seed or 0))):
                    notes += step.warnings
                    if step.done % EVERY == 0:
                        yield None, f"{STAGES[step.stage]} {step.done / step.total:.0%}"
            except ModaError as error:
                told = str(error)
                for path in (portrait, voice):  # visitors know their files by name
                    told = told.replace(path, Path(path).name)
                yield None, f"**{told}**"
            else:
                yield str(out), "  \n".join(["Done.", *notes])

    shown = [str(path) if path.is_file() else None for path in SAMPLE]
    with gr.Blocks(title="moda", analytics_enabled=False, delete_cache=(HOUR, HOUR)) as page:
        gr.Markdown("# moda\nA portrait and a voice become a talking video.")
        with gr.Row():
            with gr.Column():
                portrait = gr.Image(
                    shown[0], label="Portrait", type="filepath", sources=["upload", "webcam"], height=360
                )
                voice = gr.Audio(shown[1], label="Voice", type="filepath", sources=["upload", "microphone"])
            with gr.Column():
                with gr.Row():
                    emotion = gr.Dropdown(LABELS, value="neutral", label="Emotion")
                    intensity = gr.Slider(0, 1, value=1, step=0.05, label="Intensity")
                    seed = gr.Number(value=0, precision=0, label="Seed", min_width=80)
                with gr.Row():
                    go = gr.Button("Speak", variant="primary")
                    stop = gr.Button("Stop")
                message = gr.Markdown()
                video = gr.Video(label="Video", height=400, autoplay=True)
        emotion.change(lambda label: gr.Slider(visible=label != "auto"), emotion, intensity, api_visibility="private")
        speaking = go.click(speak, [portrait, voice, emotion, intensity, seed], [video, message], api_name="speak")
        stop.click(lambda: "Stopped.", None, message, cancels=speaking, api_visibility="private")
    return page


def launch(host: str = "127.0.0.1", port: int = 7860, device: str = "auto") -> None:
    """Serve the page until Ctrl-C. What visitors upload lies in a folder that only we can read, and goes with us."""
    with tempfile.TemporaryDirectory(prefix="moda-") as cache, tempfile.TemporaryDirectory(prefix="moda-") as work:
        os.environ["GRADIO_TEMP_DIR"] = cache  # gradio copies there what comes in and what goes out
        page = build(TalkingHead(device), work).queue()
        try:
            page.launch(
                server_name=host,
                server_port=port,
                max_file_size="200mb",
                allowed_paths=[str(EXAMPLES), work],
                show_error=True,
            )
        except OSError as error:  # gradio's, when it cannot listen
            raise ModaError(f"the page cannot be served at {host}:{port}; choose another --port") from error


if __name__ == "__main__":
    launch()
