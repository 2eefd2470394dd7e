"""Training of the embedded audio encoder: one network, four teachers, strong augmentation.

* the real lips: the articulation head regresses the tracked mouth (speaker-normalised) of talking-head footage;
* phone boundaries: the viseme head is trained on forced alignments of real speech and on synthesised speech;
* a phone recogniser: the hidden states tell hama's phone posteriors;
* log-mel: the convolutions regress the spectrogram, which a raw-waveform front end is otherwise slow to find.
The last two heads are dropped after training.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contracts import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from encoders.audio.augmentation import Beds, augment
from encoders.audio.lite import LiteConfig
from encoders.audio.visemes import VISEMES
from encoders.audio.wav2vec import ARTICULATION_CHANNELS, LiteEncoder, loudness, save_lite

log = logging.getLogger(__name__)

MELS, MELS_PER_FRAME = 40, 4  # a 100 Hz spectrogram
PHONES = 191  # classes of the phone recogniser
UNKNOWN = -1


@dataclass(frozen=True)
class Speech:
    """One recording and what is known of it; labels that are not known are UNKNOWN or NaN."""

    waveform: np.ndarray  # float32 [640 T]
    visemes: np.ndarray  # int [T], UNKNOWN where no aligner agreed
    articulation: np.ndarray  # float32 [T, 34] standardised, NaN where no face was seen
    phones: np.ndarray  # float16 [T, 191] log posteriors of a phone recogniser
    weight: float  # how often it is drawn


@dataclass(frozen=True)
class TrainConfig:
    steps: int = 8000
    batch: int = 12
    frames: int = 100  # 4 s
    learning_rate: float = 1.5e-3
    warmup: int = 100
    ema: float = 0.999
    checkpoint: int = 200
    seed: int = 0
    precision: torch.dtype = torch.float32  # of the network's arithmetic; parameters and losses stay float32


def train_encoder(
    speech: list[Speech], heldout: list[Speech], out: Path, config: TrainConfig,
    keep: Callable[[dict], None], kept: dict | None = None, progress: Callable[[int], object] = lambda steps: None,
    beds: Beds | None = None,
) -> None:  # fmt: skip
    """Train from scratch, on the CPU, with beds under the speech if there are any. At every checkpoint the weights so
    far replace `out`, and `keep` is given all that a later call needs as `kept` to go on from there as if nothing had
    happened. `progress` is told the steps done, after each."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)  # parameter initialisation and dropout
        _train(speech, heldout, out, config, keep, kept, progress, beds)


def _train(
    speech: list[Speech], heldout: list[Speech], out: Path, config: TrainConfig,
    keep: Callable[[dict], None], kept: dict | None, progress: Callable[[int], object], beds: Beds | None,
) -> None:  # fmt: skip
    network = LiteEncoder(LiteConfig())
    heads = nn.ModuleDict(
        {
            "mel": nn.Linear(network.config.conv_dim[-1], MELS * MELS_PER_FRAME),
            "phones": nn.Linear(network.config.hidden, PHONES),
        }
    )
    average = copy.deepcopy(network).eval()
    parameters = [*network.parameters(), *heads.parameters()]
    # Muon (K. Jordan 2024) trains the transformer's matrices: it gets there in about two thirds of AdamW's steps.
    matrices = [parameter for parameter in network.frames.backbone.encoder.parameters() if parameter.ndim == 2]
    known = {id(matrix) for matrix in matrices}
    others = [parameter for parameter in parameters if id(parameter) not in known]
    muon = torch.optim.Muon(matrices, config.learning_rate, 0.02, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.AdamW(others, config.learning_rate, betas=(0.9, 0.98), weight_decay=0.02)
    parts: dict[str, Any] = {"network": network, "heads": heads, "average": average, "muon": muon, "adam": adam}
    begin = 0
    if kept is not None:
        begin = kept["step"]
        torch.set_rng_state(kept["chance"])
        for name, part in parts.items():
            part.load_state_dict(kept[name])
    began = time.monotonic()
    for step, batch in enumerate(_ahead(_batches(speech, config, begin, beds)), begin):
        share = step / config.steps
        rate = config.learning_rate * min(1, (step + 1) / config.warmup) * (0.5 + 0.5 * math.cos(math.pi * share))
        for group in [*muon.param_groups, *adam.param_groups]:
            group["lr"] = rate
        network.train()
        losses = _losses(network, heads, batch, max(0.05, 0.5 * (1 - 3 * share)), config.precision)
        total = torch.stack(list(losses.values())).sum()
        adam.zero_grad()
        muon.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        adam.step()
        muon.step()
        decay = min(config.ema, (step + 1) / (step + 10))
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), network.parameters(), strict=True):
                slow.lerp_(fast, 1 - decay)
        if step % 50 == 0:
            values = " ".join(f"{name} {value.item():.3f}" for name, value in losses.items())
            log.info("step %d %.0f s lr %.2e %s", step, time.monotonic() - began, rate, values)
        if (step + 1) % config.checkpoint == 0 or step + 1 == config.steps:
            log.info("held out: %s", evaluate_encoder(average, heldout))
            save_lite(average, out, {"steps": str(step + 1), "seed": str(config.seed)})
            states = {name: part.state_dict() for name, part in parts.items()}
            keep(states | {"step": step + 1, "chance": torch.get_rng_state()})
        progress(step + 1)


@torch.inference_mode()
def evaluate_encoder(network: LiteEncoder, heldout: list[Speech]) -> dict[str, float]:
    """Viseme frame accuracy; correlation of the inner-lip gap and of all mouth channels, per clip, then averaged."""
    right, count, gaps, channels = 0, 0, [], []
    for item in heldout:
        _, _, logits, track = network(torch.from_numpy(item.waveform / loudness(item.waveform))[None])
        known = item.visemes != UNKNOWN
        right += int((logits[0].argmax(-1).numpy() == item.visemes)[known].sum())
        count += int(known.sum())
        seen = ~np.isnan(item.articulation[:, -1])
        if seen.sum() > 2 * FPS:
            r = [np.corrcoef(track[0, seen, c], item.articulation[seen, c])[0, 1] for c in range(ARTICULATION_CHANNELS)]
            gaps.append(r[-1])
            channels.append(np.mean(r))
    return {"visemes": right / max(count, 1), "gap r": float(np.mean(gaps)), "mouth r": float(np.mean(channels))}


def _losses(
    network: LiteEncoder, heads: nn.ModuleDict, batch: dict[str, Tensor], mel_weight: float, precision: torch.dtype
) -> dict[str, Tensor]:
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        features, hidden, logits, track = (part.float() for part in network(batch["waveform"]))
    mel = heads["mel"](features)
    target = log_mel(batch["waveform"]).flatten(2)  # [B, T, 4 * 40]
    losses = {"mel": mel_weight * F.mse_loss(mel, target)}
    losses["viseme"] = 0.5 * F.cross_entropy(
        logits.flatten(0, 1), batch["visemes"].flatten(), ignore_index=UNKNOWN, label_smoothing=0.05
    )
    losses["phones"] = _distillation(heads["phones"](hidden), batch["phones"])
    wanted = batch["articulation"]
    losses["articulation"] = _masked_mse(track[..., :-1], wanted[..., :-1])
    losses["gap"] = _masked_mse(track[..., -1:], wanted[..., -1:])
    losses["speed"] = _masked_mse(track.diff(dim=1), wanted.diff(dim=1))
    return losses


def _distillation(logits: Tensor, log_teacher: Tensor) -> Tensor:
    """Cross-entropy under a teacher's posteriors [B, T, P], less the teacher's own: their Kullback-Leibler divergence
    (Hinton et al., arXiv 1503.02531)."""
    known = ~torch.isnan(log_teacher[..., 0])
    log_teacher = torch.nan_to_num(log_teacher).log_softmax(-1)
    divergence = F.kl_div(logits.log_softmax(-1), log_teacher, reduction="none", log_target=True).sum(-1)
    return (divergence * known).sum() / known.sum().clamp(min=1)


def _masked_mse(found: Tensor, wanted: Tensor) -> Tensor:
    known = ~torch.isnan(wanted)
    error = torch.where(known, found - torch.nan_to_num(wanted), 0.0)
    return error.square().sum() / known.sum().clamp(min=1)


def log_mel(waveform: Tensor) -> Tensor:
    """waveform [B, 640 T] -> [B, T, 4, 40] log-mel of 25 ms windows every 10 ms, standardised per recording."""
    window = torch.hann_window(400)
    spectrum = torch.stft(waveform, 512, 160, 400, window, center=True, return_complex=True).abs().square()
    mel = torch.log(_mel_filters() @ spectrum + 1e-5)[..., : waveform.shape[-1] // 160]  # [B, 40, 4 T]
    mel = (mel - mel.mean(-1, keepdim=True)) / (mel.std(-1, keepdim=True) + 1e-3)
    return mel.transpose(1, 2).unflatten(1, (-1, MELS_PER_FRAME))


@cache
def _mel_filters() -> Tensor:
    import librosa

    return torch.from_numpy(librosa.filters.mel(sr=SAMPLE_RATE, n_fft=512, n_mels=MELS)).float()


def _batches(speech: list[Speech], config: TrainConfig, begin: int, beds: Beds | None) -> Iterator[dict[str, Tensor]]:
    odds = np.array([item.weight for item in speech])
    odds /= odds.sum()
    for step in range(begin, config.steps):
        rng = np.random.default_rng([config.seed, step])
        rows = [_excerpt(speech[i], config.frames, rng, beds) for i in rng.choice(len(speech), config.batch, p=odds)]
        columns = zip(*rows, strict=True)
        names = ("waveform", "visemes", "articulation", "phones")
        yield {name: torch.from_numpy(np.stack(column)) for name, column in zip(names, columns, strict=True)}


def _ahead(items: Iterator[dict[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
    """The same items, each made while the one before it is in use."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, items, None)
        while (item := waiting.result()) is not None:
            waiting = pool.submit(next, items, None)
            yield item


def _excerpt(item: Speech, frames: int, rng: np.random.Generator, beds: Beds | None = None) -> tuple[np.ndarray, ...]:
    """A random stretch at a random tempo, augmented; short recordings are padded with silence."""
    tempo = float(rng.uniform(0.85, 1.18)) if rng.random() < 0.8 else 1.0
    wanted = round(frames * tempo)
    begin = int(rng.integers(0, max(1, len(item.visemes) - wanted + 1)))
    end = min(begin + wanted, len(item.visemes))
    sound = item.waveform[begin * SAMPLES_PER_FRAME : end * SAMPLES_PER_FRAME]
    sound = np.pad(sound, (0, wanted * SAMPLES_PER_FRAME - len(sound)))
    samples = np.linspace(0, len(sound) - 1, frames * SAMPLES_PER_FRAME)
    sound = np.interp(samples, np.arange(len(sound)), sound).astype(np.float32)

    at = np.clip((np.arange(frames) + 0.5) * wanted / frames - 0.5, 0, end - begin - 1)
    inside = (np.arange(frames) + 0.5) * wanted / frames <= end - begin
    nearest, low = np.rint(at).astype(int) + begin, np.floor(at).astype(int) + begin
    high, part = np.minimum(low + 1, end - 1), (at - np.floor(at))[:, None]
    visemes = np.where(inside, item.visemes[nearest], VISEMES.index("sil")).astype(np.int64)
    tracks = []
    for track in (item.articulation, item.phones):
        value = (track[low] * (1 - part) + track[high] * part).astype(np.float32)
        value[~inside] = np.nan
        tracks.append(value)
    return augment(sound, rng, beds), visemes, *tracks
