"""The volume store: one memory-mapped float16 array a preprocessed volume, named by what it is a function of."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixlang.errors import InputError, MixlangError, StageError
from mixlang.files import atomic_open, file_digest, read_json, write_json
from mixlang.spec.locations import Locations


def volume_path(store: Path, key: str) -> Path:
    """Where a prepared volume lies."""
    return store / "volumes" / key[:2] / f"{key}.npy"


def open_volume(store: Path, key: str) -> NDArray[np.float16]:
    """A prepared volume, memory-mapped.

    Raises:
        StageError: it is not there or damaged.
    """
    try:
        return np.load(volume_path(store, key), mmap_mode="r")
    except (OSError, ValueError) as error:
        raise StageError(
            f"prepared volume {key[:12]} is missing or damaged: {error}", "Run 'mixlang run' again."
        ) from error


def prepare(
    volumes: dict[str, dict[str, Any]],
    store: Path,
    locations: Locations,
    workers: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, dict[str, Any]]:
    """Make sure every volume of a plan is in the store; returns its table of statistics.

    Volumes that are there are not touched, so an interrupted preparation goes on where it was.

    Raises:
        InputError: a file is gone or is not the one that was scanned.
        StageError: a file that passed the scan cannot be preprocessed.
    """
    missing = [key for key in volumes if not _facts_path(store, key).exists() or not volume_path(store, key).exists()]
    if missing:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["runners.data.preprocess", "monai.transforms", "nibabel"])
        with ProcessPoolExecutor(min(workers, len(missing)), mp_context=context) as pool:
            jobs = [pool.submit(_prepare_one, key, volumes[key], store, locations) for key in missing]
            try:
                for done, job in enumerate(as_completed(jobs), 1):
                    job.result()
                    progress(done, len(missing))
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    return {key: read_json(_facts_path(store, key)) for key in volumes}


def _facts_path(store: Path, key: str) -> Path:
    return volume_path(store, key).with_suffix(".json")


def _prepare_one(key: str, entry: dict[str, Any], store: Path, locations: Locations) -> None:
    from runners.data.preprocess import preprocess

    path = _source_file(entry, store, locations)
    try:
        volume = preprocess(path, entry["factor"], entry["preprocessing"])
    except MixlangError:
        raise
    except Exception as error:
        hint = "Leave it out with source.exclude and run again."
        raise StageError(f"{entry['path']} cannot be preprocessed: {type(error).__name__}: {error}", hint) from error
    with atomic_open(volume_path(store, key)) as file:
        np.save(file, volume)
    real = volume[np.isfinite(volume)].astype(np.float64)
    facts = {
        "shape": list(volume.shape),
        "real": round(real.size / volume.size, 6),
        "mean": round(float(real.mean()), 6),
        "deviation": round(float(real.std()), 6),
    }
    write_json(_facts_path(store, key), facts)


def _source_file(entry: dict[str, Any], store: Path, locations: Locations) -> Path:
    """The NIfTI file of a volume, checked to be the one that was scanned; phantoms are written if need be."""
    phantom = entry.get("phantom")
    if phantom:
        from runners.data.phantom import Recipe, write_phantom

        modality = entry["preprocessing"]["modality"]
        shape, spacing = tuple(phantom["shape"]), tuple(float(edge) for edge in phantom["spacing"])
        recipe = Recipe(modality, shape, spacing, phantom["seed"], phantom["index"])  # type: ignore[arg-type]
        if recipe.content != entry["content"]:
            raise InputError("this mixlang makes other phantoms than the plan names", "Run 'mixlang run SPEC' again.")
        return write_phantom(recipe, store)[0]
    path = locations.expand(entry["path"])
    hint = "Run 'mixlang run SPEC': it scans the data again and trains what the change affects."
    if not path.is_file():
        raise InputError(f"{entry['path']} was scanned but is not there any more", hint)
    if file_digest(path) != entry["content"]:
        raise InputError(f"{entry['path']} has changed since it was scanned", hint)
    return path
