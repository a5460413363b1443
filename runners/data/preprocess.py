"""One volume from file to network input: read, resample, crop to the patient, normalise, pad."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixlang.documents import Preprocessing
from runners.data.field_of_view import filled, outside
from runners.data.intensity import foreground, in_range, normalise, without_fill
from runners.data.reading import Scan, Unusable, read_scan
from runners.data.resample import nearest_to_spacing, to_spacing

_MARGIN = 4
"""Voxels of background kept around the patient."""

NO_LABEL = -1
"""The value of a prepared label map where there is no voxel."""

_MOST = 32_767
"""Largest label."""


def preprocess(path: Path, factor: float, settings: Preprocessing) -> NDArray[np.float16]:
    """Read and preprocess a NIfTI file.

    Args:
        factor: multiplies the stored values first (unit conversion).
        settings: modality, clip, spacing (mm) and crop (voxels), and an `offset` added after the factor, if any.

    Returns:
        The volume in RAS order at the wanted spacing. NaN marks voxels that do not exist, which are never shown to the
        network and never scored: those outside the field of view, and padding at the end of axes shorter than the crop.

    Raises:
        Unusable: the file cannot be read.
    """
    image, inside, box, missing = _on_grid(path, factor, settings)
    image, inside = np.ascontiguousarray(image[box]), np.ascontiguousarray(inside[box])
    if missing is None:
        image = normalise(image, settings, inside)
    else:
        exists = ~missing[box]
        values = normalise(image[exists], settings, inside[exists])
        image[...] = np.nan
        image[exists] = values
    return _padded(image.astype(np.float16), settings["crop"], np.float16(np.nan))


def preprocess_labels(path: Path, labels: Path, factor: float, settings: Preprocessing) -> NDArray[np.int16]:
    """A label map on the grid that `preprocess` gives its image: nearest neighbour, the same box, the same padding.

    Args:
        path: the image, which decides the box; `labels`: the label map, on the same grid.
        factor, settings: as for `preprocess`.

    Returns:
        Labels; NO_LABEL where there is no voxel.

    Raises:
        Unusable: a file cannot be read, or the label map is on another grid or holds other values.
    """
    image, _, box, missing = _on_grid(path, factor, settings)
    found = nearest_to_spacing(read_label_map(labels), settings["spacing"])
    if found.shape != image.shape:
        raise Unusable(f"the label map has {found.shape} voxels where its image has {image.shape}")
    if missing is not None:
        found[missing] = NO_LABEL
    return _padded(np.ascontiguousarray(found[box]), settings["crop"], np.int16(NO_LABEL))


def read_label_map(path: Path) -> Scan:
    """A label map in RAS order, its values whole numbers still held as float32.

    Raises:
        Unusable: unreadable, or other values.
    """
    scan = read_scan(path)
    whole = np.array_equal(scan.image, np.rint(scan.image))
    if not whole or scan.image.min() < 0 or scan.image.max() > _MOST:
        raise Unusable(f"not a label map: its values are not whole numbers from 0 to {_MOST:,}")
    return scan


def _on_grid(
    path: Path, factor: float, settings: Preprocessing
) -> tuple[NDArray[np.float32], NDArray[np.bool_], tuple[slice, ...], NDArray[np.bool_] | None]:
    """An image at the wanted spacing, what of it is foreground, the box around the patient that is kept, and which
    voxels do not exist (None where all do)."""
    scan = read_scan(path)
    try:
        missing = outside(scan.image)
    except ValueError as error:
        raise Unusable(str(error)) from None
    modality = settings["modality"]
    if missing is None:
        in_unit(scan.image, factor, settings)
        without_fill(scan.image, modality)
        image = to_spacing(scan, settings["spacing"])
        del scan
        inside = foreground(image, modality)
    else:
        values = scan.image[~missing]
        in_unit(values, factor, settings)
        without_fill(values, modality)
        scan.image[~missing] = values
        filled(scan.image, missing)
        image = to_spacing(scan, settings["spacing"])
        mask = replace(scan, image=missing.astype(np.float32))
        missing = nearest_to_spacing(mask, settings["spacing"]) > 0
        inside = np.zeros(image.shape, bool)
        inside[~missing] = foreground(image[~missing], modality)
    box = tuple(_span(inside, axis, settings["crop"][axis]) for axis in range(3))
    return image, inside, box, missing


def in_unit(image: NDArray[np.float32], factor: float, settings: Preprocessing) -> None:
    """Stored values to the unit of their domain, in place: times the factor, plus the offset; see `in_range` for MRI."""
    if factor != 1.0:
        np.multiply(image, np.float32(factor), out=image)
    if offset := settings.get("offset", 0.0):
        np.add(image, np.float32(offset), out=image)
    if settings["modality"] == "mri":
        in_range(image)


def _padded(volume: NDArray[Any], crop: Any, value: Any) -> NDArray[Any]:
    """A volume whose axes are at least as long as the crop; what is added at their end has a value that says so."""
    padding = [(0, max(0, edge - size)) for edge, size in zip(crop, volume.shape, strict=True)]
    return np.pad(volume, padding, constant_values=value)


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
