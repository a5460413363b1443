"""Reading a scan of any format: NIfTI, MGH, NRRD, MetaImage, a DICOM series."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixlang.files import digest, file_digest
from runners.data.dicom import is_named_as_dicom, is_series, read_series, read_slice, series_files, series_grid
from runners.data.endings import ITK_ENDINGS, MGH_ENDINGS, ending_of
from runners.data.itk import itk_files, itk_grid, read_itk
from runners.data.mgh import mgh_grid, read_mgh
from runners.data.nifti import nifti_files, ras_grid, read_nifti
from runners.data.ras import Scan
from runners.data.unusable import Unusable

__all__ = [
    "Scan",
    "Unusable",
    "bytes_needed",
    "is_there",
    "needed_package",
    "read_scan",
    "scan_digest",
    "scan_files",
    "scan_grid",
]

Grid = tuple[tuple[int, ...], NDArray[np.float64]]


@dataclass(frozen=True)
class _Format:
    """How scans of one format are read.

    Attributes:
        read, grid, files: see `read_scan`, `scan_grid`, `scan_files`; packed: whether its files may be compressed.
        package: the module that it takes beside those that mixlang always has.
    """

    read: Callable[[Path], Scan]
    grid: Callable[[Path], Grid]
    files: Callable[[Path], tuple[Path, ...]]
    packed: bool
    package: str = ""


_NIFTI = _Format(read_nifti, ras_grid, nifti_files, True)
_MGH = _Format(read_mgh, mgh_grid, lambda path: (path,), True)
_ITK = _Format(read_itk, itk_grid, itk_files, True, "SimpleITK")
_DICOM = _Format(read_series, series_grid, series_files, False, "pydicom")


def read_scan(path: Path) -> Scan:
    """Read one volume in RAS order, its own scaling applied.

    Args:
        path: a file; `folder/series-HASH` of a DICOM series (see `runners.data.dicom`), or a folder with one series.

    Raises:
        Unusable: unreadable, damaged, not a single volume of numbers, or without a usable orientation.
    """
    return _format(path).read(path)


def scan_grid(path: Path) -> Grid:
    """Shape and affine that `read_scan` gives, from headers alone.

    Raises:
        Unusable: as `read_scan`.
    """
    return _format(path).grid(path)


def scan_files(path: Path) -> tuple[Path, ...]:
    """The files that hold a scan.

    Raises:
        OSError, Unusable: they cannot be told.
    """
    return _format(path).files(path)


def scan_digest(path: Path) -> str:
    """SHA-256 of the content of a scan's file, or of all its files.

    Raises:
        OSError: one cannot be read.
        Unusable: they cannot be told.
    """
    files = scan_files(path)
    return file_digest(path) if files == (path,) else digest([file_digest(file) for file in files])


def is_there(path: Path) -> bool:
    """Whether a scan is at a path."""
    return path.is_file() or is_series(path)


def needed_package(path: Path) -> str:
    """The package that reading a scan takes and that is not installed; '' where nothing is missing."""
    package = _format(path).package
    return package if package and importlib.util.find_spec(package) is None else ""


def bytes_needed(path: Path) -> int:
    """The memory that inspecting or preprocessing a scan is expected to take, 0 where it cannot be looked at.

    Measured on int16 CT, whose .nii.gz are about half the stored array: 5 to 11 bytes a byte of .nii.gz, 3 to 6 of
    .nii, the more the finer the new spacing.
    """
    form = _format(path)
    plain = path.suffix.lower() in (".nii", ".img", ".mgh")
    try:
        return sum(file.stat().st_size for file in form.files(path)) * (12 if form.packed and not plain else 6)
    except (OSError, Unusable):
        return 0


def _format(path: Path) -> _Format:
    if is_series(path):
        return _DICOM
    if is_named_as_dicom(path):
        return _Format(read_slice, ras_grid, lambda path: (path,), False)
    ending = ending_of(path.name)
    if ending in MGH_ENDINGS:
        return _MGH
    return _ITK if ending in ITK_ENDINGS or _begins_as_nrrd(path) else _NIFTI


def _begins_as_nrrd(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"NRRD"
    except OSError:
        return False
