"""Resampling to a spacing: trilinear, voxel centres of the first corner fixed, as MONAI's `Spacing` does it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runners.data.nifti import Scan

_SHEAR = 1e-4
"""Cosine between two axes from which a grid counts as sheared; below it no voxel of a volume moves by a tenth."""


def to_spacing(scan: Scan, spacing: Sequence[float]) -> NDArray[np.float32]:
    """The volume at another spacing (mm), in its own directions; what lies beyond the last voxel repeats it.

    Trilinear interpolation between two grids of the same directions is linear interpolation along one axis after the
    other: the same values as MONAI's `Spacing(mode="bilinear", padding_mode="border")`, which computes in float64 and
    materialises the grid, to 1e-3 of the smallest step of CT, in about a tenth of the time and a fifth of the memory.
    (Where rounding hides from MONAI that the axes of an oblique volume are at right angles it centres its grid instead:
    the same voxels, moved together by less than one.) A sheared grid, as from gantry tilt, has to be straightened too,
    and goes through MONAI.
    """
    if np.allclose(scan.spacing, spacing, rtol=1e-3):
        return scan.image
    if _sheared(scan):
        return _straightened(scan, spacing, "bilinear")
    image, ratios = scan.image, [want / have for want, have in zip(spacing, scan.spacing, strict=True)]
    for axis in sorted(range(3), key=lambda axis: -ratios[axis]):  # the axis that shrinks most first
        image = _along(image, axis, ratios[axis])
    return image


def nearest_to_spacing(scan: Scan, spacing: Sequence[float]) -> NDArray[np.int16]:
    """A label map at another spacing (mm), each voxel with the label nearest to it, on the grid of `to_spacing`."""
    if np.allclose(scan.spacing, spacing, rtol=1e-3):
        return scan.image.astype(np.int16)
    if _sheared(scan):
        return _straightened(scan, spacing, "nearest").astype(np.int16)
    labels = scan.image.astype(np.int16)
    for axis, (want, have) in enumerate(zip(spacing, scan.spacing, strict=True)):
        place = _places(labels.shape[axis], want / have)
        labels = labels.take(np.minimum(np.rint(place).astype(np.int64), labels.shape[axis] - 1), axis=axis)
    return labels


def _sheared(scan: Scan) -> bool:
    directions = scan.affine[:3, :3] / np.asarray(scan.spacing)
    return bool(np.abs(directions.T @ directions - np.eye(3)).max() > _SHEAR)


def _places(size: int, ratio: float) -> NDArray[np.float64]:
    """Where the voxels of the new grid lie along an axis, in voxels of the old one."""
    return np.minimum(np.arange(round((size - 1) / ratio) + 1) * ratio, size - 1)


def _along(image: NDArray[np.float32], axis: int, ratio: float) -> NDArray[np.float32]:
    """Linear interpolation along an axis at every `ratio` voxels; a plane at a time, so that temporaries are small."""
    size = image.shape[axis]
    place = _places(size, ratio)
    low = np.minimum(place.astype(np.int64), size - 2)
    weight = (place - low).astype(np.float32)
    shape = list(image.shape)
    shape[axis] = len(place)
    out = np.empty(shape, np.float32)
    if axis == 0:
        for row in range(len(place)):
            _between(image[low[row]], image[low[row] + 1], weight[row], out[row])
    elif axis == 1:
        for plane, target in zip(image, out, strict=True):
            _between(plane[low], plane[low + 1], weight[:, None], target)
    else:
        turned = np.empty((len(place), image.shape[1]), np.float32)
        for plane, target in zip(image, out, strict=True):
            rows = np.ascontiguousarray(plane.T)  # whole rows are gathered three times as fast as single voxels
            _between(rows[low], rows[low + 1], weight[:, None], turned)
            target[...] = turned.T
    return out


def _between(low: NDArray[np.float32], high: NDArray[np.float32], weight: Any, out: NDArray[np.float32]) -> None:
    np.subtract(high, low, out=out)
    out *= weight
    out += low


def _straightened(scan: Scan, spacing: Sequence[float], mode: str) -> NDArray[np.float32]:
    import torch
    from monai.data import MetaTensor
    from monai.transforms import Spacing

    image = MetaTensor(torch.from_numpy(scan.image)[None], affine=torch.from_numpy(scan.affine))
    resampled = Spacing(pixdim=list(spacing), mode=mode, padding_mode="border")(image)
    return np.ascontiguousarray(resampled[0].numpy(), dtype=np.float32)
