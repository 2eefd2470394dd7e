"""What the web page stands on: the studio behind it, panels, preview, plot, guard and workspace. The page is app.py."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # names are imported on use: __init__.pyi
