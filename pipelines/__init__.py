"""Encoders, motion generator and renderer put together.

    from pipelines import TalkingHead

    TalkingHead().make("portrait.jpg", "voice.wav", "out.mp4")

Names are imported on use, so that ``import pipelines`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "EMOTIONS": "contracts",
    "ModaError": "contracts",
    "Progress": "pipelines.render",
    "TalkOptions": "pipelines.talk",
    "TalkingHead": "pipelines.talk",
    "drive_portrait": "pipelines.drive",
    "render_motion": "pipelines.render",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
