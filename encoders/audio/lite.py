"""The shape of the embedded audio encoder, as its file states it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Self

from transformers import Wav2Vec2Config

from contracts import SAMPLES_PER_FRAME

#: What a config may ask for at most: a damaged one could ask for more than there is memory.
WIDEST, DEEPEST, LONGEST_TEXT = 2**14, 64, 2**16  # widths; layers; characters of JSON
GROUPS = 16  # of the positional convolution


@dataclass(frozen=True)
class LiteConfig:
    """Shape of the embedded encoder: about 4 M parameters, one transformer frame per video frame."""

    conv_dim: tuple[int, ...] = (32, 48, 64, 96, 128, 160, 192, 192)
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2, 2)
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2, 2)  # product 640: 25 Hz
    hidden: int = 256
    layers: int = 4
    heads: int = 4
    mlp: int = 1024
    positions: int = 31  # kernel of the positional convolution, in frames
    prosody: bool = False  # a head that hears how something is said

    def __post_init__(self) -> None:
        convolutions = (self.conv_dim, self.conv_kernel, self.conv_stride)
        numbers = [self.hidden, self.layers, self.heads, self.mlp, self.positions]
        for part in convolutions:
            if not isinstance(part, tuple) or len(part) != len(self.conv_dim) or not 1 <= len(part) <= DEEPEST:
                raise ValueError("the convolutions do not go together")
            numbers += part
        if not all(type(number) is int and 1 <= number <= WIDEST for number in numbers) or self.layers > DEEPEST:
            raise ValueError("a number is out of range")
        if type(self.prosody) is not bool:
            raise ValueError("whether it hears prosody is true or false")
        if math.prod(self.conv_stride) != SAMPLES_PER_FRAME or self.hidden % self.heads or self.hidden % GROUPS:
            raise ValueError("strides, widths and heads do not go together")

    @classmethod
    def large(cls) -> Self:
        """What `moda train encoder` makes: about 8 M parameters."""
        return cls(hidden=320, heads=5, layers=6, mlp=1280, prosody=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises TypeError, ValueError."""
        if len(text) > LONGEST_TEXT:
            raise ValueError("a config of that length is none")
        try:
            stored = json.loads(text)
        except RecursionError as error:
            raise ValueError("a config of that depth is none") from error
        if not isinstance(stored, dict):
            raise TypeError("a config is an object")
        fields: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in stored.items()}
        return cls(**fields)

    def wav2vec2(self) -> Wav2Vec2Config:
        # Layer norm in the convolutions rather than group norm over time: a frame then does not depend on how long
        # the chunk around it is, so chunked and whole encoding agree.
        return Wav2Vec2Config(
            conv_dim=self.conv_dim, conv_kernel=self.conv_kernel, conv_stride=self.conv_stride, conv_bias=True,
            feat_extract_norm="layer", do_stable_layer_norm=True,
            hidden_size=self.hidden, num_hidden_layers=self.layers, num_attention_heads=self.heads,
            intermediate_size=self.mlp, num_conv_pos_embeddings=self.positions, num_conv_pos_embedding_groups=GROUPS,
            apply_spec_augment=False, mask_time_prob=0.0, layerdrop=0.0, attention_dropout=0.0, activation_dropout=0.0,
        )  # fmt: skip
