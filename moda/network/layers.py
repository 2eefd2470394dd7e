"""Small parts of the network: embedders, norm, modulation, rotary positions.

Shapes: B batch, N tokens, D hidden, H heads, C = D / H.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def rms_norm(x: Tensor) -> Tensor:
    """RMS norm without a weight: the modulation that follows is its weight."""
    return F.rms_norm(x, x.shape[-1:], eps=1e-6)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return torch.addcmul(x + shift, x, scale)  # x (1 + scale) + shift


def joined(streams: Sequence[Tensor]) -> Tensor:
    """Streams [B, N_s, ...] as one sequence of tokens; a single one as it is, which ``cat`` would copy."""
    return streams[0] if len(streams) == 1 else torch.cat(list(streams), dim=1)


def sinusoid(t: Tensor, features: int, max_period: float = 10_000.0) -> Tensor:
    """``[cos | sin]`` features of a scalar, [B] -> [B, features]."""
    half = features // 2
    frequency = torch.exp(-math.log(max_period) / half * torch.arange(half, device=t.device, dtype=torch.float32))
    angle = t.float()[:, None] * frequency
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


def rope_angles(length: int, head_dim: int, theta: float) -> Tensor:
    """Rotary angles of positions 0 .. length - 1, [N, C / 2] (RoFormer, arXiv 2104.09864)."""
    frequency = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    return torch.arange(length, dtype=torch.float32)[:, None] * frequency


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn neighbouring channel pairs: x [B, N, ..., C], cos and sin [N, 1.., C / 2]."""
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2).to(x.dtype)


#: oneDNN multiplies float32 on x86 about twice as fast as MKL does where the processor is not Intel's.
_ONEDNN = (
    torch.backends.mkldnn.is_available()
    and platform.machine() in ("x86_64", "AMD64")
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # what torch.compile calls, and no promise of torch's
)


class Linear(nn.Linear):
    """A linear layer that at inference on a CPU goes to oneDNN in float32 too, as torch does in lower precisions."""

    def forward(self, x: Tensor, gelu: bool = False) -> Tensor:
        """``gelu``: and through the tanh GELU, which oneDNN does in passing."""
        if _ONEDNN and x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_grad_enabled():
            kind = ("gelu", "tanh") if gelu else ("none", "")
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, kind[0], [], kind[1])
        y = super().forward(x)
        return F.gelu(y, approximate="tanh") if gelu else y


class Embedder(nn.Sequential):
    """Linear, SiLU, linear: motion, identity and time each come in through one."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__(Linear(features, hidden), nn.SiLU(), Linear(hidden, hidden))


class AudioEmbedder(nn.Module):
    """Audio tokens [B, T, A] -> [B, T, D]."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Linear(features, hidden), nn.ReLU(), Linear(hidden, hidden), nn.ReLU(), Linear(hidden, hidden)
        )
        self.norm = nn.RMSNorm(hidden, eps=1e-6)

    def forward(self, audio: Tensor) -> Tensor:
        return self.norm(self.layers(audio))


class MLP(nn.Module):
    """``bias=False`` drops the output bias, for blocks where the attention projection beside it has one."""

    def __init__(self, hidden: int, ratio: int, bias: bool = True) -> None:
        super().__init__()
        self.fc1 = Linear(hidden, ratio * hidden)
        self.fc2 = Linear(ratio * hidden, hidden, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.fc1(x, gelu=True))


class Head(nn.Module):
    """Modulated norm and projection to the velocity."""

    def __init__(self, hidden: int, out: int) -> None:
        super().__init__()
        self.modulation = Linear(hidden, 2 * hidden)
        self.linear = Linear(hidden, out)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift, scale = self.modulation(c).chunk(2, dim=-1)  # c [B, 1, D]
        return self.linear(modulate(rms_norm(x), shift, scale))
