from .renderer import MeshRenderer as MeshRenderer
