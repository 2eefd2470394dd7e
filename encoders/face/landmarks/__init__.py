"""MediaPipe's face landmarker without MediaPipe's library: its networks run by LiteRT, the rest computed here."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # names are imported on use: __init__.pyi
