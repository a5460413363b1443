"""The volume store: one memory-mapped float16 array a preprocessed volume, named by what it is a function of."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixlang.documents import Volume, VolumeFacts
from mixlang.errors import InputError, MixlangError, StageError, WriteError
from mixlang.files import atomic_open, file_digest, read_json, write_json
from mixlang.spec.locations import Locations
from runners.data.intensity import strided
from runners.data.reading import Unusable, bytes_needed, is_there, scan_digest
from runners.data.workers import WorkerDied, each


def volume_path(store: Path, key: str) -> Path:
    """Where a prepared volume lies."""
    return store / "volumes" / key[:2] / f"{key}.npy"


Box = tuple[slice, ...]
"""A part of a volume: a slice an axis, with both ends."""

_GAP = 4096
"""Bytes between two stretches of a file that cost less to read than a request of their own."""

HISTOGRAM = (-2.0, 6.0, 32)
"""First edge, last edge and bins of the histograms of network inputs."""

_HEADER = 128
"""Bytes before the voxels of a 3D array in a .npy file."""

_OLD = 3600
"""Seconds after which nobody can still be writing a volume."""


class StoredVolume:
    """A prepared volume on disk.

    Raises:
        StageError: it is not there.
    """

    def __init__(self, store: Path, key: str) -> None:
        self.key, self.path = key, volume_path(store, key)
        if not self.path.is_file():
            raise self._unusable("no such file")

    @functools.cached_property
    def _layout(self) -> tuple[tuple[int, ...], int, bool]:
        """Shape, where in the file the voxels begin (bytes), and whether the last one is padding."""
        try:
            with self.path.open("rb") as file:
                np.lib.format.read_magic(file)
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
                offset = file.tell()
                size = file.seek(0, os.SEEK_END)
                file.seek(-2, os.SEEK_END)
                last = np.frombuffer(file.read(2), np.float16)
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from error
        except ValueError as error:
            raise self._unusable(str(error)) from error
        if len(shape) != 3 or fortran or dtype != np.float16:
            raise self._unusable(f"an array of shape {shape} and type {dtype}")
        if size != offset + 2 * math.prod(shape):
            raise self._unusable(f"{size:,} bytes where its shape {shape} needs {offset + 2 * math.prod(shape):,}")
        return shape, offset, bool(np.isnan(last[0]))

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each axis."""
        return self._layout[0]

    @functools.cached_property
    def padded(self) -> bool:
        """Whether it has voxels that do not exist (NaN): padding, which is at the end of an axis, or others, of which
        the statistics beside it tell."""
        if self._layout[2]:
            return True
        try:
            return json.loads(self.path.with_suffix(".json").read_text(encoding="utf-8"))["facts"]["real"] < 1
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def announce(self, box: Box) -> None:
        """Ask the kernel to begin reading a box, without waiting for it.

        Raises:
            StageError: the file is not there any more.
        """
        if not hasattr(os, "posix_fadvise"):
            return
        (_, rows, columns), offset, _ = self._layout
        planes, lines, cells = box
        begin = 2 * (lines.start * columns + cells.start)
        length = 2 * ((lines.stop - lines.start - 1) * columns + cells.stop - cells.start)
        plane = 2 * rows * columns
        stretches = [(offset + index * plane + begin, length) for index in range(planes.start, planes.stop)]
        if plane - length < _GAP:
            stretches = [(stretches[0][0], plane * (len(stretches) - 1) + length)]
        try:
            file = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from error
        try:
            for start, size in stretches:
                os.posix_fadvise(file, start, size, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(file)

    def mapped(self) -> NDArray[np.int16]:
        """The bits of its float16 voxels, mapped into memory; torch's map, unlike Python's, holds no open file.

        Raises:
            StageError: the file is not there any more.
        """
        import torch

        shape, offset, _ = self._layout
        try:
            flat = torch.from_file(str(self.path), size=offset // 2 + math.prod(shape), dtype=torch.int16)
        except RuntimeError as error:
            raise self._unusable(str(error).splitlines()[0]) from error
        return flat[offset // 2 :].view(shape).numpy()

    def _unusable(self, why: str) -> StageError:
        return StageError(f"prepared volume {self.key[:12]} is missing or damaged: {why}", "Run 'mixlang run' again.")


def prepare(
    volumes: dict[str, Volume],
    store: Path,
    locations: Locations,
    workers: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, VolumeFacts]:
    """Make sure every volume of a plan is in the store; returns its table of statistics.

    Volumes that are there are not touched, so an interrupted preparation goes on where it was. A file that fails
    does not keep the others from being prepared.

    Args:
        progress: called with (volumes done, volumes that were missing).

    Raises:
        InputError: a file is gone or is not the one that was scanned.
        StageError: a file that passed the scan cannot be preprocessed, or the disk is full.
        Interrupted: a signal came; what had finished is kept.
    """
    _clear_leftovers(store)
    missing = [key for key in volumes if _ready(store, key) is None]
    jobs = [(key, volumes[key], store, locations) for key in missing]
    failed: list[MixlangError] = []
    outcomes = each(_prepare_one, jobs, [_bytes_needed(entry, locations) for _, entry, _, _ in jobs], workers)
    for done, (index, outcome) in enumerate(outcomes, 1):
        if isinstance(outcome, WriteError):
            outcomes.close()
            raise _no_room(outcome, store, [key for key in missing if _ready(store, key)], len(missing))
        if isinstance(outcome, Exception):
            failed.append(_failure(volumes[missing[index]], outcome))
        progress(done, len(missing))
    if failed:
        others = "" if len(failed) == 1 else f" ({len(failed) - 1} more files failed)"
        raise type(failed[0])(f"{failed[0]}{others}", failed[0].hint)
    return {key: read_json(_facts_path(store, key))["facts"] for key in volumes}


def _clear_leftovers(store: Path) -> None:
    """Delete what killed preparations have left half-written; another one may be writing now, so only old files."""
    for path in store.glob("volumes/*/.*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _OLD:
                path.unlink()


def _ready(store: Path, key: str) -> VolumeFacts | None:
    """The statistics of a prepared volume; None where it, or they, are missing, not whole, or not as they were written.

    A volume is read and compared with its digest only where its time says that somebody has touched it: all of them, at
    every start, would be the whole store.
    """
    path = volume_path(store, key)
    try:
        kept = json.loads(_facts_path(store, key).read_text(encoding="utf-8"))
        facts, written, content = kept["facts"], kept["written"], kept["content"]
        found = path.stat()
        if found.st_size != _HEADER + 2 * math.prod(facts["shape"]):
            return None
        if found.st_mtime_ns != written:
            if file_digest(path) != content:
                return None
            write_json(_facts_path(store, key), {**kept, "written": found.st_mtime_ns})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return facts


def _no_room(error: WriteError, store: Path, finished: list[str], wanted: int) -> WriteError:
    """A refusal of the disk with what is needed: it fails all volumes that follow, so the work stops."""
    free = shutil.disk_usage(store).free
    if not finished:
        return error
    size = sum(volume_path(store, key).stat().st_size for key in finished) / len(finished)
    need = (wanted - len(finished)) * size
    return WriteError(
        f"{error}; the {wanted - len(finished)} volumes still to prepare need about {need / 2**30:.2g} GiB, "
        f"{free / 2**30:.2g} GiB are free",
        error.hint,
    )


def _failure(entry: Volume, error: Exception) -> MixlangError:
    """What went wrong with a volume, for people."""
    if isinstance(error, MixlangError):
        return error
    why = str(error) if isinstance(error, Unusable | WorkerDied) else f"{type(error).__name__}: {error}"
    hint = "Leave it out with source.exclude and run again; what had finished is kept."
    return StageError(f"{entry['path']} cannot be preprocessed: {why}", hint)


def _bytes_needed(entry: Volume, locations: Locations) -> int:
    if "phantom" in entry:
        return 60 * math.prod(entry["phantom"]["shape"])  # coordinates of every voxel, twice
    return bytes_needed(locations.expand(entry["path"]))


def _facts_path(store: Path, key: str) -> Path:
    return volume_path(store, key).with_suffix(".json")


def _prepare_one(key: str, entry: Volume, store: Path, locations: Locations) -> None:
    from runners.data.preprocess import preprocess

    volume = preprocess(source_file(entry, store, locations), entry["factor"], entry["preprocessing"])
    with atomic_open(volume_path(store, key)) as file:
        # Not np.save: what it raises on a full disk does not say so.
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(volume))
        file.write(volume.data)
    path = volume_path(store, key)
    kept = {"facts": _facts(volume), "written": path.stat().st_mtime_ns, "content": file_digest(path)}
    write_json(_facts_path(store, key), kept)


def _facts(volume: NDArray[np.float16]) -> VolumeFacts:
    """Statistics of a prepared volume: shape, fraction of voxels that exist, their mean, deviation and histogram.

    The last three are of a million voxels spread evenly where there are more.
    """
    exists = np.isfinite(volume)
    real = volume.reshape(-1) if exists.all() else volume[exists]
    sample = real[strided(real)].astype(np.float64)
    low, high, bins = HISTOGRAM
    places = np.clip((sample - low) * (bins / (high - low)), 0, bins - 1).astype(np.int64)
    return {
        "shape": list(volume.shape),
        "real": min(round(real.size / volume.size, 6), 1.0 if real.size == volume.size else 0.999999),
        "mean": round(float(sample.mean()), 6),
        "deviation": round(float(sample.std()), 6),
        # What lies beyond the edges counts to the outermost bins.
        "histogram": [round(float(part), 6) for part in np.bincount(places, minlength=bins) / sample.size],
    }


def source_file(entry: Volume, store: Path, locations: Locations) -> Path:
    """The scan of a volume, checked to be the one that was scanned; phantoms are written if need be."""
    phantom = entry.get("phantom")
    if phantom:
        from runners.data.phantom import Recipe, write_phantom

        recipe = Recipe.of(entry["preprocessing"]["modality"], phantom, phantom["index"])
        if recipe.content != entry["content"]:
            raise InputError("this mixlang makes other phantoms than the plan names", "Run 'mixlang run SPEC' again.")
        return write_phantom(recipe, store)[0]
    path = locations.expand(entry["path"])
    hint = "Run 'mixlang run SPEC': it scans the data again and trains what the change affects."
    if not is_there(path):
        raise InputError(f"{entry['path']} was scanned but is not there any more", hint)
    if scan_digest(path) != entry["content"]:
        raise InputError(f"{entry['path']} has changed since it was scanned", hint)
    return path
