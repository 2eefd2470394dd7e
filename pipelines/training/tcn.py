"""A small temporal convolutional network from speech features to the mouth: regression, no chance in it.

The yardstick of `moda evaluate` (a generator that follows speech worse than this is no use), and the teacher that
labels speech without pictures for the audio encoder. Seven dilated residual convolutions see about 0.9 s either way.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoders.audio import MELS, MELS_PER_FRAME, log_mel, loudness

MEL_FEATURES = MELS * MELS_PER_FRAME


@dataclass(frozen=True)
class TcnExample:
    """One recording: what is heard and what the face did."""

    features: Tensor  # [T, F]
    track: Tensor  # [T, C] in units, the inner-lip gap last
    valid: Tensor  # bool [T]
    weight: float  # how often it is drawn


@dataclass(frozen=True)
class TcnConfig:
    steps: int = 1500
    batch: int = 16
    frames: int = 100  # 4 s
    channels: int = 160
    dilations: tuple[int, ...] = (1, 2, 4, 8, 1, 2, 4)
    learning_rate: float = 2e-3
    dropout: float = 0.1
    mask: float = 0.15  # features blanked per window: in the mean this share of a window's bands
    ema: float = 0.995
    gap_weight: float = 4.0
    speed_weight: float = 0.5
    seed: int = 0
    precision: torch.dtype = torch.float32  # of the network's arithmetic; parameters and losses stay float32


class Tcn(nn.Module):
    """features [B, T, F] -> track [B, T, C], standardised."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: TcnConfig, features: int, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        width = config.channels
        self.enter = nn.Sequential(
            nn.BatchNorm1d(features), nn.Conv1d(features, width, 3, padding=1), nn.GELU(),
            nn.Conv1d(width, width, 3, padding=1), nn.GELU(),
        )  # fmt: skip
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm1d(width), nn.Conv1d(width, width, 3, padding=d, dilation=d), nn.GELU(),
                nn.Dropout(config.dropout), nn.Conv1d(width, width, 1),
            )
            for d in config.dilations
        )  # fmt: skip
        self.leave = nn.Conv1d(width, len(mean), 1)

    def forward(self, features: Tensor) -> Tensor:
        x = self.enter(features.transpose(1, 2))
        for block in self.blocks:
            x = x + block(x)
        return self.leave(x).transpose(1, 2)

    @torch.inference_mode()
    def predict(self, features: Tensor) -> np.ndarray:
        """features [T, F] -> track [T, C] in units."""
        return (self(features[None].float())[0] * self.std + self.mean).numpy()


def mel_features(waveform: np.ndarray) -> Tensor:
    """waveform float32 [640 T] -> [T, 160]: four log-mel spectra a frame, free of level and of the line's colour."""
    level = (waveform - waveform.mean()) / loudness(waveform)
    return log_mel(torch.from_numpy(level.astype(np.float32))[None])[0].flatten(1)


def train_tcn(
    examples: list[TcnExample], config: TcnConfig, progress: Callable[[int], object] = lambda steps: None
) -> Tcn:
    """Train from scratch on the CPU; about four minutes of one core. The same seed gives the same network.

    ``progress`` is told the steps done, after each.
    """
    rng = np.random.default_rng(config.seed)
    known = torch.cat([example.track[example.valid] for example in examples])
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        network = Tcn(config, examples[0].features.shape[1], known.mean(0), known.std(0) + 1e-5)
        average = copy.deepcopy(network).eval()
        optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.learning_rate, config.steps, pct_start=0.1)
        weights = torch.ones(len(known[0]))
        weights[-1] = config.gap_weight
        for step, (features, wanted, valid) in enumerate(_batches(examples, config, network, rng), 1):
            with torch.autocast("cpu", config.precision, enabled=config.precision != torch.float32):
                found = network(features)
            found = found.float()
            error = (found - wanted).square() * weights
            speed = F.smooth_l1_loss(found.diff(dim=1), wanted.diff(dim=1), reduction="none") * weights
            both = torch.minimum(valid[:, 1:], valid[:, :-1])
            loss = _mean(error, valid) + config.speed_weight * _mean(speed, both)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            with torch.no_grad():
                for slow, fast in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
                    if slow.is_floating_point():
                        slow.lerp_(fast, 1 - config.ema)
            progress(step)
    return average


def _batches(
    examples: list[TcnExample], config: TcnConfig, network: Tcn, rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """features [B, T, F] with bands blanked, standardised track [B, T, C], validity [B, T, 1]."""
    odds = np.array([example.weight for example in examples])
    for _ in range(config.steps):
        rows = []
        for i in rng.choice(len(examples), config.batch, p=odds / odds.sum()):
            example = examples[i]
            begin = int(rng.integers(0, max(1, len(example.valid) - config.frames + 1)))
            part = slice(begin, begin + config.frames)
            missing = (0, 0, 0, config.frames - len(example.valid[part]))
            features = example.features[part].float().clone()
            width = features.shape[1]
            band = int(rng.integers(0, max(1, int(2 * config.mask * width))))
            first = int(rng.integers(0, width - band))
            features[:, first : first + band] = 0
            track = (example.track[part] - network.mean) / network.std
            valid = example.valid[part, None].float()
            rows.append([F.pad(item, missing) for item in (features, track, valid)])
        features, track, valid = (torch.stack(column) for column in zip(*rows, strict=True))
        yield features, track, valid


def _mean(error: Tensor, weight: Tensor) -> Tensor:
    return (error * weight).sum() / (weight.sum() * error.shape[-1]).clamp(min=1.0)
