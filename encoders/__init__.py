"""Media to tensors: what a voice says, who a face is, and what it feels.

``encoders.audio`` hears, ``encoders.face`` sees; identity and emotion are read off what was seen.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # names are imported on use: __init__.pyi
