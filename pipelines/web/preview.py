"""What is filmed so far, to be watched while the rest is made: a small video that plays as it grows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.film import GROWING, VideoWriter

if TYPE_CHECKING:
    from pipelines.render import Progress

PIECE = 1_000_000  # bytes: as much as is handed over at once


def film_preview(steps: Iterator[Progress], path: Path, sound: Path) -> Iterator[Progress]:
    """``steps`` as they come; what they film is in ``path`` as well, half a second at a time, and gone with the last.

    Closing the generator closes ``steps`` and leaves no preview. Raises what they raise; OutputError and AudioError as
    :func:`open_video`.
    """
    writer: VideoWriter | None = None
    written = 0
    try:
        with closing(steps):  # type: ignore[type-var]
            for step in steps:
                if step.shot is not None and step.done > written:  # the last is told twice where there is a warning
                    scene, head = step.shot
                    if writer is None:
                        writer = VideoWriter(path, path, sound, 0.0, scene.picture, scene.corner, GROWING)
                    writer.write(head)
                    written = step.done
                yield step
    finally:
        if writer is not None:
            writer.cancel()
        path.unlink(missing_ok=True)


def read_preview(path: Path, begin: int) -> bytes | None:
    """What has come to a preview from byte ``begin`` on, perhaps nothing yet; None where there is no preview."""
    try:
        with path.open("rb") as file:
            file.seek(begin)
            return file.read(PIECE)
    except FileNotFoundError:
        return None
