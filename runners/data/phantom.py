"""Phantoms: a trunk or a head seen through the physics of CT, MRI or PET, written as NIfTI with label maps.

A subject's anatomy (see runners.data.anatomy) depends on (seed, index) alone, so that domains with equal seeds show the
same patients. The modalities share its shapes and differ in what gives contrast: CT has fixed Hounsfield units and fine
noise; MRI a T1/T2 weighting of its own for each volume, a bias field and Rician noise; PET uptake that varies from
patient to patient, hot lesions, blur and correlated noise.

A third kind, `texture`, has no anatomy: every volume of a seed is the same random field, stronger or weaker, and the
fields of different seeds share nothing. It is for controls: there is nothing to transfer between such domains.

A fourth, `patchwork`, has labels that only its own data teach: each volume is pieced together from two patterns of the
seed, in regions of its own. Which of the two a voxel shows is not in its value but in the pattern around it.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mixlang.files import digest, write_bytes
from runners.data.anatomy import ANATOMIES

PHANTOM_VERSION = 1
"""Raised when the same recipe would give other voxels."""

# For labels 0 to 8 of an anatomy: Hounsfield units; relative signal with T1 and with T2 weighting; mean uptake in SUV.
_TISSUE = {
    "trunk": (
        (-1000.0, 0.00, 0.00, 0.02),  # air
        (-40.0, 0.62, 0.45, 0.55),  # body
        (65.0, 0.78, 0.30, 2.20),  # liver
        (52.0, 0.48, 0.72, 1.70),  # spleen
        (120.0, 0.40, 0.90, 3.50),  # kidneys
        (45.0, 0.52, 0.55, 2.60),  # heart
        (650.0, 0.22, 0.12, 1.00),  # bone
        (-850.0, 0.02, 0.02, 0.15),  # gas
        (25.0, 0.33, 0.98, 8.00),  # lesion
    ),
    "head": (
        (-1000.0, 0.00, 0.00, 0.02),  # air
        (20.0, 0.70, 0.40, 0.60),  # scalp
        (90.0, 0.85, 0.38, 2.00),  # white matter
        (130.0, 0.58, 0.56, 5.50),  # grey matter
        (5.0, 0.18, 1.00, 0.40),  # fluid
        (10.0, 0.25, 0.95, 0.90),  # eyes
        (900.0, 0.12, 0.08, 0.70),  # bone
        (-900.0, 0.02, 0.02, 0.10),  # gas
        (170.0, 0.40, 0.90, 9.00),  # lesion
    ),
}

_GRAIN = 3.0
"""Correlation length of a texture's field, in voxels."""

_REGION = 4.0
"""The same of the fields whose sign divides a patchwork into regions."""

_PERIOD, _FINE_GRAIN = 8, 1.5
"""Period and correlation length of the two patterns of a patchwork, in voxels."""


@dataclass(frozen=True)
class Recipe:
    """What a phantom depends on; shape in voxels, spacing in mm, anatomy `trunk`, `head`, `texture` or `patchwork`."""

    modality: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    seed: int
    index: int
    anatomy: str = "trunk"

    @classmethod
    def of(cls, modality: str, phantom: Mapping[str, Any], index: int) -> Recipe:
        """The recipe of a domain's subject, from the spec's phantom section or what a plan keeps of it."""
        shape, spacing = tuple(phantom["shape"]), tuple(float(edge) for edge in phantom["spacing"])
        return cls(modality, shape, spacing, phantom["seed"], index, phantom["anatomy"])  # type: ignore[arg-type]

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
                "anatomy": self.anatomy,
            }
        )

    @property
    def subject(self) -> str:
        """The patient shown."""
        return f"phantom-{self.seed}-{self.index:05d}"


def anatomy(recipe: Recipe) -> NDArray[np.uint8]:
    """The label map of a recipe's subject, shape as in the recipe; a texture is all of label 1, a patchwork of 1 and 2."""
    if recipe.anatomy == "texture":
        return np.ones(recipe.shape, np.uint8)
    if recipe.anatomy == "patchwork":
        regions = _field(np.random.default_rng([recipe.seed, recipe.index, 7]), recipe.shape, _REGION)
        return (1 + (regions > np.median(regions))).astype(np.uint8)
    return ANATOMIES[recipe.anatomy](recipe.shape, np.random.default_rng([recipe.seed, recipe.index, 1]))


def render(labels: NDArray[np.uint8], recipe: Recipe) -> NDArray[np.generic]:
    """A label map seen by the recipe's modality: int16 HU for CT, int16 arbitrary for MRI, float32 SUV for PET."""
    rng = np.random.default_rng([recipe.seed, recipe.index, {"ct": 2, "mri": 3, "pet": 4}[recipe.modality]])
    if recipe.anatomy in ("texture", "patchwork"):
        return _pattern(labels, recipe)
    tissue = np.array(_TISSUE[recipe.anatomy], np.float32)
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


def _field(rng: np.random.Generator, shape: tuple[int, int, int], grain: float) -> NDArray[np.float32]:
    """A smooth random field of deviation 1 that goes on at the opposite edge."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), grain, mode="wrap")
    return field / field.std()


def _repeated(rng: np.random.Generator, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """A field that repeats, so that there is little of it to learn."""
    tile = _field(rng, (_PERIOD, _PERIOD, _PERIOD), _FINE_GRAIN)
    return np.tile(tile, [-(-size // _PERIOD) for size in shape])[tuple(slice(size) for size in shape)]


def _pattern(labels: NDArray[np.uint8], recipe: Recipe) -> NDArray[np.generic]:
    """The seed's field, or two of them by label, stronger or weaker, with noise of the volume's own, in the modality's range."""
    own = np.random.default_rng([recipe.seed, recipe.index, 6])
    if recipe.anatomy == "patchwork":
        one, other = (_repeated(np.random.default_rng([recipe.seed, stream]), recipe.shape) for stream in (8, 9))
        field = np.where(labels == 1, one, other)
    else:
        field = _field(np.random.default_rng([recipe.seed, 5]), recipe.shape, _GRAIN)
    image = np.float32(own.uniform(0.5, 1.5)) * field + 0.3 * own.standard_normal(recipe.shape, dtype=np.float32)
    if recipe.modality == "pet":
        return (3 * np.exp(0.5 * image)).astype(np.float32)
    middle, spread = (0, 300) if recipe.modality == "ct" else (1000, 200)
    return np.clip(middle + spread * image, -1024, 3071).round().astype(np.int16)


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
