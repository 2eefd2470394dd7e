"""The networks that hear: a wav2vec 2.0 or HuBERT backbone aligned to video frames, and the embedded encoder."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2Model

from contracts import SAMPLES_PER_FRAME
from encoders.audio.prosody import HEARD
from encoders.audio.published import MARGINS, Recording
from encoders.audio.visemes import VISEMES

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Articulation track: 11 mouth keypoints (x, y, z) and the inner-lip gap.
ARTICULATION_CHANNELS = 34


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
        """What `moda train encoder` makes: about 7 M parameters."""
        return cls(layers=8, prosody=True)

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

    def goes_on_from(self, former: LiteConfig) -> bool:
        """Whether an encoder of this shape can take over all of the former's parameters: it may be deeper only."""
        deeper = self.layers >= former.layers and self.prosody >= former.prosody
        return deeper and replace(self, layers=former.layers, prosody=former.prosody) == former

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


class FrameAligned(nn.Module):
    """A wav2vec2-architecture backbone that gives exactly one frame for every 640 samples.

    The waveform is padded by 40 reflected samples on either side, so that the convolutions give n (or, at 50 Hz,
    2 n) frames for 640 n samples; 2 n are interpolated to n before the transformer (the published "presample").
    """

    backbone: Any  # transformers types its submodules loosely

    def __init__(self, backbone: PreTrainedModel) -> None:
        super().__init__()
        self.backbone = backbone

    def convolve(self, waveform: Tensor) -> Tensor:
        """waveform [B, 640 T] -> convolutional features [B, T, C], for convolutions at 25 Hz with layer norm."""
        frames = waveform.shape[-1] // SAMPLES_PER_FRAME
        padded = waveform[:, None, : frames * SAMPLES_PER_FRAME]
        for margin in MARGINS:
            padded = F.pad(padded, (margin, margin), mode="reflect")
        x = padded
        # norm and activation on [B, T, C] as it lies: twice as fast in training as the module's own forward
        for layer in self.backbone.feature_extractor.conv_layers:
            x = layer.activation(layer.layer_norm(layer.conv(x).transpose(1, 2))).transpose(1, 2)
        return x.transpose(1, 2)

    def listen(self, recording: Recording) -> Callable[[int, int], Tensor]:
        """For convolutions at 50 Hz: gives the features [1, n, C] of frames first .. last - 1 of a recording.

        They are those of the whole, wherever a piece begins: statistics over time, which the base checkpoints take
        behind the first convolution, are fixed beforehand, and the interpolation is that of all frames.
        """
        layers = list(self.backbone.feature_extractor.conv_layers)
        if isinstance(getattr(layers[0], "layer_norm", None), nn.GroupNorm):
            layers[0] = _fix_norm(layers[0], recording)
        step = (2 * recording.frames - 1) / max(recording.frames - 1, 1)  # in frames of 50 Hz

        def convolve(first: int, last: int) -> Tensor:
            x = torch.from_numpy(recording.padded(first, last))[None, None].to(self.backbone.device)
            for layer in layers:
                x = layer(x)  # [1, C, 2 n] in the end
            early, late = x.unflatten(-1, (-1, 2)).unbind(-1)
            frame = torch.arange(first, last, device=x.device, dtype=x.dtype)
            late_share = (frame * step - 2 * frame).clamp(max=1)  # rounded as torch.nn.functional.interpolate does
            return torch.lerp(early, late, late_share).transpose(1, 2)

        return convolve

    def transform(self, features: Tensor) -> Tensor:
        """convolutional features [B, T, C] -> last hidden state [B, T, D]."""
        projected = self.backbone.feature_projection(features)
        hidden = projected[0] if isinstance(projected, tuple) else projected
        return self.backbone.encoder(hidden).last_hidden_state

    def hidden_states(self, features: Tensor) -> Tensor:
        """convolutional features [B, T, C] -> hidden states of all layers [B, T, L, D]; by one thread at a time."""
        with _layer_outputs(self.backbone) as outputs:
            last = self.transform(features)
        return torch.stack([*outputs[:-1], last], dim=2)


def _fix_norm(layer: Any, recording: Recording) -> Callable[[Tensor], Tensor]:
    """The first convolution, group norm over time and activation of a checkpoint, with the statistics of a recording.

    Convolution and norm become one convolution: mean and variance of a linear map of windows follow from theirs.
    """
    kernel = layer.conv.weight[:, 0].double().cpu()  # [C, k]
    mean, covariance = map(torch.from_numpy, recording.moments(kernel.shape[1], layer.conv.stride[0]))
    variance = (kernel @ covariance * kernel).sum(1)
    gain = layer.layer_norm.weight.double().cpu() / (variance + layer.layer_norm.eps).sqrt()  # [C]
    weight = (gain[:, None] * kernel)[:, None].to(layer.conv.weight)
    bias = (layer.layer_norm.bias.double().cpu() - gain * (kernel @ mean)).to(weight)
    return lambda x: layer.activation(F.conv1d(x, weight, bias, stride=layer.conv.stride))


@contextmanager
def _layer_outputs(backbone: Any) -> Iterator[list[Tensor]]:
    outputs: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        outputs.append(output[0] if isinstance(output, tuple) else output)

    handles = [layer.register_forward_hook(keep) for layer in backbone.encoder.layers]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


class Heard(NamedTuple):
    """What the embedded encoder makes of a waveform [B, 640 T]."""

    features: Tensor  # [B, T, C] of the convolutions
    hidden: Tensor  # [B, T, D]
    visemes: Tensor  # [B, T, 15] logits
    prosody: Tensor | None  # [B, T, 4] encoders.audio.prosody.HEARD
    articulation: Tensor  # [B, T, 34] standardised

    def at(self, frame: int) -> Heard:
        """That frame alone: [B, 1, ...]."""
        return Heard(*(None if part is None else part[:, frame : frame + 1] for part in self))  # type: ignore[arg-type]


class LiteEncoder(nn.Module):
    """The embedded encoder: FrameAligned wav2vec2 at 25 Hz with heads for visemes, prosody and the articulation."""

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        self.config = config
        self.frames = FrameAligned(Wav2Vec2Model(config.wav2vec2()))
        self.viseme_head = nn.Linear(config.hidden, len(VISEMES))
        self.prosody_head = nn.Linear(config.hidden, len(HEARD)) if config.prosody else None
        # a short look either way: lips move before and after the sound
        self.articulation_head = nn.Sequential(
            nn.Conv1d(config.hidden + len(VISEMES), config.hidden, 5, padding=2), nn.GELU(),
            nn.Conv1d(config.hidden, ARTICULATION_CHANNELS, 5, padding=2),
        )  # fmt: skip

    @torch.no_grad()
    def go_on_from(self, former: LiteEncoder) -> None:
        """Take over what a shallower encoder of the same widths has learnt: it gives the same at first.

        Layers and heads that the former lacks begin anew, the layers with a share of nothing (the identity of
        Net2DeeperNet, Chen et al., arXiv 1511.05641). Raises ValueError if the two do not fit.
        """
        if not self.config.goes_on_from(former.config):
            raise ValueError("only an encoder of the same widths, and no deeper, can be gone on from")
        self.load_state_dict(self.state_dict() | former.state_dict())
        for layer in self.frames.backbone.encoder.layers[former.config.layers :]:
            for last in (layer.attention.out_proj, layer.feed_forward.output_dense):
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)

    def forward(self, waveform: Tensor, masked: Tensor | None = None) -> Heard:
        """waveform [B, 640 T]; frames that are ``masked``, bool [B, T], are not heard by the transformer."""
        features = self.frames.convolve(waveform)
        heard = features if masked is None else features.masked_fill(masked[..., None], 0)
        hidden = self.frames.transform(heard)
        visemes = self.viseme_head(hidden)
        joined = torch.cat([hidden, visemes.softmax(-1)], dim=-1)  # [B, T, D + 15]
        joined = F.dropout(joined, 0.2, self.training).transpose(1, 2)
        track = self.articulation_head(joined)
        prosody = None if self.prosody_head is None else self.prosody_head(hidden)
        return Heard(features, hidden, visemes, prosody, track.transpose(1, 2))
