"""Volumes as small grey pictures: their three middle slices as a radiologist looks at them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_SHADES = 64
"""Greys that are told apart; few enough that a picture is small as PNG."""


def middle_slices(
    volume: NDArray[np.floating], spacing: Sequence[float], edge: int, window: tuple[float, float]
) -> NDArray[np.uint8]:
    """The axial, coronal and sagittal middle slices side by side, each in a square of `edge` pixels.

    The patient's right is at the left, the front or the head at the top. Voxels that do not exist are black.

    Args:
        volume: in RAS order.
        spacing: millimetres a voxel along each axis; all slices are to one scale.
        window: the values shown as black and as white.
    """
    # The middle of what exists: padding stands at the end of an axis.
    first = (volume[:, 0, 0], volume[0, :, 0], volume[0, 0, :])
    x, y, z = (int(np.isfinite(line).sum()) // 2 for line in first)
    longest = max(size * step for size, step in zip(volume.shape, spacing, strict=True))
    cut = (
        (volume[::-1, ::-1, z].T, spacing[1], spacing[0]),
        (volume[::-1, y, ::-1].T, spacing[2], spacing[0]),
        (volume[x, ::-1, ::-1].T, spacing[2], spacing[1]),
    )
    return np.concatenate(
        [_square(_grey(plane, window), (high, wide), edge, longest) for plane, high, wide in cut], axis=1
    )


def _grey(plane: NDArray[np.floating], window: tuple[float, float]) -> NDArray[np.uint8]:
    low, high = window
    shade = np.nan_to_num((plane.astype(np.float32) - low) / (high - low), nan=0.0).clip(0, 1)
    return (np.round(shade * (_SHADES - 1)) * (255 // (_SHADES - 1))).astype(np.uint8)


def _square(plane: NDArray[np.uint8], spacing: tuple[float, float], edge: int, longest: float) -> NDArray[np.uint8]:
    """The plane scaled so that `longest` millimetres fill the edge, centred on black."""
    sizes = [
        max(1, min(edge, round(edge * size * step / longest))) for size, step in zip(plane.shape, spacing, strict=True)
    ]
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(sizes, plane.shape, strict=True)
    )
    out = np.zeros((edge, edge), np.uint8)
    top, left = ((edge - size) // 2 for size in sizes)
    out[top : top + sizes[0], left : left + sizes[1]] = plane[np.ix_(rows, columns)]
    return out
