"""Reading NRRD and MetaImage files, by SimpleITK."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runners.data.ras import Scan, from_lps, in_ras, ras_shape, refuse_grid, single_volume
from runners.data.unusable import Unusable, faults

_DATA = re.compile(r"^(?:ElementDataFile\s*=|data ?file:)\s*(.*?)\s*$", re.I | re.M)
"""Where a header says which file has its voxels."""

_FAULT = re.compile(r"fail|error|not read|cannot|unexpected", re.I)
"""Words of MetaIO's complaints."""

_HEADER = 1 << 16
"""Bytes of a file in which its header ends."""


def read_itk(path: Path) -> Scan:
    """Read a volume; values as stored.

    Raises:
        Unusable: unreadable, damaged, not a single volume of numbers, or a pattern of files.
    """
    with faults():
        reader, shape, affine, notes = _opened(path)
        stored = np.asarray(_itk().GetArrayFromImage(_run(reader.Execute))).T.reshape(shape)
    return in_ras(stored, affine, notes=notes)


def itk_grid(path: Path) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Shape and affine that `read_itk` gives a file, from the header alone.

    Raises:
        Unusable: as `read_itk`.
    """
    with faults():
        _, shape, affine, _ = _opened(path)
    return ras_shape(shape, affine)


def itk_files(path: Path) -> tuple[Path, ...]:
    """The files that hold a scan: itself, and the file of its voxels where its header names another.

    Raises:
        Unusable: its voxels are in a list or a pattern of files, or in one that is not there.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        begin = file.read(_HEADER)
    header = begin.partition(b"\n\n")[0] if begin.startswith(b"NRRD") else begin.partition(b"\0")[0]
    match = _DATA.search(header.decode("latin-1").replace("\r\n", "\n"))
    if match is None or match[1] in ("LOCAL", "Local", "local"):
        return (path,)
    if match[1].split(" ")[0] == "LIST" or "%" in match[1]:
        raise Unusable("its voxels are in several files; write them as one (SimpleITK.WriteImage)")
    voxels = path.parent / match[1]
    if not voxels.is_file():
        raise Unusable(f"there is no {voxels.name} beside it, which has its voxels", lasting=False)
    return (path, voxels)


def _itk() -> Any:
    try:
        import SimpleITK
    except ImportError:
        raise Unusable("needs SimpleITK: pip install 'mixlang[formats]'", lasting=False) from None
    SimpleITK.ProcessObject_SetGlobalWarningDisplay(False)
    return SimpleITK


def _opened(path: Path) -> tuple[Any, tuple[int, ...], NDArray[np.float64], tuple[str, ...]]:
    itk = _itk()
    itk_files(path)
    reader = itk.ImageFileReader()
    reader.SetFileName(str(path))
    _run(reader.ReadImageInformation)
    if reader.GetNumberOfComponents() > 1:
        raise Unusable("several values a voxel (colours or vectors), not intensities")
    if reader.GetPixelID() in (itk.sitkComplexFloat32, itk.sitkComplexFloat64):
        raise Unusable("complex numbers; magnitudes are expected")
    shape = single_volume(tuple(reader.GetSize()))
    direction = np.array(reader.GetDirection()).reshape(len(reader.GetSize()), -1)[:3, :3]
    affine = from_lps(direction * np.array(reader.GetSpacing()[:3]), np.array(reader.GetOrigin()[:3]))
    refuse_grid(affine)
    return reader, shape, affine, _notes(path, reader)


def _notes(path: Path, reader: Any) -> tuple[str, ...]:
    """What a header leaves open, and what is taken instead."""
    with path.open("rb") as file:
        nrrd = file.read(4) == b"NRRD"
    if nrrd and "NRRD_space" not in reader.GetMetaDataKeys():
        return ("its header names no space; its axes are taken to run to the left, the back and the head, as ITK does",)
    return ()


@contextlib.contextmanager
def _complaints() -> Iterator[list[str]]:
    """What is written to standard error meanwhile, which is kept from there; filled when the block ends."""
    said: list[str] = []
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        try:
            os.dup2(file.fileno(), 2)
            yield said
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            said += file.read().decode("utf-8", "replace").split("\n")


def _run(call: Any) -> Any:
    """Call SimpleITK; its errors are of several lines, the last of which says what it is.

    MetaIO tells of pixels that it could not read or decompress on standard error alone, and returns whatever was in memory.
    """
    try:
        with _complaints() as said:
            found = call()
        if fault := next((line.strip() for line in said if _FAULT.search(line)), ""):
            raise Unusable(f"truncated or damaged ({fault[:100]})")
        return found
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = re.sub(r"^.*?ERROR:\s*", "", lines[-1] if lines else "")[:100]
        raise Unusable(f"truncated or damaged ({said})") from None
