"""One volume from file to network input: read, resample, crop to the patient, normalise, pad."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runners.data.intensity import foreground, normalise, without_fill
from runners.data.nifti import read_nifti
from runners.data.resample import to_spacing

_MARGIN = 4
"""Voxels of background kept around the patient."""


def preprocess(path: Path, factor: float, settings: dict[str, Any]) -> NDArray[np.float16]:
    """Read and preprocess a NIfTI file.

    Args:
        factor: multiplies the stored values first (unit conversion).
        settings: modality, clip, spacing (mm) and crop (voxels).

    Returns:
        The volume in RAS order at the wanted spacing. Axes shorter than the crop are padded at their end with NaN,
        which marks voxels that do not exist: they are never shown to the network and never scored.

    Raises:
        Unusable: the file cannot be read.
    """
    scan = read_nifti(path)
    if factor != 1.0:
        np.multiply(scan.image, np.float32(factor), out=scan.image)
    without_fill(scan.image, settings["modality"])
    image = to_spacing(scan, settings["spacing"])
    del scan
    inside = foreground(image, settings["modality"])
    box = tuple(_span(inside, axis, settings["crop"][axis]) for axis in range(3))
    image, inside = np.ascontiguousarray(image[box]), np.ascontiguousarray(inside[box])
    image = normalise(image, settings, inside).astype(np.float16)
    padding = [(0, max(0, edge - size)) for edge, size in zip(settings["crop"], image.shape, strict=True)]
    return np.pad(image, padding, constant_values=np.float16(np.nan))


def _span(inside: NDArray[np.bool_], axis: int, edge: int) -> slice:
    """The part of an axis the patient fills, with a margin, at least one crop long where the axis allows."""
    size = inside.shape[axis]
    filled = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
    low, high = (int(filled[0]) - _MARGIN, int(filled[-1]) + 1 + _MARGIN) if filled.size else (0, size)
    short = max(0, edge - (high - low))
    low, high = low - short // 2, high + short - short // 2
    if low < 0:
        low, high = 0, high - low
    if high > size:
        low, high = low - (high - size), size
    return slice(max(0, low), high)
