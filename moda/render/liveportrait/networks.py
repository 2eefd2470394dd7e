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
    """``appearance`` and ``motion`` look at a picture, ``warping`` and ``generator`` draw it again, moved, and the
    others correct keypoints. Whatever has to do with keypoints is float32."""

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
        """Move to ``device``, and what makes pictures, which takes the time, to ``dtype``.

        ``channels_last``: 2-D convolutions in the memory layout that tensor cores want. A CPU gains nothing by it.
        """
        self.to(device)
        for network in (self.appearance, self.warping, self.generator):
            network.to(dtype)
            for parameter in network.parameters() if channels_last else ():
                if parameter.dim() == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        return self

    def compile_drawing(self) -> LivePortrait:
        """Let torch compile what draws, at its first frames, which takes a minute or more; on CUDA into CUDA graphs.

        Every shape is compiled for itself, so draw with a renderer of a ``fixed`` batch.
        """
        mode = "reduce-overhead" if next(self.parameters()).is_cuda else "default"
        for network in (self.warping, self.generator):
            network.compile(mode=mode, dynamic=False)
        return self
