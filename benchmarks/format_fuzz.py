"""Break NRRD, MetaImage, MGH files and DICOM series, and see that none passes in silence.

    python benchmarks/format_fuzz.py [--count 500] [--seed 0]

As scan_fuzz.py does with NIfTI: a reader may refuse a scan with a reason, and may not raise anything else; what it accepts must
become what SimpleITK (for DICOM its own series reader; for MGH nibabel) reads, resampled by scipy, up to half precision.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import SimpleITK
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.scan_fuzz import CT, SHAPE, compared, healthy, resampled, told
from runners.data.dicom import series_in
from runners.data.scan import inspect
from runners.data.tally import kind_of

KINDS = ("nrrd", "nhdr", "mha", "mhd", "mgz", "mgh", "dicom")


def written(kind: str, rng: np.random.Generator, folder: Path) -> Path:
    """A healthy CT in a format: its file, or the folder of its series."""
    image = healthy(rng)
    values = image.get_fdata().round().astype(np.int16)
    if kind in ("mgz", "mgh"):
        path = folder / f"x.{kind}"
        nibabel.save(nibabel.MGHImage(values, image.affine), path)
        return path
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    if kind == "dicom":
        return series(values, lps, folder / "series")
    made = SimpleITK.GetImageFromArray(values.T)
    spacing = np.sqrt((lps[:3, :3] ** 2).sum(axis=0))
    made.SetSpacing(spacing.tolist())
    made.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    made.SetOrigin(lps[:3, 3].tolist())
    path = folder / f"x.{kind}"
    SimpleITK.WriteImage(made, str(path), bool(rng.random() < 0.5))
    return path


def series(values: NDArray[np.int16], lps: NDArray[np.float64], folder: Path) -> Path:
    """The slices of a volume as DICOM files, along the normal of their rows and columns."""
    folder.mkdir()
    sizes = np.sqrt((lps[:3, :3] ** 2).sum(axis=0))
    axes = lps[:3, :3] / sizes
    normal = np.cross(axes[:, 0], axes[:, 1]) * sizes[2]
    for k in range(values.shape[2]):
        one = pydicom.Dataset()
        one.file_meta = pydicom.dataset.FileMetaDataset()
        one.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{k + 1}"
        one.PatientID, one.SeriesInstanceUID, one.Modality, one.InstanceNumber = "P", "1.2.3", "CT", k + 1
        one.Rows, one.Columns, one.PixelSpacing = values.shape[1], values.shape[0], [float(sizes[1]), float(sizes[0])]
        one.ImageOrientationPatient = [*axes[:, 0].tolist(), *axes[:, 1].tolist()]
        one.ImagePositionPatient = (lps[:3, 3] + k * normal).round(9).tolist()
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
        one.RescaleSlope, one.RescaleIntercept = "1", "0"
        one.PixelData = np.ascontiguousarray(values[:, :, k].T.astype("<i2")).tobytes()
        one.save_as(folder / f"{k:03}.dcm", enforce_file_format=True)
    return folder


def broken(path: Path, rng: np.random.Generator) -> str:
    """Break a scan in place; what was done to it."""
    fault = str(rng.choice(["header", "truncated", "values", "lost", "none"]))
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    target = files[int(rng.integers(len(files)))]
    data = bytearray(target.read_bytes())
    if fault == "header":
        for place in rng.integers(0, min(len(data), 900), rng.integers(1, 6)):
            data[place] = rng.integers(32, 127) if rng.random() < 0.5 else rng.integers(0, 256)
    elif fault == "truncated":
        data = data[: rng.integers(0, len(data))]
    elif fault == "values":
        for place in rng.integers(min(len(data) - 1, 900), len(data), rng.integers(1, 40)):
            data[place] = rng.integers(0, 256)
    target.write_bytes(bytes(data))
    if fault == "lost" and len(files) > 1:
        target.unlink()
    return fault


def truth(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Values and RAS affine of a scan by another reader."""
    if path.suffix in (".mgz", ".mgh"):
        image = nibabel.load(path)
        return image.get_fdata().reshape(image.shape[:3]), image.affine
    if path.is_dir():
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path)))
        image = reader.Execute()
    else:
        image = SimpleITK.ReadImage(str(path))
    size = image.GetDimension()
    lps = np.eye(4)
    lps[:3, :3] = np.array(image.GetDirection()).reshape(size, size)[:3, :3] * np.array(image.GetSpacing()[:3])
    lps[:3, 3] = image.GetOrigin()[:3]
    values = SimpleITK.GetArrayFromImage(image).T
    return values.reshape(values.shape[:3]).astype(float), np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps


def judge(path: Path) -> tuple[str, str]:
    """('refused', why), ('accepted', ''), or ('WRONG', what differs)."""
    facts = inspect(path, CT)
    if facts["problem"]:
        return "refused", facts["problem"]
    if np.prod([float(size) for size in facts["shape"]]) > 8 * np.prod(SHAPE):
        return "accepted", "too large to compare"
    spacing = [float(edge) * 1.3 for edge in facts["spacing"]]
    if path.is_dir() and len(series_in(path)[0].files) < len(list(path.iterdir())):
        return "accepted", "not compared"  # a file that is no part of the series any more
    values, affine = truth(path)
    if sorted(values.shape) != sorted(facts["shape"]):
        return "accepted", "not compared"  # the other reader leaves out a slice
    return compared(path, spacing, resampled(values, affine, spacing))


def run(count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Judge `count` broken scans; returns how often what happened, and what was wrong."""
    tally: Counter[str] = Counter()
    wrong = []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        kind, fault = KINDS[index % len(KINDS)], ""
        with tempfile.TemporaryDirectory() as made:
            path = written(kind, rng, Path(made))
            fault = broken(path, rng)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    outcome, why = judge(path)
            except Exception as error:
                outcome, why = "WRONG", f"{type(error).__name__}: {error}"
            shutil.rmtree(path, ignore_errors=True)
        if outcome == "WRONG":
            wrong.append(f"scan {index} of seed {seed} ({kind}, {fault}): {why}")
        tally[f"{kind}, {fault}: {outcome}{' ' + kind_of(why) if outcome == 'refused' else ''}"] += 1
    return tally, wrong


def main() -> int:
    """Print what happened; 1 where anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    SimpleITK.ProcessObject_SetGlobalWarningDisplay(False)
    return told(*run(arguments.count, arguments.seed))


if __name__ == "__main__":
    sys.exit(main())
