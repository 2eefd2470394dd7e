"""The mesh renderer: warps one photo with a face mesh and paints what the photo does not show."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from moda.render.base import check_motion, check_side
from moda.render.mesh.expression import SHUT_GAP, Expression, lip_gap
from moda.render.mesh.geometry import HeadFit, HeadMotion
from moda.render.mesh.light import Light
from moda.render.mesh.painted import EyePatch, Mouth, snap_seam
from moda.render.mesh.shading import Shading
from moda.render.mesh.topology import EYES
from moda.render.mesh.warp import Warp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from contracts import Array, SourceFace
    from moda.render.base import Background


DEPTH = 1.1  # times that of the landmarks: a head as flat as they are is seen to turn by .86 of what it should

_lock = threading.Lock()
_found: list[int] = []  # OpenCV's setting, which is the process's, as each frame now being drawn found it


@contextmanager
def _one_thread() -> Iterator[None]:
    """OpenCV on one thread: a frame is too little work to share, and the video encoder wants the other cores."""
    with _lock:
        _found.append(cv2.getNumThreads())
        cv2.setNumThreads(1)
    try:
        yield
    finally:
        with _lock:
            cv2.setNumThreads(_found.pop())  # whoever is last restores what the first one found


@dataclass(frozen=True)
class MeshPortrait:
    """All that is made once per portrait."""

    photo: Array  # uint8 [S, S, 3] RGB, the head crop
    fit: HeadFit
    expression: Expression
    points: Array  # float32 [478, 3] px, render frame
    warp: Warp
    shading: Shading
    mouth: Mouth
    eyes: tuple[EyePatch, ...]


class MeshRenderer:
    """Renderer of the motion space ``mesh`` (see ``contracts.Motion``). No weights, no GPU, deterministic."""

    space = "mesh"

    def prepare(self, face: SourceFace, size: int, background: Background = "still") -> MeshPortrait:
        """Crop, resize, mesh, matte and patches. ``size``: even, 64 to 3840 px, else RenderError."""
        check_side(size)
        with _one_thread():
            return self._prepare(face, size, background)

    def _prepare(self, face: SourceFace, size: int, background: Background) -> MeshPortrait:
        x0, y0, side = face.crop
        crop = face.image[y0 : y0 + side, x0 : x0 + side]
        shrinks = size < side
        photo = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
        zoom = size / side
        fit = HeadFit(
            rotation=np.asarray(face.fit_rotation, np.float32),
            unit=float(face.fit_scale) * zoom,
            origin=((face.fit_translation - np.array([x0, -y0, 0], np.float32)) * zoom).astype(np.float32),
            yaw=float(face.pose[1]),
        )
        height, width = face.image.shape[:2]  # of which a film of the whole leaves a last odd row or column out
        inner = (x0 > 0, y0 > 0, x0 + side < width - width % 2, y0 + side < height - height % 2)
        points, *others = (
            ((landmarks - np.array([x0, y0, 0], np.float32)) * np.array([1, -1, -1], np.float32) * zoom).astype(
                np.float32
            )
            for landmarks in (face.landmarks, *face.others)
        )
        points[:, 2] += np.float32(DEPTH - 1) * (points[:, 2] - points[:, 2].mean())
        if lip_gap(face.vertices) < SHUT_GAP:
            points = snap_seam(photo, points)
        expression = Expression(fit.to_head(points))
        light = Light.of(photo, points, fit.unit, zoom)
        return MeshPortrait(
            photo=photo,
            fit=fit,
            expression=expression,
            points=points,
            warp=Warp.of(photo, points, fit, background, others, inner),
            shading=Shading(photo, points, fit, light, expression.rest),
            mouth=Mouth(photo, points, fit, light, expression.shut, expression.mouth_open),
            eyes=tuple(EyePatch(photo, points, fit, light, eye) for eye in EYES),
        )

    def render(self, prepared: MeshPortrait, frames: Array) -> Iterator[Array]:
        """Yield a uint8 [S, S, 3] RGB frame per row of ``frames``, float32 [n, 70]."""
        check_motion(frames)
        for row in np.asarray(frames, np.float32):
            with _one_thread():
                frame = self._frame(prepared, row)
            yield frame

    def _frame(self, portrait: MeshPortrait, row: Array) -> Array:
        shape = portrait.expression(row[:63].reshape(21, 3))
        motion = HeadMotion.of(row, portrait.fit, portrait.warp.room)
        # As a displacement from the portrait's points, so that no motion is exactly no motion.
        shift = (shape.vertices - portrait.expression.rest) @ portrait.fit.rotation.T * np.float32(portrait.fit.unit)
        moved = portrait.warp.move(shift, motion)
        frame = portrait.warp.draw(portrait.shading(shape), moved)
        portrait.mouth.paint(frame, shape, moved, motion)
        for eye, lid, gaze in zip(portrait.eyes, shape.lids, shape.gaze, strict=True):
            eye.paint(frame, lid, gaze, moved, motion)
        return frame
