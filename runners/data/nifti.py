"""Reading NIfTI: one scalar 3D volume, in RAS order, stored scaling applied; or a reason why the file is not that."""

from __future__ import annotations

import gzip
import io
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runners.data.header import believed_grid
from runners.data.ras import Scan, by, in_ras, ras_shape, refuse_grid, single_volume
from runners.data.unusable import Unusable, faults

_TRAILING = 0.1
"""Bytes after the voxels, in bytes of voxels, from which the header must be wrong."""


def read_nifti(path: Path) -> Scan:
    """Read a NIfTI file of any type and byte order, gzipped or not, or a pair of .hdr and .img; trailing axes of
    length 1 are dropped. What a file is its content tells, not its name.

    Raises:
        Unusable: unreadable, damaged, not a single volume of numbers, or without a usable orientation.
    """

    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # its complaints are among the reasons given
    with faults():
        form = _form(path)
        _refuse_type(form.header.get_data_dtype())
        whole = tuple(form.header.get_data_shape())
        shape = single_volume(whole)
        affine, notes = believed_grid(form.raw, form.header, shape)
        refuse_grid(affine)
        try:
            stored = _stored(form, whole).reshape(shape, order="F")
        except MemoryError:
            raise Unusable(f"too large for this machine's memory, shape {by(whole)}", lasting=False) from None
        slope, inter = form.header.get_slope_inter()
    scaled = (1.0, 0.0) if slope is None else (slope, inter)
    return in_ras(stored, affine, *scaled, notes)


def ras_grid(path: Path) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Shape and affine that `read_nifti` gives a file, from the header alone.

    Raises:
        Unusable: as `read_nifti`.
    """
    with faults():
        form = _form(path)
        shape = single_volume(tuple(form.header.get_data_shape()))
        affine, _ = believed_grid(form.raw, form.header, shape)
        refuse_grid(affine)
    return ras_shape(shape, affine)


def nifti_files(path: Path) -> tuple[Path, ...]:
    """The files that hold a scan: itself, or the .hdr and the .img of a pair."""
    other = _partner(path)
    if other is None:
        return (path,)
    return (path, other) if path.suffix.lower() == ".hdr" else (other, path)


@dataclass(frozen=True)
class _Form:
    """Where a scan's voxels are and what its header says.

    Attributes:
        path: the file of the voxels.
        raw: the header as stored; `header`: with nibabel's corrections.
    """

    path: Path
    raw: Any
    header: Any


def _form(path: Path) -> _Form:
    import nibabel

    begin = _begin(path)
    kinds = (nibabel.Nifti1Header, nibabel.Nifti2Header)
    kind = next((kind for kind in kinds if kind.may_contain_header(begin)), None)
    pair = kind is not None and _magic(begin) in (b"ni1", b"ni2")
    if kind is None and (other := _partner(path)) is not None and path.suffix.lower() == ".img":
        begin = _begin(other)
        kind, pair = next((kind for kind in kinds if kind.may_contain_header(begin)), None), True
    if kind is None:
        raise Unusable(_other_kind(path))
    voxels: Path | None = path
    if pair:
        voxels = path if path.suffix.lower() == ".img" else _partner(path)
        if voxels is None:
            raise Unusable(f"the header of a pair without its voxels: there is no {path.stem}.img beside it")
        kind = nibabel.nifti1.Nifti1PairHeader if kind is kinds[0] else nibabel.nifti2.Nifti2PairHeader
    block = begin[: kind.template_dtype.itemsize]
    raw = kind(block, check=False)
    assert voxels is not None
    return _Form(voxels, raw, kind(block, raw.endianness, check=True))


def _magic(begin: bytes) -> bytes:
    return begin[4:7] if begin[4:6] in (b"n+", b"ni") else begin[344:347]


def _other_kind(path: Path) -> str:
    import nibabel

    try:
        found = type(nibabel.load(path)).__name__
    except Exception:
        alone = path.suffix.lower() == ".img" and _partner(path) is None
        return f"not a NIfTI file: there is no {path.stem}.hdr beside it" if alone else "not a NIfTI file"
    return f"not a NIfTI file but {found}" if not found.startswith("Nifti") else "not a NIfTI file"


def _partner(path: Path) -> Path | None:
    """The other file of a pair of .hdr and .img, however its ending is written."""
    wanted = {".hdr": ".img", ".img": ".hdr"}.get(path.suffix.lower())
    if wanted is None:
        return None
    for ending in (wanted, wanted.upper()):
        if (there := path.with_suffix(ending)).is_file():
            return there
    return None


def _opened(path: Path) -> Any:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return (
        gzip.GzipFile(fileobj=io.BufferedReader(path.open("rb", buffering=0), 1 << 17)) if packed else path.open("rb")
    )


def _begin(path: Path) -> bytes:
    with _opened(path) as file:
        begin = file.read(540)
    return begin


def _stored(form: _Form, shape: tuple[int, ...]) -> NDArray[Any]:
    """The voxels as they are in the file, flat. Read to the end, so that a gzip's checksum is looked at."""
    kind = form.header.get_data_dtype()
    size = math.prod(shape) * kind.itemsize
    start = form.header.get_data_offset()
    if start < 0:
        raise Unusable(f"truncated or damaged (its voxels begin at byte {start})")
    with _opened(form.path) as file:
        file.seek(start)
        voxels, more = file.read(size), 0
        while rest := file.read(1 << 20):
            more += len(rest)
    if len(voxels) < size:
        raise Unusable(f"truncated or damaged (expected {size:,} bytes of voxels, got {len(voxels):,})")
    if more > _TRAILING * size:
        raise Unusable(f"its header, shape {by(shape)}, leaves {more:,} bytes of the file over")
    return np.frombuffer(voxels, kind)


def _refuse_type(kind: np.dtype[Any]) -> None:
    if kind.names or kind.kind == "V":
        raise Unusable("colours (RGB), not intensities")
    if kind.kind == "c":
        raise Unusable("complex numbers; magnitudes are expected")
