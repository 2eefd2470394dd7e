"""The published renderer's networks and its loop over frames, in float32.

Convolutions, normalisations and activations one by one; the spectral norm is divided out whenever a weight is used,
every proposal of the warp moves the whole volume, and features are enlarged before they are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from contracts import Array


class Network:
    """Tensors under their published names, and the layers that use them."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.weights = dict(state)

    def numbered(self, pattern: str) -> list[str]:
        """``up_0``, ``up_1`` ... of ``up_{}``, as many as there are."""
        stem = pattern.removesuffix("{}")
        numbers = {int(name.removeprefix(stem).split(".")[0]) for name in self.weights if name.startswith(stem)}
        return [pattern.format(i) for i in sorted(numbers)]

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def conv(self, name: str, x: Tensor, **options: int) -> Tensor:
        """Of 2 or 3 dimensions, and as large as x unless ``options`` say otherwise."""
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        options = options or {"padding": weight.shape[-1] // 2}
        return (F.conv3d if weight.dim() == 5 else F.conv2d)(x, weight, bias, **options)

    def batch_norm(self, name: str, x: Tensor) -> Tensor:
        kinds = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(self.weights[f"{name}.{kind}"] for kind in kinds), eps=1e-5)

    def conv_norm(self, name: str, x: Tensor) -> Tensor:
        return self.batch_norm(f"{name}.norm", self.conv(f"{name}.conv", x))


class Appearance(Network):
    def __call__(self, image: Tensor) -> Tensor:
        """[B, 3, H, W] in 0..1 -> [B, C, D, H / 4, W / 4]."""
        x = F.relu(self.conv_norm("first", image))
        for block in self.numbered("down_blocks.{}"):
            x = F.avg_pool2d(F.relu(self.conv_norm(block, x)), 2)
        channels = len(self.weights["resblocks_3d.3dr0.conv1.weight"])
        x = self.conv("second", x)
        x = x.view(len(x), channels, -1, *x.shape[2:])
        for block in self.numbered("resblocks_3d.3dr{}"):
            h = self.conv(f"{block}.conv1", F.relu(self.batch_norm(f"{block}.norm1", x)))
            x = x + self.conv(f"{block}.conv2", F.relu(self.batch_norm(f"{block}.norm2", h)))
        return x


class MotionExtractor(Network):
    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """[B, 3, H, W] in 0..1 -> the raw heads."""
        x = image
        for i in range(4):
            layer = f"detector.downsample_layers.{i}"
            if i == 0:
                x = self.channel_norm(f"{layer}.1", self.conv(f"{layer}.0", x, stride=4))
            else:
                x = self.conv(f"{layer}.1", self.channel_norm(f"{layer}.0", x), stride=2)
            for block in self.numbered(f"detector.stages.{i}.{{}}"):
                x = self.block(block, x)
        x = self.layer_norm("detector.norm", x.mean((-2, -1)))
        return {
            name: self.linear(f"detector.fc_{name}", x) for name in ("kp", "scale", "pitch", "yaw", "roll", "t", "exp")
        }

    def block(self, name: str, x: Tensor) -> Tensor:
        h = self.conv(f"{name}.dwconv", x, padding=3, groups=x.shape[1]).permute(0, 2, 3, 1)
        h = F.gelu(self.linear(f"{name}.pwconv1", self.layer_norm(f"{name}.norm", h)))
        energy = torch.norm(h, p=2, dim=(1, 2), keepdim=True)
        share = energy / (energy.mean(dim=-1, keepdim=True) + 1e-6)
        h = self.weights[f"{name}.grn.gamma"] * (h * share) + self.weights[f"{name}.grn.beta"] + h
        return x + self.linear(f"{name}.pwconv2", h).permute(0, 3, 1, 2)

    def layer_norm(self, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], eps=1e-6)

    def channel_norm(self, name: str, x: Tensor) -> Tensor:
        return self.layer_norm(name, x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Warping(Network):
    def __call__(self, feature: Tensor, driving: Tensor, source: Tensor) -> Tensor:
        """feature [B, C, D, H, W], keypoints [B, K, 3] -> [B, 256, H, W]."""
        deformation, occlusion = self.dense_motion(feature, driving, source)
        warped = F.grid_sample(feature, deformation, align_corners=False)
        x = F.leaky_relu(self.conv_norm("third", warped.flatten(1, 2)), 0.01)
        return self.conv("fourth", x) * occlusion

    def dense_motion(self, feature: Tensor, driving: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        dense = "dense_motion_network"
        batch, keypoints = driving.shape[:2]
        size = feature.shape[2:]
        x = F.relu(self.batch_norm(f"{dense}.norm", self.conv(f"{dense}.compress", feature)))
        axes = [2 * torch.arange(n) / (n - 1) - 1 for n in size]
        z, y, x_ = torch.meshgrid(*axes, indexing="ij")
        grid = torch.stack([x_, y, z], dim=-1)[None, None]  # [1, 1, D, H, W, 3]
        moved = grid + (source - driving)[:, :, None, None, None]  # [B, K, D, H, W, 3]
        moved = torch.cat([grid.expand(batch, -1, -1, -1, -1, -1), moved], dim=1)
        volumes = x[:, None].repeat(1, keypoints + 1, 1, 1, 1, 1).flatten(0, 1)  # [B (1 + K), c, D, H, W]
        deformed = F.grid_sample(volumes, moved.flatten(0, 1), align_corners=False)
        deformed = deformed.view(batch, keypoints + 1, -1, *size)
        heat = gaussian(driving, grid) - gaussian(source, grid)
        heat = torch.cat([torch.zeros(batch, 1, *size), heat], dim=1)[:, :, None]
        prediction = self.hourglass(f"{dense}.hourglass", torch.cat([heat, deformed], dim=2).flatten(1, 2))
        mask = F.softmax(self.conv(f"{dense}.mask", prediction), dim=1)[..., None]  # [B, 1 + K, D, H, W, 1]
        deformation = (moved * mask).sum(1)
        return deformation, torch.sigmoid(self.conv(f"{dense}.occlusion", prediction.flatten(1, 2)))

    def hourglass(self, name: str, x: Tensor) -> Tensor:
        skips = [x]
        for block in self.numbered(f"{name}.encoder.down_blocks.{{}}"):
            skips.append(F.avg_pool3d(F.relu(self.conv_norm(block, skips[-1])), (1, 2, 2)))
        x = skips.pop()
        for block in self.numbered(f"{name}.decoder.up_blocks.{{}}"):
            x = F.relu(self.conv_norm(block, F.interpolate(x, scale_factor=(1, 2, 2))))
            x = torch.cat([x, skips.pop()], dim=1)
        return F.relu(self.conv_norm(f"{name}.decoder", x))


def gaussian(keypoints: Tensor, grid: Tensor) -> Tensor:
    """[B, K, 3] -> [B, K, D, H, W]."""
    distance = (grid - keypoints[:, :, None, None, None]) ** 2
    return torch.exp(-0.5 * distance.sum(-1) / 0.01)


class Generator(Network):
    def __call__(self, feature: Tensor) -> Tensor:
        """[B, 256, H, W] -> [B, 3, 8 H, 8 W] in 0..1."""
        x = self.conv("fc", feature)
        for block in self.numbered("G_middle_{}"):
            x = self.block(block, x, feature)
        for block in self.numbered("up_{}"):
            x = self.block(block, F.interpolate(x, scale_factor=2), feature)
        return torch.sigmoid(F.pixel_shuffle(self.conv("conv_img.0", F.leaky_relu(x, 0.2)), 2))

    def block(self, name: str, x: Tensor, feature: Tensor) -> Tensor:
        short = x
        if f"{name}.conv_s.weight_orig" in self.weights:
            short = self.spectral_conv(f"{name}.conv_s", self.spade(f"{name}.norm_s", x, feature))
        h = self.spectral_conv(f"{name}.conv_0", F.leaky_relu(self.spade(f"{name}.norm_0", x, feature), 0.2))
        h = self.spectral_conv(f"{name}.conv_1", F.leaky_relu(self.spade(f"{name}.norm_1", h, feature), 0.2))
        return short + h

    def spade(self, name: str, x: Tensor, feature: Tensor) -> Tensor:
        feature = F.interpolate(feature, size=x.shape[2:])
        steered = F.relu(self.conv(f"{name}.mlp_shared.0", feature))
        gamma, beta = self.conv(f"{name}.mlp_gamma", steered), self.conv(f"{name}.mlp_beta", steered)
        return F.instance_norm(x) * (1 + gamma) + beta

    def spectral_conv(self, name: str, x: Tensor) -> Tensor:
        weight = self.weights[f"{name}.weight_orig"]
        sigma = self.weights[f"{name}.weight_u"] @ weight.flatten(1) @ self.weights[f"{name}.weight_v"]
        return F.conv2d(x, weight / sigma, self.weights.get(f"{name}.bias"), padding=weight.shape[-1] // 2)


class MLP(Network):
    def __call__(self, x: Tensor) -> Tensor:
        last = max(int(name.split(".")[1]) for name in self.weights)
        for i in range(0, last + 1, 2):
            x = self.linear(f"mlp.{i}", x)
            x = F.relu(x) if i < last else x
        return x


@dataclass(frozen=True)
class Face:
    """A portrait as the networks see it."""

    feature: Tensor  # [1, C, D, h, w]
    canonical: Tensor  # [21, 3]
    expression: Tensor  # [21, 3]
    scale: Tensor  # [1, 1]
    keypoints: Tensor  # [21, 3]


class PlainLivePortrait:
    """``states``: published tensors by the names of the networks."""

    def __init__(self, states: Mapping[str, Mapping[str, Tensor]]) -> None:
        self.appearance = Appearance(states["appearance_feature_extractor"])
        self.motion = MotionExtractor(states["motion_extractor"])
        self.warping = Warping(states["warping_module"])
        self.generator = Generator(states["spade_generator"])
        self.stitching = MLP(states["stitching"])

    @torch.inference_mode()
    def look(self, image: Tensor) -> Face:
        """Of a portrait [1, 3, 256, 256] in 0..1."""
        heads = self.motion(image)
        kp, exp, scale = heads["kp"].view(21, 3), heads["exp"].view(21, 3), heads["scale"]
        pose = [head_angle(heads[name]) for name in ("pitch", "yaw", "roll")]
        return Face(self.appearance(image), kp, exp, scale, keypoints(kp, exp, scale, heads["t"][0], pose))

    @torch.inference_mode()
    def paint(self, face: Face, row: Tensor) -> Tensor:
        """The portrait moved as speech moves it, by motion [70]: [1, 3, 512, 512] in 0..1."""
        expression = spoken(face.expression, row[:63].view(21, 3))
        driving = keypoints(face.canonical, expression, face.scale, row[64:67], row[67:70])
        correction = self.stitching(torch.cat([face.keypoints.flatten(), driving.flatten()])[None])[0]
        driving = driving + correction[:63].view(21, 3)
        driving[:, :2] += correction[63:]
        return self.generator(self.warping(face.feature, driving[None], face.keypoints[None]))

    def render(self, face: Face, rows: Tensor, photo: Array, grid: Array, mask: Array) -> Iterator[Array]:
        """A frame uint8 [S, S, 3] per row of motion [T, 70]: the painted picture laid into ``photo``, float32
        [S, S, 3] in 0..255, where ``grid`` [S, S, 2] says (-1..1 from edge to edge) and ``mask`` [S, S] lets."""
        for row in rows:
            picture = 255 * self.paint(face, row)[0].permute(1, 2, 0).numpy()
            places = ((grid + 1) * len(picture) - 1) / 2
            pasted = cv2.remap(picture, places[..., 0], places[..., 1], cv2.INTER_LINEAR)
            blended = mask[..., None] * pasted + (1 - mask[..., None]) * photo
            yield np.clip(np.rint(blended), 0, 255).astype(np.uint8)


def head_angle(logits: Tensor) -> Tensor:
    """Of 66 bins of 3 degrees, in degrees."""
    return (F.softmax(logits, dim=-1) * torch.arange(66)).sum() * 3 - 97.5


def spoken(source: Tensor, generated: Tensor) -> Tensor:
    """The expression [21, 3] of the portrait, with what speech drives of it as generated."""
    out = source.clone()
    for k in (1, 2, 6, *range(11, 21)):
        out[k] = generated[k]
    out[3:5, 1] = generated[3:5, 1]
    out[5, 2] = generated[5, 2]
    out[8, 2] = generated[8, 2]
    out[9, 1:] = generated[9, 1:]
    return out


def keypoints(kp: Tensor, exp: Tensor, scale: Tensor, t: Tensor, degrees: list[Tensor] | Tensor) -> Tensor:
    """s (kp R + exp) + t, with t_z = 0."""
    x, y, z = (torch.deg2rad(torch.as_tensor(angle)) for angle in degrees)
    one, nil = torch.ones(()), torch.zeros(())
    turn_x = torch.stack([one, nil, nil, nil, x.cos(), -x.sin(), nil, x.sin(), x.cos()]).view(3, 3)
    turn_y = torch.stack([y.cos(), nil, y.sin(), nil, one, nil, -y.sin(), nil, y.cos()]).view(3, 3)
    turn_z = torch.stack([z.cos(), -z.sin(), nil, z.sin(), z.cos(), nil, nil, nil, one]).view(3, 3)
    moved = scale.view(()) * (kp @ (turn_z @ turn_y @ turn_x).T + exp)
    moved[:, :2] += t[:2]
    return moved
