"""Motion to frames."""

from moda.render.base import Background, Renderer, RenderError
from moda.render.framing import Frame, Framing, Scene
from moda.render.mesh import MeshRenderer

__all__ = ["Background", "Frame", "Framing", "MeshRenderer", "RenderError", "Renderer", "Scene"]
