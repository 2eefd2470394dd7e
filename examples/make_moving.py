"""Makes ``moving.webp``, the moving picture of the README: the three portraits speak side by side, in a loop.

Run from the root of the repository, again whenever the model has changed; it takes a minute or two:

    python -m examples.make_moving

Each portrait speaks a stretch of a recording that begins and ends at a pause. Where the loop closes, the motion of the
end is led over into that of the beginning: the numbers are blended, not the pictures, so that no face is seen twice.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from moda.motion.space import load_motion, save_motion
from pipelines import TalkingHead, TalkOptions, render_motion

HERE = Path(__file__).resolve().parent
COUNT = 92  # frames, 3.68 s
OVERLAP = 8  # frames in which the end becomes the beginning
FRAME_MS = 40  # 25 frames a second
SIDE = 300  # px, of each portrait
QUALITY = 75


@dataclass(frozen=True)
class Part:
    portrait: str
    voice: str
    seed: int
    first: int  # frame of the recording, at a pause


PARTS = (
    Part("portrait.jpg", "voice_en.wav", 4, 0),
    Part("portrait_man.jpg", "voice_es.wav", 1, 0),
    Part("painting.jpg", "voice_en.wav", 2, 95),
)


def loop(head: TalkingHead, part: Part, folder: Path) -> Path:
    """The motion of one portrait, COUNT frames whose end leads into their beginning, saved in ``folder``."""
    saved = folder / "motion.npz"
    options = TalkOptions(seed=part.seed, size=256, provenance=False, save_motion=saved)  # the video is not kept: small
    head.make(HERE / part.portrait, HERE / part.voice, folder / "talk.mp4", options)
    motion = load_motion(saved)
    frames = motion.frames[part.first : part.first + COUNT + OVERLAP]
    share = np.linspace(0, 1, OVERLAP, dtype=np.float32)[:, None]
    beginning = (1 - share) * frames[COUNT:] + share * frames[:OVERLAP]
    save_motion(saved, replace(motion, frames=np.concatenate([beginning, frames[OVERLAP:COUNT]])))
    return saved


def film(part: Part, motion: Path) -> list[Image.Image]:
    """The pictures of one portrait, COUNT of SIDE x SIDE px."""
    out = motion.with_name("loop.mp4")
    steps = render_motion(HERE / part.portrait, motion, out, frame="crop", provenance=False, device="cpu")
    frames = (step.frame for step in steps if step.frame is not None)
    pictures = [Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.LANCZOS) for frame in frames]
    return pictures[:COUNT]  # the last step tells that the video is not signed, with the last frame once more


def beside(pictures: tuple[Image.Image, ...]) -> Image.Image:
    strip = Image.new("RGB", (SIDE * len(pictures), SIDE))
    for place, picture in enumerate(pictures):
        strip.paste(picture, (SIDE * place, 0))
    return strip


def main() -> None:
    head = TalkingHead(device="cpu")
    films = []
    for part in PARTS:
        with tempfile.TemporaryDirectory() as folder:
            films.append(film(part, loop(head, part, Path(folder))))
    first, *others = [beside(pictures) for pictures in zip(*films, strict=True)]
    out, unfinished = HERE / "moving.webp", HERE / "moving.unfinished"
    first.save(
        unfinished, "WEBP", save_all=True, append_images=others, duration=FRAME_MS, loop=0, quality=QUALITY, method=4
    )
    os.replace(unfinished, out)
    print(f"{out.name}: {1 + len(others)} frames, {out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
