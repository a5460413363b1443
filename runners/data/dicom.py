"""DICOM series: which there are below a folder, and each as one volume in RAS order, its own rescaling applied.

A series is known by its folder and a hash of its UID, as in `CT/P001/series-3f2a91c4`. Tags that tell who a patient is are
compared in memory and written nowhere.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runners.data.endings import looks_like_a_scan, never_a_scan
from runners.data.ras import Scan, from_lps, in_ras, ras_shape, refuse_grid, single_volume
from runners.data.suv import suv_factor
from runners.data.unusable import Unusable, faults

DESCRIBED = (
    "SeriesDescription",
    "ProtocolName",
    "StudyDescription",
    "BodyPartExamined",
    "ImageType",
    "Manufacturer",
    "ConvolutionKernel",
    "ContrastBolusAgent",
    "ScanOptions",
)
"""Tags that `source.where` may choose series by."""

_NAME = re.compile(r"series-[0-9a-f]{8}")
_ENDINGS = (".dcm", ".dicom", ".ima")
_SAME = 1e-3
"""Millimetres below which two slices are at one place."""

_EVEN = 0.02
"""Part of the distance between slices by which distances may differ."""

_SHIFTED = 0.02
"""Part of the distance between slices by which one may be shifted against the next: more is a tilted gantry."""


@dataclass(frozen=True)
class Series:
    """The files of one series in one folder.

    Attributes:
        path: folder/series-HASH, which is the name of the volume and no file.
        modality: as DICOM says it: CT, MR, PT and others; patient: a text that is the same for all series of a patient.
        files: in order of their names; described: tags to choose by, as texts.
        unreadable: DICOM files of the folder whose headers cannot be read; any of them may be a slice of it.
    """

    path: Path
    modality: str
    patient: str
    files: tuple[Path, ...]
    described: Mapping[str, str]
    unreadable: int


def is_named_as_dicom(path: Path) -> bool:
    """Whether a file's name is one of DICOM; most such files have none."""
    return path.suffix.lower() in _ENDINGS


def read_slice(path: Path) -> Scan:
    """Refuse a file named as DICOM: a slice is no volume, and many such files are none.

    Raises:
        Unusable: always; says which.
    """
    if not path.is_file():
        raise Unusable("there is no such file", lasting=False)
    if _begins(path):
        raise Unusable("one DICOM file; a series is given by its folder, with a source of the kind dicom")
    raise Unusable("not a DICOM file, though named as one")


def is_series(path: Path) -> bool:
    """Whether a path is that of a series, or of a folder, which may hold one."""
    return path.is_dir() or (_NAME.fullmatch(path.name) is not None and path.parent.is_dir() and not path.exists())


def series_below(root: Path) -> list[Series]:
    """All series below a folder, in order of their paths.

    Raises:
        Unusable: pydicom is not installed.
    """
    found = []
    for folder, folders, _ in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += series_in(Path(folder))
    return sorted(found, key=lambda series: series.path)


def broken_below(root: Path) -> list[Path]:
    """Files named as DICOM that are none."""
    return sorted(path for path in root.rglob("*") if is_named_as_dicom(path) and path.is_file() and not _begins(path))


def series_in(folder: Path) -> tuple[Series, ...]:
    """The series whose files are in a folder itself."""
    seen = []
    with os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry.path)
            if entry.is_file() and not never_a_scan(path) and not looks_like_a_scan(path):
                stat = entry.stat()
                seen.append((entry.name, stat.st_size, stat.st_mtime_ns))
    return _indexed(folder, tuple(sorted(seen))) if any(_begins(folder / name) for name, *_ in seen) else ()


def series_files(path: Path) -> tuple[Path, ...]:
    """The files of a series.

    Raises:
        Unusable: there is no such series, or a folder holds more than one.
    """
    return _series(path).files


def read_series(path: Path) -> Scan:
    """Read a series as one volume: HU for CT, SUV for PET, rescaled values for MR.

    Raises:
        Unusable: the slices are not one evenly spaced volume, or cannot be read or converted; says which and why.
    """
    with faults():
        slices = _slices(_series(path))
        affine = _grid(slices)
        first = slices[0]
        image = np.empty((first.Columns, first.Rows, len(slices)), np.float32)
        for place, one in enumerate(slices):
            slope, inter = float(one.get("RescaleSlope", 1) or 1), float(one.get("RescaleIntercept", 0) or 0)
            image[:, :, place] = _pixels(one).T.astype(np.float32) * np.float32(slope) + np.float32(inter)
            del one.PixelData
        if first.Modality != "PT":
            return in_ras(image, affine)
        factor, note = suv_factor(slices)
    return in_ras(image, affine, factor, 0.0, (note,) if note else (), "SUV")


def series_grid(path: Path) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Shape and affine that `read_series` gives a series, from its headers alone.

    Raises:
        Unusable: as `read_series`.
    """
    with faults():
        slices = _slices(_series(path), headers=True)
        affine = _grid(slices)
    return ras_shape((slices[0].Columns, slices[0].Rows, len(slices)), affine)


def _pydicom() -> Any:
    try:
        import pydicom
    except ImportError:
        raise Unusable("needs pydicom: pip install 'mixlang[formats]'", lasting=False) from None
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    return pydicom


def _begins(path: Path) -> bool:
    """Whether a file begins as DICOM does."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


@functools.lru_cache(maxsize=4096)
def _indexed(folder: Path, seen: tuple[tuple[str, int, int], ...]) -> tuple[Series, ...]:
    """The series of a folder, by the names, sizes and times of its files."""
    pydicom = _pydicom()
    members: dict[str, list[tuple[Path, Any]]] = {}
    unreadable = 0
    tags = ["SeriesInstanceUID", "Modality", "PatientID", *DESCRIBED]
    for name, *_ in seen:
        if name == "DICOMDIR" or not _begins(folder / name):
            continue
        try:
            header = pydicom.dcmread(folder / name, stop_before_pixels=True, specific_tags=tags)
        except Exception:  # pydicom raises many kinds on damaged files
            header = {}
        uid = str(header.get("SeriesInstanceUID") or "")
        if uid:
            members.setdefault(uid, []).append((folder / name, header))
        else:  # a file cut off within its header is read without complaint
            unreadable += 1
    found = []
    for uid, items in members.items():
        first = items[0][1]
        described = {tag: _text(first.get(tag)) for tag in DESCRIBED if first.get(tag) is not None}
        place = folder / f"series-{hashlib.sha256(uid.encode()).hexdigest()[:8]}"
        patient, modality = str(first.get("PatientID", "") or "").strip(), str(first.get("Modality", ""))
        found.append(Series(place, modality, patient, tuple(path for path, _ in items), described, unreadable))
    return tuple(sorted(found, key=lambda series: series.path))


def _text(value: Any) -> str:
    return "\\".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)


def _series(path: Path) -> Series:
    """The series that a path names: one of a folder's by its hash, or a folder's only one."""
    folder = path if path.is_dir() else path.parent
    if not folder.is_dir():
        raise Unusable("there is no such folder", lasting=False)
    there = series_in(folder)
    if path.is_dir():
        if len(there) != 1:
            shown = ", ".join(f"{one.path.name} ({one.modality})" for one in there[:5])
            if not there:
                raise Unusable("a folder without a DICOM series", lasting=False)
            raise Unusable(f"a folder with {len(there)} DICOM series, and one is expected: {shown}")
        return there[0]
    found = next((one for one in there if one.path == path), None)
    if found is None:
        raise Unusable("there is no such DICOM series any more", lasting=False)
    return found


def _slices(series: Series, headers: bool = False) -> list[Any]:
    """The data sets of a series in order along their normal."""
    pydicom = _pydicom()
    if series.unreadable:
        raise Unusable(f"{series.unreadable} DICOM files of its folder cannot be read, and may be slices of it")
    slices = [pydicom.dcmread(file, stop_before_pixels=headers) for file in series.files]
    if "LOCALIZER" in str(slices[0].get("ImageType", "")).upper():
        raise Unusable("a localizer (ImageType)")
    if len(slices) == 1 and int(slices[0].get("NumberOfFrames", 1) or 1) > 1:
        raise Unusable("a multi-frame DICOM file; convert it first, such as with dcm2niix")
    for one in slices:
        for tag in ("Rows", "Columns", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            if one.get(tag) is None:
                raise Unusable(f"a slice without {tag} ({Path(one.filename).name})")
        if int(one.get("SamplesPerPixel", 1)) != 1:
            raise Unusable("colours (RGB), not intensities")
    normal = _normal(slices[0])
    return sorted(slices, key=lambda one: float(np.dot(_vector(one.ImagePositionPatient), normal)))


def _vector(values: Any) -> NDArray[np.float64]:
    return np.array([float(value) for value in values])


def _normal(one: Any) -> NDArray[np.float64]:
    both = _vector(one.ImageOrientationPatient)
    return np.cross(both[:3], both[3:])


def _grid(slices: Sequence[Any]) -> NDArray[np.float64]:
    """The RAS affine of ordered slices, with axes (column, row, slice).

    Raises:
        Unusable: they are not one evenly spaced volume; names the slices.
    """
    first = slices[0]
    single_volume((int(first.Columns), int(first.Rows), len(slices)))
    both = _vector(first.ImageOrientationPatient)
    spacing = _vector(first.PixelSpacing)
    for one in slices:
        if (one.Rows, one.Columns) != (first.Rows, first.Columns):
            raise Unusable(
                f"slices of {first.Columns} x {first.Rows} and of {one.Columns} x {one.Rows} voxels in one series"
            )
        if np.abs(_vector(one.ImageOrientationPatient) - both).max() > 1e-3:
            raise Unusable("slices of different orientation in one series (a localizer?)")
        if np.abs(_vector(one.PixelSpacing) - spacing).max() > 1e-3 * spacing.max():
            raise Unusable("slices of different voxel size in one series")
    step = _step(slices, _normal(first))
    direction = np.stack([both[:3] * spacing[1], both[3:] * spacing[0], step], axis=1)
    affine = from_lps(direction, _vector(first.ImagePositionPatient))
    refuse_grid(affine)
    return affine


def _step(slices: Sequence[Any], normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """From each slice to the next, in millimetres."""
    places = np.array([_vector(one.ImagePositionPatient) for one in slices])
    along = places @ normal
    steps = np.diff(along)
    if steps.min() < _SAME:
        count = int((steps < _SAME).sum())
        names = [str(one.get("SOPInstanceUID", place)) for place, one in enumerate(slices)]
        if len(set(names)) < len(names):
            raise Unusable(f"{len(names) - len(set(names))} slices are there twice: copies of files in one folder")
        raise Unusable(
            f"{count} slices at the place of another: several volumes in one series, such as phases or echoes"
        )
    usual = float(np.median(steps))
    worst = int(np.argmax(np.abs(steps - usual)))
    if abs(steps[worst] - usual) > _EVEN * usual:
        pair = " and ".join(str(one.get("InstanceNumber", "?")) for one in slices[worst : worst + 2])
        if abs(steps[worst] / usual - round(steps[worst] / usual)) < 0.1 and steps[worst] > 1.5 * usual:
            missing = round(steps[worst] / usual) - 1
            raise Unusable(
                f"{missing} missing slice{'s' * (missing != 1)}: {steps[worst]:.4g} mm between the slices with InstanceNumber "
                f"{pair}, {usual:.4g} mm elsewhere"
            )
        raise Unusable(f"uneven slices: {steps.min():.4g} to {steps.max():.4g} mm apart (InstanceNumber {pair})")
    moved = np.diff(places, axis=0) - np.outer(steps, normal)
    if np.abs(moved).max() > _SHIFTED * usual:
        raise Unusable(f"a tilted gantry: each slice is shifted by {np.abs(moved).max():.3g} mm against the one before")
    return (places[-1] - places[0]) / (len(slices) - 1)


def _pixels(one: Any) -> NDArray[Any]:
    try:
        return one.pixel_array
    except Exception as error:
        syntax = getattr(getattr(one, "file_meta", None), "TransferSyntaxUID", None)
        name = getattr(syntax, "name", "an unknown syntax")
        compressed = getattr(syntax, "is_compressed", False)
        if compressed:
            raise Unusable(
                f"compressed as {name}: pip install 'pylibjpeg[all]', or decompress it", lasting=False
            ) from None
        raise Unusable(f"truncated or damaged ({str(error)[:100]})") from None


def subjects_of(found: Sequence[Series], root: Path) -> dict[Path, str]:
    """A subject for each series: all of one PatientID in one, named by folders, so that no tag of a patient is written.

    Series without a PatientID are one patient a folder. A patient is named by the folder that all their series are below,
    relative to `root`; where that is `root` itself, or others' too, by the path of the first of their series, so that no
    name depends on other patients or on where the data are.
    """
    members: dict[str, list[Path]] = {}
    for series in found:
        members.setdefault(series.patient or f"folder {series.path.parent}", []).append(series.path)
    places = {patient: _common(paths, root) for patient, paths in members.items()}
    shared = Counter(places.values())
    named: dict[Path, str] = {}
    for patient, paths in members.items():
        place = places[patient]
        alone = place and shared[place] == 1
        named |= dict.fromkeys(paths, place if alone else min(paths).relative_to(root).as_posix())
    return named


def _common(paths: Sequence[Path], root: Path) -> str:
    place = Path(os.path.commonpath([path.parent for path in paths]))
    return "" if place == root else place.relative_to(root).as_posix()


def modalities() -> Iterator[tuple[str, str]]:
    """DICOM's names of the modalities, and ours."""
    yield from (("CT", "ct"), ("MR", "mri"), ("PT", "pet"))
