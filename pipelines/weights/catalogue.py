"""The published weights that can be had: where, how large, under which licence, and how they are loaded.

Revisions, sizes and hashes are those that several public projects pin for the same files, as of 2026. Nothing is
guessed: what is not known is None, and recorded at the first fetch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from contracts import ModaError

if TYPE_CHECKING:
    import torch

    from encoders.audio import AudioEncoder
    from moda.network import MMDiT


class PublishedWeightsError(ModaError):
    """Published weights that are not here, or are not what they should be."""


@dataclass(frozen=True)
class PublishedFile:
    path: str  # in its repository
    size: int | None = None  # bytes
    sha256: str | None = None

    @property
    def name(self) -> str:
        """What it is called here."""
        return PurePosixPath(self.path).name


@dataclass(frozen=True)
class Published:
    """One entry of the catalogue."""

    name: str
    purpose: str
    repository: str  # of the Hugging Face hub
    files: tuple[PublishedFile, ...]
    licence: str
    load: Callable[[Path], object]  # strictly; raises a ModaError
    revision: str | None = None  # a commit; None: the newest, which the record then names
    remark: str = ""  # what the licence leaves unsaid
    architecture: str = ""  # model_type in config.json, where there is one

    @property
    def size(self) -> int | None:
        """Bytes of all files, where all are known."""
        sizes = [file.size for file in self.files if file.size is not None]
        return sum(sizes) if len(sizes) == len(self.files) else None


def load_motion_generator(folder: Path) -> MMDiT:
    """The published network in ``net-200.pth`` or ``.safetensors``, float32 on CPU. Raises WeightsError."""
    from moda.network import load_published
    from moda.render.liveportrait import read_tensors

    path = folder / "net-200.pth"
    return load_published(read_tensors(path if path.is_file() else path.with_suffix(".safetensors")))


def _load_renderer(folder: Path) -> object:
    from moda.render.liveportrait import load_liveportrait

    return load_liveportrait(folder)


def load_encoder(folder: Path, device: str | torch.device = "cpu") -> AudioEncoder:
    """A published audio encoder, float32. Raises EncoderError."""
    from transformers.utils import logging

    from encoders.audio import AudioEncoder

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # what does not fit is told as an error, and what is left out is known
    logging.disable_progress_bar()
    try:
        return AudioEncoder.pretrained(folder, device)
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


CATALOGUE = {
    weights.name: weights
    for weights in (
        Published(
            "moda",
            "the published motion generator, 373 M parameters",
            "lixinyizju/moda",
            (PublishedFile("moda/net-200.pth"),),
            "none stated",
            load_motion_generator,
            remark="no licence is stated, and its authors speak of academic research: ask them before any other use",
        ),
        Published(
            "liveportrait",
            "the renderer that moda's motion is made for, 130 M parameters",
            "KlingTeam/LivePortrait",
            (
                PublishedFile(
                    "liveportrait/base_models/appearance_feature_extractor.pth", 3_387_959,
                    "5279bb8654293dbdf327030b397f107237dd9212fb11dd75b83dfb635211ceb5",
                ),
                PublishedFile(
                    "liveportrait/base_models/motion_extractor.pth", 112_545_506,
                    "251e6a94ad667a1d0c69526d292677165110ef7f0cf0f6d199f0e414e8aa0ca5",
                ),
                PublishedFile(
                    "liveportrait/base_models/warping_module.pth", 182_180_086,
                    "2f61a6f265fe344f14132364859a78bdbbc2068577170693da57fb96d636e282",
                ),
                PublishedFile(
                    "liveportrait/base_models/spade_generator.pth", 221_813_590,
                    "4780afc7909a9f84e24c01d73b31a555ef651521a1fe3b2429bd04534d992aee",
                ),
                PublishedFile(
                    "liveportrait/retargeting_models/stitching_retargeting_module.pth", 2_393_098,
                    "3652d5a3f95099141a56986aaddec92fadf0a73c87a20fac9a2c07c32b28b611",
                ),
            ),
            "MIT",
            _load_renderer,
            "82a4fa6735ca58432b6ce39301b4b9ee066dea47",
            remark="the face detector in the same repository (InsightFace) is non-commercial: neither fetched nor used",
        ),
        Published(
            "chinese-hubert-base",
            "the audio encoder that moda was trained with, 94 M parameters",
            "TencentGameMate/chinese-hubert-base",
            (PublishedFile("config.json"), PublishedFile("pytorch_model.bin")),
            "MIT",
            load_encoder,
            "fce0375452b1dd6c080ac3248d423d4d037bc831",
            architecture="hubert",
        ),
        Published(
            "wav2vec2-base",
            "the audio encoder for motion generators trained with it, 94 M parameters",
            "facebook/wav2vec2-base",
            (
                PublishedFile(
                    "config.json", 1_842, "4937977e24d12d1bba70cdce8709c3c04807a8e4ae8ddac4229c48c436ae99ae"
                ),
                PublishedFile(
                    "pytorch_model.bin", 380_267_417,
                    "3249fe98bfc62fcbc26067f724716a6ec49d12c4728a2af1df659013905dff21",
                ),
            ),
            "Apache-2.0",
            load_encoder,
            "0b5b8e868dd84f03fd87d01f9c4ff0f080fecfe8",
            architecture="wav2vec2",
        ),
    )
}  # fmt: skip


def megabytes(size: int | None) -> str:
    """For people."""
    return "size unknown" if size is None else f"{size / 1e6:,.0f} MB"


def published(name: str) -> Published:
    """An entry of the catalogue. Raises PublishedWeightsError."""
    if name not in CATALOGUE:
        raise PublishedWeightsError(f"there are no weights {name!r}; choose from {', '.join(CATALOGUE)}")
    return CATALOGUE[name]
