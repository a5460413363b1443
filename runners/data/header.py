"""What of a NIfTI header is believed where its parts disagree: voxel sizes, orientation, units of length."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from runners.data.unusable import Unusable

_APART = 0.01
"""Relative difference of two voxel sizes from which they disagree."""

_LENGTHS = {1: ("metres", 1e3), 3: ("micrometres", 1e-3)}
"""Units of length other than millimetres by the code of `xyzt_units`, and their millimetres."""

_VOXEL, _EXTENT = (0.01, 100.0), (5.0, 3000.0)
"""Millimetres that a voxel, and the longest side of a volume, measure; used to decide between two units."""


def believed_grid(raw: Any, header: Any, shape: tuple[int, ...]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """The affine of a volume in millimetres, and what of the header was not taken as written.

    As nibabel and MONAI do it, the sform goes before the qform, and that before pixdim alone; but where they
    contradict each other in voxel size or handedness nothing tells which one is right, and the file is refused.

    Args:
        raw: the header as stored; `header`: the same with nibabel's corrections, which hide a voxel size of 0.

    Raises:
        Unusable: the header contradicts itself, or says no voxel size.
    """
    affine = np.asarray(header.get_best_affine(), np.float64)
    sizes = np.abs(np.asarray(raw["pixdim"][1:4], np.float64))
    said, given = bool((sizes > 0).all() and np.isfinite(sizes).all()), _by(sizes)
    sform, qform = int(raw["sform_code"]) > 0, int(raw["qform_code"]) > 0
    notes = []
    if not sform and not said:
        raise Unusable(f"a voxel size of {given} in its header, and no sform that says another")
    if sform and np.isfinite(affine).all():
        edges = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
        if not said:
            notes.append(f"its header gives voxels of {given} mm; those of the sform are believed, {_by(edges)} mm")
        elif np.any(np.abs(edges - sizes) > _APART * sizes):
            if qform or not np.allclose(sizes, 1.0):
                other = "the qform" if qform else "pixdim"
                raise Unusable(
                    f"its header contradicts itself: the sform has voxels of {_by(edges)} mm, {other} of {given} mm"
                )
            notes.append(f"pixdim was left at 1 mm; the voxels of the sform are believed, {_by(edges)} mm")
        if qform and said and _mirrored(affine, header):
            raise Unusable("its header contradicts itself: sform and qform are mirror images, so left may be right")
    return _in_millimetres(affine, int(raw["xyzt_units"]) & 7, shape, notes)


def _mirrored(affine: NDArray[np.float64], header: Any) -> bool:
    try:
        other = np.asarray(header.get_qform(), np.float64)
    except (ValueError, ArithmeticError):
        return False  # an impossible rotation: the sform is all there is
    both = np.linalg.det(affine[:3, :3]) * np.linalg.det(other[:3, :3])
    return bool(np.isfinite(both) and both < 0)


def _in_millimetres(
    affine: NDArray[np.float64], code: int, shape: tuple[int, ...], notes: list[str]
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Take a header at its word that it is in metres or micrometres only where the volume then has a possible size."""
    if code not in _LENGTHS or not np.isfinite(affine).all():
        return affine, tuple(notes)
    unit, scale = _LENGTHS[code]
    edges = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    as_said, as_millimetres = _possible(edges * scale, shape), _possible(edges, shape)
    if as_said == as_millimetres:
        what = "possible" if as_said else "impossible"
        raise Unusable(f"voxels of {_by(edges)}, in {unit} by its header: both these and millimetres are {what}")
    if as_said:
        affine = affine.copy()
        affine[:3] *= scale
        return affine, (*notes, f"its header is in {unit}: voxels of {_by(edges * scale)} mm")
    return affine, (*notes, f"its header says {unit}, but only millimetres are possible: voxels of {_by(edges)} mm")


def _possible(edges: NDArray[np.float64], shape: tuple[int, ...]) -> bool:
    longest = float((edges * np.asarray(shape)).max())
    return bool(edges.min() >= _VOXEL[0] and edges.max() <= _VOXEL[1] and _EXTENT[0] <= longest <= _EXTENT[1])


def _by(sizes: Any) -> str:
    return " x ".join(f"{size:.3g}" for size in sizes)
