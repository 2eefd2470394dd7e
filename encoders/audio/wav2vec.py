"""Speech to features at exactly 25 frames a second, with wav2vec 2.0 or HuBERT.

wav2vec 2.0: Baevski et al. 2020, arXiv:2006.11477; HuBERT: Hsu et al. 2021, arXiv:2106.07447. The networks are those
of transformers; what is here is the alignment to video frames (as published with MoDA: the convolutional features are
resampled to 25 Hz before the transformer), chunking with bounded memory, and the embedded encoder with its
heads (encoders/audio/network.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModel, HubertModel, Wav2Vec2Model

from contracts import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, AudioFeatures, ModaError
from encoders.audio.network import ARTICULATION_CHANNELS, DEEPEST, FrameAligned, Heard, LiteConfig, LiteEncoder
from encoders.audio.prosody import TOLD, Prosody
from encoders.audio.published import Recording, heard_frames
from encoders.audio.visemes import VISEMES

EMBEDDED = Path(__file__).parents[1] / "assets" / "wav2vec_lite.safetensors"

LISTENED = 2 * FPS  # frames that a live voice is heard before the frame that is told
LIVE_BATCH = 32  # such frames that are told at once

LARGEST = 2**20  # numbers in the config of a checkpoint; the rate of the sound is among them

#: What checkpoints hold beyond the encoder: the heads of pre-training and of speech recognition.
_HEADS = ("quantizer.", "project_q.", "project_hid.", "lm_head.")


class EncoderError(ModaError):
    """The audio encoder's weights are missing or do not fit."""


class AudioEncoder:
    """Waveform in, AudioFeatures out; the same interface for the embedded and for published weights."""

    def __init__(self, network: LiteEncoder | FrameAligned, device: torch.device | str = "cpu") -> None:
        self.network = network.to(device).eval().requires_grad_(False)
        self.device = torch.device(device)
        self._transforming = Lock()

    @classmethod
    def embedded(cls, device: torch.device | str = "cpu", path: Path = EMBEDDED) -> AudioEncoder:
        """The encoder shipped with the project. Raises EncoderError."""
        return cls(load_lite(path), device)

    @classmethod
    def pretrained(cls, folder: Path, device: torch.device | str = "cpu") -> AudioEncoder:
        """A wav2vec2 or HuBERT checkpoint in a local folder (transformers layout), strictly. Raises EncoderError."""
        if not folder.is_dir():
            raise EncoderError(f"no audio encoder in {folder}: give the folder of a wav2vec2 or HuBERT checkpoint")
        try:
            _check_config(folder / "config.json")
            backbone, info = AutoModel.from_pretrained(folder, local_files_only=True, output_loading_info=True)
        except Exception as error:  # transformers raises whatever its steps meet in damaged files
            raise EncoderError(f"{folder} holds no model that loads: give a wav2vec2 or HuBERT checkpoint") from error
        if not isinstance(backbone, Wav2Vec2Model | HubertModel):
            kind = backbone.config.model_type
            raise EncoderError(f"{folder} holds a {kind} model: give a wav2vec2 or HuBERT checkpoint")
        if (rate := SAMPLE_RATE / backbone.config.inputs_to_logits_ratio) != 2 * FPS:
            raise EncoderError(f"{folder} holds a model of {rate:g} frames a second: give one of {2 * FPS}")
        foreign = [name for name in info["unexpected_keys"] if not name.startswith(_HEADS)]
        if wrong := sorted([*info["missing_keys"], *foreign]):
            what = f"{len(wrong)} tensors are missing or no part of the network, {wrong[0]} first"
            raise EncoderError(f"{folder} holds another model ({what}): give a wav2vec2 or HuBERT checkpoint")
        return cls(FrameAligned(backbone), device)

    @property
    def token_dim(self) -> int:
        """Width A of one audio token."""
        if isinstance(self.network, LiteEncoder):
            told = len(TOLD) if self.network.config.prosody else 0
            return self.network.config.hidden + len(VISEMES) + told + ARTICULATION_CHANNELS
        config = self.network.backbone.config
        return int(config.num_hidden_layers * config.hidden_size)

    @torch.inference_mode()
    def stream(
        self, waveform: np.ndarray, chunk: int = 30 * FPS, overlap: int | None = None, tail: int = 0,
        lookahead: int | None = None,
    ) -> Iterator[AudioFeatures]:  # fmt: skip
        """Features of a 16 kHz mono waveform [N], chunk by chunk: an hour costs the memory of a chunk.

        Every chunk is encoded with `overlap` frames of context on either side, which are dropped; by default 2 s, and
        4 s for published checkpoints. Level is normalised once, for the whole recording. Yields ceil(N / 640) frames in
        all; the last partial frame is filled with zeros. With a ``tail``, so many frames of silence follow the whole
        ones. With a ``lookahead`` a frame of the embedded encoder is heard two seconds after it began to listen and so
        many frames before it stops, as a live voice is; that takes some fifty times as long. Published checkpoints hear
        the sound as :class:`encoders.audio.published.Recording` says.
        """
        if isinstance(self.network, LiteEncoder):
            encode, context = self._lite(self.network, waveform, lookahead), 2 * FPS
        else:  # whose positional convolution alone sees 64 frames either way
            encode, context = self._published(self.network, Recording(waveform, tail)), 4 * FPS
        overlap = context if overlap is None else overlap
        frames = heard_frames(len(waveform), tail)
        follow = Prosody()
        for begin in range(0, frames, chunk):
            end = min(begin + chunk, frames)
            if frames - end < overlap:  # no crumbs: the rest rides along
                end = frames
            first, last = max(0, begin - overlap), min(frames, end + overlap)
            features = encode(first, last)
            keep = slice(begin - first, end - first)
            yield AudioFeatures(
                hidden=features.hidden[keep],
                visemes=None if features.visemes is None else features.visemes[keep],
                prosody=None if features.prosody is None else follow(features.prosody[keep]),
                articulation=None if features.articulation is None else features.articulation[keep],
            )
            if end == frames:
                return

    def hear(self, waveform: np.ndarray, lookahead: int | None = None) -> Tensor:
        """All tokens [T, A] of a recording [N] at once."""
        return torch.cat([self.tokens(features) for features in self.stream(waveform, lookahead=lookahead)])

    def tokens(self, features: AudioFeatures) -> Tensor:
        """What the motion generator reads of the features: [T, A], all parts side by side."""
        parts = [features.hidden.flatten(1), features.visemes, features.prosody, features.articulation]
        return torch.cat([part for part in parts if part is not None], dim=-1)

    def _lite(
        self, network: LiteEncoder, waveform: np.ndarray, lookahead: int | None
    ) -> Callable[[int, int], AudioFeatures]:
        """What encodes frames first .. last - 1 of a recording at unit loudness."""
        offset, gain = float(waveform.mean()), 1.0 / loudness(waveform)

        def cut(first: int, last: int) -> Tensor:
            piece = waveform[first * SAMPLES_PER_FRAME : last * SAMPLES_PER_FRAME].astype(np.float32)
            piece = (piece - offset) * gain
            return torch.from_numpy(np.pad(piece, (0, (last - first) * SAMPLES_PER_FRAME - len(piece)))).to(self.device)

        def encode(first: int, last: int) -> AudioFeatures:
            return _features(network(cut(first, last)[None]))

        def encode_live(first: int, last: int) -> AudioFeatures:
            end = heard_frames(len(waveform))
            spans = [(max(0, t - LISTENED), t, min(end, t + 1 + (lookahead or 0))) for t in range(first, last)]
            heard = []
            for (before, _), equal in groupby(spans, lambda span: (span[1] - span[0], span[2] - span[1])):
                windows = [cut(begin, stop) for begin, _, stop in equal]
                for i in range(0, len(windows), LIVE_BATCH):
                    now = network(torch.stack(windows[i : i + LIVE_BATCH]))
                    heard.append(_features(now.at(before)))
            return _joined(heard)

        return encode if lookahead is None else encode_live

    def _published(self, network: FrameAligned, recording: Recording) -> Callable[[int, int], AudioFeatures]:
        """What encodes frames first .. last - 1 of a recording by the published chain, for rising first and last."""
        convolve = network.listen(recording)
        block = 10 * FPS  # the early convolutions are wide: what they hold at once is the memory of a chunk
        kept: list[Tensor] = []  # features of frames up to `done`, [1, n, C] each
        done = 0

        def encode(first: int, last: int) -> AudioFeatures:
            nonlocal kept, done
            kept += [convolve(begin, min(begin + block, last)) for begin in range(done, last, block)]
            kept, done = [torch.cat(kept, dim=1)[:, first - last :]], last
            with self._transforming:  # its hooks hear every thread
                return AudioFeatures(network.hidden_states(kept[0])[0])

        return encode


def _joined(parts: list[AudioFeatures]) -> AudioFeatures:
    def cat(name: str) -> Tensor | None:
        found = [getattr(part, name) for part in parts]
        return None if found[0] is None else torch.cat(found)

    return AudioFeatures(
        torch.cat([part.hidden for part in parts]), cat("visemes"), cat("prosody"), cat("articulation")
    )


def _features(heard: Heard) -> AudioFeatures:
    """Of all rows, one behind the other."""
    prosody = None if heard.prosody is None else heard.prosody.flatten(0, 1)
    hidden, visemes = heard.hidden.flatten(0, 1)[:, None], heard.visemes.flatten(0, 1).softmax(-1)
    return AudioFeatures(hidden, visemes, prosody, heard.articulation.flatten(0, 1))


def loudness(waveform: np.ndarray, block: int = 1000) -> float:
    """RMS about the mean of the louder 40 % of the 40 ms frames of a waveform [N], so that pauses do not count."""
    frames = max(1, len(waveform) // SAMPLES_PER_FRAME)
    rows = waveform[: frames * SAMPLES_PER_FRAME].reshape(frames, -1)
    # block by block: no second copy of an hour of sound
    power = np.concatenate([rows[i : i + block].var(axis=1, dtype=np.float64) for i in range(0, frames, block)])
    return float(np.sqrt(power[power >= np.quantile(power, 0.6)].mean() + 1e-10))


def save_lite(network: LiteEncoder, path: Path, extra: dict[str, str] | None = None) -> None:
    """Write the encoder as fp16 safetensors, its configuration in the file's metadata."""
    tensors = {name: tensor.detach().to(torch.float16).contiguous() for name, tensor in network.state_dict().items()}
    partial = path.with_name(f".{path.name}.part")
    try:
        save_file(tensors, partial, metadata={"config": json.dumps(asdict(network.config)), **(extra or {})})
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        raise EncoderError(f"cannot write {path} ({error}); choose a folder that exists and has room") from error
    finally:
        partial.unlink(missing_ok=True)


def load_lite(path: Path) -> LiteEncoder:
    """Read what `save_lite` wrote, strictly. Raises EncoderError."""
    if not path.is_file():
        raise EncoderError(f"no audio encoder at {path}: reinstall moda, or train one with `moda train encoder`")
    try:
        with safe_open(path, "pt") as file:
            config = LiteConfig.from_json(file.metadata()["config"])
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (no dict)
            with torch.device("meta"):  # nothing is allocated before config and tensors are known to agree
                network = LiteEncoder(config)
            if shapes != {name: tuple(value.shape) for name, value in network.state_dict().items()}:
                raise EncoderError(f"{path} does not fit this version of moda: reinstall moda")
            tensors = {name: file.get_tensor(name).float().contiguous() for name in shapes}
    except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
        raise EncoderError(f"{path} is not an audio encoder of moda; give a file of `moda train encoder`") from error
    if not all(bool(value.isfinite().all()) for value in tensors.values()):
        raise EncoderError(f"{path} is damaged: not all of its numbers are finite; fetch it again")
    network.load_state_dict(tensors, assign=True)
    return network


def _check_config(path: Path) -> None:
    """Raises ValueError where a config asks for more than any published encoder has by far, and OSError."""
    config = json.loads(path.read_text("utf-8"))
    numbers = [n for value in config.values() for n in (value if isinstance(value, list) else [value])]
    if any(type(n) in (int, float) and not -LARGEST <= n <= LARGEST for n in numbers) or not (
        1 <= config.get("num_hidden_layers", 12) <= DEEPEST
    ):
        raise ValueError("a number is out of range")
