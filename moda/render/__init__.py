"""Motion to frames."""

from moda.render.base import Renderer, RenderError, check_size
from moda.render.mesh import MeshRenderer

__all__ = ["MeshRenderer", "RenderError", "Renderer", "check_size"]
