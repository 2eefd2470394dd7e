"""Contact sheets, to judge by eye: every portrait with one voice, one portrait with every voice, every driving video.

    python bench/gallery.py PORTRAITS VOICES OUT [--seconds 4] [--portrait P] [--voice V]

PORTRAITS is a folder of pictures (videos in it are driving videos), VOICES a folder of recordings. OUT gets
portraits_1.png, ..., voices_1.png, ... and drives_1.png, ..., a row per case: frames at even times, or the line that
says why there is no video. The videos stay beside the sheets.
"""

from __future__ import annotations

import argparse
import textwrap
import time
import wave
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from contracts import SAMPLE_RATE, ModaError
from encoders.audio.media import load_audio
from pipelines import TalkingHead, TalkOptions, drive_portrait

if TYPE_CHECKING:
    from contracts import Array
    from pipelines import Progress

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PICTURES = {".jpg", ".jpeg", ".png", ".webp"}
VIDEOS = {".mp4", ".webm", ".mov"}
COLUMNS, TILE, LABEL = 8, 180, 150  # frames, px, px
ROWS = 8  # a sheet
SIZE = 512  # px, of the videos


@dataclass(frozen=True)
class Row:
    label: str
    frames: list[Array]  # uint8 [S, S, 3]
    note: str  # why there are none, or the warnings


def film(label: str, steps: Iterator[Progress]) -> Row:
    """Run one pipeline; keep COLUMNS of its frames at even times."""
    frames: list[Array] = []
    notes: list[str] = []
    started = time.perf_counter()
    try:
        for step in steps:
            notes += step.warnings
            if step.frame is not None and step.done - 1 == round(len(frames) * (step.total - 1) / (COLUMNS - 1)):
                frames.append(np.asarray(Image.fromarray(step.frame).resize((TILE, TILE), Image.Resampling.LANCZOS)))
        print(f"{label}: {step.done} frames in {time.perf_counter() - started:.1f} s {'; '.join(notes)}", flush=True)
    except ModaError as error:
        notes = [f"refused: {error}"]
        print(f"{label}: {notes[0]}", flush=True)
    return Row(label, frames, "; ".join(notes))


def draw(rows: Iterable[Row], path: Path) -> None:
    """Sheets NAME_1.png, NAME_2.png, ... of ROWS rows each."""
    for number, page in enumerate(batched(rows, ROWS), 1):
        draw_sheet(page, path.with_name(f"{path.name}_{number}.png"))


def batched(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    rows = iter(rows)
    while page := list(islice(rows, size)):
        yield page


def draw_sheet(rows: list[Row], path: Path) -> None:
    sheet = Image.new("RGB", (LABEL + COLUMNS * TILE, len(rows) * TILE), "white")
    pen = ImageDraw.Draw(sheet)
    for i, row in enumerate(rows):
        words = [*textwrap.wrap(row.label, 22), "", *textwrap.wrap(row.note, 22 if row.frames else 200)]
        pen.multiline_text((4, i * TILE + 4), "\n".join(words), fill="black")
        for k, frame in enumerate(row.frames):
            sheet.paste(Image.fromarray(frame), (LABEL + k * TILE, i * TILE))
    sheet.save(path)
    print(path)


def trim(voice: Path, seconds: float, folder: Path) -> Path:
    """The first seconds of a recording as a 16-bit wav; what cannot be read is handed on, to be refused."""
    try:
        waveform = load_audio(voice)[: round(seconds * SAMPLE_RATE)]
    except ModaError:
        return voice
    path = folder / f"{voice.stem}.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", "not compressed"))
        file.writeframes((np.clip(waveform, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portraits", type=Path)
    parser.add_argument("voices", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each recording")
    parser.add_argument("--portrait", type=Path, default=EXAMPLES / "portrait.jpg", help="for the voices")
    parser.add_argument("--voice", type=Path, default=EXAMPLES / "voice_en.wav", help="for the portraits")
    parser.add_argument("--emotion", default=TalkOptions.emotion)
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)

    files = sorted(arguments.portraits.iterdir())
    portraits = [path for path in files if path.suffix.lower() in PICTURES]
    drives = [path for path in files if path.suffix.lower() in VIDEOS]
    voices = sorted(path for path in arguments.voices.iterdir() if path.suffix.lower() not in {".md", ".txt"})
    head, options = TalkingHead(), TalkOptions(emotion=arguments.emotion, size=SIZE)

    voice = trim(arguments.voice, arguments.seconds, out)
    draw((film(path.name, head.talk(path, voice, out / f"portrait_{path.stem}.mp4", options)) for path in portraits),
         out / "portraits")  # fmt: skip
    draw((film(path.name, head.talk(arguments.portrait, trim(path, arguments.seconds, out),
                                    out / f"voice_{path.stem}.mp4", options)) for path in voices),
         out / "voices")  # fmt: skip
    if drives:
        draw((film(path.name, drive_portrait(arguments.portrait, path, out / f"drive_{path.stem}.mp4", size=SIZE))
              for path in drives), out / "drives")  # fmt: skip


if __name__ == "__main__":
    main()
