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
    shapes = {
        "appearance_feature_extractor": _appearance(widths),
        "motion_extractor": _motion(widths),
        "warping_module": _warping(widths),
        "spade_generator": _generator(widths),
    }
    for name in ("stitching", "eye", "lip"):
        mlp = shapes[name] = _Tensors()
        for i, (into, out) in enumerate(pairwise(getattr(widths, name))):
            mlp.conv(f"mlp.{2 * i}", out, into)
    return {network: dict(tensors) for network, tensors in shapes.items()}


class _Tensors(dict[str, tuple[int, ...]]):
    """Shapes by name, a layer at a time."""

    def conv(self, name: str, out: int, into: int, *kernel: int) -> None:
        """A convolution, or without a kernel a linear layer."""
        self[f"{name}.weight"], self[f"{name}.bias"] = (out, into, *kernel), (out,)

    def affine(self, name: str, width: int) -> None:
        self[f"{name}.weight"] = self[f"{name}.bias"] = (width,)

    def norm(self, name: str, width: int) -> None:
        """A batch norm with its statistics."""
        self.affine(name, width)
        self[f"{name}.running_mean"] = self[f"{name}.running_var"] = (width,)
        self[f"{name}.num_batches_tracked"] = ()

    def conv_norm(self, name: str, out: int, into: int, *kernel: int) -> None:
        self.conv(f"{name}.conv", out, into, *kernel)
        self.norm(f"{name}.norm", out)

    def spectral(self, name: str, out: int, into: int, kernel: int, bias: bool = True) -> None:
        """A convolution under spectral norm."""
        self[f"{name}.weight_orig"] = (out, into, kernel, kernel)
        self[f"{name}.weight_u"], self[f"{name}.weight_v"] = (out,), (into * kernel**2,)
        if bias:
            self[f"{name}.bias"] = (out,)


def _appearance(widths: Widths) -> _Tensors:
    tensors = _Tensors()
    tensors.conv_norm("first", widths.appearance[0], 3, 3, 3)
    for i, (into, out) in enumerate(pairwise(widths.appearance)):
        tensors.conv_norm(f"down_blocks.{i}", out, into, 3, 3)
    tensors.conv("second", widths.channels * widths.depth, widths.appearance[-1], 1, 1)
    for i in range(widths.residuals):
        for j in (1, 2):
            tensors.conv(f"resblocks_3d.3dr{i}.conv{j}", widths.channels, widths.channels, 3, 3, 3)
            tensors.norm(f"resblocks_3d.3dr{i}.norm{j}", widths.channels)
    return tensors


def _motion(widths: Widths) -> _Tensors:
    tensors, into = _Tensors(), 3
    for i, (width, depth) in enumerate(widths.stages):
        tensors.affine(f"detector.downsample_layers.{i}.{0 if i else 1}", into if i else width)
        tensors.conv(f"detector.downsample_layers.{i}.{1 if i else 0}", width, into, *(2, 2) if i else (4, 4))
        for j in range(depth):
            block = f"detector.stages.{i}.{j}"
            tensors.conv(f"{block}.dwconv", width, 1, 7, 7)
            tensors.affine(f"{block}.norm", width)
            tensors.conv(f"{block}.pwconv1", 4 * width, width)
            tensors.conv(f"{block}.pwconv2", width, 4 * width)
            tensors[f"{block}.grn.gamma"] = tensors[f"{block}.grn.beta"] = (1, 1, 1, 4 * width)
        into = width
    tensors.affine("detector.norm", into)
    for head, width in {"kp": 63, "scale": 1, "pitch": 66, "yaw": 66, "roll": 66, "t": 3, "exp": 63}.items():
        tensors.conv(f"detector.fc_{head}", width, into)
    return tensors


def _warping(widths: Widths) -> _Tensors:
    tensors = _Tensors()
    dense, hourglass = "dense_motion_network", "dense_motion_network.hourglass"
    judged, levels = (widths.keypoints + 1) * (widths.compressed + 1), widths.hourglass
    tensors.conv(f"{dense}.compress", widths.compressed, widths.channels, 1, 1, 1)
    tensors.norm(f"{dense}.norm", widths.compressed)
    for i, (into, out) in enumerate(zip((judged, *levels[1:]), levels[1:], strict=False)):
        tensors.conv_norm(f"{hourglass}.encoder.down_blocks.{i}", out, into, 3, 3, 3)
    for i, (into, out) in enumerate(zip(levels[::-1], levels[-2::-1], strict=False)):
        tensors.conv_norm(f"{hourglass}.decoder.up_blocks.{i}", out, (2 if i else 1) * into, 3, 3, 3)
    out = judged + levels[0]
    tensors.conv_norm(f"{hourglass}.decoder", out, out, 3, 3, 3)
    tensors.conv(f"{dense}.mask", widths.keypoints + 1, out, 7, 7, 7)
    tensors.conv(f"{dense}.occlusion", 1, out * widths.depth, 7, 7)
    tensors.conv_norm("third", widths.features, widths.channels * widths.depth, 3, 3)
    tensors.conv("fourth", widths.features, widths.features, 1, 1)
    return tensors


def _generator(widths: Widths) -> _Tensors:
    tensors = _Tensors()

    def spade(name: str, width: int) -> None:
        tensors.conv(f"{name}.mlp_shared.0", widths.hidden, widths.features, 3, 3)
        tensors.conv(f"{name}.mlp_gamma", width, widths.hidden, 3, 3)
        tensors.conv(f"{name}.mlp_beta", width, widths.hidden, 3, 3)

    wide = widths.generator[0]
    tensors.conv("fc", wide, widths.features, 3, 3)
    ups = pairwise(widths.generator)
    blocks = {f"G_middle_{i}": (wide, wide) for i in range(6)} | {f"up_{i}": pair for i, pair in enumerate(ups)}
    for block, (into, out) in blocks.items():
        narrow = min(into, out)
        tensors.spectral(f"{block}.conv_0", narrow, into, 3)
        tensors.spectral(f"{block}.conv_1", out, narrow, 3)
        spade(f"{block}.norm_0", into)
        spade(f"{block}.norm_1", narrow)
        if into != out:
            tensors.spectral(f"{block}.conv_s", out, into, 1, bias=False)
            spade(f"{block}.norm_s", into)
    tensors.conv("conv_img.0", 12, widths.generator[-1], 3, 3)
    return tensors
