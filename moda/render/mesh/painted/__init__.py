"""What a photograph does not show, and is painted in: eyes and lids, the inside of the mouth, teeth, shut lips."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # names are imported on use: __init__.pyi
