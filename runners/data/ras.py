"""A volume in RAS order, whatever the file it is from; or a reason why it is not one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runners.data.unusable import Unusable

_SMALLEST, _LARGEST = 0.01, 100.0
"""Millimetres a voxel may measure; beyond them the header is in another unit, or wrong."""

_FLAT = 0.01
"""A voxel this much smaller than its edges would make it has axes (almost) in one plane."""


@dataclass(frozen=True)
class Scan:
    """A volume as stored, in RAS order.

    Attributes:
        image: voxels, first axis to the patient's right, second to the front, third to the head.
        spacing: millimetres a voxel along each axis.
        affine: from voxel indices to millimetres, shape (4, 4).
        notes: what of the header was not taken as it is written, and why.
        converted: the unit that the values were converted to from the file's own tags; '' where they are as stored.
    """

    image: NDArray[np.float32]
    spacing: tuple[float, float, float]
    affine: NDArray[np.float64]
    notes: tuple[str, ...] = ()
    converted: str = ""


def in_ras(
    stored: NDArray[Any],
    affine: NDArray[np.float64],
    slope: float = 1.0,
    inter: float = 0.0,
    notes: tuple[str, ...] = (),
    converted: str = "",
) -> Scan:
    """A stored array turned to nibabel's closest canonical axes, as in MONAI's `Orientation("RAS")`, and scaled.

    An oblique volume is not rotated. Memory: the stored array and a float32 copy of it.

    Args:
        stored: shape (i, j, k); affine: from its indices to RAS millimetres.
    """
    import nibabel

    axes = nibabel.io_orientation(affine)
    turned = nibabel.apply_orientation(stored, axes)
    image = np.empty(turned.shape, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for row in range(turned.shape[1]):  # four times as fast as copying the reordered array at one go
            image[:, row] = turned[:, row]
        if (slope, inter) != (1, 0):
            image *= np.float32(slope)
            image += np.float32(inter)
    affine = affine @ nibabel.orientations.inv_ornt_aff(axes, stored.shape)
    return Scan(image, edges(affine), affine, notes, converted)


def ras_shape(shape: tuple[int, ...], affine: NDArray[np.float64]) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Shape and affine of a stored array once it is turned as `in_ras` does."""
    import nibabel

    axes = nibabel.io_orientation(affine)
    turned = tuple(shape[int(np.flatnonzero(axes[:, 0] == axis)[0])] for axis in range(3))
    return turned, affine @ nibabel.orientations.inv_ornt_aff(axes, shape)


def from_lps(direction: NDArray[np.float64], origin: NDArray[np.float64]) -> NDArray[np.float64]:
    """The RAS affine of a grid that DICOM or ITK gives in LPS.

    Args:
        direction: millimetres a step along each axis, a column an axis, shape (3, 3); origin: of the first voxel, shape (3,).
    """
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = direction, origin
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def single_volume(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The three axes of a volume, whatever axes of length 1 follow them.

    Raises:
        Unusable: it has more or fewer axes, or is empty or a single slice.
    """
    if len(shape) < 3 or any(size > 1 for size in shape[3:]):
        raise Unusable(f"{len(shape)}D, shape {by(shape)}; one 3D volume a file is expected")
    if 0 in shape:
        raise Unusable(f"no voxels, shape {by(shape)}")
    if min(shape[:3]) < 2:
        raise Unusable(f"a single slice, shape {by(shape[:3])}")
    return shape[:3]


def refuse_grid(affine: NDArray[np.float64]) -> None:
    """Refuse axes that lie in one plane, and voxels of impossible size.

    Raises:
        Unusable: says which.
    """
    sizes = edges(affine) if np.isfinite(affine).all() else (0.0,)
    if min(sizes) <= 0 or abs(np.linalg.det(affine[:3, :3])) < _FLAT * np.prod(sizes):
        raise Unusable("no usable orientation (singular affine)")
    if min(sizes) < _SMALLEST or max(sizes) > _LARGEST:
        raise Unusable(f"absurd voxels of {' x '.join(f'{size:.3g}' for size in sizes)} mm")


def edges(affine: NDArray[np.float64]) -> tuple[float, float, float]:
    """Millimetres a voxel measures along each axis."""
    x, y, z = np.sqrt((affine[:3, :3] ** 2).sum(axis=0)).tolist()
    return x, y, z


def by(shape: tuple[int, ...]) -> str:
    """`512x512x90`."""
    return "x".join(map(str, shape))
