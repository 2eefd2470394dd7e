"""The published renderer's networks together."""

from __future__ import annotations

import torch
from torch import nn

from moda.render.liveportrait.appearance import AppearanceExtractor
from moda.render.liveportrait.generator import SpadeGenerator
from moda.render.liveportrait.keypoints import KeypointMLP
from moda.render.liveportrait.motion import MotionExtractor
from moda.render.liveportrait.warping import Warping


class LivePortrait(nn.Module):
    """``appearance`` and ``motion`` look at a picture; ``warping`` and ``generator`` draw it again, moved; the others
    correct keypoints. The last five, and the keypoints themselves, stay in float32."""

    def __init__(
        self, appearance: AppearanceExtractor, motion: MotionExtractor, warping: Warping, generator: SpadeGenerator,
        stitching: KeypointMLP, eyes: KeypointMLP, lips: KeypointMLP,
    ) -> None:  # fmt: skip
        super().__init__()
        self.appearance = appearance
        self.motion = motion
        self.warping = warping
        self.generator = generator
        self.stitching = stitching
        self.eyes = eyes
        self.lips = lips

    def place(self, device: str | torch.device, dtype: torch.dtype, channels_last: bool = False) -> LivePortrait:
        """Move to ``device``, and what takes the time (all that makes pictures) to ``dtype``.

        ``channels_last``: the memory layout that tensor cores want.
        """
        self.to(device)
        for network in (self.appearance, self.warping, self.generator):
            network.to(dtype)
            for parameter in network.parameters() if channels_last else ():
                layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(parameter.dim())
                if layout is not None:
                    parameter.data = parameter.data.contiguous(memory_format=layout)
        return self.eval().requires_grad_(False)
