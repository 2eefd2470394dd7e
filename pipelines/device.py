"""Where the networks run: decided here, once, for the whole product."""

from __future__ import annotations

import torch

from contracts import ModaError


class DeviceError(ModaError):
    """A device that this machine does not have."""


def available_devices() -> tuple[str, ...]:
    """The kinds of device of this machine, fastest first."""
    kinds = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return tuple(kind for kind, here in kinds.items() if here)


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` is the fastest kind there is; otherwise a torch device name such as ``cpu`` or ``cuda:1``.

    Raises:
        DeviceError: there is no such device here.
    """
    devices = available_devices()
    if name == "auto":
        return torch.device(devices[0])
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")  # no such kind
    if device.type not in devices or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise DeviceError(f"there is no device {name!r} here; choose from auto, {', '.join(devices)}")
    return device
