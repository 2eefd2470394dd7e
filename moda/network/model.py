"""The motion generator: a multi-modal diffusion transformer that predicts the flow of motion under speech.

After MoDA ("Multi-modal Diffusion Architecture for Talking Head Generation", arXiv 2507.03256): four modalities,
motion, audio, emotion and identity, fused from coarse to fine by the plan of the config.
Shapes: B batch, T frames, A audio width, D hidden. Everything is in the normalised motion space.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contracts import EMOTIONS
from moda.network.block import Block, Layout
from moda.network.config import Modality, ModelConfig
from moda.network.layers import AudioEmbedder, Embedder, Head, rope_angles, sinusoid

#: The condition "no emotion given": a one-hot row for the null class.
NULL_EMOTION = EMOTIONS.index("none")


@dataclass(frozen=True)
class Embedded:
    """The conditions of a window after their embedders: all that does not depend on the step."""

    tokens: dict[Modality, Tensor]  # audio [B, T, D], emotion [B, 1 or repeat, D], identity the same
    emotion: Tensor  # [B, D], added to the time embedding
    layouts: tuple[Layout, ...]  # one per stage

    def rows(self, rows: slice) -> Embedded:
        """Some rows of the batch."""
        tokens = {modality: tokens[rows] for modality, tokens in self.tokens.items()}
        return replace(self, tokens=tokens, emotion=self.emotion[rows])


class MMDiT(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        hidden = config.hidden
        self.motion_in = Embedder(2 * config.motion_dim, hidden)
        self.audio_in = AudioEmbedder(config.audio_dim, hidden)
        self.identity_in = Embedder(config.identity_dim, hidden)
        self.time_in = Embedder(config.time_features, hidden)
        self.emotion_table = nn.Parameter(torch.empty(config.emotions, hidden))
        self.null_audio = nn.Parameter(torch.empty(config.audio_dim))
        self.prior = nn.Linear(config.prior, config.motion_dim).requires_grad_(False) if config.prior else None
        self.stages = nn.ModuleList(
            nn.ModuleList(
                Block(stage.streams.split("|"), hidden, config.heads, config.mlp_ratio, stage.parallel)
                for _ in range(stage.depth)
            )
            for stage in config.plan
        )
        self.head = Head(hidden, config.motion_dim)
        self.initialise()

    def initialise(self, generator: torch.Generator | None = None) -> None:
        """DiT's start: Xavier everywhere, and zero modulations and head, so that every block begins as the identity."""
        for name, parameter in self.named_parameters():
            if "modulation" in name or name.startswith(("head.", "prior.")) or name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif name in ("emotion_table", "null_audio") or name.startswith("time_in"):
                nn.init.normal_(parameter, std=0.02, generator=generator)
            elif parameter.dim() == 2:
                nn.init.xavier_uniform_(parameter, generator=generator)

    def forward(
        self, x: Tensor, sigma: Tensor, context: Tensor, audio: Tensor, emotion: Tensor, identity: Tensor,
        drop_audio: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Embed and predict in one call, as training does. See :meth:`embed` and :meth:`velocity`."""
        return self.velocity(x, sigma, context, self.embed(audio, emotion, identity, drop_audio))

    def start(self, audio: Tensor, noise: Tensor) -> Tensor:
        """Where the flow of a window begins: the noise [B, T, 70], about what the sound [B, T, A] alone foretells."""
        if self.prior is None:
            return noise
        return noise + self.prior(audio[..., -self.config.prior :].to(self.prior.weight)).to(noise)

    def embed(self, audio: Tensor, emotion: Tensor, identity: Tensor, drop_audio: Tensor | None = None) -> Embedded:
        """Embed the conditions of a window.

        audio: [B, T, A]; emotion: [B, 9] weights over the emotion table; identity: [B, 63] canonical keypoints, raw;
        drop_audio: bool [B], rows whose audio gives way to the learned null vector.
        """
        if drop_audio is not None:
            audio = torch.where(drop_audio[:, None, None], self.null_audio, audio)
        emotion_vector = emotion @ self.emotion_table  # [B, D]
        tokens: dict[Modality, Tensor] = {
            "audio": self.audio_in(audio),
            "emotion": emotion_vector[:, None],
            "identity": self.identity_in(identity)[:, None],
        }
        return Embedded(tokens, emotion_vector, self.layouts(audio.shape[1]))

    def velocity(self, x: Tensor, sigma: Tensor, context: Tensor, embedded: Embedded) -> Tensor:
        """The flow at noise level sigma.

        x: [B, T, 70] noisy motion; sigma: float32 [B] in 0..1; context: [B, T, 70] known motion held over the window.
        Returns noise - motion, [B, T, 70].
        """
        frames = x.shape[1]
        time = self.time_in(sinusoid(1000.0 * sigma, self.config.time_features).to(x.dtype))
        c = F.silu(time + embedded.emotion)[:, None]  # [B, 1, D]
        still = F.silu(embedded.emotion)[:, None]
        tokens = {"motion": self.motion_in(torch.cat([context, x], dim=-1)), **embedded.tokens}
        for stage, blocks, layout in zip(self.config.plan, self.stages, embedded.layouts, strict=True):
            for modality in stage.rope:  # equal tokens part company where they are given positions
                tokens[modality] = tokens[modality].expand(-1, self.config.tokens(modality, frames), -1)
            streams = [torch.cat([tokens[modality] for modality in group], dim=1) for group in stage.groups]
            cs = [c] * len(streams)
            if self.config.condition_attention == "asymmetric":
                cs = [
                    torch.cat([(c if m == "motion" else still).expand(-1, tokens[m].shape[1], -1) for m in group], 1)
                    for group in stage.groups
                ]
            final = blocks is self.stages[-1]
            for depth, block in enumerate(blocks.children(), 1):
                streams = block(streams, cs, layout, queries=frames if final and depth == stage.depth else None)
            if not final:
                joint = torch.cat(streams, dim=1).split([tokens[modality].shape[1] for modality in stage.order], dim=1)
                tokens = dict(zip(stage.order, joint, strict=True))
        return self.head(streams[0], c)

    def layouts(self, frames: int) -> tuple[Layout, ...]:
        """Positions and attention biases of every stage for a window of ``frames``.

        ``repeat`` equal tokens without positions stay equal through joint attention, so one of them stands for all, as
        a key log(repeat) stronger; this is exact. The first stage that gives them positions expands them.
        """
        config, device = self.config, self.null_audio.device
        expanded = {"motion", "audio"}
        layouts = []
        for stage in config.plan:
            expanded |= set(stage.rope)
            angles, bias = [], []
            for modality in stage.order:
                n = config.tokens(modality, frames)
                multiplicity = 1 if modality in expanded else n
                angle = rope_angles(n // multiplicity, config.head_dim, config.rope_theta)
                angles.append(angle if modality in stage.rope else torch.zeros_like(angle))
                bias += [math.log(multiplicity)] * (n // multiplicity)
            angle = torch.cat(angles)[:, None, None].to(device)  # [N, 1, 1, C / 2]
            scores = torch.tensor(bias, dtype=self.null_audio.dtype, device=device)[None] if any(bias) else None
            if config.condition_attention == "asymmetric":  # motion comes first: no condition looks at it
                scores = torch.zeros(1, len(bias), device=device) if scores is None else scores
                scores = scores.repeat(len(bias), 1).to(self.null_audio.dtype)
                scores[frames:, :frames] = -torch.inf
            layouts.append(Layout(angle.cos(), angle.sin(), None if scores is None else scores[None, None]))
        return tuple(layouts)

    @property
    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())
