"""Two rows of teeth, drawn once per portrait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moda.render.mesh.geometry import smoothstep

if TYPE_CHECKING:
    from contracts import Array
    from moda.render.mesh.light import Light

# OC, from the midline outwards: central and lateral incisor, canine, two premolars.
UPPER_WIDTHS, UPPER_HEIGHTS = (0.092, 0.072, 0.072, 0.060, 0.055), (0.118, 0.105, 0.112, 0.098, 0.092)
LOWER_WIDTHS, LOWER_HEIGHTS = (0.056, 0.060, 0.066, 0.060, 0.055), (0.085, 0.088, 0.095, 0.080, 0.075)
_UPPER_EDGES = (0.0, 0.008, 0.002, 0.012, 0.020)  # OC, how far each edge stands back from that of the incisors
_LOWER_EDGES = (0.0, 0.001, 0.002, 0.008, 0.014)
HALF_WIDTH, BEYOND_EDGE, TO_ROOT = 0.40, 0.03, 0.25  # OC, extent of a sprite
LOWER_SHADE = np.array([0.80, 0.77, 0.75], np.float32)  # RGB, at the biting edge; further down the lip shades them
_LIP_SHADOW, _LIP_DEPTH = 0.45, 0.055  # of the light, and OC from the edge; evenly lit they read as a second lip
_GUM = np.array([0.74, 0.40, 0.40], np.float32)  # RGB, times the level of a tooth


@dataclass(frozen=True)
class Row:
    """A sprite of one row, from BEYOND_EDGE past the biting edge (picture row 0) to TO_ROOT in the gum (the last)."""

    paint: Array  # float32 [h, w, 4]: RGB in levels, alpha 0..1
    scale: float  # px per OC

    def affine(self, corner: Array, right: Array, root: Array) -> Array:
        """Sprite px -> frame px, float64 [2, 3]. In (column, row): the biting edge at the midline, and what one OC
        along the row and one OC to the root add to it."""
        along, deep = right / self.scale, root / self.scale
        origin = corner - right * HALF_WIDTH - root * BEYOND_EDGE
        return np.column_stack([along, deep, origin]).astype(np.float64)


def upper_row(light: Light, colour: Array, scale: float) -> Row:
    """The upper teeth in ``colour``, float32 [3], at ``scale`` px per OC."""
    return _draw(light, colour, scale, UPPER_WIDTHS, UPPER_HEIGHTS, _UPPER_EDGES, corner=0.016, gap=0.07, shadow=0.0)


def lower_row(light: Light, colour: Array, scale: float) -> Row:
    """The lower teeth: smaller, flatter, darker."""
    shade = light.tint(LOWER_SHADE)
    return _draw(
        light, colour * shade, scale, LOWER_WIDTHS, LOWER_HEIGHTS, _LOWER_EDGES, corner=0.008, gap=0.14,
        shadow=_LIP_SHADOW,
    )  # fmt: skip


def _draw(
    light: Light, colour: Array, scale: float, widths: tuple[float, ...], heights: tuple[float, ...],
    edges: tuple[float, ...], corner: float, gap: float, shadow: float,
) -> Row:  # fmt: skip
    """``gap``: how dark the lines between teeth are; ``shadow``: how dark the row gets towards its lip."""
    columns, rows = round(2 * HALF_WIDTH * scale), round((BEYOND_EDGE + TO_ROOT) * scale)
    x = (np.arange(columns, dtype=np.float32) + 0.5) / scale - HALF_WIDTH  # OC from the midline
    y = ((np.arange(rows, dtype=np.float32) + 0.5) / scale - BEYOND_EDGE)[:, None]  # OC from the edge to the root
    bounds = np.concatenate([[0.0], np.cumsum(widths)])
    which = np.clip(np.searchsorted(bounds, np.abs(x), side="right") - 1, 0, len(widths) - 1)
    width, start = np.array(widths)[which], bounds[which]
    u = np.clip(2 * (np.abs(x) - start) / width - 1, -1, 1)  # across one tooth
    edge = np.array(edges)[which] + corner * np.abs(u) ** 7
    neck = np.array(heights)[which] * (1 - 0.16 * u**2)
    feather = 1.2 / scale

    alpha = smoothstep(y, edge - feather, edge + feather) * (1 - smoothstep(np.abs(x), bounds[-1] - 0.02, bounds[-1]))
    side = 0.65 * np.exp(-((x / 0.32) ** 4)) + 0.35 * np.exp(-((x / 0.26) ** 2))
    side = side * (1 - shadow * smoothstep(y, 0.0, _LIP_DEPTH))
    shade = side * (1 - gap * np.abs(u) ** 6)  # faint gaps: strong ones read as corn
    depth = (y - edge) / np.maximum(neck - edge, 1e-3)
    shade = shade * (0.95 + 0.07 * smoothstep(depth, 0.0, 0.35) - 0.08 * smoothstep(depth, 0.55, 1.1))
    lit = np.exp(0.6 * light.slope * x)
    tooth = colour * (shade * lit)[..., None]
    gum = light.tint(light.teeth * _GUM) * (side * lit * np.ones_like(y))[..., None]
    in_gum = smoothstep(y, neck - 0.008, neck + 0.008)[..., None]
    paint = tooth + (gum - tooth) * in_gum
    return Row(np.concatenate([paint, alpha[..., None]], axis=-1).astype(np.float32), scale)
