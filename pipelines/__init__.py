"""The products: encoders, motion generator and renderer put together.

from pipelines import TalkingHead

TalkingHead().make("portrait.jpg", "voice.wav", "out.mp4")
"""

import lazy_loader

from pipelines import _rooms

_rooms.reserve()  # before anything of the house is imported
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # names are imported on use: __init__.pyi
