"""What leaves the house: the video file, its visible mark, and the signature that says where it comes from."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # names are imported on use: __init__.pyi
