"""The stage: encoders from the verification runs, every task's fits, and the document of what they say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mixlang.console import Progress
from mixlang.documents import Downstream, DownstreamSettings, EncoderOf, TaskResults, TaskSettings, Verification
from mixlang.errors import InputError, StageError
from mixlang.files import digest
from mixlang.hardware import cores
from mixlang.plan.build import Plan, Run
from mixlang.spec.locations import Locations
from mixlang.verify.measured import called
from mixlang.words import listed
from runners.downstream.annotated import prepare_labels
from runners.downstream.fits import Fit, execute, fits_of
from runners.downstream.summary import overall, summarise
from runners.execute.store import RunStore

Retrain = Callable[[list[Run]], object]

SUMMARY_VERSION = 1
"""Raised when the same fits would be summarised otherwise."""


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
    runs = _encoder_runs(settings, verification)
    encoders = _encoders(settings, plan, runs)
    fits = {name: fits_of(task, settings, encoders, plan) for name, task in settings["tasks"].items()}
    keys = {name: _task_key(task, settings, fits[name]) for name, task in settings["tasks"].items()}
    before = {task["key"]: task for task in known.values() if isinstance(task, dict) and "key" in task}
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


def _task_key(task: TaskSettings, settings: DownstreamSettings, fits: list[Fit]) -> str:
    subjects = [case["subject"] for case in task["cases"]]
    kept = {name: settings[name] for name in ("encoders", "labels", "seeds")}
    return digest(
        {
            "version": SUMMARY_VERSION,
            "classes": task["classes"],
            "subjects": subjects,
            "fits": [one.key for one in fits],
            **kept,
        }
    )


def _encoder_runs(settings: DownstreamSettings, verification: Verification) -> dict[tuple[str, int], Run]:
    """The verification run that each pretrained encoder of each seed comes from."""
    rows = {
        (row["mixture"], row["seed"]): Run.from_dict(row)
        for row in verification["runs"]
        if row["budget_asked"] == settings["budget"]
    }
    found = {}
    for name in settings["encoders"]:
        for seed in range(settings["seeds"]):
            if name == "scratch":
                continue
            run = rows.get((name, seed % settings["pretraining_seeds"]))
            if run is None:
                raise InputError(
                    f"the verification has no run of the {name} mixture at {settings['budget']:,} samples",
                    "Run 'mixlang run SPEC': it compiles and verifies again.",
                )
            found[name, seed] = run
    return found


def _encoders(
    settings: DownstreamSettings, plan: Plan, runs: Mapping[tuple[str, int], Run]
) -> dict[tuple[str, int], EncoderOf]:
    found: dict[tuple[str, int], EncoderOf] = {place: {"run": run.key} for place, run in runs.items()}
    if "scratch" in settings["encoders"]:
        model = plan.training["model"]
        found |= {("scratch", seed): {"model": model, "seed": seed} for seed in range(settings["seeds"])}
    return found


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
