"""Media -> tensors. Names are imported on use, so that ``import encoders`` costs nothing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "encode_face": "face",
    "list_faces": "face",
    "FaceCandidate": "face",
    "FaceError": "face",
    "encode_identity": "identity",
    "EmotionError": "emotion",
    "EmotionEstimate": "emotion",
    "estimate_emotion": "emotion",
    "parse_emotion": "emotion",
    "load_image": "image",
    "ImageError": "image",
    "FaceModelError": "landmarker",
    "TrackInfo": "track",
    "VideoError": "track",
    "track_video": "track",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
