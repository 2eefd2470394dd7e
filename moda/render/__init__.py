"""Motion to frames: the protocol of a renderer, the framing, and the two renderers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # names are imported on use: __init__.pyi
