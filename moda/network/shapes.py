"""Name and shape of every tensor in the published files, and random numbers to fill them with.

With these the published networks can be built, loaded and run at their full size by those who have not got the files.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor


def published_shapes(
    hidden: int = 768, heads: int = 12, layers: int = 12, width: int = 768
) -> dict[str, tuple[int, ...]]:
    """Of the motion generator; audio tokens are ``layers`` hidden states of ``width``."""
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, out: int, features: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (out, features), (out,)

    for name, features in (("motion", 140), ("identity", 63), ("time", 256)):
        linear(f"{name}_embedder.mlp.0", hidden, features)
        linear(f"{name}_embedder.mlp.2", hidden, hidden)
    for i, features in enumerate((layers * width, hidden, hidden), 1):
        linear(f"audio_embedder.proj{i}", hidden, features)
    shapes["audio_embedder.norm.weight"] = (hidden,)
    shapes["emo_embedder.embedding_table.weight"] = (9, hidden)
    for kind, depth, streams in (("blocks4", 3, ("xs", "1", "2", "3")), ("blocks2", 6, ("xs", ""))):
        for block in (f"{kind}.{i}" for i in range(depth)):
            for s in streams:
                linear(f"{block}.attn1.qkv_{'xs' if s == 'xs' else 'au' + s}", 3 * hidden, hidden)
                linear(f"{block}.attn1.{'xs_proj' if s == 'xs' else 'au_proj' + s}", hidden, hidden)
                mlp = "xs_mlp" if s == "xs" else f"audio_mlp{s}"
                linear(f"{block}.{mlp}.fc1", 4 * hidden, hidden)
                linear(f"{block}.{mlp}.fc2", hidden, 4 * hidden)
                linear(f"{block}.adaLN_modulation_{'xs' if s == 'xs' else 'audio' + s}.1", 6 * hidden, hidden)
                for side in "qk":
                    name = f"xs_{side}_norm" if s == "xs" else f"au_{side}_norm{s}"
                    shapes[f"{block}.attn1.{name}.weight"] = (hidden // heads,)
    for block in (f"blocks.{i}" for i in range(12)):
        linear(f"{block}.qkv_xs", 7 * hidden, hidden)
        linear(f"{block}.linear2", hidden, 5 * hidden)
        linear(f"{block}.adaLN_modulation_xs.1", 3 * hidden, hidden)
        for side in "qk":
            shapes[f"{block}.attn1.xs_{side}_norm.weight"] = (hidden // heads,)
    linear("final_layer.linear", 70, hidden)
    linear("final_layer.adaLN_modulation.1", 2 * hidden, hidden)
    return {f"talking_head_dit.{name}": shape for name, shape in shapes.items()}


def random_state(
    shapes: Mapping[str, tuple[int, ...]], generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Weights about as a trained network has them: nothing vanishes, nothing explodes."""

    def draw(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=generator)

    state: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        kind = name.rpartition(".")[-1]
        if kind == "num_batches_tracked":
            state[name] = torch.tensor(1)
            continue
        if kind == "running_var" or (kind == "weight" and len(shape) == 1):
            tensor = 1 + 0.2 * draw(shape).tanh()
        elif kind in ("weight", "weight_orig"):
            tensor = draw(shape)
            tensor /= tensor[0].numel() ** 0.5
        else:
            tensor = 0.2 * draw(shape)
        state[name] = tensor.to(dtype)
    for name in [name for name in state if name.endswith(".weight_orig")]:
        rows, stem = state[name].float().flatten(1), name.removesuffix("orig")
        v = F.normalize(draw((rows.shape[1],)), dim=0)
        for _ in range(3):  # as training does, a step of power iteration each time
            u = F.normalize(rows @ v, dim=0)
            v = F.normalize(rows.T @ u, dim=0)
        state[f"{stem}u"], state[f"{stem}v"] = u.to(dtype), v.to(dtype)
    return state
