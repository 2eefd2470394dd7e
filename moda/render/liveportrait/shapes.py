"""Name and shape of every tensor in the published files of the renderer."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

Shapes = dict[str, dict[str, tuple[int, ...]]]  # by network


@dataclass(frozen=True)
class Widths:
    """Of the published networks; the defaults are the published ones."""

    appearance: tuple[int, ...] = (64, 128, 256)
    channels: int = 32
    depth: int = 16
    residuals: int = 6
    stages: tuple[tuple[int, int], ...] = ((96, 3), (192, 3), (384, 9), (768, 3))  # width and depth
    keypoints: int = 21  # of the warp
    compressed: int = 4
    hourglass: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)
    features: int = 256
    hidden: int = 128
    generator: tuple[int, ...] = (512, 256, 64)
    stitching: tuple[int, ...] = (126, 128, 128, 64, 65)
    eye: tuple[int, ...] = (66, 256, 256, 128, 128, 64, 63)
    lip: tuple[int, ...] = (65, 128, 128, 64, 63)


def published_shapes(widths: Widths | None = None) -> Shapes:
    """Name and shape of every published tensor, by network, at the published widths or at others."""
    widths = widths or Widths()
    shapes: Shapes = {}
    tensors: dict[str, tuple[int, ...]] = {}

    def network(name: str) -> None:
        nonlocal tensors
        tensors = shapes[name] = {}

    def conv(name: str, out: int, into: int, *kernel: int) -> None:
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = (out, into, *kernel), (out,)

    def affine(name: str, width: int) -> None:
        tensors[f"{name}.weight"] = tensors[f"{name}.bias"] = (width,)

    def norm(name: str, width: int) -> None:
        affine(name, width)
        tensors[f"{name}.running_mean"] = tensors[f"{name}.running_var"] = (width,)
        tensors[f"{name}.num_batches_tracked"] = ()

    def conv_norm(name: str, out: int, into: int, *kernel: int) -> None:
        conv(f"{name}.conv", out, into, *kernel)
        norm(f"{name}.norm", out)

    network("appearance_feature_extractor")
    conv_norm("first", widths.appearance[0], 3, 3, 3)
    for i, (into, out) in enumerate(pairwise(widths.appearance)):
        conv_norm(f"down_blocks.{i}", out, into, 3, 3)
    conv("second", widths.channels * widths.depth, widths.appearance[-1], 1, 1)
    for i in range(widths.residuals):
        for j in (1, 2):
            conv(f"resblocks_3d.3dr{i}.conv{j}", widths.channels, widths.channels, 3, 3, 3)
            norm(f"resblocks_3d.3dr{i}.norm{j}", widths.channels)

    network("motion_extractor")
    into = 3
    for i, (width, depth) in enumerate(widths.stages):
        affine(f"detector.downsample_layers.{i}.{0 if i else 1}", into if i else width)
        conv(f"detector.downsample_layers.{i}.{1 if i else 0}", width, into, *(2, 2) if i else (4, 4))
        for j in range(depth):
            block = f"detector.stages.{i}.{j}"
            conv(f"{block}.dwconv", width, 1, 7, 7)
            affine(f"{block}.norm", width)
            conv(f"{block}.pwconv1", 4 * width, width)
            conv(f"{block}.pwconv2", width, 4 * width)
            tensors[f"{block}.grn.gamma"] = tensors[f"{block}.grn.beta"] = (1, 1, 1, 4 * width)
        into = width
    affine("detector.norm", into)
    for head, width in {"kp": 63, "scale": 1, "pitch": 66, "yaw": 66, "roll": 66, "t": 3, "exp": 63}.items():
        conv(f"detector.fc_{head}", width, into)

    network("warping_module")
    dense, hourglass = "dense_motion_network", "dense_motion_network.hourglass"
    judged, levels = (widths.keypoints + 1) * (widths.compressed + 1), widths.hourglass
    conv(f"{dense}.compress", widths.compressed, widths.channels, 1, 1, 1)
    norm(f"{dense}.norm", widths.compressed)
    for i, (into, out) in enumerate(zip((judged, *levels[1:]), levels[1:], strict=False)):
        conv_norm(f"{hourglass}.encoder.down_blocks.{i}", out, into, 3, 3, 3)
    for i, (into, out) in enumerate(zip(levels[::-1], levels[-2::-1], strict=False)):
        conv_norm(f"{hourglass}.decoder.up_blocks.{i}", out, (2 if i else 1) * into, 3, 3, 3)
    out = judged + levels[0]
    conv_norm(f"{hourglass}.decoder", out, out, 3, 3, 3)
    conv(f"{dense}.mask", widths.keypoints + 1, out, 7, 7, 7)
    conv(f"{dense}.occlusion", 1, out * widths.depth, 7, 7)
    conv_norm("third", widths.features, widths.channels * widths.depth, 3, 3)
    conv("fourth", widths.features, widths.features, 1, 1)

    network("spade_generator")

    def spectral(name: str, out: int, into: int, kernel: int, bias: bool = True) -> None:
        tensors[f"{name}.weight_orig"] = (out, into, kernel, kernel)
        tensors[f"{name}.weight_u"], tensors[f"{name}.weight_v"] = (out,), (into * kernel**2,)
        if bias:
            tensors[f"{name}.bias"] = (out,)

    def spade(name: str, width: int) -> None:
        conv(f"{name}.mlp_shared.0", widths.hidden, widths.features, 3, 3)
        conv(f"{name}.mlp_gamma", width, widths.hidden, 3, 3)
        conv(f"{name}.mlp_beta", width, widths.hidden, 3, 3)

    wide = widths.generator[0]
    conv("fc", wide, widths.features, 3, 3)
    ups = pairwise(widths.generator)
    blocks = {f"G_middle_{i}": (wide, wide) for i in range(6)} | {f"up_{i}": pair for i, pair in enumerate(ups)}
    for block, (into, out) in blocks.items():
        narrow = min(into, out)
        spectral(f"{block}.conv_0", narrow, into, 3)
        spectral(f"{block}.conv_1", out, narrow, 3)
        spade(f"{block}.norm_0", into)
        spade(f"{block}.norm_1", narrow)
        if into != out:
            spectral(f"{block}.conv_s", out, into, 1, bias=False)
            spade(f"{block}.norm_s", into)
    conv("conv_img.0", 12, widths.generator[-1], 3, 3)

    for name in ("stitching", "eye", "lip"):
        network(name)
        layers = getattr(widths, name)
        for i, (into, out) in enumerate(pairwise(layers)):
            conv(f"mlp.{2 * i}", out, into)
    return shapes
