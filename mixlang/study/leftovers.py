"""What else of a store nobody needs: prepared volumes and label maps that no plan names, fits of runs that are given up.

All of it can be computed again. Where a workspace is not seen from here, or a file of one cannot be read, every volume and
label map is kept.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mixlang.errors import InputError, MixlangError
from mixlang.files import read_json
from mixlang.plan.build import Plan
from mixlang.spec.quantities import show_bytes
from mixlang.study.collect import Survey
from mixlang.study.workspace import Workspace
from runners.data.volumes import volume_path
from runners.downstream.annotated import label_path


@dataclass(frozen=True)
class Leftovers:
    """Files that can go, by kind, and the bytes they take."""

    volumes: tuple[Path, ...]
    labels: tuple[Path, ...]
    fits: tuple[Path, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return self.volumes + self.labels + self.fits

    def __str__(self) -> str:
        kinds = (("prepared volumes", self.volumes), ("label maps", self.labels), ("fits of tasks", self.fits))
        listed = ", ".join(f"{len(paths):,} {name}" for name, paths in kinds if paths)
        return f"{listed} ({show_bytes(sum(map(_size, self.files)))})"


def leftovers(workspace: Workspace, found: Survey, gone: Iterable[str]) -> Leftovers:
    """What no study that is seen needs.

    Args:
        gone: runs that are given up, with which their fits go.
    """
    store, given_up = workspace.store, set(gone)
    fits = tuple(path for path in sorted(store.glob("downstream/*/*.json")) if _run_of(path) in given_up)
    if found.away or found.unclear:
        return Leftovers((), (), fits)
    try:
        volumes, labels = _named(found.roots)
    except (MixlangError, LookupError, TypeError, AttributeError):
        return Leftovers((), (), fits)
    kept_volumes = {volume_path(store, key) for key in volumes}
    kept_labels = {label_path(store, key) for key in labels}
    return Leftovers(
        tuple(path for path in sorted(store.glob("volumes/*/*.npy")) if path not in kept_volumes),
        tuple(path for path in sorted(store.glob("labels/*/*.npy")) if path not in kept_labels),
        fits,
    )


def delete(found: Leftovers) -> None:
    """Delete them; what is gone already, or cannot be deleted, is passed over."""
    for path in found.files:
        with contextlib.suppress(OSError):
            path.unlink()


def _named(roots: Iterable[Path]) -> tuple[set[str], set[str]]:
    """The keys of all volumes and label maps that the plans and tasks of workspaces name.

    Raises:
        MixlangError, LookupError, TypeError: a file that cannot be read.
    """
    volumes: set[str] = set()
    labels: set[str] = set()
    for root in roots:
        for study in Workspace(root).studies():
            volumes |= set(Plan.read(study.file("plan.json")).volumes)
            for name in ("evaluate", "downstream"):
                with contextlib.suppress(InputError):  # not written yet, by an older version for example
                    tasks = read_json(study.file(f"settings/{name}.json"))["tasks"]
                    cases = [case for task in tasks.values() for case in task["cases"]]
                    labels |= {case["label"]["key"] for case in cases if "label" in case}
    return volumes, labels


def _run_of(path: Path) -> str:
    """The pretraining run that a fit began at; '' where it does not say."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8")).get("run", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
