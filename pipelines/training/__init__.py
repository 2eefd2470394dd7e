"""Footage and speech to trained networks: motion sets, labelled speech, the two trainings."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # names are imported on use: __init__.pyi
