"""The published motion generator and its sampling, in float32.

Tokens of motion (x) and of three conditions, 1 audio, 2 emotion, 3 identity; the latter two are one vector each, 80
times. All that depends on the conditions alone is computed again in every step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW, OVERLAP = 80, 16
DEPTHS = {"blocks4": 3, "blocks2": 6, "blocks": 12}


class PlainMoDA:
    """``state``: the published tensors, ``null_audio_feat`` [W] among them."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.weights = {name.removeprefix("talking_head_dit."): tensor for name, tensor in state.items()}
        self.null_audio = self.weights.pop("null_audio_feat")
        self.head_dim = len(self.weights["blocks.0.attn1.xs_q_norm.weight"])

    def __call__(self, motion: Tensor, times: Tensor, audio: Tensor, emotion: Tensor, identity: Tensor) -> Tensor:
        """motion [B, 80, 140], previous then noisy; times [B] in 1..1000; audio [B, 80, 1, L, W]; emotion long [B];
        identity [B, 80, 63] -> velocity [B, 80, 70]."""
        frames = motion.shape[1]
        x = self.embed("motion_embedder", motion)
        audio = audio.flatten(2)
        audio = F.relu(self.linear("audio_embedder.proj2", F.relu(self.linear("audio_embedder.proj1", audio))))
        audio = self.rms_norm(self.linear("audio_embedder.proj3", audio)) * self.weights["audio_embedder.norm.weight"]
        emotion = F.embedding(emotion, self.weights["emo_embedder.embedding_table.weight"])  # [B, D]
        identity = self.embed("identity_embedder", identity.mean(1))
        frequency = torch.exp(-math.log(10_000) * torch.arange(128) / 128)
        angles = times[:, None].float() * frequency
        c = F.silu(self.embed("time_embedder", torch.cat([angles.cos(), angles.sin()], dim=-1)) + emotion)

        streams = {"x": x, "1": audio}
        streams |= {"2": emotion[:, None].repeat(1, frames, 1), "3": identity[:, None].repeat(1, frames, 1)}
        for i in range(DEPTHS["blocks4"]):
            streams = self.block(f"blocks4.{i}", streams, c, rope=("x", "1"))
        streams = {"x": streams["x"], "": torch.cat([streams["1"], streams["2"], streams["3"]], dim=1)}
        for i in range(DEPTHS["blocks2"]):
            streams = self.block(f"blocks2.{i}", streams, c, rope=("x", ""))
        x = torch.cat([streams["x"], streams[""]], dim=1)
        for i in range(DEPTHS["blocks"]):
            x = self.single_block(f"blocks.{i}", x, c)
        shift, scale = self.linear("final_layer.adaLN_modulation.1", c)[:, None].chunk(2, dim=-1)
        return self.linear("final_layer.linear", self.rms_norm(x[:, :frames]) * (1 + scale) + shift)

    def block(self, name: str, streams: dict[str, Tensor], c: Tensor, rope: tuple[str, ...]) -> dict[str, Tensor]:
        """Streams with weights of their own, and one attention over all of them."""
        modulations, queries, keys, values = {}, [], [], []
        for s, x in streams.items():
            adaln = self.linear(f"{name}.adaLN_modulation_{'xs' if s == 'x' else f'audio{s}'}.1", c)
            modulations[s] = shift, scale, *_ = adaln[:, None].chunk(6, dim=-1)
            h = self.rms_norm(x) * (1 + scale) + shift
            qkv = self.linear(f"{name}.attn1.qkv_{'xs' if s == 'x' else f'au{s}'}", h)
            norm = "xs_{}_norm" if s == "x" else f"au_{{}}_norm{s}"
            q, k, v = self.heads(f"{name}.attn1.{norm}", qkv, s in rope)
            queries.append(q)
            keys.append(k)
            values.append(v)
        attended = self.attention(torch.cat(queries, 2), torch.cat(keys, 2), torch.cat(values, 2))
        parts = attended.split([x.shape[1] for x in streams.values()], dim=1)
        out = {}
        for (s, x), part in zip(streams.items(), parts, strict=True):
            _, _, gate, shift, scale, mlp_gate = modulations[s]
            x = x + gate * self.linear(f"{name}.attn1.{'xs_proj' if s == 'x' else f'au_proj{s}'}", part)
            h = self.rms_norm(x) * (1 + scale) + shift
            mlp = f"{name}.{'xs_mlp' if s == 'x' else f'audio_mlp{s}'}"
            h = self.linear(f"{mlp}.fc2", F.gelu(self.linear(f"{mlp}.fc1", h), approximate="tanh"))
            out[s] = x + mlp_gate * h
        return out

    def single_block(self, name: str, x: Tensor, c: Tensor) -> Tensor:
        """All tokens in one stream; attention and MLP side by side."""
        shift, scale, gate = self.linear(f"{name}.adaLN_modulation_xs.1", c)[:, None].chunk(3, dim=-1)
        h = self.linear(f"{name}.qkv_xs", self.rms_norm(x) * (1 + scale) + shift)
        qkv, mlp = h.tensor_split([3 * x.shape[-1]], dim=-1)
        q, k, v = self.heads(f"{name}.attn1.xs_{{}}_norm", qkv, rope=True)
        h = torch.cat([self.attention(q, k, v), F.gelu(mlp, approximate="tanh")], dim=-1)
        return x + gate * self.linear(f"{name}.linear2", h)

    def heads(self, norm: str, qkv: Tensor, rope: bool) -> tuple[Tensor, Tensor, Tensor]:
        """[B, N, 3 D] -> q, k normalised and turned, v, [B, H, N, C] each."""
        q, k, v = (part.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
        q = self.rms_norm(q, 1e-5) * self.weights[f"{norm.format('q')}.weight"]
        k = self.rms_norm(k, 1e-5) * self.weights[f"{norm.format('k')}.weight"]
        return (turn(q), turn(k), v) if rope else (q, k, v)

    @staticmethod
    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    @staticmethod
    def rms_norm(x: Tensor, epsilon: float = 1e-6) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def embed(self, name: str, x: Tensor) -> Tensor:
        return self.linear(f"{name}.mlp.2", F.silu(self.linear(f"{name}.mlp.0", x)))


def turn(x: Tensor) -> Tensor:
    """Rotary positions 0..79, again and again, on neighbouring channel pairs of x [B, H, N, C]."""
    half = x.shape[-1] // 2
    frequency = 256.0 ** (-torch.arange(half) / half)
    angles = (torch.arange(x.shape[2]) % WINDOW)[:, None] * frequency  # [N, C / 2]
    a, b = x[..., 0::2], x[..., 1::2]
    pairs = [a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()]
    return torch.stack(pairs, dim=-1).flatten(-2)


@torch.inference_mode()
def sample(
    network: PlainMoDA, audio: Tensor, identity: Tensor, emotion: int, previous: Tensor, noise: Tensor,
    guidance: float = 1.2, steps: int = 10, smooth: bool = True,
) -> Tensor:  # fmt: skip
    """Published sampling in the normalised space: audio [T, L, W], identity [63], previous [70], noise [n, 80, 70] of
    n windows -> motion [T, 70]."""
    frames, stride = len(audio), WINDOW - OVERLAP
    times = torch.linspace(1000, 1, steps)
    motion = torch.zeros(0, 70)
    for i, x in enumerate(noise):
        heard = audio[i * stride : i * stride + WINDOW]
        heard = torch.cat([heard, torch.zeros(WINDOW - len(heard), *audio.shape[1:])])
        for step, time in enumerate(times):
            inputs = torch.cat([previous.expand(WINDOW, -1), x], dim=-1)
            silent = network.null_audio.expand_as(heard)
            nothing, told = network(
                torch.stack([inputs, inputs]),
                time.expand(2),
                torch.stack([silent, heard])[:, :, None],
                torch.tensor([8, emotion]),
                identity.expand(2, WINDOW, -1),
            )
            sigma, following = time / 1000, times[step + 1] / 1000 if step + 1 < steps else 0.0
            x = x + (following - sigma) * (nothing + guidance * (told - nothing))
        x = smoothed(x) if smooth else x
        previous = x[stride - 1]
        if i:
            alpha = (torch.arange(OVERLAP) / OVERLAP)[:, None]
            blended = (1 - alpha) * motion[-OVERLAP:] + alpha * x[:OVERLAP]
            motion = torch.cat([motion[:-OVERLAP], blended, x[OVERLAP:]])
        else:
            motion = x
    motion = motion[:frames]
    return smoothed(motion) if smooth else motion


def smoothed(motion: Tensor) -> Tensor:
    """Each frame of scale, translation and rotation becomes the mean of it and its neighbours."""
    out = motion.clone()
    for t in range(len(motion)):
        out[t, 63:] = motion[max(t - 1, 0) : t + 2, 63:].mean(0)
    return out
