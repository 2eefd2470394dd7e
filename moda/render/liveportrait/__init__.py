"""The published renderer: LivePortrait's networks, loaded strictly from its own files."""

from moda.render.liveportrait.checkpoint import load_liveportrait
from moda.render.liveportrait.networks import LivePortrait

__all__ = ["LivePortrait", "load_liveportrait"]
