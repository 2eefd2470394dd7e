"""Folders of talking videos to motion sets: tracked, cut, held against their sound, and written as clips."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # names are imported on use: __init__.pyi
