"""Voxels that do not exist: NaN outside the field of view, as SPM and PET reconstructions write it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LEAST = 64
_PART = 0.001
"""Voxels, and part of a volume, from which a connected region of NaN at its border may be outside the field of view."""

_RAGGED = 2.0
"""Neighbours that exist, a voxel of NaN on average, from which a region of NaN is scattered through the volume."""


def outside(image: NDArray[np.float32]) -> NDArray[np.bool_] | None:
    """Which voxels lie outside the field of view; None where all voxels exist.

    A region of NaN is outside where it reaches the border of the volume, is large, and is compact.

    Raises:
        ValueError: other voxels are NaN or infinite; says how many.
    """
    if np.isfinite(image.min()) and np.isfinite(image.max()):
        return None
    bad = ~np.isfinite(image)
    if bad.all():
        raise ValueError("every voxel is NaN or infinite")
    from scipy import ndimage

    missing = np.isnan(image)
    regions, count = ndimage.label(missing)
    sizes = np.bincount(regions.reshape(-1), minlength=count + 1)
    kept = np.zeros(count + 1, bool)
    for face in (regions[0], regions[-1], regions[:, 0], regions[:, -1], regions[:, :, 0], regions[:, :, -1]):
        kept[np.unique(face)] = True
    kept &= sizes >= max(_LEAST, _PART * image.size)
    kept[0] = False
    found = kept[regions]
    # Voxels that touch a region only by an edge or a corner belong to its ragged rim.
    found |= missing & ndimage.binary_dilation(found, np.ones((3, 3, 3), bool))
    others = int(np.count_nonzero(bad & ~found))
    if others or _neighbours_that_exist(found) > _RAGGED * np.count_nonzero(found):
        amount = others or int(np.count_nonzero(bad))
        beside = " inside the field of view" if others and found.any() else ""
        raise ValueError(f"{amount:,} of {image.size:,} voxels{beside} are NaN or infinite")
    return found


def _neighbours_that_exist(missing: NDArray[np.bool_]) -> int:
    return sum(int(np.count_nonzero(np.diff(missing.view(np.int8), axis=axis))) for axis in range(3))


def filled(image: NDArray[np.float32], missing: NDArray[np.bool_]) -> None:
    """Give each voxel that does not exist the value of the nearest that does, in place, so that interpolation at the
    border of the field of view sees values and not NaN; as padding does at the border of a volume."""
    from scipy import ndimage

    nearest = ndimage.distance_transform_edt(missing, return_distances=False, return_indices=True)
    image[missing] = image[tuple(axis[missing] for axis in nearest)]
