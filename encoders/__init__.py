"""Media -> tensors. Names are imported on use, so that ``import encoders`` costs nothing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "encode_face": "face.portrait",
    "list_faces": "face.portrait",
    "FaceCandidate": "face.portrait",
    "FaceError": "face.portrait",
    "encode_identity": "identity",
    "EmotionError": "emotion",
    "EmotionEstimate": "emotion",
    "estimate_emotion": "emotion",
    "parse_emotion": "emotion",
    "load_image": "face.image",
    "ImageError": "face.image",
    "FaceModelError": "face.model_file",
    "TrackInfo": "face.track",
    "VideoError": "face.track",
    "track_video": "face.track",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
