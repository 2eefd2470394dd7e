"""The models behind a talking video, loaded by the name of their weights (pipelines.weights.names)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from encoders import encode_identity
from moda.flow import SamplerConfig
from moda.motion import published_space
from moda.network import load_checkpoint, load_published, published_shapes, random_state
from moda.render import MeshRenderer
from moda.render.liveportrait import LivePortraitRenderer
from moda.render.liveportrait import load_liveportrait as load_networks
from moda.render.liveportrait import load_published as build_networks
from moda.render.liveportrait import published_shapes as renderer_shapes
from pipelines.weights.catalogue import load_encoder, load_motion_generator
from pipelines.weights.names import HUBERT, LIVEPORTRAIT, PUBLISHED, RANDOM, check_models, check_renderer, own_files
from pipelines.weights.store import find_weights

if TYPE_CHECKING:
    from contracts import Array, SourceFace
    from encoders.audio import AudioEncoder
    from moda.motion import MotionSpace
    from moda.network import MMDiT
    from moda.render import Renderer
    from moda.render.liveportrait import LivePortrait

SEED = 1  # of random weights


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


def load_models(weights: str, device: torch.device, compiled: bool = False) -> Models:
    """All that a talking video takes, on ``device``; the published generator runs in bfloat16 where CUDA has it.

    ``compiled`` is that of :func:`load_liveportrait`; the embedded models have nothing to compile.
    Raises a ModaError where weights are missing or damaged.
    """
    check_models(weights)
    if weights not in (PUBLISHED, RANDOM):
        from encoders.audio import AudioEncoder  # here, as it takes seconds to import

        encoder, motion = own_files(weights)
        generator, space = load_checkpoint(motion, device)
        listener = AudioEncoder.embedded(device, encoder)
        return Models(listener, generator, space, MeshRenderer(), SamplerConfig(), _at_rest)
    if weights == PUBLISHED:
        listener, generator = load_encoder(find_weights(HUBERT), device), load_motion_generator(find_weights(weights))
    else:
        listener, generator = _random_listener(device), load_published(random_state(published_shapes(), _chance()))
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
    generator.to(device, torch.bfloat16 if fast else torch.float32)
    renderer = load_liveportrait("liveportrait" if weights == PUBLISHED else "random", device, compiled)

    def seen(face: SourceFace) -> tuple[Array, Array]:
        motion = renderer.motion_of(face)
        return motion.canonical[0].flatten().cpu().numpy(), motion.rows[0].cpu().numpy()

    return Models(listener, generator, published_space(), renderer, SamplerConfig.for_published(), seen)


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
    check_renderer(name)
    networks = _random_networks() if name == "random" else load_networks(find_weights(LIVEPORTRAIT))
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

    from encoders.audio import AudioEncoder, FrameAligned

    with torch.device("meta"):
        network = HubertModel(HubertConfig())
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    network.load_state_dict(random_state(shapes, _chance()), assign=True)
    return AudioEncoder(FrameAligned(network), device)
