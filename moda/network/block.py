"""One block for every stage of the network, generic in its streams.

SD3's joint attention (arXiv 2403.03206) with adaLN-Zero modulation (DiT, arXiv 2212.09748) for any number of streams;
with ``parallel`` the attention and the MLP read the same modulated input, as in the single-stream block of FLUX.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moda.network.layers import MLP, Linear, joined, modulate, rms_norm, rotate


class Layout(NamedTuple):
    """What the attention of a stage knows of its joint token sequence, the same for all its blocks."""

    cos: Tensor  # [N, 1, 1, C / 2]; 1 where a token carries no position
    sin: Tensor  # [N, 1, 1, C / 2]
    bias: Tensor | None  # [1, 1, 1 or N, N] added to the scores of queries (rows) for keys; None is none


class Stream(nn.Module):
    """The weights one stream owns in a block."""

    def __init__(self, hidden: int, heads: int, mlp_ratio: int, parallel: bool) -> None:
        super().__init__()
        self.heads, self.parallel = heads, parallel
        self.modulation = Linear(hidden, (3 if parallel else 6) * hidden)
        self.qkv = Linear(hidden, 3 * hidden)
        self.qk_norm = nn.Parameter(torch.ones(2, 1, hidden // heads))  # RMS norm weights of q and of k
        self.proj = Linear(hidden, hidden)
        self.mlp = MLP(hidden, mlp_ratio, bias=not parallel)

    def project(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """[B, N, D] -> normalised q and k [B, N, 2, H, C], and v [B, N, H, C]."""
        qkv = self.qkv(h).unflatten(-1, (3, self.heads, -1))
        return F.rms_norm(qkv[:, :, :2], qkv.shape[-1:], eps=1e-5) * self.qk_norm, qkv[:, :, 2]

    def close(self, x: Tensor, h: Tensor, attended: Tensor, modulation: Sequence[Tensor]) -> Tensor:
        """Residual updates: x, its modulated norm h and its attention output [B, N, D] -> [B, N, D]."""
        gate = modulation[2]
        if self.parallel:
            return torch.addcmul(x, gate, self.proj(attended) + self.mlp(h))
        x = torch.addcmul(x, gate, self.proj(attended))
        shift, scale, gate = modulation[3:]
        return torch.addcmul(x, gate, self.mlp(modulate(rms_norm(x), shift, scale)))


class Block(nn.Module):
    def __init__(self, names: Sequence[str], hidden: int, heads: int, mlp_ratio: int, parallel: bool) -> None:
        super().__init__()
        self.streams = nn.ModuleDict({name: Stream(hidden, heads, mlp_ratio, parallel) for name in names})

    def forward(
        self, xs: Sequence[Tensor], cs: Sequence[Tensor], layout: Layout, queries: int | None = None
    ) -> list[Tensor]:
        """Streams ``xs`` (each [B, N_s, D]), each under its condition ``cs`` [B, 1 or N_s, D] -> the same, updated.

        ``queries`` asks for the first tokens of the first stream alone; the rest then serve as keys and values only.
        """
        streams: list[Stream] = list(self.streams.values())  # type: ignore[arg-type]
        modulations = [
            stream.modulation(c).chunk(3 if stream.parallel else 6, dim=-1)
            for stream, c in zip(streams, cs, strict=True)
        ]
        hs = [modulate(rms_norm(x), m[0], m[1]) for x, m in zip(xs, modulations, strict=True)]
        qks, vs = zip(*(stream.project(h) for stream, h in zip(streams, hs, strict=True)), strict=True)
        q, k = rotate(joined(qks), layout.cos, layout.sin).transpose(1, 3).unbind(2)  # [B, H, N, C] each
        v = joined(vs).transpose(1, 2)
        bias = layout.bias
        if queries is not None:
            streams, xs, hs, q = streams[:1], [xs[0][:, :queries]], [hs[0][:, :queries]], q[:, :, :queries]
            modulations = [[part[:, :queries] for part in modulations[0]]]
            bias = None if bias is None else bias[:, :, :queries]
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        parts = attended.transpose(1, 2).flatten(2).split([x.shape[1] for x in xs], dim=1)
        rows = zip(streams, xs, hs, parts, modulations, strict=True)
        return [stream.close(x, h, part, m) for stream, x, h, part, m in rows]
