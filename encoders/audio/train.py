"""Training of the embedded audio encoder: one network, five teachers, strong augmentation.

* the real lips: the articulation head regresses the tracked mouth of footage, and rests where it is silent;
* phone boundaries: the viseme head is trained on forced alignments of real speech and on synthesised speech;
* how it is said: the prosody head tells voice, level and pitch of the clean sound;
* a phone recogniser: the hidden states tell hama's phone posteriors, outside English only their mouth shapes;
* log-mel: the convolutions regress the spectrogram, which a raw-waveform front end is otherwise slow to find.
The heads of the last two are dropped after training.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contracts import FPS, SAMPLE_RATE
from encoders.audio.lesson import UNKNOWN, Lesson, Speech, TrainConfig, batches
from encoders.audio.network import ARTICULATION_CHANNELS, LiteConfig, LiteEncoder
from encoders.audio.teachers import PHONES, Phonetics
from encoders.audio.wav2vec import loudness, save_lite

log = logging.getLogger(__name__)

MELS, MELS_PER_FRAME = 40, 4  # a 100 Hz spectrogram
CODES, CODE_WIDTH = 512, 16  # of masked prediction


def train_encoder(
    lesson: Lesson, out: Path, config: TrainConfig, keep: Callable[[dict], None], kept: dict | None = None,
    progress: Callable[[int], object] = lambda steps: None, former: LiteEncoder | None = None,
) -> None:  # fmt: skip
    """Train on the CPU, from scratch or on from a ``former`` encoder (`LiteEncoder.go_on_from`).

    At every checkpoint the weights so far replace `out`, and `keep` is given all that a later call needs as `kept` to
    go on from there as if nothing had happened. `progress` is told the steps done, after each."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)  # parameter initialisation and dropout
        _train(lesson, out, config, keep, kept, progress, former)


def _train(
    lesson: Lesson, out: Path, config: TrainConfig, keep: Callable[[dict], None], kept: dict | None,
    progress: Callable[[int], object], former: LiteEncoder | None,
) -> None:  # fmt: skip
    network = LiteEncoder(config.shape)
    if former is not None:
        network.go_on_from(former)
    heads = Heads(config.shape, lesson.phonetics)
    average = copy.deepcopy(network).eval()
    parameters = [*network.parameters(), *heads.parameters()]
    # Muon (K. Jordan 2024) trains the transformer's matrices: it gets there in about two thirds of AdamW's steps.
    matrices = [parameter for parameter in network.frames.backbone.encoder.parameters() if parameter.ndim == 2]
    known = {id(matrix) for matrix in matrices}
    others = [parameter for parameter in network.parameters() if id(parameter) not in known]
    muon = torch.optim.Muon(matrices, config.learning_rate, 0.02, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.AdamW(
        [{"params": [*heads.parameters()]}, {"params": others}], config.learning_rate, betas=(0.9, 0.98),
        weight_decay=0.02,
    )  # fmt: skip
    parts: dict[str, Any] = {"network": network, "heads": heads, "average": average, "muon": muon, "adam": adam}
    warmup = min(config.warmup, config.steps // 5)
    begin = 0
    if kept is not None:
        begin = kept["step"]
        torch.set_rng_state(kept["chance"])
        for name, part in parts.items():
            part.load_state_dict(kept[name])
    began = time.monotonic()
    for step, batch in enumerate(_ahead(batches(lesson, config, begin)), begin):
        share = step / config.steps
        anneal, risen = 0.5 + 0.5 * math.cos(math.pi * share), (step + 1) / max(1, warmup)
        # what a former encoder has learnt waits for heads that know what to ask for
        rates = [config.learning_rate * anneal * min(1, max(0, risen - wait)) for wait in (0, former is not None)]
        heads_group, *groups = [*adam.param_groups, *muon.param_groups]
        heads_group["lr"], rate = rates
        for group in groups:
            group["lr"] = rate
        network.train()
        losses = _losses(network, heads, batch, max(0.05, 0.5 * (1 - 3 * share)), config)
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
            log.info("held out: %s", evaluate_encoder(average, lesson.heldout))
            save_lite(average, out, {"steps": str(step + 1), "seed": str(config.seed)})
            states = {name: part.state_dict() for name, part in parts.items()}
            keep(states | {"step": step + 1, "chance": torch.get_rng_state()})
        progress(step + 1)


@torch.inference_mode()
def evaluate_encoder(network: LiteEncoder, heldout: list[Speech]) -> dict[str, float]:
    """Viseme frame accuracy; correlation of the inner-lip gap and of all mouth channels, per clip, then averaged."""
    right, count, gaps, channels = 0, 0, [], []
    for item in heldout:
        waveform = torch.from_numpy(_unit(item.waveform))
        heard = network(waveform[None])
        known = item.visemes != UNKNOWN
        right += int((heard.visemes[0].argmax(-1).numpy() == item.visemes)[known].sum())
        count += int(known.sum())
        seen = ~np.isnan(item.articulation[:, -1])
        if seen.sum() > 2 * FPS:
            track = heard.articulation[0, seen].numpy()
            r = [np.corrcoef(track[:, c], item.articulation[seen, c])[0, 1] for c in range(ARTICULATION_CHANNELS)]
            gaps.append(r[-1])
            channels.append(np.mean(r))
    return {"visemes": right / max(count, 1), "gap r": float(np.mean(gaps)), "mouth r": float(np.mean(channels))}


class Heads(nn.Module):
    """What only training asks: the spectrogram of the convolutions, a recogniser's phones of the hidden states."""

    centre: Tensor
    axes: Tensor
    members: Tensor
    projection: Tensor
    codebook: Tensor

    def __init__(self, shape: LiteConfig, phonetics: Phonetics) -> None:
        super().__init__()
        self.mel = nn.Linear(shape.conv_dim[-1], MELS * MELS_PER_FRAME)
        self.phones = nn.Linear(shape.hidden, PHONES)
        self.components = nn.Linear(shape.hidden, len(phonetics.axes))
        self.register_buffer("centre", torch.from_numpy(phonetics.centre).float(), persistent=False)
        self.register_buffer("axes", torch.from_numpy(phonetics.axes).float(), persistent=False)
        self.register_buffer("members", torch.from_numpy(phonetics.members).float(), persistent=False)
        self.codes = nn.Linear(shape.hidden, CODES)
        fixed = torch.Generator().manual_seed(0)
        for name, size in {"projection": (MELS * MELS_PER_FRAME, CODE_WIDTH), "codebook": (CODE_WIDTH, CODES)}.items():
            self.register_buffer(name, F.normalize(torch.randn(size, generator=fixed), dim=0), persistent=False)

    def masked_loss(self, hidden: Tensor, spectrogram: Tensor, masked: Tensor) -> Tensor:
        """Which code the spectrogram [B, T, 160] of a masked frame falls into, told from the frames about it: masked
        prediction as in wav2vec 2.0, with the fixed random codebook of BEST-RQ (Chiu et al. 2022, arXiv 2202.01855) in
        place of a learnt one."""
        codes = (F.normalize(spectrogram @ self.projection, dim=-1) @ self.codebook).argmax(-1)
        found = F.cross_entropy(self.codes(hidden).flatten(0, 1), codes.flatten(), reduction="none")
        return _mean_over(found.unflatten(0, codes.shape), masked)

    def losses(self, hidden: Tensor, log_teacher: Tensor, english: Tensor, foreign: float) -> dict[str, Tensor]:
        """Against a recogniser's log posteriors [B, T, 191], NaN where not known; english: bool [B].

        In English the phones, and the principal components of their logarithms, in which what is unlikely counts as
        well; elsewhere the classes of mouth shape that the phones fall into, at the weight ``foreign``.
        """
        logits = self.phones(hidden)
        known = ~torch.isnan(log_teacher[..., 0])
        phones, shapes = known & english[:, None], known & ~english[:, None]
        log_teacher = torch.nan_to_num(log_teacher)
        wanted = (log_teacher - self.centre) @ self.axes.T
        components = (self.components(hidden) - wanted).square().mean(-1)
        classes, wanted_classes = (torch.log(row.softmax(-1) @ self.members + 1e-5) for row in (logits, log_teacher))
        return {
            "phones": _mean_over(_divergence(logits, log_teacher), phones),
            "components": 0.5 * _mean_over(components, phones),
            "shapes": foreign * _mean_over(_divergence(classes, wanted_classes), shapes),
        }


def _losses(
    network: LiteEncoder, heads: Heads, batch: dict[str, Any], mel_weight: float, config: TrainConfig
) -> dict[str, Tensor]:
    masked = batch["masked"] if batch["masked"].any() else None
    with torch.autocast("cpu", config.precision, enabled=config.precision != torch.float32):
        heard = network(batch["waveform"], masked)
    features, hidden, logits, track = (
        part.float() for part in (heard.features, heard.hidden, heard.visemes, heard.articulation)
    )
    target = log_mel(batch["waveform"]).flatten(2)  # [B, T, 4 * 40]
    losses = {"mel": mel_weight * F.mse_loss(heads.mel(features), target)}
    losses["viseme"] = 0.5 * F.cross_entropy(
        logits.flatten(0, 1), batch["visemes"].flatten(), ignore_index=UNKNOWN, label_smoothing=0.05
    )
    losses |= heads.losses(hidden, batch["phones"], batch["english"], config.foreign)
    if masked is not None:
        losses["masked"] = 0.3 * heads.masked_loss(hidden, target, masked)
    if heard.prosody is not None:
        losses["prosody"] = 0.5 * _prosody_loss(heard.prosody.float(), batch["prosody"])
    wanted = batch["articulation"]
    losses["articulation"] = _masked_mse(track[..., :-1], wanted[..., :-1])
    losses["gap"] = _masked_mse(track[..., -1:], wanted[..., -1:])
    losses["speed"] = _masked_mse(track.diff(dim=1), wanted.diff(dim=1))
    return losses


def _prosody_loss(told: Tensor, wanted: Tensor) -> Tensor:
    """Of the head [B, T, 4] against what is known of the clean sound; pitch is NaN where there is none."""
    chances = F.binary_cross_entropy_with_logits(told[..., :2], wanted[..., :2].clamp(0, 1))
    return chances + 4 * _masked_mse(told[..., 2:3], wanted[..., 2:3]) + 4 * _masked_mse(told[..., 3:], wanted[..., 3:])


def _divergence(logits: Tensor, log_teacher: Tensor) -> Tensor:
    """Kullback-Leibler divergence from a teacher's posteriors [B, T, P] -> [B, T] (Hinton et al., arXiv 1503.02531)."""
    log_teacher = log_teacher.log_softmax(-1)
    return F.kl_div(logits.log_softmax(-1), log_teacher, reduction="none", log_target=True).sum(-1)


def _mean_over(values: Tensor, known: Tensor) -> Tensor:
    return (values * known).sum() / known.sum().clamp(min=1)


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


def _unit(waveform: np.ndarray) -> np.ndarray:
    """int16 [N] -> float32 [N] at unit loudness."""
    sound = waveform.astype(np.float32) / 32768
    return sound / loudness(sound)


def _ahead(items: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The same items, each made while the one before it is in use."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, items, None)
        while (item := waiting.result()) is not None:
            waiting = pool.submit(next, items, None)
            yield item
