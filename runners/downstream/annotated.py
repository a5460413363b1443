"""Prepared label maps in the store: on the grid of their image's prepared volume, under a content key of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from mixlang.documents import LabelFile, ProbeTask, TaskSettings, Volume
from mixlang.errors import InputError, MixlangError, StageError
from mixlang.files import atomic_open, file_digest
from mixlang.spec.locations import Locations
from runners.data.preprocess import preprocess_labels
from runners.data.reading import bytes_needed
from runners.data.volumes import source_file
from runners.data.workers import each


def label_path(store: Path, key: str) -> Path:
    """Where a prepared label map lies."""
    return store / "labels" / key[:2] / f"{key}.npy"


def prepare_labels(
    tasks: Mapping[str, TaskSettings | ProbeTask],
    volumes: Mapping[str, Volume],
    store: Path,
    locations: Locations,
    workers: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Make sure that every label map of the tasks is in the store; those that are there are not touched.

    Args:
        volumes: the plan's table of volumes.
        progress: called with (label maps done, label maps that were missing).

    Raises:
        InputError: a file is gone or has changed since it was scanned.
        StageError: a label map cannot be prepared, or the disk is full.
        Interrupted: a signal came; what had finished is kept.
    """
    wanted = {
        case["label"]["key"]: case for task in tasks.values() for case in task["cases"] if case.get("label") is not None
    }
    missing = [case for key, case in wanted.items() if not label_path(store, key).is_file()]
    jobs = [(case["label"], volumes[case["volume"]], store, locations) for case in missing]
    needed = [0 if "phantom" in entry else 2 * bytes_needed(locations.expand(entry["path"])) for _, entry, _, _ in jobs]
    for done, (index, outcome) in enumerate(each(_prepare_one, jobs, needed, workers), 1):
        if isinstance(outcome, MixlangError):
            raise outcome
        if isinstance(outcome, Exception):
            said = missing[index]["label"]["path"] or jobs[index][1]["path"]
            raise StageError(f"the label map {said} cannot be prepared: {outcome}") from outcome
        progress(done, len(missing))


def _prepare_one(label: LabelFile, entry: Volume, store: Path, locations: Locations) -> None:
    image = source_file(entry, store, locations)
    path = image.with_name(image.name.removesuffix(".nii.gz") + "_label.nii.gz")  # a phantom's, written with it
    if label["path"] is not None:
        path = locations.expand(label["path"])
        if not path.is_file() or file_digest(path) != label["content"]:
            raise InputError(
                f"the label map {label['path']} is not the one that was scanned",
                "Run 'mixlang run SPEC': it looks at the labels again.",
            )
    found = preprocess_labels(image, path, entry["factor"], entry["preprocessing"])
    with atomic_open(label_path(store, label["key"])) as file:
        np.lib.format.write_array(file, found, allow_pickle=False)
