"""How well motion follows speech: figures, baselines, and the run that compares them on held-out speakers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # names are imported on use: __init__.pyi
