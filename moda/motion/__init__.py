"""Motion itself: the 70 numbers of a frame, their files, and what is done to them after sampling."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # names are imported on use: __init__.pyi
