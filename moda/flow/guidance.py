"""Classifier-free guidance with a scale for the sound and one for the emotion, and emotions mixed by the frame.

    v = (1 - w_a) v(nothing) + (w_a - w_e) v(audio) + w_e v(audio, emotion)

Equal scales give the published two-branch formula, scales of 1 the conditional branch alone. Branches of zero weight
are not evaluated; the others share one call of the network.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from moda.motion import EmotionMix
from moda.network import NULL_EMOTION, MMDiT


@dataclass(frozen=True)
class Guidance:
    """Scales of 1 mean no guidance; it acts at noise levels in (low, high] of ``interval`` (arXiv 2404.07724)."""

    audio: float = 1.0
    emotion: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)

    def weights(self, sigma: float) -> tuple[float, float, float]:
        """Weights of v(audio, emotion), v(audio) and v(nothing) at this noise level; they sum to 1."""
        low, high = self.interval
        if not low < sigma <= high:
            return 1.0, 0.0, 0.0
        return self.emotion, self.audio - self.emotion, 1.0 - self.audio


class GuidedVelocity:
    """The velocity of one window, ``(x [B, T, 70], sigma) -> [B, T, 70]``, under fixed conditions.

    audio: [B, T, A]; identity: [B, 63]; context: [B, T, 70]; mix: K emotions, the same for all rows.
    Everything that does not depend on the step is computed here, once. x and v keep the dtype of x; the network runs in
    its own.
    """

    def __init__(
        self, model: MMDiT, guidance: Guidance, audio: Tensor, identity: Tensor, context: Tensor, mix: EmotionMix
    ) -> None:
        self.model, self.guidance = model, guidance
        like = model.null_audio
        _, w_audio, w_nothing = guidance.weights(guidance.interval[1])
        null = F.one_hot(torch.tensor([NULL_EMOTION]), model.config.emotions)
        # branches in the order of Guidance.weights: K with audio and emotion, then the two others if they ever count
        emotions = torch.cat([mix.emotions] + [null] * (bool(w_audio) + bool(w_nothing))).to(like)  # [branches, 9]
        silent = torch.zeros(len(emotions), dtype=torch.bool, device=like.device)
        silent[len(emotions) - bool(w_nothing) :] = True

        batch, self.branches = len(audio), len(emotions)
        self.mix = mix.weights.to(like.device, torch.float32)  # [K, T]
        self.context = context.to(like).repeat(self.branches, 1, 1)
        self.embedded = model.embed(
            audio.to(like).repeat(self.branches, 1, 1),
            emotions.repeat_interleave(batch, dim=0),
            identity.to(like).repeat(self.branches, 1),
            silent.repeat_interleave(batch),
        )

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        full, *others = self.guidance.weights(sigma)
        first = 0 if full else len(self.mix)
        last = self.branches if any(others) else len(self.mix)
        n, batch = last - first, len(x)
        rows = slice(first * batch, last * batch)
        v = self.model.velocity(
            x.to(self.context).repeat(n, 1, 1),
            torch.full((n * batch,), sigma, device=x.device),
            self.context[rows],
            self.embedded.rows(rows),
        )
        weights = [full * self.mix] if full else []
        weights += [torch.full_like(self.mix[:1], weight) for weight in others if weight]
        return (torch.cat(weights)[:, None, :, None] * v.to(x).unflatten(0, (n, batch))).sum(0)  # [B, T, 70]
