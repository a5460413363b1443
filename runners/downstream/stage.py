"""The stage: encoders from the verification runs, every task's fits, and the document of what they say."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mixlang.console import Progress, duration
from mixlang.documents import Downstream, DownstreamSettings, TaskResults, TaskSettings, Verification
from mixlang.errors import StageError, disk_full, is_full
from mixlang.hardware import cores
from mixlang.plan.build import Plan, Run
from mixlang.spec.locations import Locations
from mixlang.verify.measured import called
from mixlang.words import listed
from runners.data.workers import WorkerDied, each
from runners.downstream.annotated import prepare_labels
from runners.downstream.fits import Fit, finished, fits_of
from runners.downstream.remaining import encoder_runs, encoders, former_keys, task_key
from runners.downstream.summary import overall, summarise
from runners.downstream.train import fit
from runners.execute.store import RunStore

Retrain = Callable[[list[Run]], object]


def run_tasks(
    settings: DownstreamSettings,
    plan: Plan,
    verification: Verification,
    known: Mapping[str, TaskResults],
    store: Path,
    locations: Locations,
    prepare: Callable[[], object],
    retrain: Retrain,
    jobs: int | None = None,
) -> Downstream:
    """All tasks of a study.

    Args:
        settings: `settings/downstream.json`.
        known: tasks of a committed document, by name: one with the same key is taken as it is.
        prepare: fills the volume store; called if anything is to be trained.
        retrain: trains runs whose weights are not in the store.
        jobs: fits at once; as many as cores if left out.

    Raises:
        InputError: the verification has no run of an encoder.
        StageError: fits, or runs to be trained again, failed; what had finished is kept.
        Interrupted: a signal came; what had finished is kept.
    """
    if not settings["tasks"]:
        return {"version": 1, "tasks": {}, "sentences": []}
    runs = encoder_runs(settings, verification)
    found_encoders = encoders(settings, plan, runs)
    fits = {name: fits_of(task, settings, found_encoders, plan) for name, task in settings["tasks"].items()}
    keys = {name: task_key(task, settings, fits[name]) for name, task in settings["tasks"].items()}
    before = {task["key"]: task for task in known.values() if isinstance(task, dict) and "key" in task}
    for name, key in former_keys(settings, plan, runs).items():
        if key in before:
            before.setdefault(keys[name], {**before[key], "key": keys[name]})
    todo = [name for name in fits if keys[name] not in before]
    if todo:
        _train({name: fits[name] for name in todo}, settings, plan, runs, store, locations, prepare, retrain, jobs)
    found = {}
    for name, task in settings["tasks"].items():
        document = before.get(keys[name])
        if document is None:
            document = {"key": keys[name], **_facts(task), **summarise(task, settings, fits[name], store)}
        found[name] = document
    return {
        "version": 1,
        "budget": settings["budget"],
        "seeds": settings["seeds"],
        "encoders": settings["encoders"],
        "mixtures": _mixtures(settings["budget"], runs),
        "tasks": found,
        "sentences": overall(found),
    }


def _mixtures(budget: int, runs: Mapping[tuple[str, int], Run]) -> list[str]:
    """With which shares of the samples each pretrained encoder was trained, a sentence each."""
    said = []
    for name, run in {name: run for (name, seed), run in runs.items() if seed == 0}.items():
        whose = called(name, budget)
        whose = whose if whose == name else f"{whose} ({name})"
        shares = {domain: amount / run.budget for domain, amount in run.amounts.items()}
        said.append(f"{whose}: pretrained on {run.budget:,} samples, {listed(shares)}")
    return said


def _facts(task: TaskSettings) -> dict[str, Any]:
    return {name: task[name] for name in ("kind", "domain", "classes", "folds", "recipe")}


def execute(fits: list[Fit], store: Path, workers: int, title: str) -> None:
    """Train the fits that the store does not have, side by side; each is kept as soon as it is done.

    Raises:
        StageError: some fits failed; the others are kept.
        DiskFull: no further fit could be kept; those that are finished are.
        Interrupted: a signal came; what had finished is kept.
    """
    waiting = list({one.key: one for one in fits if finished(store, one.key) is None}.values())
    progress = Progress(title)
    if not waiting:
        return
    begun, failed = time.monotonic(), []
    outcomes = each(fit, [(one.key, one.job, store) for one in waiting], [0] * len(waiting), workers)
    for done, (index, outcome) in enumerate(outcomes, 1):
        if isinstance(outcome, Exception) and is_full(outcome):
            outcomes.close()
            raise disk_full(f"{title}: a disk is full after {done - 1} of {len(waiting)} fits: {outcome}")
        if isinstance(outcome, WorkerDied | Exception):
            failed.append(f"{waiting[index].words}: {outcome}")
        progress.count(done, len(waiting), "fits")
    reused = len(fits) - len(waiting)
    progress.close(
        f"{len(waiting) - len(failed)} fits trained in {duration(time.monotonic() - begun)}"
        + (f", {reused} reused" if reused else "")
    )
    if failed:
        raise StageError(
            f"{title}: {len(failed)} of {len(fits)} fits failed; the others are kept. First: {failed[0]}",
            "Fix the cause and run again: only the failed fits are trained.",
        )


def _train(
    fits: Mapping[str, list[Fit]],
    settings: DownstreamSettings,
    plan: Plan,
    runs: Mapping[tuple[str, int], Run],
    store: Path,
    locations: Locations,
    prepare: Callable[[], object],
    retrain: Retrain,
    jobs: int | None,
) -> None:
    prepare()
    tasks = {name: settings["tasks"][name] for name in fits}
    progress = Progress("labels")
    prepare_labels(
        tasks,
        plan.volumes,
        store,
        locations,
        cores(),
        lambda done, total: progress.count(done, total, "label maps"),
    )
    _weights(list({run.key: run for run in runs.values()}.values()), RunStore(store), retrain)
    for name, mine in fits.items():
        execute(mine, store, jobs or cores(), f"downstream {name}")


def _weights(runs: list[Run], store: RunStore, retrain: Retrain) -> None:
    """Make sure that every encoder's weights are in the store: a clone has the results of runs but not their weights."""
    gone = [run for run in runs if not store.has_weights(run.key)]
    if not gone:
        return
    retrain(gone)
    still = [run.key for run in gone if not store.has_weights(run.key)]
    if still:
        raise StageError(f"run {still[0][:12]} was trained again and left no weights", "See its log in the run store.")
