"""What the renderer costs the mouth: motion sampled, drawn, encoded as a video and tracked again.

    python bench/rendered.py SET... --portraits PORTRAIT... [--part tune] [--clips 4] [--seconds 5]

The longest clips of held-out speakers, one each, are spoken by every portrait; the mouth is compared with the real
person's, once as commanded and once as it is tracked in the video, by the figures of pipelines/evaluation/metrics.py.
``--part test`` is for reporting only. By default a minute of video for three portraits.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from contracts import FPS, SAMPLES_PER_FRAME
from encoders.audio.prosody import speech_frames
from encoders.face.portrait import encode_face
from encoders.face.track import track_video
from encoders.identity import encode_identity
from pipelines import TalkingHead
from pipelines.evaluation.metrics import best_lag, clip_figures, correlation, lip_gap
from pipelines.film.video import open_video
from pipelines.training.corpus import Clip, load_corpus, split

if TYPE_CHECKING:
    from contracts import Array, SourceFace

SHOWN = (
    "gap r", "gap r in speech", "lag", "closure recall", "closure precision", "closure AUC", "opening F1",
    "amplitude x", "speed x",
)  # fmt: skip


def longest(clips: list[Clip], count: int) -> list[Clip]:
    """The longest clip of each of ``count`` speakers."""
    by_speaker = {clip.speaker: clip for clip in sorted(clips, key=len)}
    return sorted(by_speaker.values(), key=len, reverse=True)[:count]


def film(head: TalkingHead, face: SourceFace, motion: Array, size: int) -> Array:
    """Motion [T, 70] drawn, encoded and tracked again: [T', 70], T' within a frame of T."""
    prepared = head.models().renderer.prepare(face, size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rendered.mp4"
        with open_video(path) as video:
            for frame in head.models().renderer.render(prepared, motion):
                video.write(frame)
        return track_video(path)[0].frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, nargs="+")
    parser.add_argument("--portraits", type=Path, nargs="+", required=True)
    parser.add_argument("--part", choices=("tune", "test"), default="tune")
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each clip")
    parser.add_argument("--size", type=int, default=320)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    head = TalkingHead()
    faces = {path.stem: encode_face(path) for path in arguments.portraits}
    rows: list[tuple[dict[str, float], dict[str, float]]] = []
    for clip in longest(getattr(split(load_corpus(*arguments.sets)), arguments.part), arguments.clips):
        frames = min(len(clip), round(arguments.seconds * FPS))
        waveform = clip.waveform[: frames * SAMPLES_PER_FRAME]
        speech = speech_frames(waveform)
        for name, face in faces.items():
            commanded = np.concatenate(
                list(head.perform(head.models().listener.stream(waveform), encode_identity(face)))
            )
            tracked = film(head, face, commanded, arguments.size)
            n = min(frames, len(tracked))
            real = (clip.motion[:n], speech[:n], clip.valid[:n])
            before = clip_figures(real[0], commanded[:n], *real[1:])
            after = clip_figures(real[0], tracked[:n], *real[1:])
            rows.append((before, after))
            gaps = lip_gap(commanded[:n]), lip_gap(tracked[:n])
            print(
                f"{clip.speaker[:24]:<25}{name[:20]:<21}r {before['gap r']:.3f} -> {after['gap r']:.3f}; tracked "
                f"against commanded: r {correlation(*gaps):.3f}, lag {best_lag(*gaps, clip.valid[:n])[0]:.0f}, "
                f"amplitude {gaps[1].std() / gaps[0].std():.2f}, least gap {gaps[0].min():.3f} -> {gaps[1].min():.3f}",
                flush=True,
            )
    print(f"\n{'mean over ' + str(len(rows)):<20}{'commanded':>10}{'rendered':>10}{'change':>9}")
    for figure in SHOWN:
        before, after = (np.nanmean([row[i][figure] for row in rows]) for i in range(2))
        print(f"{figure:<20}{before:>10.3f}{after:>10.3f}{after - before:>+9.3f}")


if __name__ == "__main__":
    main()
