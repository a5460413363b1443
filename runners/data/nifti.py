"""Reading NIfTI: one scalar 3D volume, in RAS order, stored scaling applied; or a reason why the file is not that."""

from __future__ import annotations

import logging
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SMALLEST, _LARGEST = 0.01, 100.0
"""Millimetres a voxel may measure; beyond them the header is in another unit, or wrong."""

_FLAT = 0.01
"""A voxel this much smaller than its edges would make it has axes (almost) in one plane."""

_TRAILING = 0.1
"""Bytes after the voxels, in bytes of voxels, from which the header must be wrong."""


class Unusable(ValueError):
    """Why a file cannot be used, in words that follow its name.

    Attributes:
        lasting: whether only a change of the file can mend it (not so where it could not be opened).
    """

    def __init__(self, why: str, *, lasting: bool = True) -> None:
        super().__init__(why)
        self.lasting = lasting


@dataclass(frozen=True)
class Scan:
    """A volume as stored, in RAS order.

    Attributes:
        image: voxels, first axis to the patient's right, second to the front, third to the head.
        spacing: millimetres a voxel along each axis.
        affine: from voxel indices to millimetres, shape (4, 4).
    """

    image: NDArray[np.float32]
    spacing: tuple[float, float, float]
    affine: NDArray[np.float64]


def bytes_needed(path: Path) -> int:
    """The memory that inspecting or preprocessing a file is expected to take, 0 where it cannot be looked at.

    Measured on int16 CT, whose .nii.gz are about half the stored array: 5 to 11 bytes a byte of .nii.gz, 3 to 6 of
    .nii, the more the finer the new spacing.
    """
    try:
        return path.stat().st_size * (12 if path.suffix == ".gz" else 6)
    except OSError:
        return 0


def read_nifti(path: Path) -> Scan:
    """Read a .nii or .nii.gz file of any type and byte order; trailing axes of length 1 are dropped.

    Orientation is that of nibabel's closest canonical axes, as in MONAI's `Orientation("RAS")`; an oblique volume is
    not rotated. Memory: the stored array and a float32 copy of it.

    Raises:
        Unusable: unreadable, damaged, not a single volume of numbers, or without a usable orientation.
    """
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # its complaints are among the reasons given
    try:
        loaded = nibabel.load(path)
        if not isinstance(loaded, nibabel.Nifti1Image):
            raise Unusable(f"not a NIfTI file but {type(loaded).__name__}")
        _refuse_type(loaded.get_data_dtype())
        shape = _single_volume(loaded.shape)
        affine = np.asarray(loaded.affine, np.float64)
        _refuse_affine(affine)
        stored = _stored(path, loaded.dataobj).reshape(shape, order="F")
        slope, inter = loaded.dataobj.slope, loaded.dataobj.inter
    except FileNotFoundError:
        raise Unusable("there is no such file", lasting=False) from None
    except ImageFileError:
        raise Unusable("not a NIfTI file") from None
    except Unusable:
        raise
    except OSError as error:
        if error.errno is not None:
            raise Unusable(f"cannot be read ({error.strerror})", lasting=False) from None
        raise _damaged(error) from None
    except (EOFError, ValueError, ArithmeticError, zlib.error) as error:
        raise _damaged(error) from None
    except MemoryError:
        raise Unusable(f"too large for this machine's memory, shape {_by(loaded.shape)}", lasting=False) from None
    except Exception as error:  # nibabel raises many kinds on damaged files; none may end a scan
        raise Unusable(f"unreadable ({type(error).__name__}: {str(error)[:100]})") from None
    axes = nibabel.io_orientation(affine)
    turned = nibabel.apply_orientation(stored, axes)
    image = np.empty(turned.shape, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for row in range(turned.shape[1]):  # four times as fast as copying the reordered array at one go
            image[:, row] = turned[:, row]
        if (slope, inter) != (1, 0):
            image *= np.float32(slope)
            image += np.float32(inter)
    affine = affine @ nibabel.orientations.inv_ornt_aff(axes, shape)
    return Scan(image, _edges(affine), affine)


def ras_grid(path: Path) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Shape and affine that `read_nifti` gives a file that it can read, from the header alone."""
    import nibabel

    loaded = nibabel.load(path)
    shape, affine = loaded.shape[:3], np.asarray(loaded.affine, np.float64)
    axes = nibabel.io_orientation(affine)
    turned = tuple(shape[int(np.flatnonzero(axes[:, 0] == axis)[0])] for axis in range(3))
    return turned, affine @ nibabel.orientations.inv_ornt_aff(axes, shape)


def _stored(path: Path, proxy: Any) -> NDArray[Any]:
    """The voxels as they stand in the file, flat. Read to the end, so that a gzip's checksum is looked at."""
    from nibabel.openers import ImageOpener

    size = math.prod(proxy.shape) * proxy.dtype.itemsize
    with ImageOpener(path) as file:
        file.seek(proxy.offset)
        voxels, more = file.read(size), 0
        while rest := file.read(1 << 20):
            more += len(rest)
    if len(voxels) < size:
        raise Unusable(f"truncated or damaged (expected {size:,} bytes of voxels, got {len(voxels):,})")
    if more > _TRAILING * size:
        raise Unusable(f"its header, shape {_by(proxy.shape)}, leaves {more:,} bytes of the file over")
    return np.frombuffer(voxels, proxy.dtype)


def _refuse_type(kind: np.dtype[Any]) -> None:
    if kind.names or kind.kind == "V":
        raise Unusable("colours (RGB), not intensities")
    if kind.kind == "c":
        raise Unusable("complex numbers; magnitudes are expected")


def _single_volume(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The three axes of a volume, whatever axes of length 1 follow them."""
    if len(shape) > 3 and any(size > 1 for size in shape[3:]):
        raise Unusable(f"{len(shape)}D, shape {_by(shape)}; one 3D volume a file is expected")
    if len(shape) < 3:
        raise Unusable(f"{len(shape)}D, shape {_by(shape)}; one 3D volume a file is expected")
    if 0 in shape:
        raise Unusable(f"no voxels, shape {_by(shape)}")
    if min(shape[:3]) < 2:
        raise Unusable(f"a single slice, shape {_by(shape[:3])}")
    return shape[:3]


def _refuse_affine(affine: NDArray[np.float64]) -> None:
    edges = _edges(affine) if np.isfinite(affine).all() else (0.0,)
    if min(edges) <= 0 or abs(np.linalg.det(affine[:3, :3])) < _FLAT * np.prod(edges):
        raise Unusable("no usable orientation (singular affine)")
    if min(edges) < _SMALLEST or max(edges) > _LARGEST:
        raise Unusable(f"absurd voxels of {' x '.join(f'{edge:.3g}' for edge in edges)} mm")


def _edges(affine: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = np.sqrt((affine[:3, :3] ** 2).sum(axis=0)).tolist()
    return x, y, z


def _damaged(error: Exception) -> Unusable:
    return Unusable(f"truncated or damaged ({(str(error).splitlines() or [''])[0][:100] or type(error).__name__})")


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
