"""Phantoms: one anatomy seen through the physics of CT, MRI or PET, written as NIfTI with label maps.

A subject's anatomy (body, organs, spine, ribs, bowel gas, lesions) depends on (seed, index) alone, so that domains
with equal seeds show the same patients. The modalities share its shapes and differ in what gives contrast: CT has
fixed Hounsfield units and fine noise; MRI a T1/T2 weighting of its own for each volume, a bias field and Rician
noise; PET uptake that varies from patient to patient, hot lesions, blur and correlated noise.

Labels: 1 body, 2 liver, 3 spleen, 4 kidneys, 5 heart, 6 bone, 7 gas, 8 lesion.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mixlang.files import digest, write_bytes

PHANTOM_VERSION = 1
"""Raised when the same recipe would give other voxels."""

LABELS = {"body": 1, "liver": 2, "spleen": 3, "kidneys": 4, "heart": 5, "bone": 6, "gas": 7, "lesion": 8}

# Centre and half-axes in a body that spans [-1, 1]^3 (x right, y front, z up), and label; each organ is jittered.
_ORGANS = (
    ((0.38, 0.05, 0.15), (0.44, 0.50, 0.40), "liver"),
    ((-0.52, -0.20, 0.20), (0.24, 0.28, 0.30), "spleen"),
    ((0.34, -0.42, -0.35), (0.18, 0.17, 0.30), "kidneys"),
    ((-0.36, -0.42, -0.28), (0.18, 0.17, 0.30), "kidneys"),
    ((-0.12, 0.22, 0.66), (0.34, 0.32, 0.27), "heart"),
)

# By label: Hounsfield units; relative signal with T1 and with T2 weighting; mean uptake in SUV.
_TISSUE = {
    #  label     HU      T1    T2    SUV
    0: (-1000.0, 0.00, 0.00, 0.02),
    1: (-40.0, 0.62, 0.45, 0.55),
    2: (65.0, 0.78, 0.30, 2.20),
    3: (52.0, 0.48, 0.72, 1.70),
    4: (120.0, 0.40, 0.90, 3.50),
    5: (45.0, 0.52, 0.55, 2.60),
    6: (650.0, 0.22, 0.12, 1.00),
    7: (-850.0, 0.02, 0.02, 0.15),
    8: (25.0, 0.33, 0.98, 8.00),
}


@dataclass(frozen=True)
class Recipe:
    """What a phantom depends on; shape in voxels, spacing in mm."""

    modality: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    seed: int
    index: int

    @property
    def content(self) -> str:
        """What stands for the file's hash: the same recipe gives the same volume."""
        return digest(
            {
                "phantom": PHANTOM_VERSION,
                "modality": self.modality,
                "shape": list(self.shape),
                "spacing": list(self.spacing),
                "seed": self.seed,
                "index": self.index,
            }
        )

    @property
    def subject(self) -> str:
        """The patient shown."""
        return f"phantom-{self.seed}-{self.index:05d}"


def anatomy(recipe: Recipe) -> NDArray[np.uint8]:
    """The label map of a recipe's subject, shape as in the recipe; half of the subjects bear 1 to 3 lesions."""
    rng = np.random.default_rng([recipe.seed, recipe.index, 1])
    axes = [np.linspace(-1.05, 1.05, size, dtype=np.float32) for size in recipe.shape]
    grid = _warp(np.meshgrid(*axes, indexing="ij"), rng)
    girth = rng.uniform(0.84, 1.0, 2)
    labels = np.zeros(recipe.shape, np.uint8)
    body = (np.abs(grid[0] / girth[0]) ** 2.4 + np.abs(grid[1] / (0.86 * girth[1])) ** 2.4) < 1.0
    labels[body & (np.abs(grid[2]) < 1.0)] = LABELS["body"]
    inside = labels > 0
    for centre, axes_, name in _ORGANS:
        where = np.asarray(centre) * np.append(girth, 1.0) + rng.normal(0, 0.035, 3)
        labels[(_ellipsoid(grid, where, np.asarray(axes_) * rng.uniform(0.82, 1.15, 3)) < 1.0) & inside] = LABELS[name]
    _skeleton(labels, grid, girth, rng, inside)
    for _ in range(rng.integers(1, 5)):
        where = np.array([rng.uniform(-0.3, 0.3), rng.uniform(0.1, 0.55), rng.uniform(-0.85, -0.2)])
        gas = (_ellipsoid(grid, where, rng.uniform(0.05, 0.14, 3)) < 1.0) & (labels == LABELS["body"])
        labels[gas] = LABELS["gas"]
    if rng.random() < 0.5:
        _lesions(labels, grid, rng)
    return labels


def _warp(grid: list[NDArray[np.float32]], rng: np.random.Generator) -> list[NDArray[np.float32]]:
    """A smooth individual deformation: each coordinate is moved by two plane waves of the others."""
    moved = []
    for axis in range(3):
        shift = np.zeros_like(grid[axis])
        for other in range(3):
            if other != axis:
                shift += rng.uniform(0.02, 0.07) * np.sin(rng.uniform(1.5, 4.0) * grid[other] + rng.uniform(0, 6.3))
        moved.append(grid[axis] + shift)
    return moved


def _ellipsoid(grid: list[NDArray[np.float32]], centre: Any, half_axes: Any) -> NDArray[np.float32]:
    """Squared elliptical distance from `centre`; below 1 inside."""
    return sum(((grid[axis] - np.float32(centre[axis])) / np.float32(half_axes[axis])) ** 2 for axis in range(3))


def _skeleton(labels: Any, grid: Any, girth: Any, rng: np.random.Generator, inside: Any) -> None:
    """A spine of vertebrae and ribs on a shell below the skin."""
    period = rng.uniform(9.0, 12.0)
    disc = np.sin(period * grid[2]) > -0.55
    spine = ((grid[0] / 0.13) ** 2 + ((grid[1] + 0.62 * girth[1]) / 0.15) ** 2 < 1.0) & disc
    shell = (grid[0] / (0.86 * girth[0])) ** 2 + (grid[1] / (0.74 * girth[1])) ** 2
    ribs = (np.abs(shell - 1.0) < 0.10) & (np.sin(period * (grid[2] + 0.35 * grid[1])) > 0.45) & (grid[2] > -0.15)
    labels[(spine | ribs) & inside] = LABELS["bone"]


def _lesions(labels: Any, grid: Any, rng: np.random.Generator) -> None:
    """1 to 3 small lesions, centred in soft tissue."""
    hosts = np.flatnonzero((labels == LABELS["body"]) | (labels == LABELS["liver"]) | (labels == LABELS["spleen"]))
    for _ in range(rng.integers(1, 4)):
        spot = np.unravel_index(hosts[rng.integers(len(hosts))], labels.shape)
        centre = [float(grid[axis][spot]) for axis in range(3)]
        lesion = _ellipsoid(grid, centre, rng.uniform(0.07, 0.15) * rng.uniform(0.8, 1.2, 3)) < 1.0
        labels[lesion & (labels > 0) & (labels != LABELS["bone"])] = LABELS["lesion"]


def render(labels: NDArray[np.uint8], recipe: Recipe) -> NDArray[np.generic]:
    """A label map seen by the recipe's modality: int16 HU for CT, int16 arbitrary for MRI, float32 SUV for PET."""
    rng = np.random.default_rng([recipe.seed, recipe.index, {"ct": 2, "mri": 3, "pet": 4}[recipe.modality]])
    tissue = np.array([_TISSUE[label] for label in range(9)], np.float32)
    noise = rng.standard_normal(labels.shape, dtype=np.float32)
    if recipe.modality == "ct":
        values = tissue[:, 0] + np.where(np.arange(9) > 0, rng.normal(0, 12, 9), 0).astype(np.float32)
        image = ndimage.gaussian_filter(values[labels], 0.5) + 32.0 * noise
        return np.clip(image, -1024, 3071).round().astype(np.int16)
    if recipe.modality == "mri":
        weighting = np.float32(rng.uniform())
        signal = weighting * tissue[:, 1] + (1 - weighting) * tissue[:, 2]
        signal *= rng.uniform(0.85, 1.15, 9).astype(np.float32)
        image = ndimage.gaussian_filter(signal[labels], 0.6) * _bias_field(labels.shape, rng)
        quadrature = rng.standard_normal(labels.shape, dtype=np.float32)
        image = np.hypot(image + 0.03 * noise, 0.03 * quadrature)
        return (rng.uniform(400, 1600) * image).round().astype(np.int16)
    uptake = tissue[:, 3] * np.exp(rng.normal(0, 0.30, 9)).astype(np.float32)
    image = ndimage.gaussian_filter(uptake[labels], 1.5)
    correlated = ndimage.gaussian_filter(noise, 0.8)
    image += 0.25 * np.sqrt(np.maximum(image, 0)) * correlated / correlated.std()
    return np.maximum(image, 0).astype(np.float32)


def _bias_field(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """A smooth multiplicative coil sensitivity between about 0.7 and 1.4."""
    axes = [np.linspace(-1, 1, size, dtype=np.float32) for size in shape]
    slope = rng.normal(0, 0.14, 3).astype(np.float32)
    bend = rng.normal(0, 0.10, 3).astype(np.float32)
    parts = [slope[axis] * axes[axis] + bend[axis] * axes[axis] ** 2 for axis in range(3)]
    return np.exp(parts[0][:, None, None] + parts[1][None, :, None] + parts[2][None, None, :])


def write_phantom(recipe: Recipe, folder: Path) -> tuple[Path, Path]:
    """Write a phantom and its label map as NIfTI below `folder`, unless they are there; returns both paths."""
    import nibabel

    base = folder / "phantoms" / recipe.content[:2] / recipe.content
    image_path, label_path = base.with_suffix(".nii.gz"), base.with_name(base.name + "_label.nii.gz")
    if image_path.exists() and label_path.exists():
        return image_path, label_path
    labels = anatomy(recipe)
    affine = np.diag([*recipe.spacing, 1.0])
    for path, array in ((label_path, labels), (image_path, render(labels, recipe))):
        write_bytes(path, gzip.compress(nibabel.Nifti1Image(array, affine).to_bytes(), 1, mtime=0))
    return image_path, label_path
