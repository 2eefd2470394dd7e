"""Weights on disk: our own checkpoints, and the adapter for the published MoDA network.

Only here do foreign names of the generator appear; those of the renderer stay in moda.render.liveportrait.checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from contracts import ModaError
from moda.files import replacing
from moda.motion import MotionSpace
from moda.network.config import ONE, ModelConfig
from moda.network.model import MMDiT

#: The motion generator that ships with the project.
EMBEDDED = Path(__file__).parents[1] / "assets" / "mmdit_lite.safetensors"
FORMAT = "moda-mmdit-1"
Value = TypeVar("Value")


class WeightsError(ModaError):
    """A weights file that is missing, damaged, or of another network."""


def save_checkpoint(
    path: str | Path, model: MMDiT, space: MotionSpace, notes: Mapping[str, str] | None = None,
    dtype: torch.dtype = torch.float16,
) -> None:  # fmt: skip
    """Write model and motion space as one safetensors file; ``notes`` join its metadata (data, steps, licence).

    Raises WeightsError.
    """
    tensors = {f"model.{name}": value.detach().to(dtype) for name, value in model.state_dict().items()}
    tensors |= {f"space.{name}": value.float() for name, value in space.tensors().items()}
    tensors = {name: value.cpu().contiguous() for name, value in tensors.items()}
    metadata = {**(notes or {}), "format": FORMAT, "config": model.config.to_json(), "space": space.name}
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(save(tensors, metadata))
    except OSError as error:
        raise WeightsError(f"cannot write {path} ({error.strerror}); choose a folder that has room") from error


def load_checkpoint(
    path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[MMDiT, MotionSpace]:
    """The model, in eval mode on ``device`` and in ``dtype``, and its motion space. Raises WeightsError."""
    remedy = "give the path of a file written by moda.network.checkpoint.save_checkpoint"
    if not Path(path).is_file():
        raise WeightsError(f"no motion model at {path}; {remedy}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise WeightsError(f"{path} is not a {FORMAT} checkpoint; {remedy}")
            config = ModelConfig.from_json(metadata["config"])
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (no dict)
            model = _outline(config, _under(shapes, "model."), str(path))  # before anything is read
            tensors = {name: file.get_tensor(name) for name in shapes}
            space = MotionSpace.from_tensors(metadata["space"], _under(tensors, "space."))
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} cannot be read as safetensors ({error}); {remedy}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} was written by another version of moda ({error}); export it again") from error
    if not all(bool(value.isfinite().all()) for value in tensors.values()):
        raise WeightsError(f"{path} is damaged: not all of its numbers are finite; fetch it again")
    return _fill(model, _under(tensors, "model.")).to(device, dtype).eval(), space


def assemble(config: ModelConfig, state: Mapping[str, Tensor], source: str) -> MMDiT:
    """A model that holds exactly ``state``, as float32. Raises WeightsError where names or shapes differ."""
    return _fill(_outline(config, {name: tuple(value.shape) for name, value in state.items()}, source), state)


def _outline(config: ModelConfig, given: Mapping[str, tuple[int, ...]], source: str) -> MMDiT:
    """A model without weights, for tensors of the shapes ``given``. Raises WeightsError where it has others."""
    with torch.device("meta"):
        model = MMDiT(config)
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    if expected != given:
        wrong = sorted(name for name in expected.keys() | given.keys() if expected.get(name) != given.get(name))
        raise WeightsError(
            f"{source} does not fit its own config: {len(wrong)} tensors are missing, unknown or of another shape, "
            f"{wrong[0]} first; fetch the file again"
        )
    return model


def _fill(model: MMDiT, state: Mapping[str, Tensor]) -> MMDiT:
    # oneDNN takes a thousand times as long over a weight that is a view into another.
    model.load_state_dict({name: value.float().contiguous() for name, value in state.items()}, assign=True)
    return model


def _under(tensors: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


# ---- the published network ------------------------------------------------------------------------------------------

_PREFIX = "talking_head_dit."

#: Embedders and head: published module -> ours.
_MODULES = {
    "motion_embedder.mlp.0": "motion_in.0",
    "motion_embedder.mlp.2": "motion_in.2",
    "identity_embedder.mlp.0": "identity_in.0",
    "identity_embedder.mlp.2": "identity_in.2",
    "time_embedder.mlp.0": "time_in.0",
    "time_embedder.mlp.2": "time_in.2",
    "audio_embedder.proj1": "audio_in.layers.0",
    "audio_embedder.proj2": "audio_in.layers.2",
    "audio_embedder.proj3": "audio_in.layers.4",
    "final_layer.linear": "head.linear",
    "final_layer.adaLN_modulation.1": "head.modulation",
}

#: The published block list of each stage but the last, and per stream the spelling of
#: (qkv, modulation, q and k norm, proj, MLP).
_STAGES = (
    ("blocks4", {
        "motion": ("xs", "xs", "xs_{}_norm", "xs_proj", "xs_mlp"),
        "audio": ("au1", "audio1", "au_{}_norm1", "au_proj1", "audio_mlp1"),
        "emotion": ("au2", "audio2", "au_{}_norm2", "au_proj2", "audio_mlp2"),
        "identity": ("au3", "audio3", "au_{}_norm3", "au_proj3", "audio_mlp3"),
    }),
    ("blocks2", {
        "motion": ("xs", "xs", "xs_{}_norm", "xs_proj", "xs_mlp"),
        "audio+emotion+identity": ("au", "audio", "au_{}_norm", "au_proj", "audio_mlp"),
    }),
)  # fmt: skip


def load_published(state_dict: Mapping[str, Tensor]) -> MMDiT:
    """The published network as an :class:`MMDiT`, on CPU, in float32 and eval mode; widths are read off the tensors.

    Every published tensor is used exactly once. Three more may be there: ``scheduler.sigmas``, a table that
    :mod:`moda.flow.path` computes; ``null_motion_feat``, which nothing reads; and ``null_audio_feat``, which the
    published code can lose (it is a parameter only on CPU). Where that is absent, one normal draw of seed 42 stands in,
    the same for all 12 layers. Raises WeightsError.
    """
    try:
        return _adapt(_Moved(state_dict))
    except (RuntimeError, ValueError, IndexError, ArithmeticError) as error:
        raise WeightsError("the published weights have other shapes than theirs; fetch them again") from error


def _adapt(moved: _Moved) -> MMDiT:
    """Raises WeightsError; where shapes are impossible RuntimeError, ValueError, IndexError, ArithmeticError."""
    null_audio = moved.theirs.pop("null_audio_feat", None)
    ours = moved.ours
    for published, own in _MODULES.items():
        moved.linear(published, own)
    ours["audio_in.norm.weight"] = moved.take("audio_embedder.norm.weight")
    ours["emotion_table"] = moved.take("emo_embedder.embedding_table.weight")
    hidden, audio_dim = ours["audio_in.layers.0.weight"].shape
    *early, single = (stage.depth for stage in ModelConfig.base().plan)
    for i, ((kind, streams), depth) in enumerate(zip(_STAGES, early, strict=True)):
        for j in range(depth):
            moved.apart(f"{kind}.{j}", f"stages.{i}.{j}.streams", streams)
    for j in range(single):
        moved.together(f"blocks.{j}", f"stages.{len(_STAGES)}.{j}.streams.{ONE}", hidden)
    moved.finish()
    if null_audio is None:
        null_audio = torch.randn(audio_dim // 12, generator=torch.Generator().manual_seed(42))
    ours["null_audio"] = null_audio.flatten().repeat(audio_dim // null_audio.numel())
    heads = hidden // ours["stages.0.0.streams.motion.qk_norm"].shape[-1]
    return assemble(ModelConfig.base(audio_dim, hidden, heads), ours, "the published MoDA network").eval()


class _Moved:
    """Published tensors, each taken once, under our names."""

    def __init__(self, state_dict: Mapping[str, Tensor]) -> None:
        self.ours: dict[str, Tensor] = {}
        self.theirs = dict(state_dict)
        for unused in ("scheduler.sigmas", "null_motion_feat"):
            self.theirs.pop(unused, None)

    def take(self, name: str) -> Tensor:
        try:
            return self.theirs.pop(_PREFIX + name)
        except KeyError:
            raise WeightsError(f"the published weights lack {_PREFIX + name}; fetch moda/net-200.pth again") from None

    def linear(self, published: str, own: str) -> None:
        for kind in ("weight", "bias"):
            self.ours[f"{own}.{kind}"] = self.take(f"{published}.{kind}")

    def qk_norm(self, published: str, own: str) -> None:
        sides = [self.take(published.format(side) + ".weight") for side in "qk"]
        self.ours[f"{own}.qk_norm"] = torch.stack(sides)[:, None]

    def apart(self, block: str, own: str, streams: Mapping[str, tuple[str, ...]]) -> None:
        """A block of the early stages, whose streams have weights of their own."""
        for stream, (qkv, modulation, norm, proj, mlp) in streams.items():
            self.linear(f"{block}.attn1.qkv_{qkv}", f"{own}.{stream}.qkv")
            self.linear(f"{block}.attn1.{proj}", f"{own}.{stream}.proj")
            self.linear(f"{block}.{mlp}.fc1", f"{own}.{stream}.mlp.fc1")
            self.linear(f"{block}.{mlp}.fc2", f"{own}.{stream}.mlp.fc2")
            self.linear(f"{block}.adaLN_modulation_{modulation}.1", f"{own}.{stream}.modulation")
            self.qk_norm(f"{block}.attn1.{norm}", f"{own}.{stream}")

    def together(self, block: str, own: str, hidden: int) -> None:
        """A block of the last stage: "qkv_xs" is qkv over fc1, and "linear2" proj beside fc2, under one bias."""
        for kind in ("weight", "bias"):
            qkv_fc1 = self.take(f"{block}.qkv_xs.{kind}")
            self.ours[f"{own}.qkv.{kind}"], self.ours[f"{own}.mlp.fc1.{kind}"] = qkv_fc1.tensor_split([3 * hidden])
        proj_fc2 = self.take(f"{block}.linear2.weight")
        self.ours[f"{own}.proj.weight"], self.ours[f"{own}.mlp.fc2.weight"] = proj_fc2.tensor_split([hidden], dim=1)
        self.ours[f"{own}.proj.bias"] = self.take(f"{block}.linear2.bias")
        self.linear(f"{block}.adaLN_modulation_xs.1", f"{own}.modulation")
        self.qk_norm(f"{block}.attn1.xs_{{}}_norm", own)

    def finish(self) -> None:
        """Raise WeightsError where anything is left."""
        if self.theirs:
            raise WeightsError(
                f"{len(self.theirs)} tensors are no part of the published network, {min(self.theirs)} first"
            )
