"""Taking over runs of stores of before runs and evaluations had addresses of their own; nothing is trained for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from mixlang.documents import Score
from mixlang.plan.build import Plan, Run
from mixlang.plan.evaluations import Evaluation, evaluations_of
from runners.execute.store import RunStore

_KEPT = ("model.safetensors", "reconstructions.npz", "log.txt")
"""Files of a finished run that go along."""


def take_over(store: RunStore, plan: Plan, runs: Iterable[Run]) -> int:
    """Give runs that the store has under their former address the one they have now; returns how many.

    Files are linked, not moved: a workspace that an older version runs may share the store.
    """
    evaluations, count = evaluations_of(plan), 0
    if not (store.root / "runs").is_dir():
        return 0
    for run in runs:
        if store.result(run.key) is None and (old := plan.former_key(run)) != run.key:
            count += _take_over(store, run, old, evaluations)
    return count


def _take_over(store: RunStore, run: Run, old: str, evaluations: Sequence[Evaluation]) -> bool:
    result = store.result(old)
    if result is None or "losses" not in result:
        return False
    lease = store.claim(run.key)
    if lease is None:
        return False
    try:
        for folder in (store.folder(old), store.trash(old)):
            for name in _KEPT:
                if (folder / name).is_file() and not (store.folder(run.key) / name).exists():
                    _link(folder / name, store.folder(run.key) / name)
        means = result.get("mean_losses", {})
        for one in evaluations:
            score: Score = {"loss": result["losses"][one.name], "mean_loss": means[one.name]}
            store.record(run.key, one.key, score)
        kept = {name: value for name, value in result.items() if name not in ("losses", "mean_losses", "key")}
        store.finish(run.key, kept)  # type: ignore[arg-type]
    finally:
        lease.release()
    return True


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        temporary = target.with_name(f".{target.name}.tmp")
        shutil.copyfile(source, temporary)
        temporary.replace(target)
