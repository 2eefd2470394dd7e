"""The adapter for the published LivePortrait files: the only place of this package in which their names appear.

Strict: every published tensor is used exactly once, none may be missing or left over, and all shapes must fit. Two
things are computed here once and not in every frame, both exact up to rounding: a batch normalisation at inference
is a scale and a shift, which the convolution before it takes in; and a spectral norm divides a weight by a number.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from moda.network import WeightsError
from moda.render.liveportrait.appearance import AppearanceExtractor
from moda.render.liveportrait.generator import SpadeGenerator
from moda.render.liveportrait.keypoints import KeypointMLP
from moda.render.liveportrait.motion import HEADS, KEYPOINTS, MotionExtractor
from moda.render.liveportrait.networks import LivePortrait
from moda.render.liveportrait.warping import Warping

ModuleT = TypeVar("ModuleT", bound=nn.Module)
State = Mapping[str, Tensor]

NETWORKS = ("appearance_feature_extractor", "motion_extractor", "warping_module", "spade_generator")
RETARGETING = "stitching_retargeting_module"  # one file with three networks in it:
RETARGETING_NETWORKS = {"retarget_shoulder": "stitching", "retarget_eye": "eye", "retarget_mouth": "lip"}
FOLDERS = (".", "base_models", "retargeting_models")  # of the published repository
SUFFIXES = (".safetensors", ".pth")
BATCH_NORM_EPSILON = 1e-5


def load_liveportrait(folder: str | Path) -> LivePortrait:
    """The networks in the published files under ``folder``, in float32, eval mode and on CPU. Raises WeightsError."""
    path = find(folder, RETARGETING)
    small = split_retargeting(read_tensors(path), str(path))
    paths = {name: find(folder, name) for name in NETWORKS}
    return _load(lambda name: small[name] if name in small else read_tensors(paths[name]))  # one large one at a time


def load_published(states: Mapping[str, State]) -> LivePortrait:
    """The networks of published state dicts, by the names of NETWORKS and ``stitching``, ``eye``, ``lip``; widths are
    read off the tensors. Raises WeightsError."""
    return _load(states.__getitem__)


def _load(state: Callable[[str], State]) -> LivePortrait:
    try:
        return _networks(state)
    except (RuntimeError, ValueError, IndexError, ArithmeticError) as error:
        raise WeightsError("the published weights have other shapes than theirs; fetch them again") from error


def _networks(state: Callable[[str], State]) -> LivePortrait:
    """Raises WeightsError; where shapes are impossible RuntimeError, ValueError, IndexError, ArithmeticError."""
    appearance = load_appearance(state("appearance_feature_extractor"))
    motion = load_motion_extractor(state("motion_extractor"))
    warping = load_warping(state("warping_module"), appearance.volume, KEYPOINTS)
    generator = load_generator(state("spade_generator"), warping.fourth.out_channels)
    stitching = load_mlp(state("stitching"), "stitching", 2 * 3 * KEYPOINTS, 3 * KEYPOINTS + 2)
    eyes = load_mlp(state("eye"), "eye", 3 * KEYPOINTS + 3, 3 * KEYPOINTS)
    lips = load_mlp(state("lip"), "lip", 3 * KEYPOINTS + 2, 3 * KEYPOINTS)
    return LivePortrait(appearance, motion, warping, generator, stitching, eyes, lips).eval().requires_grad_(False)


# ---- files ---------------------------------------------------------------------------------------------------------


def find(folder: str | Path, name: str) -> Path:
    """The published file ``name`` under ``folder``, safetensors before pth. Raises WeightsError."""
    for place in FOLDERS:
        for suffix in SUFFIXES:
            path = Path(folder, place, name + suffix)
            if path.is_file():
                return path
    raise WeightsError(f"no {name}.safetensors or .pth under {folder}; give the folder of the LivePortrait weights")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors or pth file, by name; those in a dict of dicts by names joined with a dot.

    A pth file is a pickle; only tensors and plain containers are ever built from it. Raises WeightsError.
    """
    remedy = "fetch it again"
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{path} is damaged, or holds more than tensors and is not opened; {remedy}") from error
    except Exception as error:  # torch raises whatever its steps meet in a damaged pickle
        raise WeightsError(f"{path} cannot be read as weights; {remedy}") from error
    tensors: dict[str, Tensor] = {}
    for name, value in content.items() if isinstance(content, Mapping) else ():
        inner = value if isinstance(value, Mapping) else {"": value}
        tensors |= {f"{name}.{key}" if key else str(name): tensor for key, tensor in inner.items()}
    if not tensors or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise WeightsError(f"{path} is no state dict; {remedy}")
    size = path.stat().st_size
    if any(tensor.layout is not torch.strided or tensor.nbytes > size for tensor in tensors.values()):
        raise WeightsError(f"{path} is damaged: a tensor is larger than the file; {remedy}")
    return tensors


def split_retargeting(tensors: State, source: str) -> dict[str, dict[str, Tensor]]:
    """The three state dicts of the one file ``source`` of stitching and retargeting. Raises WeightsError."""
    states: dict[str, dict[str, Tensor]] = {network: {} for network in RETARGETING_NETWORKS.values()}
    for name, tensor in tensors.items():
        match = re.fullmatch(rf"({'|'.join(RETARGETING_NETWORKS)})[._](?:module\.)?(.*)", name)
        if match is None or match[2] in states[RETARGETING_NETWORKS[match[1]]]:
            raise WeightsError(f"{name} in {source} is no part of the published networks; fetch it again")
        states[RETARGETING_NETWORKS[match[1]]][match[2]] = tensor
    return states


# ---- networks ------------------------------------------------------------------------------------------------------


def load_appearance(state: State) -> AppearanceExtractor:
    theirs = _Published(state, "appearance_feature_extractor")
    downs = theirs.count("down_blocks.{}.conv.weight")
    residuals = theirs.count("resblocks_3d.3dr{}.conv1.weight")
    widths = [theirs.width(f"{block}.conv.weight") for block in ("first", *_numbered("down_blocks.{}", downs))]
    channels = theirs.width("resblocks_3d.3dr0.conv1.weight")
    depth = theirs.width("second.weight") // channels
    theirs.fold("first", "first")
    for i in range(downs):
        theirs.fold(f"down_blocks.{i}", f"down.{i}")
    theirs.move("second", "second")
    for i in range(residuals):
        block, own = f"resblocks_3d.3dr{i}", f"residuals.{i}"
        scale, shift = theirs.norm(f"{block}.norm1", channels)
        theirs.give(f"{own}.norm.weight", scale, f"{block}.norm1")
        theirs.give(f"{own}.norm.bias", shift, f"{block}.norm1")
        theirs.fold(block, f"{own}.conv1", "conv1", "norm2")
        theirs.move(f"{block}.conv2", f"{own}.conv2")
    return theirs.build(lambda: AppearanceExtractor(widths, channels, depth, residuals))


def load_motion_extractor(state: State) -> MotionExtractor:
    theirs = _Published(state, "motion_extractor")
    stages = theirs.count("detector.stages.{}.0.dwconv.weight")
    depths = [theirs.count(f"detector.stages.{i}.{{}}.dwconv.weight") for i in range(stages)]
    widths = [theirs.width(f"detector.stages.{i}.0.dwconv.weight") for i in range(stages)]
    theirs.move("detector.downsample_layers.0.0", "stem")
    theirs.move("detector.downsample_layers.0.1", "stem_norm")
    for i in range(1, stages):
        theirs.move(f"detector.downsample_layers.{i}.0", f"down.{i - 1}.norm")
        theirs.move(f"detector.downsample_layers.{i}.1", f"down.{i - 1}.conv")
    parts = {"dwconv": "depthwise", "norm": "norm", "pwconv1": "expand", "pwconv2": "project"}
    for i, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        for j in range(depth):
            block, own = f"detector.stages.{i}.{j}", f"stages.{i}.{j}"
            for part, name in parts.items():
                theirs.move(f"{block}.{part}", f"{own}.{name}")
            for part, name in (("gamma", "weight"), ("beta", "bias")):
                response = theirs.take(f"{block}.grn.{part}", (1, 1, 1, 4 * width))
                theirs.give(f"{own}.response.{name}", response.flatten(), f"{block}.grn.{part}")
    theirs.move("detector.norm", "norm")
    for head in HEADS:
        theirs.move(f"detector.fc_{head}", f"heads.{head}")
    return theirs.build(lambda: MotionExtractor(widths, depths))


def load_warping(state: State, volume: tuple[int, int], keypoints: int) -> Warping:
    """``volume``: channels and planes of the features it is to warp; ``keypoints``: how many move them."""
    theirs = _Published(state, "warping_module")
    dense = "dense_motion_network"
    encoder, decoder = f"{dense}.hourglass.encoder", f"{dense}.hourglass.decoder"
    downs = theirs.count(f"{encoder}.down_blocks.{{}}.conv.weight")
    outer = theirs.width(f"{decoder}.up_blocks.{downs - 1}.conv.weight")
    widths = [outer, *map(theirs.width, _numbered(f"{encoder}.down_blocks.{{}}.conv.weight", downs))]
    compressed, out = theirs.width(f"{dense}.compress.weight"), theirs.width("fourth.weight")
    theirs.fold(dense, "dense_motion.compress", "compress", "norm")
    for i in range(downs):
        theirs.fold(f"{encoder}.down_blocks.{i}", f"dense_motion.hourglass.down.{i}")
        theirs.fold(f"{decoder}.up_blocks.{i}", f"dense_motion.hourglass.up.{i}")
    theirs.fold(decoder, "dense_motion.hourglass.last")
    theirs.move(f"{dense}.mask", "dense_motion.mask")
    theirs.move(f"{dense}.occlusion", "dense_motion.occlusion")
    theirs.fold("third", "third")
    theirs.move("fourth", "fourth")
    return theirs.build(lambda: Warping(volume, keypoints, compressed, widths, out))


def load_generator(state: State, features: int) -> SpadeGenerator:
    """``features``: channels of what it is to paint."""
    theirs = _Published(state, "spade_generator")
    middle, ups = theirs.count("G_middle_{}.conv_0.weight_orig"), theirs.count("up_{}.conv_0.weight_orig")
    widths = [theirs.width("fc.weight"), *map(theirs.width, _numbered("up_{}.conv_1.weight_orig", ups))]
    hidden = theirs.width("G_middle_0.norm_0.mlp_shared.0.weight")
    upscale = round((theirs.width("conv_img.0.weight") / 3) ** 0.5)

    def spade(published: str, own: str) -> None:
        theirs.move(f"{published}.mlp_shared.0", f"{own}.shared")
        for kind, unit in (("weight", 0.0), ("bias", 1.0)):  # the published x (1 + gamma) + beta is x scale + shift
            gamma, beta = theirs.take(f"{published}.mlp_gamma.{kind}"), theirs.take(f"{published}.mlp_beta.{kind}")
            if gamma.shape != beta.shape:
                raise theirs.error(f"{published}.mlp_gamma.{kind} and mlp_beta.{kind} differ in shape")
            theirs.give(f"{own}.affine.{kind}", torch.cat([gamma + unit, beta]), f"{published}.mlp_gamma.{kind}")

    theirs.move("fc", "first")
    for i, block in enumerate([*_numbered("G_middle_{}", middle), *_numbered("up_{}", ups)]):
        own = f"blocks.{i}"
        for j in (1, 2):
            theirs.divide(f"{block}.conv_{j - 1}", f"{own}.conv{j}")
            theirs.give(f"{own}.conv{j}.bias", theirs.take(f"{block}.conv_{j - 1}.bias"), f"{block}.conv_{j - 1}.bias")
            spade(f"{block}.norm_{j - 1}", f"{own}.norm{j}")
        if i >= middle and widths[i - middle] != widths[i - middle + 1]:
            theirs.divide(f"{block}.conv_s", f"{own}.shortcut")
            spade(f"{block}.norm_s", f"{own}.shortcut_norm")
    theirs.move("conv_img.0", "last")
    return theirs.build(lambda: SpadeGenerator(features, hidden, middle, widths, upscale))


def load_mlp(state: State, name: str, inputs: int, outputs: int) -> KeypointMLP:
    """``name``: what it is called in messages; ``inputs``, ``outputs``: its widths at the ends."""
    theirs = _Published(state, name)
    layers = theirs.count("mlp.{}.weight", step=2)
    hidden = list(map(theirs.width, _numbered("mlp.{}.weight", layers - 1, step=2)))
    for i in range(0, 2 * layers, 2):
        theirs.move(f"mlp.{i}", str(i))
    return theirs.build(lambda: KeypointMLP([inputs, *hidden, outputs]))


def _numbered(pattern: str, count: int, step: int = 1) -> list[str]:
    return [pattern.format(step * i) for i in range(count)]


class _Published:
    """The tensors of one published network on their way into ours: each is taken once and given once."""

    def __init__(self, state: State, network: str) -> None:
        self.network = network
        self.left = {name.removeprefix("module."): value for name, value in state.items()}  # as DataParallel saves
        if len(self.left) < len(state):
            raise self.error("some tensors are there twice, with and without 'module.' before their names")
        self.given: dict[str, Tensor] = {}
        self.origin: dict[str, str] = {}  # of the tensors given, for messages

    def error(self, what: str) -> WeightsError:
        return WeightsError(f"these are not the published weights of {self.network}: {what}; fetch them again")

    def count(self, pattern: str, step: int = 1) -> int:
        """How many tensors there are of a numbered name, at least one."""
        count = 0
        while pattern.format(step * count) in self.left:
            count += 1
        if not count:
            raise self.error(f"{pattern.format(0)} is missing")
        return count

    def width(self, name: str) -> int:
        """The first dimension of a tensor, which stays."""
        if name not in self.left:
            raise self.error(f"{name} is missing")
        shape = self.left[name].shape
        if not shape or not shape[0]:
            raise self.error(f"{name} has shape {tuple(shape)}")
        return shape[0]

    def take(self, name: str, shape: tuple[int, ...] | None = None) -> Tensor:
        if name not in self.left:
            raise self.error(f"{name} is missing")
        tensor = self.left.pop(name)
        if shape is not None and tensor.shape != shape:
            raise self.error(f"{name} has shape {tuple(tensor.shape)}, not {shape}")
        return tensor.float()

    def give(self, own: str, tensor: Tensor, origin: str) -> None:
        self.given[own] = tensor.float()
        self.origin[own] = origin

    def move(self, published: str, own: str) -> None:
        for kind in ("weight", "bias"):
            self.give(f"{own}.{kind}", self.take(f"{published}.{kind}"), f"{published}.{kind}")

    def norm(self, published: str, channels: int) -> tuple[Tensor, Tensor]:
        """A batch normalisation at inference: its scale and shift per channel, float64 [C]."""
        weight, bias, mean, variance = (
            self.take(f"{published}.{kind}", (channels,)).double()
            for kind in ("weight", "bias", "running_mean", "running_var")
        )
        self.take(f"{published}.num_batches_tracked", ())
        scale = weight / (variance + BATCH_NORM_EPSILON).sqrt()
        return scale, bias - mean * scale

    def fold(self, published: str, own: str, conv: str = "conv", norm: str = "norm") -> None:
        """A convolution and the batch normalisation after it, as one convolution."""
        name = f"{published}.{conv}"
        scale, shift = self.norm(f"{published}.{norm}", self.width(f"{name}.weight"))
        weight, bias = self.take(f"{name}.weight"), self.take(f"{name}.bias", tuple(scale.shape))
        self.give(f"{own}.weight", weight * scale.view(-1, *[1] * (weight.dim() - 1)), f"{name}.weight")
        self.give(f"{own}.bias", bias * scale + shift, f"{name}.bias")

    def divide(self, published: str, own: str) -> None:
        """A convolution under spectral norm: its weight over the largest singular value, as last estimated."""
        weight = self.take(f"{published}.weight_orig")
        rows = weight.flatten(1).double()
        u = self.take(f"{published}.weight_u", (rows.shape[0],)).double()
        v = self.take(f"{published}.weight_v", (rows.shape[1],)).double()
        self.give(f"{own}.weight", weight / (u @ rows @ v), f"{published}.weight_orig")

    def build(self, make: Callable[[], ModuleT]) -> ModuleT:
        """The network of ``make`` with exactly the tensors given."""
        if self.left:
            raise self.error(f"{len(self.left)} tensors are no part of it, {min(self.left)} first")
        with torch.device("meta"):
            network = make()
        expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
        for name, tensor in self.given.items():
            if expected.get(name) != tuple(tensor.shape):
                raise self.error(f"{self.origin[name]} does not fit the rest, shape {tuple(tensor.shape)}")
        if missing := sorted(expected.keys() - self.given.keys()):
            raise self.error(f"nothing of it becomes {missing[0]}")
        network.load_state_dict(self.given, assign=True)
        return network.eval()
