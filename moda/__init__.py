"""Tensors to motion (``network``, ``flow``, ``motion``), and motion to frames (``render``).

Here besides: the training of the generator, and files that are whole or not there.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # names are imported on use: __init__.pyi
