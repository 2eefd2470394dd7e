"""The published renderer: LivePortrait's networks, loaded strictly from its own files."""

from moda.render.liveportrait.checkpoint import load_liveportrait
from moda.render.liveportrait.networks import LivePortrait
from moda.render.liveportrait.renderer import LivePortraitPortrait, LivePortraitRenderer

__all__ = ["LivePortrait", "LivePortraitPortrait", "LivePortraitRenderer", "load_liveportrait"]
