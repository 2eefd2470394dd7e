"""A rough matte of the head and shoulders. It only steers the weights of a coarse grid, so 192 px are enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from moda.render.mesh.topology import OVAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contracts import Array
    from moda.render.mesh.geometry import HeadFit

SIDE = 192
ITERATIONS = 4
THIN = 9  # px


def head_matte(photo: Array, points: Array, fit: HeadFit, others: Sequence[Array] = ()) -> Array:
    """Foreground of ``photo`` by GrabCut, seeded from the face.

    ``photo``: uint8 [S, S, 3]; ``points``: float32 [478, 3] px, render frame; ``others``: of faces that are background.
    Returns bool [192, 192].
    Source of the method: Rother, Kolmogorov and Blake, "GrabCut", SIGGRAPH 2004, as OpenCV implements it.
    """
    small = cv2.resize(photo, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    k = SIDE / photo.shape[0]
    unit = fit.unit * k
    face = (points[list(OVAL), :2] * [k, -k]).astype(np.float32)
    bridge = points[168, :2] * [k, -k]
    chin = points[152, :2] * [k, -k]

    seeds = np.full((SIDE, SIDE), cv2.GC_BGD, np.uint8)
    roll = float(np.degrees(np.arctan2(fit.rotation[1, 0], fit.rotation[0, 0])))
    up = np.array([-np.sin(np.radians(roll)), -np.cos(np.radians(roll))])
    centre = bridge + 0.3 * unit * up  # an ellipse that leaves the hair out pins it to the wall
    cv2.ellipse(seeds, (tuple(centre), (4.0 * unit, 4.2 * unit), -roll), cv2.GC_PR_BGD, -1)
    cv2.ellipse(seeds, (tuple(centre), (2.8 * unit, 3.2 * unit), -roll), cv2.GC_PR_FGD, -1)
    shoulders = [
        (chin[0] - 0.7 * unit, chin[1] - 0.2 * unit), (chin[0] + 0.7 * unit, chin[1] - 0.2 * unit),
        (chin[0] + 1.9 * unit, chin[1] + 0.9 * unit), (chin[0] + 2.4 * unit, SIDE + 1),
        (chin[0] - 2.4 * unit, SIDE + 1), (chin[0] - 1.9 * unit, chin[1] + 0.9 * unit),
    ]  # fmt: skip
    cv2.fillConvexPoly(seeds, np.array(shoulders).astype(np.int32), cv2.GC_PR_FGD)
    below = int(np.clip(chin[1] + 0.3 * unit, 0, SIDE))  # clothes reach the sides of the picture, walls do too
    seeds[below:][seeds[below:] == cv2.GC_BGD] = cv2.GC_PR_BGD
    chest = [(chin[0] + dx * unit, chin[1] + dy * unit) for dx, dy in ((-0.25, 0.1), (0.25, 0.1), (0.6, 0.7))]
    chest += [
        (chin[0] + 0.9 * unit, SIDE + 1),
        (chin[0] - 0.9 * unit, SIDE + 1),
        (chin[0] - 0.6 * unit, chin[1] + 0.7 * unit),
    ]
    cv2.fillConvexPoly(seeds, np.array(chest).astype(np.int32), cv2.GC_FGD)
    for other in others:
        beside = cv2.convexHull((other[list(OVAL), :2] * [k, -k]).astype(np.float32))
        cv2.fillConvexPoly(seeds, beside.astype(np.int32), cv2.GC_BGD)
    cv2.fillConvexPoly(seeds, cv2.convexHull(face).astype(np.int32), cv2.GC_FGD)
    if not (seeds == cv2.GC_BGD).any():
        return np.ones((SIDE, SIDE), bool)

    cv2.setRNGSeed(0)  # GrabCut's k-means draws from it
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(small, seeds, (0, 0, SIDE, SIDE), background, foreground, ITERATIONS, cv2.GC_INIT_WITH_MASK)
    matte = ((seeds == cv2.GC_FGD) | (seeds == cv2.GC_PR_FGD)).astype(np.uint8)
    # Lines of the wall that touch the head, in its colours, are thin.
    matte = cv2.morphologyEx(matte, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (THIN, THIN)))
    _, labels = cv2.connectedComponents(matte)
    nose = np.clip((points[4, :2] * [k, -k]).astype(int), 0, SIDE - 1)
    return labels == labels[nose[1], nose[0]]


def distance_outside(matte: Array) -> Array:
    """Distance of each pixel to the foreground, float32 [192, 192] px; 0 inside."""
    return cv2.distanceTransform((~matte).astype(np.uint8), cv2.DIST_L2, 5)
