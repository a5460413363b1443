"""Break scan files and see that none passes in silence: header bytes, truncation, values, names.

    python benchmarks/scan_fuzz.py [--count 2000] [--seed 0]

Each file is a real NIfTI file with a fault. A reader may refuse it with a reason; it may not raise anything else, and what
it accepts must become what nibabel reads, resampled by scipy, up to half precision.
"""

from __future__ import annotations

import argparse
import gzip
import os
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parent.parent))

from runners.data.preprocess import preprocess
from runners.data.scan import inspect
from runners.data.tally import kind_of

SHAPE = (20, 18, 16)
CT = {"modality": "ct", "unit": "hu", "clip": [-1000.0, 1000.0], "factor": 1.0, "offset": 0.0}
_CENTRE, _DEVIATION = 0.26, 0.245
"""Of CT on its clipped scale; see runners/data/intensity.py."""

_VOXELS = 1 << 22
"""Voxels a broken header may promise before a comparison is left out: sizes are refused or read, not computed twice."""


def healthy(rng: np.random.Generator) -> nibabel.Nifti1Image:
    """A CT of random anatomy, type, orientation and scaling."""
    field = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 2)
    field = -1000 + 1800 * (field - field.min()) / np.ptp(field)
    field[:4] = -1000
    axes = rng.permutation(3)
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[axes] * rng.choice([-1, 1], 3) * rng.uniform(0.6, 3, 3)
    image = nibabel.Nifti1Image(field.astype(rng.choice(["<i2", "<f4", "<f8", ">i2"])), affine)
    if rng.random() < 0.3:
        image.header.set_xyzt_units(str(rng.choice(["mm", "meter", "micron", "unknown"])))
    return image


def broken(rng: np.random.Generator, folder: Path) -> tuple[Path, str]:
    """A file with a fault, and what was done to it."""
    image = healthy(rng)
    plain = folder / "x.nii"
    nibabel.save(image, plain)
    raw = bytearray(plain.read_bytes())
    kind = str(rng.choice(["header", "field", "truncated", "values", "gzip", "name", "nan"]))
    if kind == "header":
        for place in rng.integers(0, 352, rng.integers(1, 6)):
            raw[place] = rng.integers(0, 256)
    elif kind == "field":  # fields that decide geometry and scaling, with numbers people leave there
        places = (76, 80, 84, 88, 108, 112, 116, 252, 254, 256, 260, 264, 280, 284, 288, 296, 300, 304, 312, 316, 320)
        for place in rng.choice(places, rng.integers(1, 4)):
            value = rng.choice([0, 1, -1, 1e-9, 1e9, np.nan, np.inf, 2.5])
            if place in (252, 254):
                raw[place : place + 2] = np.int16(rng.integers(-1, 6)).tobytes()
            else:
                raw[place : place + 4] = np.float32(value).tobytes()
        if rng.random() < 0.3:
            raw[123] = rng.integers(0, 8)
    elif kind == "truncated":
        raw = raw[: rng.integers(0, len(raw))]
    elif kind == "values":
        for start in rng.integers(352, len(raw), rng.integers(1, 40)):
            raw[start] = rng.integers(0, 256)
    elif kind == "nan":
        values = image.get_fdata().astype(np.float32)
        if rng.random() < 0.5:
            values[tuple(slice(0, rng.integers(1, size)) if rng.random() < 0.5 else slice(None) for size in SHAPE)] = (
                np.nan
            )
        else:
            values[rng.random(SHAPE) < rng.uniform(0, 0.5)] = rng.choice([np.nan, np.inf, -np.inf])
        nibabel.save(nibabel.Nifti1Image(values, image.affine), plain)
        raw = bytearray(plain.read_bytes())
    packed = rng.random() < 0.3 or kind == "gzip"
    data = gzip.compress(bytes(raw), 1) if packed else bytes(raw)
    if kind == "gzip":
        data = bytearray(data)
        for place in rng.integers(0, len(data), rng.integers(1, 4)):
            data[place] = rng.integers(0, 256)
    name = (
        str(rng.choice(["y.nii", "y.nii.gz", "Y.NII.GZ", "y.img"]))
        if kind == "name"
        else "y.nii.gz"
        if packed
        else "y.nii"
    )
    path = folder / name
    path.write_bytes(data)
    plain.unlink()
    return path, kind


def expected(path: Path, spacing: list[float], notes: list[str]) -> NDArray[Any] | None:
    """What nibabel and scipy make of a file, from -4 to 4; NaN where its nearest voxel is not there."""
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        raw = gzip.decompress(raw)
    image = nibabel.Nifti1Image.from_bytes(raw)
    if np.prod([float(size) for size in image.shape]) > _VOXELS:
        return None
    values, affine = image.get_fdata(dtype=np.float64), image.affine.copy()
    values = values.reshape(values.shape[:3])
    if any("header is in" in note for note in notes):
        affine[:3] *= 1e3 if "metres" in notes[-1].split("micro")[0] else 1e-3
    return resampled(values, affine, spacing)


def resampled(values: NDArray[Any], affine: NDArray[Any], spacing: list[float]) -> NDArray[Any] | None:
    """A volume turned to RAS and resampled by scipy, as `expected`; None for a sheared grid, which MONAI straightens."""
    turned = nibabel.as_closest_canonical(nibabel.Nifti1Image(values, affine))
    values = turned.get_fdata()
    have = np.sqrt((turned.affine[:3, :3] ** 2).sum(axis=0))
    directions = turned.affine[:3, :3] / have
    if np.abs(directions.T @ directions - np.eye(3)).max() > 1e-4 or np.allclose(have, spacing, rtol=1e-3):
        ratios = None if not np.allclose(have, spacing, rtol=1e-3) else np.ones(3)
    else:
        ratios = np.asarray(spacing) / have
    if ratios is None:
        return None
    shape = [round((size - 1) / ratio) + 1 for size, ratio in zip(values.shape, ratios, strict=True)]
    axes = [np.minimum(np.arange(n) * r, s - 1) for n, r, s in zip(shape, ratios, values.shape, strict=True)]
    places = np.meshgrid(*axes, indexing="ij")
    there = np.isfinite(values)
    filled = np.maximum(values, -1024)
    if not there.all():
        nearest = ndimage.distance_transform_edt(~there, return_distances=False, return_indices=True)
        filled = filled[tuple(nearest)]
    image_ = ndimage.map_coordinates(filled, places, order=1, mode="nearest")
    exists = (
        ndimage.map_coordinates(there.astype(float), [np.rint(place) for place in places], order=0, mode="nearest")
        > 0.5
    )
    scaled = ((np.clip(image_, -1000, 1000) + 1000) / 2000 - _CENTRE) / _DEVIATION
    return np.where(exists, scaled, np.nan)


def judge(path: Path) -> tuple[str, str]:
    """('refused', why), ('accepted', ''), or ('WRONG', what differs)."""
    facts = inspect(path, CT)
    if facts["problem"]:
        return "refused", facts["problem"]
    shape = [int(size) for size in facts["shape"]]
    spacing = [float(edge) * 1.3 for edge in facts["spacing"]]
    if np.prod([float(size) for size in shape]) > _VOXELS:
        return "accepted", "too large to compare"
    # A crop as large as the volume keeps all of it: what is compared is reading and resampling, not the box.
    return compared(path, spacing, expected(path, spacing, facts["notes"]))


def compared(path: Path, spacing: list[float], wanted: NDArray[Any] | None) -> tuple[str, str]:
    """What the prepared volume of an accepted file is held against."""
    if wanted is None:
        return "accepted", "not compared"
    found = preprocess(path, 1.0, {**CT, "spacing": spacing, "crop": list(wanted.shape)})
    if found.shape != wanted.shape:
        return "WRONG", f"shape {found.shape}, not {wanted.shape}"
    if not np.array_equal(np.isnan(found), np.isnan(wanted)):
        return "WRONG", "other voxels exist"
    apart = np.nanmax(np.abs(found.astype(np.float64) - wanted))
    return ("WRONG", f"differs by {apart:.3g}") if apart > 6e-3 else ("accepted", "")


def run(count: int, seed: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """Judge `count` broken files; returns how often what happened, and what was wrong."""
    tally: Counter[str] = Counter()
    wrong = []
    for index in range(count):
        path, kind = broken(np.random.default_rng([seed, index]), folder)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                outcome, why = judge(path)
        except Exception as error:
            outcome, why = "WRONG", f"{type(error).__name__}: {error}"
        if outcome == "WRONG":
            wrong.append(f"file {index} of seed {seed} ({kind}, {path.name}): {why}")
        tally[f"{kind}: {outcome}{' ' + kind_of(why) if outcome == 'refused' else ''}"] += 1
        os.unlink(path)
    return tally, wrong


def main() -> int:
    """Print what happened; 1 where anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tally, wrong = run(arguments.count, arguments.seed, Path(folder))
    return told(tally, wrong)


def told(tally: Counter[str], wrong: list[str]) -> int:
    """Print how often what happened, and what was wrong; 1 where anything was."""
    for what, times in sorted(tally.items()):
        print(f"{times:6} {what}")
    print("\n".join(wrong[:40]))
    print(f"{tally.total()} scans, {len(wrong)} wrong")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
