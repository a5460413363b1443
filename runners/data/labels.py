"""What downstream tasks need to know of labels before anything is trained: which volumes have them, and what they hold.

Label maps are read whole once, when a task first asks for them; what was found is cached in the store by path, size and
modification time, as the scan of the images is.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixlang.errors import InputError
from mixlang.files import digest, write_json
from mixlang.plan.data_manifest import DataManifest, VolumeRecord
from mixlang.spec.locations import Locations
from mixlang.spec.schema import Domain, Phantom, Spec, Task
from runners.data.phantom import Recipe, anatomy
from runners.data.preprocess import read_label_map
from runners.data.reading import Unusable, bytes_needed, scan_digest, scan_grid
from runners.data.sources.candidates import fits, stem
from runners.data.sources.manifest import column_values
from runners.data.workers import each

Facts = dict[str, Any]

_VERSION = 2
"""Raised when label maps are judged differently; cached judgements of other versions are not used."""

_FEW = 16
"""Label maps up to which they are looked at one after the other."""

_APART = 0.1
"""Part of a voxel by which the grids of an image and of its label map may differ."""


class UnusableLabels(InputError):
    """The labels of a task cannot be used; `key` is the key of the task that says where they are."""

    def __init__(self, task: str, key: str, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.task, self.key = task, key


def annotate(
    spec: Spec,
    manifest: DataManifest,
    locations: Locations,
    store: Path,
    workers: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> DataManifest:
    """The manifest with what each downstream task's labels say of each volume.

    Raises:
        UnusableLabels: a label map that a source names is not there, not readable or on another grid than its image; or a
            manifest without the column.
    """
    found: dict[tuple[str, str], dict[str, Facts]] = {}
    for name, task in spec.tasks.items():
        domain = spec.domains[task.domain]
        records = tuple(
            record
            for record in manifest.domains[task.domain].volumes
            if not task.files or any(fits(record.path, pattern) for pattern in task.files)
        )
        if task.column:
            answers = _from_column(name, task, domain, records, locations)
        elif domain.source.phantom is not None:
            answers = _of_phantoms(domain.source.phantom, domain.modality, records, store, workers, progress)
        else:
            answers = _of_files(name, task, records, locations, store, workers, progress)
        for path, facts in answers.items():
            found.setdefault((task.domain, path), {})[name] = facts
    domains = {
        name: dataclasses.replace(
            data,
            volumes=tuple(
                dataclasses.replace(record, annotations=found.get((name, record.path))) for record in data.volumes
            ),
        )
        for name, data in manifest.domains.items()
    }
    return DataManifest(domains)


def _from_column(
    name: str, task: Task, domain: Domain, records: tuple[VolumeRecord, ...], locations: Locations
) -> dict[str, Facts]:
    assert task.column is not None
    try:
        values = column_values(domain, task.column, locations)
    except InputError as error:
        raise UnusableLabels(name, "column", str(error), error.hint) from error
    return {record.path: {"class": values[record.path]} for record in records if record.path in values}


def _of_phantoms(
    phantom: Phantom,
    modality: str,
    records: tuple[VolumeRecord, ...],
    store: Path,
    workers: int,
    progress: Callable[[int, int], None],
) -> dict[str, Facts]:
    jobs, places = [], []
    for record in records:
        recipe = Recipe.of(modality, phantom.model_dump(), int(record.path.rsplit("/", 1)[1]))
        jobs.append((recipe,))
        places.append(_place(store, {"phantom": recipe.content}))
    facts = _cached(_phantom_facts, jobs, places, [0] * len(jobs), workers, progress)
    return {record.path: {**item, "path": None} for record, item in zip(records, facts, strict=True)}


def _phantom_facts(recipe: Recipe) -> Facts:
    return {"content": recipe.content, **_held(anatomy(recipe), recipe.spacing)}


def _held(labels: NDArray[Any], spacing: Sequence[float]) -> Facts:
    """The labels of a map, 0 among them, and how much of each there is."""
    values, counts = np.unique(labels, return_counts=True)
    millilitres = counts * (math.prod(spacing) / 1000)
    return {"values": values.astype(int).tolist(), "ml": [float(f"{amount:.6g}") for amount in millilitres]}


def _of_files(
    name: str,
    task: Task,
    records: tuple[VolumeRecord, ...],
    locations: Locations,
    store: Path,
    workers: int,
    progress: Callable[[int, int], None],
) -> dict[str, Facts]:
    """The label maps that the source or the task's pattern names; a volume that a pattern finds none for has none."""
    named: dict[str, str] = {}
    for record in records:
        label = record.label
        if task.label_map is not None:
            image = PurePosixPath(record.path)
            label = (image.parent / task.label_map.replace("{stem}", stem(Path(image.name)))).as_posix()
            if not locations.expand(label).is_file():
                continue
        if label is not None:
            named[record.path] = label
    jobs = [(locations.expand(path), locations.expand(label)) for path, label in named.items()]
    places = [_place(store, {"files": [_seen(path) for path in job]}) for job in jobs]
    facts = _cached(label_facts, jobs, places, [bytes_needed(label) for _, label in jobs], workers, progress)
    for (path, label), item in zip(named.items(), facts, strict=True):
        if "problem" in item:
            hint = f"mend it, or leave out the label of {path}"
            raise UnusableLabels(name, "domain", f"the label map {label} cannot be used: {item['problem']}", hint)
    return {path: {**item, "path": label} for (path, label), item in zip(named.items(), facts, strict=True)}


def label_facts(image: Path, label: Path) -> Facts:
    """Read a label map and compare its grid with its image's.

    Returns:
        `content` (SHA-256), `values` (the labels there are, 0 among them) and `ml` (how much of each), or the `problem`
        with it.
    """
    try:
        content, scan = scan_digest(label), read_label_map(label)
        shape, affine = scan_grid(image)
    except OSError as error:
        return {"problem": "there is no such file" if isinstance(error, FileNotFoundError) else str(error)}
    except Unusable as error:
        return {"problem": str(error)}
    if scan.image.shape != shape:
        return {"problem": f"it has {_by(scan.image.shape)} voxels where its image has {_by(shape)}"}
    corners = np.array([[x, y, z, 1] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * [*(s - 1 for s in shape), 1]
    apart = np.abs(corners @ (scan.affine - affine).T)[:, :3].max()
    if apart > _APART * min(scan.spacing):
        return {"problem": f"its voxels lie up to {apart:.3g} mm away from those of its image"}
    return {"content": content, **_held(scan.image, scan.spacing)}


def _by(shape: Any) -> str:
    return " x ".join(map(str, shape))


def _seen(path: Path) -> list[Any]:
    try:
        stat = os.stat(path)
        return [os.fsencode(path).hex(), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    except OSError:
        return [os.fsencode(path).hex()]


def _place(store: Path, what: dict[str, Any]) -> Path:
    key = digest({"version": _VERSION, **what})
    return store / "scan" / key[:2] / f"{key}.json"


def _cached(
    work: Callable[..., Facts],
    jobs: list[tuple[Any, ...]],
    places: list[Path],
    needed: list[int],
    workers: int,
    progress: Callable[[int, int], None],
) -> list[Facts]:
    """What `work` says of each job, from the cache where it has been done."""
    found: dict[int, Facts] = {}
    for index, place in enumerate(places):
        try:
            found[index] = json.loads(place.read_text())
        except (OSError, ValueError):
            continue
    todo = [index for index in range(len(jobs)) if index not in found]
    if len(todo) < _FEW:  # processes would take longer to begin
        outcomes = ((number, work(*jobs[index])) for number, index in enumerate(todo))
    else:
        outcomes = each(work, [jobs[index] for index in todo], [needed[index] for index in todo], workers)
    for done, (number, outcome) in enumerate(outcomes, 1):
        if isinstance(outcome, Exception):
            raise outcome
        found[todo[number]] = outcome
        if "problem" not in outcome:
            write_json(places[todo[number]], outcome)
        progress(done, len(todo))
    return [found[index] for index in range(len(jobs))]
