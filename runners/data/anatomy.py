"""The shapes of phantoms: a trunk and a head, as label maps that differ from subject to subject.

Coordinates span about [-1, 1]^3 (x right, y front, z up), whatever the shape in voxels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Grid = list[NDArray[np.float32]]

TRUNK = {"body": 1, "liver": 2, "spleen": 3, "kidneys": 4, "heart": 5, "bone": 6, "gas": 7, "lesion": 8}
HEAD = {"scalp": 1, "white": 2, "grey": 3, "fluid": 4, "eyes": 5, "bone": 6, "gas": 7, "lesion": 8}

# Centre and half-axes in the trunk, and label; each organ is jittered.
_ORGANS = (
    ((0.38, 0.05, 0.15), (0.44, 0.50, 0.40), "liver"),
    ((-0.52, -0.20, 0.20), (0.24, 0.28, 0.30), "spleen"),
    ((0.34, -0.42, -0.35), (0.18, 0.17, 0.30), "kidneys"),
    ((-0.36, -0.42, -0.28), (0.18, 0.17, 0.30), "kidneys"),
    ((-0.12, 0.22, 0.66), (0.34, 0.32, 0.27), "heart"),
)


def trunk(shape: tuple[int, int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A trunk's label map (see TRUNK); half of the subjects bear 1 to 3 lesions."""
    grid = _coordinates(shape, rng)
    girth = rng.uniform(0.84, 1.0, 2)
    labels = np.zeros(shape, np.uint8)
    body = (np.abs(grid[0] / girth[0]) ** 2.4 + np.abs(grid[1] / (0.86 * girth[1])) ** 2.4) < 1.0
    labels[body & (np.abs(grid[2]) < 1.0)] = TRUNK["body"]
    inside = labels > 0
    for centre, axes_, name in _ORGANS:
        where = np.asarray(centre) * np.append(girth, 1.0) + rng.normal(0, 0.035, 3)
        labels[(_ellipsoid(grid, where, np.asarray(axes_) * rng.uniform(0.82, 1.15, 3)) < 1.0) & inside] = TRUNK[name]
    _skeleton(labels, grid, girth, rng, inside)
    for _ in range(rng.integers(1, 5)):
        where = np.array([rng.uniform(-0.3, 0.3), rng.uniform(0.1, 0.55), rng.uniform(-0.85, -0.2)])
        gas = (_ellipsoid(grid, where, rng.uniform(0.05, 0.14, 3)) < 1.0) & (labels == TRUNK["body"])
        labels[gas] = TRUNK["gas"]
    if rng.random() < 0.5:
        _lesions(labels, grid, (TRUNK["body"], TRUNK["liver"], TRUNK["spleen"]), rng)
    return labels


def head(shape: tuple[int, int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A head's label map (see HEAD): a skull with folded cortex and ventricles; half bear 1 to 3 lesions."""
    grid = _coordinates(shape, rng)
    size = rng.uniform(0.90, 1.0, 3) * np.array([0.78, 0.96, 0.98])
    depth = np.sqrt(_ellipsoid(grid, (0, 0, 0), size))
    labels = np.zeros(shape, np.uint8)
    thickness = rng.uniform(0.07, 0.11)
    fold = rng.uniform(9.0, 13.0)
    sulci = sum(np.sin(fold * grid[axis] + rng.uniform(0, 6.3)) for axis in range(3)) / 3
    for limit, name in ((1.0, "scalp"), (0.94, "bone"), (0.94 - thickness, "fluid")):
        labels[depth < limit] = HEAD[name]
    brain = 0.90 - thickness + 0.05 * sulci
    labels[depth < brain] = HEAD["grey"]
    labels[depth < brain - rng.uniform(0.13, 0.20) + 0.10 * sulci] = HEAD["white"]
    _deep_parts(labels, grid, rng)
    if rng.random() < 0.5:
        _lesions(labels, grid, (HEAD["white"], HEAD["grey"]), rng)
    return labels


def _deep_parts(labels: Any, grid: Grid, rng: np.random.Generator) -> None:
    """Ventricles and basal ganglia on both sides, a cerebellum, eyes, and the air of the sinuses."""
    swelling = rng.uniform(0.7, 1.4)
    for side in (-1, 1):
        bent = [grid[0] - side * (0.10 + 0.12 * grid[1] ** 2), grid[1], grid[2]]
        nucleus = _ellipsoid(grid, (side * 0.27, 0.12, 0.02), (0.10, 0.17, 0.12)) < 1
        labels[nucleus & (labels == HEAD["white"])] = HEAD["grey"]
        ventricle = _ellipsoid(bent, (0, 0.02, 0.18), np.array([0.07, 0.42, 0.12]) * swelling) < 1
        labels[ventricle & np.isin(labels, (HEAD["white"], HEAD["grey"]))] = HEAD["fluid"]
        where = np.array([side * 0.30, 0.74, -0.30]) + rng.normal(0, 0.02, 3)
        labels[(_ellipsoid(grid, where, (0.13, 0.14, 0.13)) < 1) & (labels > 0)] = HEAD["eyes"]
    stripes = np.sin(rng.uniform(22, 28) * grid[2] + 4 * grid[1]) > 0.2
    cerebellum = _ellipsoid(grid, (0, -0.50, -0.52), (0.42, 0.26, 0.24)) < 1
    labels[cerebellum & (labels > 0)] = HEAD["grey"]
    labels[cerebellum & stripes & (labels > 0)] = HEAD["white"]
    sinus = _ellipsoid(grid, (0, 0.66, -0.62), np.array([0.26, 0.16, 0.20]) * rng.uniform(0.8, 1.2, 3)) < 1
    labels[sinus & (labels > 0)] = HEAD["gas"]


def _coordinates(shape: tuple[int, int, int], rng: np.random.Generator) -> Grid:
    """Each voxel's place in the body, after the subject's own smooth deformation."""
    axes = [np.linspace(-1.05, 1.05, size, dtype=np.float32) for size in shape]
    return _warp(np.meshgrid(*axes, indexing="ij"), rng)


def _warp(grid: Grid, rng: np.random.Generator) -> Grid:
    """A smooth individual deformation: each coordinate is moved by two plane waves of the others."""
    moved = []
    for axis in range(3):
        shift = np.zeros_like(grid[axis])
        for other in range(3):
            if other != axis:
                shift += rng.uniform(0.02, 0.07) * np.sin(rng.uniform(1.5, 4.0) * grid[other] + rng.uniform(0, 6.3))
        moved.append(grid[axis] + shift)
    return moved


def _ellipsoid(grid: Grid, centre: Any, half_axes: Any) -> NDArray[np.float32]:
    """Squared elliptical distance from `centre`; below 1 inside."""
    return sum(((grid[axis] - np.float32(centre[axis])) / np.float32(half_axes[axis])) ** 2 for axis in range(3))


def _skeleton(labels: Any, grid: Grid, girth: Any, rng: np.random.Generator, inside: Any) -> None:
    """A spine of vertebrae and ribs on a shell below the skin."""
    period = rng.uniform(9.0, 12.0)
    disc = np.sin(period * grid[2]) > -0.55
    spine = ((grid[0] / 0.13) ** 2 + ((grid[1] + 0.62 * girth[1]) / 0.15) ** 2 < 1.0) & disc
    shell = (grid[0] / (0.86 * girth[0])) ** 2 + (grid[1] / (0.74 * girth[1])) ** 2
    ribs = (np.abs(shell - 1.0) < 0.10) & (np.sin(period * (grid[2] + 0.35 * grid[1])) > 0.45) & (grid[2] > -0.15)
    labels[(spine | ribs) & inside] = TRUNK["bone"]


def _lesions(labels: Any, grid: Grid, tissues: tuple[int, ...], rng: np.random.Generator) -> None:
    """1 to 3 small lesions, centred in one of `tissues`."""
    hosts = np.flatnonzero(np.isin(labels, tissues))
    for _ in range(rng.integers(1, 4)):
        spot = np.unravel_index(hosts[rng.integers(len(hosts))], labels.shape)
        centre = [float(grid[axis][spot]) for axis in range(3)]
        lesion = _ellipsoid(grid, centre, rng.uniform(0.07, 0.15) * rng.uniform(0.8, 1.2, 3)) < 1.0
        labels[lesion & (labels > 0) & (labels != TRUNK["bone"])] = TRUNK["lesion"]


ANATOMIES: dict[str, Callable[[tuple[int, int, int], np.random.Generator], NDArray[np.uint8]]] = {
    "trunk": trunk,
    "head": head,
}
"""The shapes a phantom may have; each returns a label map of labels 0 (air) to 8."""
