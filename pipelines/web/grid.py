"""One voice, one seed, one head movement, eight emotions: side by side in one video."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from contracts import MOTION_DIM, EmotionKey, EmotionTimeline
from encoders.audio import frame_count
from moda.motion import POSE
from moda.render import Framing
from pipelines.film import Claim, check_outputs, check_signing
from pipelines.options import LABELS
from pipelines.render import Film, Progress
from pipelines.talk import head_movement

if TYPE_CHECKING:
    from contracts import Array, SourceFace, StrPath
    from moda.render import Background, Renderer
    from pipelines.options import TalkOptions
    from pipelines.talk import TalkingHead, Voice

COLUMNS = 4
SIZE, BAND = 256, 32  # px: a face, and the line under it that names the emotion
STRETCH = 8  # frames drawn between two turns of the sampler


def film_emotions(
    head: TalkingHead, face: SourceFace, voice: Voice, out: StrPath, options: TalkOptions, intensity: float = 1.0
) -> Iterator[Progress]:
    """Make ``out``: every emotion at ``intensity``, head crops in two rows of four. ``options`` without frame, size and
    emotion; their ``head_from``, else the head of neutral, moves all eight. Closing the generator cancels.

    Raises ModaError.
    """
    out, _ = check_outputs(out, inputs=[voice.path])
    if options.provenance:
        check_signing()
    models, total = head.models(options.weights), frame_count(len(voice.waveform))
    identity, start = models.likeness(face)
    timelines = (EmotionTimeline((EmotionKey(0.0, label, intensity),)) for label in LABELS)
    if voice.hearing != options.hearing:
        voice = head.listen(voice.path, options=options)
    streams = [head.perform(voice.features, identity, timeline, options, start, total) for timeline in timelines]
    asked = options.head_from
    steered = None if asked is None else head_movement(Path(asked), models.space.name, total)
    begun: list[Array] = []
    for stream in streams:  # one by one, as it takes long enough to be stopped
        for chunk in stream:
            yield Progress("audio", len(begun) * 100 // len(streams), 100)
            if len(chunk):
                begun.append(chunk)
                break
    claim = None
    if options.provenance:
        settings = options.settings | {"emotion": f"all:{intensity:g}", "frame": "crop", "size": SIZE}
        claim = Claim.of("talk", face, {"audio": voice.path, "head_from": asked}, settings)
    film = Film(face, out, Framing("crop", SIZE, options.background), sound=voice.path, claim=claim, mark=options.mark)
    chunks = _with_one_head(_together(streams, begun), steered)
    yield from film.shoot(_SideBySide(models.renderer), chunks, total, models.space.name)


class _SideBySide:
    """A renderer of several motions of one portrait: [n, k, 70] -> tiles with their labels."""

    def __init__(self, renderer: Renderer[Any]) -> None:
        self.space, self._renderer = renderer.space, renderer
        self._bands = [_band(label) for label in LABELS]

    def prepare(self, face: SourceFace, size: int, background: Background = "still") -> Any:
        return self._renderer.prepare(face, size, background)

    def render(self, prepared: Any, frames: Array) -> Iterator[Array]:
        tiles = [self._renderer.render(prepared, np.ascontiguousarray(frames[:, k])) for k in range(frames.shape[1])]
        for heads in zip(*tiles, strict=True):  # [SIZE, SIZE, 3] each
            named = [np.concatenate(pair) for pair in zip(heads, self._bands, strict=True)]
            rows = [np.concatenate(named[at : at + COLUMNS], axis=1) for at in range(0, len(named), COLUMNS)]
            yield np.concatenate(rows)


def _together(streams: list[Iterator[Array]], begun: list[Array]) -> Iterator[Array]:
    """Motion streams of one length, chunks [n, 70] of any lengths -> [n, k, 70].

    One stream is asked at a time: eight at once would hold up the pictures, and whoever wants to stop. What is empty
    is passed on.
    """
    held = list(begun)
    for turn in count():
        asked = {turn % len(streams)} | {k for k, motion in enumerate(held) if not len(motion)}
        for k in asked:
            for chunk in streams[k]:
                held[k] = np.concatenate([held[k], chunk])
                if len(chunk):
                    break
                yield np.zeros((0, len(streams), MOTION_DIM), np.float32)
        n = min(STRETCH, *(len(motion) for motion in held))
        if not n:
            return
        yield np.stack([motion[:n] for motion in held], axis=1)
        held = [motion[n:] for motion in held]


def _with_one_head(chunks: Iterable[Array], steered: Array | None) -> Iterator[Array]:
    """Motions [n, k, 70] with the head movement [T, 7], else that of the neutral one."""
    done = 0
    for chunk in chunks:
        neutral = chunk[:, LABELS.index("neutral"), POSE]
        chunk[..., POSE] = (neutral if steered is None else steered[done : done + len(chunk)])[:, None]
        done += len(chunk)
        yield chunk


def _band(label: str) -> Array:
    """The line under a face, uint8 [BAND, SIZE, 3]."""
    band = Image.new("RGB", (SIZE, BAND), (16, 18, 24))
    font = ImageFont.load_default(0.56 * BAND)
    ImageDraw.Draw(band).text((SIZE / 2, BAND / 2), label, fill=(255, 255, 255), font=font, anchor="mm")
    return np.asarray(band)
