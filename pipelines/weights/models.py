"""The models behind a talking video, by the name of their weights.

``lite`` is embedded. ``moda`` is the published system: its motion generator, chinese-hubert-base and LivePortrait, as
`moda weights` keeps them. ``random-base`` is the same at its full size with random numbers for weights: what it makes
is no face, but every network is as large, and takes as long. Anything else is the folder of an own training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from contracts import ModaError
from encoders.identity import encode_identity
from moda.flow.sampler import SamplerConfig
from moda.motion.published import published_space
from moda.network.checkpoint import load_checkpoint, load_published
from moda.network.shapes import published_shapes, random_state
from moda.render import MeshRenderer, RenderError
from moda.render.liveportrait import LivePortraitRenderer
from moda.render.liveportrait.checkpoint import load_liveportrait as load_networks
from moda.render.liveportrait.checkpoint import load_published as build_networks
from moda.render.liveportrait.shapes import published_shapes as renderer_shapes
from pipelines.weights.catalogue import load_encoder, load_motion_generator
from pipelines.weights.store import RECORD, find_weights, here

if TYPE_CHECKING:
    from contracts import Array, SourceFace
    from encoders.audio.wav2vec import AudioEncoder
    from moda.motion.space import MotionSpace
    from moda.network.model import MMDiT
    from moda.render import Renderer
    from moda.render.liveportrait import LivePortrait

#: The motion generator that ships with the project.
EMBEDDED = Path(__file__).parents[2] / "moda" / "assets" / "mmdit_lite.safetensors"

LITE, PUBLISHED, RANDOM = "lite", "moda", "random-base"
WEIGHTS = (LITE, PUBLISHED, RANDOM)
RENDERERS = ("mesh", "liveportrait", "random")
_HUBERT, _LIVEPORTRAIT = "chinese-hubert-base", "liveportrait"
_PUBLISHED = (PUBLISHED, _HUBERT, _LIVEPORTRAIT)  # all that the published system takes
#: Files of a folder with an own training.
ENCODER, MOTION = "encoder.safetensors", "motion.safetensors"
SEED = 1  # of random weights


class ModelsError(ModaError):
    """Weights of no known name, or not here."""


@dataclass(frozen=True)
class Models:
    """A voice to motion, and motion to frames."""

    listener: AudioEncoder
    generator: MMDiT
    space: MotionSpace
    renderer: Renderer[Any]
    sampler: SamplerConfig  # what suits them, where nothing else is asked for
    likeness: Callable[[SourceFace], tuple[Array, Array | None]]
    """What the generator is told of a face: its identity [63], and its motion [70] in the picture where that is not
    rest."""


def installed() -> tuple[str, ...]:
    """Names of weights that videos can be made with here."""
    return (LITE, PUBLISHED) if set(_PUBLISHED) <= set(here()) else (LITE,)


def check_models(weights: str) -> None:
    """Raise a ModaError unless the files of ``weights`` are there; nothing is loaded."""
    if weights == PUBLISHED:
        for name in _PUBLISHED:
            find_weights(name)
    elif weights not in WEIGHTS:
        missing = [name for name in (ENCODER, MOTION) if not Path(weights, name).is_file()]
        if missing:
            raise ModelsError(
                f"there are no weights {weights!r}; give {', '.join(WEIGHTS)} or a folder with {ENCODER} and {MOTION} "
                "of your own training"
            )


def model_files(weights: str) -> list[Path]:
    """The files that say what the models are, those of published weights by their hashes. Raises a ModaError."""
    check_models(weights)
    if weights == PUBLISHED:
        return [find_weights(name) / RECORD for name in _PUBLISHED]
    return [] if weights == RANDOM else list(_own_files(weights))


def load_models(weights: str, device: torch.device, compiled: bool = False) -> Models:
    """All that a talking video takes, on ``device``; the published generator runs in bfloat16 where CUDA has it.

    ``compiled`` is that of :func:`load_liveportrait`; the embedded models have nothing to compile.
    Raises a ModaError where weights are missing or damaged.
    """
    check_models(weights)
    if weights not in (PUBLISHED, RANDOM):
        from encoders.audio.wav2vec import AudioEncoder  # here, as it takes seconds to import

        encoder, motion = _own_files(weights)
        generator, space = load_checkpoint(motion, device)
        listener = AudioEncoder.embedded(device, encoder)
        return Models(listener, generator, space, MeshRenderer(), SamplerConfig(), _at_rest)
    if weights == PUBLISHED:
        listener, generator = load_encoder(find_weights(_HUBERT), device), load_motion_generator(find_weights(weights))
    else:
        listener, generator = _random_listener(device), load_published(random_state(published_shapes(), _chance()))
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
    generator.to(device, torch.bfloat16 if fast else torch.float32)
    renderer = load_liveportrait("liveportrait" if weights == PUBLISHED else "random", device, compiled)

    def seen(face: SourceFace) -> tuple[Array, Array]:
        motion = renderer.motion_of(face)
        return motion.canonical[0].flatten().cpu().numpy(), motion.rows[0].cpu().numpy()

    return Models(listener, generator, published_space(), renderer, SamplerConfig.for_published(), seen)


def _own_files(weights: str) -> tuple[Path, Path]:
    """Audio encoder and motion generator that were trained by this project's own commands."""
    if weights == LITE:
        from encoders.audio.wav2vec import EMBEDDED as EMBEDDED_ENCODER

        return EMBEDDED_ENCODER, EMBEDDED
    return Path(weights, ENCODER), Path(weights, MOTION)


def _at_rest(face: SourceFace) -> tuple[Array, None]:
    return encode_identity(face), None


def load_renderer(name: str, device: torch.device) -> Renderer[Any]:
    """``mesh``, or one of :func:`load_liveportrait`. A motion space has the renderer of its name. Raises ModaError."""
    return MeshRenderer() if name == "mesh" else load_liveportrait(name, device)


def load_liveportrait(name: str, device: torch.device, compiled: bool = False) -> LivePortraitRenderer:
    """``liveportrait`` of the weights that are here, or ``random``: the same networks with random weights.

    On CUDA the pictures are made in half precision. ``compiled`` networks draw faster once torch has compiled them.
    Raises a ModaError.
    """
    if name not in RENDERERS:
        raise RenderError(f"there is no renderer {name!r}; choose from {', '.join(RENDERERS)}")
    networks = _random_networks() if name == "random" else load_networks(find_weights(_LIVEPORTRAIT))
    gpu = device.type == "cuda"
    networks.place(device, torch.float16 if gpu else torch.float32, channels_last=gpu)
    if compiled:
        networks.compile_drawing()
    return LivePortraitRenderer(networks, batch=8 if gpu else 1, fixed=compiled)


def _chance() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


def _random_networks() -> LivePortrait:
    chance = _chance()
    return build_networks({name: random_state(shapes, chance) for name, shapes in renderer_shapes().items()})


def _random_listener(device: torch.device) -> AudioEncoder:
    """HuBERT of the published size."""
    from transformers import HubertConfig, HubertModel

    from encoders.audio.wav2vec import AudioEncoder, FrameAligned

    with torch.device("meta"):
        network = HubertModel(HubertConfig())
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    network.load_state_dict(random_state(shapes, _chance()), assign=True)
    return AudioEncoder(FrameAligned(network), device)
