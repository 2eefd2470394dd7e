"""What the benches of the renderer share: pictures and motion to draw, what was meant, and figures against targets."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image, ImageDraw

from contracts import FPS, MOTION_DIM, ModaError
from encoders.face.headfit import fit_head
from encoders.face.portrait import encode_face
from encoders.face.track import picture_change, repeats, track_video
from moda.render import MeshRenderer
from moda.render.mesh.geometry import HeadMotion

if TYPE_CHECKING:
    from contracts import Array, SourceFace
    from encoders.face.headfit import HeadFit
    from moda.render.mesh.renderer import MeshPortrait

PICTURES = {".jpg", ".jpeg", ".png", ".webp"}
VIDEOS = {".mp4", ".webm", ".mov"}
TILE, LABEL = 180, 14  # px, of a contact sheet
SCALE = 63  # the channel that is a ratio, 1 at rest


@dataclass(frozen=True)
class Figure:
    """One measured number and what it should be."""

    name: str
    found: float
    target: float
    most: bool = False  # the target is the most it may be, not the least
    note: str = ""

    @property
    def reached(self) -> bool:
        return bool(self.found <= self.target if self.most else self.found >= self.target)  # never, if not a number


def report(figures: Iterable[Figure]) -> None:
    print(f"\n{'figure':<44}{'target':>10}{'found':>10}")
    for figure in figures:
        target = f"{'<=' if figure.most else '>='} {figure.target:g}"
        verdict = "" if figure.reached else "  MISSED"
        print(f"{figure.name:<44}{target:>10}{figure.found:>10.3f}{verdict}  {figure.note}".rstrip())


def files(paths: Iterable[Path], suffixes: set[str]) -> list[Path]:
    """The files among ``paths`` and in the folders among them that have one of ``suffixes``, each folder sorted."""
    listed = [child for path in paths for child in (sorted(path.iterdir()) if path.is_dir() else [path])]
    return [path for path in listed if path.suffix.lower() in suffixes]


def faces(paths: Iterable[Path], count: int | None = None, *, spotless: bool = False) -> dict[str, SourceFace]:
    """Name -> face of the first ``count`` pictures that have one; ``spotless``: and of which nothing is warned."""
    found: dict[str, SourceFace] = {}
    for path in files(paths, PICTURES):
        if len(found) == count:
            break
        try:
            face = encode_face(path)
        except ModaError as error:
            print(f"{path.name}: left out, {error}")
            continue
        if not (spotless and face.warnings):
            found[path.stem] = face
    return found


def tracked(video: Path) -> Array:
    """Motion [T, 70] of a driving video, as `moda drive` plays it."""
    return track_video(video)[0].frames


def some(motion: Array, count: int) -> Array:
    """``count`` frames of a motion, evenly spaced; all if it has no more."""
    return motion[np.unique(np.linspace(0, len(motion) - 1, count).round().astype(int))]


def still(count: int = 1) -> Array:
    """Motion [count, 70] of a face at rest."""
    frames = np.zeros((count, MOTION_DIM), np.float32)
    frames[:, SCALE] = 1
    return frames


def prepare(face: SourceFace, size: int) -> MeshPortrait:
    return MeshRenderer().prepare(face, size)


def draw(prepared: MeshPortrait, motion: Array) -> Iterator[Array]:
    """Frames uint8 [S, S, 3] of the head crop, one per row of ``motion``."""
    return MeshRenderer().render(prepared, motion)


def meant(prepared: MeshPortrait, row: Array) -> HeadFit:
    """What a perfect tracker would see in the frame of one motion row: the fit of the landmarks as they are moved."""
    shape = prepared.expression(row[:SCALE].reshape(21, 3))
    shift = (shape.vertices - prepared.expression.rest) @ prepared.fit.rotation.T * np.float32(prepared.fit.unit)
    moved = HeadMotion.of(row, prepared.fit, prepared.warp.room)(prepared.points + shift)
    return fit_head(moved * np.array([1, -1, -1], np.float32))


def exact_frames(video: Path, every: int, most: int = 10**9) -> dict[int, Array]:
    """Frame of the 25 a second -> picture uint8 [H, W, 3], where the video has one at that very time that does not only
    repeat the one before; ``every`` so many frames or further apart."""
    fresh = ~repeats(np.array([change for _, _, change in _read(video)]))
    found: dict[int, Array] = {}
    for new, (at, picture, _) in zip(fresh, _read(video), strict=True):
        if len(found) == most:
            break
        if new and abs(at - round(at)) < 1e-3 and round(at) >= max(found, default=-every) + every:
            found[round(at)] = picture
    return found


def _read(video: Path) -> Iterator[tuple[float, Array, float]]:
    """When each picture is shown, in frames of 25 a second, the picture, uint8 [H, W, 3], and its change."""
    capture = cv2.VideoCapture(str(video))
    rate, before = capture.get(cv2.CAP_PROP_FPS), None
    for number in itertools.count():
        read, picture = capture.read()
        if not read:
            break
        yield number / rate * FPS, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), picture_change(before, picture)
        before = picture
    capture.release()


def contact_sheet(rows: dict[str, list[Array]], names: Sequence[str], path: Path) -> None:
    """A row of frames, uint8 [S, S, 3], per portrait, each under its name; the portrait's stands over the first."""
    sheet = Image.new("RGB", (len(names) * TILE, len(rows) * (TILE + LABEL)), "white")
    pen = ImageDraw.Draw(sheet)
    for i, (portrait, frames) in enumerate(rows.items()):
        for k, (name, frame) in enumerate(zip(names, frames, strict=True)):
            pen.text((k * TILE + 2, i * (TILE + LABEL)), name if k else portrait, fill="black")
            sheet.paste(Image.fromarray(frame).resize((TILE, TILE)), (k * TILE, i * (TILE + LABEL) + LABEL))
    sheet.save(path)
