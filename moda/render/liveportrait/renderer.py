"""The LivePortrait renderer: one network warps the portrait's features, another paints them, the photo frames them."""

from __future__ import annotations

from collections import deque
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from moda.render.base import RenderError, check_motion, check_side
from moda.render.liveportrait.crop import cut, frame_grid, frame_mask, openings, to_crop
from moda.render.liveportrait.driving import carry_over
from moda.render.liveportrait.keypoints import KeypointMotion, spoken_keypoints, stitch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from contracts import Array, Driving, SourceFace
    from moda.render.base import Background
    from moda.render.liveportrait.networks import LivePortrait


def check_background(background: Background) -> None:
    """Raise RenderError for a background that these networks cannot draw."""
    if background != "still":
        raise RenderError(f"LivePortrait cannot draw --background {background}: leave it out, or use --renderer mesh")


class Rule(Protocol):
    """Where motion puts a portrait's keypoints: ``spoken_keypoints``, or ``told_keypoints`` for driving video."""

    def __call__(self, source: KeypointMotion, rows: Tensor) -> Tensor:
        """rows: [B, 70] -> [B, 21, 3]."""


@dataclass(frozen=True)
class LivePortraitPortrait:
    """All that is made once per portrait, on the device of the networks."""

    source: KeypointMotion  # of the portrait itself: what the motion generator starts from, and its identity
    keypoints: Tensor  # float32 [1, 21, 3] where they are in the portrait
    feature: Tensor  # [1, C, D, h, w]
    photo: Tensor  # float32 [3, S, S] the head crop, 0..255
    grid: Tensor  # float32 [1, S, S, 2] where the frame lies in the painted picture
    mask: Tensor  # float32 [S, S] how much of the frame is painted
    finest: int  # px, side of the painted picture where it is as fine as the frame


class LivePortraitRenderer:
    """Renderer of the motion space ``liveportrait`` (see ``contracts.Motion``). Deterministic on one device.

    ``batch`` frames are drawn at once: one suits a CPU, more fill a GPU, where one batch is drawn while the frames of
    the one before are read. No more than two batches are in memory. A ``fixed`` batch is filled up at the end, as
    compiled networks want it.
    """

    space = "liveportrait"

    def __init__(
        self, networks: LivePortrait, batch: int = 1, rule: Rule = spoken_keypoints, fixed: bool = False
    ) -> None:
        self.networks = networks
        self.batch = batch
        self.fixed = fixed
        self.rule = rule
        parameter = next(networks.appearance.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype

    @torch.inference_mode()
    def look(self, crops: Array) -> tuple[KeypointMotion, Tensor]:
        """The motion of the faces in ``crops``, uint8 [B, 256, 256, 3] of :func:`moda.render.liveportrait.crop.cut`,
        and the pictures [B, 3, 256, 256] that the networks see."""
        pictures = torch.from_numpy(crops).to(self.device).permute(0, 3, 1, 2) / 255
        return KeypointMotion.of(self.networks.motion(pictures)), pictures

    def motion_of(self, face: SourceFace) -> KeypointMotion:
        """The motion of a portrait: its identity (canonical keypoints), and where generated motion starts (rows)."""
        return self.look(cut(face.image, to_crop(face.landmarks))[None])[0]

    def drive(self, face: SourceFace, rows: Array, how: Driving) -> Array:
        """The motion [T, 70] of a filmed face, carried over to a portrait; for a renderer with ``told_keypoints``."""
        with torch.inference_mode():
            source, film = self.motion_of(face), torch.from_numpy(rows).to(self.device)
            return carry_over(self.networks, source, openings(face.landmarks), film, how).cpu().numpy()

    def with_rule(self, rule: Rule) -> LivePortraitRenderer:
        """The same networks by another rule."""
        other = copy(self)
        other.rule = rule
        return other

    @torch.inference_mode()
    def prepare(self, face: SourceFace, size: int, background: Background = "still") -> LivePortraitPortrait:
        """Crop, features, keypoints and seam. ``size``: even, 64 to 3840 px.

        Raises RenderError for another size, and where the background is to ``follow``, which no network asks about.
        """
        check_side(size)
        check_background(background)
        matrix = to_crop(face.landmarks)
        source, picture = self.look(cut(face.image, matrix)[None])
        x0, y0, side = face.crop
        crop = face.image[y0 : y0 + side, x0 : x0 + side]
        photo = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA if size < side else cv2.INTER_CUBIC)
        grid = frame_grid(face, matrix, size)
        return LivePortraitPortrait(
            source=source,
            keypoints=source.keypoints,
            feature=self.networks.appearance(picture.to(self.dtype)),
            photo=torch.from_numpy(photo).to(self.device).permute(2, 0, 1).float(),
            grid=torch.from_numpy(grid)[None].to(self.device),
            mask=torch.from_numpy(frame_mask(face, grid)).to(self.device),
            finest=max(1, round(2 / float(np.hypot(*(grid[0, 1] - grid[0, 0]))))),
        )

    def render(self, prepared: LivePortraitPortrait, frames: Array) -> Iterator[Array]:
        """Yield a uint8 [S, S, 3] RGB frame per row of ``frames``, float32 [n, 70]."""
        check_motion(frames)
        ahead = 1 if self.device.type == "cuda" else 0
        drawn: deque[_Drawn] = deque()
        for rows in torch.from_numpy(np.asarray(frames, np.float32)).split(self.batch):
            count = len(rows)
            if self.fixed and count < self.batch:
                rows = torch.cat([rows, rows[-1:].expand(self.batch - count, -1)])
            drawn.append(_Drawn(self._draw(prepared, rows)[:count]))
            if len(drawn) > ahead:
                yield from drawn.popleft().frames()
        for batch in drawn:
            yield from batch.frames()

    @torch.inference_mode()
    def _draw(self, portrait: LivePortraitPortrait, rows: Tensor) -> Tensor:
        """Motion [B, 70] -> uint8 [B, S, S, 3], on the device."""
        driving = self.rule(portrait.source, rows.to(self.device, non_blocking=True))
        driving = stitch(self.networks.stitching, portrait.keypoints, driving)
        warped = self.networks.warping(portrait.feature, driving, portrait.keypoints)
        painted = self.networks.generator(warped).float()  # [B, 3, 512, 512] in 0..1
        return compose(painted, portrait).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def compose(painted: Tensor, portrait: LivePortraitPortrait) -> Tensor:
    """The painted pictures [B, 3, P, P] in 0..1, laid into the photo: [B, 3, S, S] in 0..255."""
    if portrait.finest < painted.shape[-1] / 1.5:  # what the frame cannot show is averaged first
        painted = F.interpolate(painted, size=(portrait.finest, portrait.finest), mode="area")
    head = F.grid_sample(painted, portrait.grid.expand(len(painted), -1, -1, -1), align_corners=False)
    return torch.lerp(portrait.photo, 255 * head, portrait.mask)


class _Drawn:
    """A batch of frames on its way from the device to the host."""

    def __init__(self, frames: Tensor) -> None:
        self._host = frames.to("cpu", non_blocking=True)
        self._ready = None
        if frames.is_cuda:
            self._ready = torch.cuda.Event()
            self._ready.record()

    def frames(self) -> Iterator[Array]:
        if self._ready is not None:
            self._ready.synchronize()
        yield from self._host.numpy()
