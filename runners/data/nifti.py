"""Reading NIfTI: one scalar 3D volume, in RAS order, stored scaling applied; or a reason why the file is not that."""

from __future__ import annotations

import contextlib
import gzip
import io
import logging
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixlang.files import digest, file_digest
from runners.data.header import Unusable, believed_grid

_SMALLEST, _LARGEST = 0.01, 100.0
"""Millimetres a voxel may measure; beyond them the header is in another unit, or wrong."""

_FLAT = 0.01
"""A voxel this much smaller than its edges would make it has axes (almost) in one plane."""

_TRAILING = 0.1
"""Bytes after the voxels, in bytes of voxels, from which the header must be wrong."""

__all__ = ["Scan", "Unusable", "bytes_needed", "ras_grid", "read_nifti", "scan_digest", "scan_files"]


@dataclass(frozen=True)
class Scan:
    """A volume as stored, in RAS order.

    Attributes:
        image: voxels, first axis to the patient's right, second to the front, third to the head.
        spacing: millimetres a voxel along each axis.
        affine: from voxel indices to millimetres, shape (4, 4).
        notes: what of the header was not taken as it is written, and why.
    """

    image: NDArray[np.float32]
    spacing: tuple[float, float, float]
    affine: NDArray[np.float64]
    notes: tuple[str, ...] = ()


def bytes_needed(path: Path) -> int:
    """The memory that inspecting or preprocessing a file is expected to take, 0 where it cannot be looked at.

    Measured on int16 CT, whose .nii.gz are about half the stored array: 5 to 11 bytes a byte of .nii.gz, 3 to 6 of
    .nii, the more the finer the new spacing.
    """
    try:
        return path.stat().st_size * (12 if path.suffix.lower() == ".gz" else 6)
    except OSError:
        return 0


def read_nifti(path: Path) -> Scan:
    """Read a NIfTI file of any type and byte order, gzipped or not, or a pair of .hdr and .img; trailing axes of
    length 1 are dropped. What a file is its content tells, not its name.

    Orientation is that of nibabel's closest canonical axes, as in MONAI's `Orientation("RAS")`; an oblique volume is
    not rotated. Memory: the stored array and a float32 copy of it.

    Raises:
        Unusable: unreadable, damaged, not a single volume of numbers, or without a usable orientation.
    """
    import nibabel

    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # its complaints are among the reasons given
    with _faults():
        form = _form(path)
        _refuse_type(form.header.get_data_dtype())
        whole = tuple(form.header.get_data_shape())
        shape = _single_volume(whole)
        affine, notes = believed_grid(form.raw, form.header, shape)
        _refuse_affine(affine)
        try:
            stored = _stored(form, whole).reshape(shape, order="F")
        except MemoryError:
            raise Unusable(f"too large for this machine's memory, shape {_by(whole)}", lasting=False) from None
        slope, inter = form.header.get_slope_inter()
    axes = nibabel.io_orientation(affine)
    turned = nibabel.apply_orientation(stored, axes)
    image = np.empty(turned.shape, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for row in range(turned.shape[1]):  # four times as fast as copying the reordered array at one go
            image[:, row] = turned[:, row]
        if slope is not None and (slope, inter) != (1, 0):
            image *= np.float32(slope)
            image += np.float32(inter)
    affine = affine @ nibabel.orientations.inv_ornt_aff(axes, shape)
    return Scan(image, _edges(affine), affine, notes)


def ras_grid(path: Path) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Shape and affine that `read_nifti` gives a file, from the header alone.

    Raises:
        Unusable: as `read_nifti`.
    """
    import nibabel

    with _faults():
        form = _form(path)
        shape = _single_volume(tuple(form.header.get_data_shape()))
        affine, _ = believed_grid(form.raw, form.header, shape)
        _refuse_affine(affine)
    axes = nibabel.io_orientation(affine)
    turned = tuple(shape[int(np.flatnonzero(axes[:, 0] == axis)[0])] for axis in range(3))
    return turned, affine @ nibabel.orientations.inv_ornt_aff(axes, shape)


def scan_files(path: Path) -> tuple[Path, ...]:
    """The files that hold a scan: itself, or the .hdr and the .img of a pair."""
    other = _partner(path)
    if other is None:
        return (path,)
    return (path, other) if path.suffix.lower() == ".hdr" else (other, path)


def scan_digest(path: Path) -> str:
    """SHA-256 of the content of a scan's file, or of both files of a pair.

    Raises:
        OSError: it cannot be read.
    """
    files = scan_files(path)
    return file_digest(path) if len(files) == 1 else digest([file_digest(file) for file in files])


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


@contextlib.contextmanager
def _faults() -> Iterator[None]:
    """Whatever reading a damaged file raises, as a reason."""
    try:
        yield
    except FileNotFoundError:
        raise Unusable("there is no such file", lasting=False) from None
    except Unusable:
        raise
    except OSError as error:
        if error.errno is not None:
            raise Unusable(f"cannot be read ({error.strerror})", lasting=False) from None
        raise _damaged(error) from None
    except (EOFError, ValueError, ArithmeticError, zlib.error) as error:
        raise _damaged(error) from None
    except MemoryError:
        raise Unusable("too large for this machine's memory", lasting=False) from None
    except Exception as error:  # nibabel raises many kinds on damaged files; none may end a scan
        raise Unusable(f"unreadable ({type(error).__name__}: {str(error)[:100]})") from None


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
        raise Unusable(f"its header, shape {_by(shape)}, leaves {more:,} bytes of the file over")
    return np.frombuffer(voxels, kind)


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
