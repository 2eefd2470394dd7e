"""The mesh renderer, the embedded default: a portrait warped by its face mesh, with mouth, eyes and lids painted in."""

from moda.render.mesh.renderer import MeshPortrait, MeshRenderer

__all__ = ["MeshPortrait", "MeshRenderer"]
