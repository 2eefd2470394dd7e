"""Motion to frames."""

from moda.render.base import Renderer, RenderError
from moda.render.mesh import MeshRenderer

__all__ = ["MeshRenderer", "RenderError", "Renderer"]
