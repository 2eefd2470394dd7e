"""Write liveportrait.safetensors: the published renderer at toy widths, run by this repository's own code.

    python -m tests.moda.render.make_liveportrait GOLDEN_FOLDER

It guards the adapter and the networks where the golden tensors are not at hand, so it is written only by code that
agrees with them. Random weights and inputs, rounded to fp16; outputs float32.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from moda.network.shapes import random_state
from moda.render.liveportrait.checkpoint import (
    load_appearance,
    load_generator,
    load_mlp,
    load_motion_extractor,
    load_warping,
)
from moda.render.liveportrait.keypoints import KeypointMotion, retarget, stitch
from moda.render.liveportrait.shapes import Shapes, Widths, published_shapes

FIXTURE = Path(__file__).with_name("liveportrait.safetensors")
TOLERANCE = 2e-5

States = dict[str, dict[str, Tensor]]


TINY = Widths(
    appearance=(4, 6, 8), channels=2, depth=4, residuals=2, stages=((4, 1), (6, 1), (8, 2), (12, 1)), keypoints=5,
    compressed=1, hourglass=(2, 4, 6), features=8, hidden=6, generator=(12, 8, 4), stitching=(126, 12, 8, 65),
    eye=(66, 12, 8, 63), lip=(65, 12, 63),
)  # fmt: skip


def random_states(shapes: Shapes, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> States:
    """Random weights by network."""
    return {network: random_state(tensors, generator, dtype) for network, tensors in shapes.items()}


@torch.no_grad()
def outputs(states: States, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every network on the inputs ``in/...``, each on the output of the one before where ``tensors`` has it."""
    keypoints = states["warping_module"]["dense_motion_network.mask.bias"].numel() - 1
    source, driving = tensors["in/kp_source"], tensors["in/kp_driving"]
    result: dict[str, Tensor] = {}

    def given(name: str) -> Tensor:
        return tensors.get(f"out/{name}", result[name])

    appearance = load_appearance(states["appearance_feature_extractor"])
    result["feature_3d"] = appearance(tensors["in/image"])
    warping = load_warping(states["warping_module"], appearance.volume, keypoints)
    places = (given("feature_3d"), driving[:, :keypoints], source[:, :keypoints])
    result["deformation"], result["occlusion_map"] = warping.dense_motion(*places)
    result["warped"] = warping(*places)
    generator = load_generator(states["spade_generator"], warping.fourth.out_channels)
    result["frame"] = generator(given("warped"))
    heads = load_motion_extractor(states["motion_extractor"])(tensors["in/motion_image"])
    result |= {f"motion.{name}": head for name, head in heads.items()}
    motion = KeypointMotion.of(heads)
    result |= {f"degrees.{name}": motion.degrees[:, i] for i, name in enumerate(("pitch", "yaw", "roll"))}
    result["rotation"], result["transformed_keypoints"] = motion.rotation, motion.keypoints
    result["stitched_keypoints"] = stitch(load_mlp(states["stitching"], "stitching", 126, 65), source, driving)
    for name, inputs in (("eye", 66), ("lip", 65)):
        if name in states:
            ratios = tensors[f"in/{name}_ratios"]
            result[f"{name}_delta"] = retarget(load_mlp(states[name], name, inputs, 63), source[:1], ratios)
    return result


def errors(states: States, tensors: dict[str, Tensor]) -> dict[str, float]:
    """Largest absolute error of every output ``out/...`` that ``tensors`` has."""
    result = outputs(states, tensors)
    expected = {name.removeprefix("out/"): value for name, value in tensors.items() if name.startswith("out/")}
    assert result.keys() == expected.keys(), result.keys() ^ expected.keys()
    return {name: float((result[name] - value).abs().max()) for name, value in expected.items()}


def load_golden(path: Path) -> tuple[States, dict[str, Tensor]]:
    """The published state dicts of a golden file by network, and its inputs and outputs, all float32."""
    states: States = {}
    tensors: dict[str, Tensor] = {}
    for name, value in load_file(path).items():
        value = value.float() if value.is_floating_point() else value
        if name.startswith("weights/"):
            network, _, tensor = name.removeprefix("weights/").partition(".")
            states.setdefault(network, {})[tensor] = value
        else:
            tensors[name] = value
    return states, tensors


def make() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    states = random_states(published_shapes(TINY), generator, torch.float16)
    inputs = {
        "in/image": draw(1, 3, 16, 16).sigmoid(),
        "in/motion_image": draw(1, 3, 32, 32).sigmoid(),
        "in/kp_source": 0.4 * draw(1, 21, 3),
        "in/kp_driving": 0.4 * draw(1, 21, 3),
        "in/eye_ratios": draw(1, 3).sigmoid(),
        "in/lip_ratios": draw(1, 2).sigmoid(),
    }
    weights = {f"weights/{network}.{name}": t for network, state in states.items() for name, t in state.items()}
    return weights | {name: value.half() for name, value in inputs.items()}


def main(golden: Path) -> None:
    found = errors(*load_golden(golden / "liveportrait_forward.safetensors"))
    print(found)
    if max(found.values()) > TOLERANCE:
        sys.exit("the code does not agree with the golden tensors; nothing written")
    fixture = make()
    save_file(fixture, FIXTURE)
    results = outputs(*load_golden(FIXTURE))
    save_file(fixture | {f"out/{name}": value.contiguous() for name, value in results.items()}, FIXTURE)
    print(FIXTURE, FIXTURE.stat().st_size, "bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
