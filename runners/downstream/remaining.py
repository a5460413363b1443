"""The encoders that tasks are measured with, the keys of the tasks, and how many fits are left to do; without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mixlang.documents import DownstreamSettings, EncoderOf, TaskResults, TaskSettings, Verification
from mixlang.errors import InputError
from mixlang.files import digest
from mixlang.plan.build import Plan, Run
from mixlang.plan.tasks import MOST_TILES, folds_of
from runners.downstream.fits import Fit, fit_path, fits_of

SUMMARY_VERSION = 1
"""Raised when the same fits would be summarised otherwise."""


def task_key(task: TaskSettings, settings: DownstreamSettings, fits: list[Fit]) -> str:
    """What a task's results are a function of; a document with the same key is taken as it is."""
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


def former_keys(settings: DownstreamSettings, plan: Plan, runs: Mapping[tuple[str, int], Run]) -> dict[str, str]:
    """The keys that tasks had while the address of a run held its evaluations, by name."""
    older = {place: replace(run, key=plan.former_key(run)) for place, run in runs.items()}
    were = encoders(settings, plan, older)
    return {
        name: task_key(task, settings, fits_of(task, settings, were, plan)) for name, task in settings["tasks"].items()
    }


@dataclass(frozen=True)
class FitsLeft:
    """The fits that a study's tasks take, and what is left of them.

    Attributes:
        crops: that a network looks at in those that are left, about; a step that trains the encoder counts as three.
    """

    fits: int
    left: int
    crops: int


def fits_left(
    settings: DownstreamSettings,
    plan: Plan,
    verification: Verification | None,
    known: Mapping[str, TaskResults],
    store: Path,
) -> FitsLeft:
    """How many fits are to be done; all of them before the encoders are known.

    Args:
        verification: of the encoders; None where its runs are not those of the plan yet.
        known: tasks of a committed document, by name.
    """
    if not settings["tasks"]:
        return FitsLeft(0, 0, 0)
    each = len(settings["encoders"]) * settings["seeds"] * len(settings["labels"])
    asked = [(task, mode, each * len(folds_of(task))) for task in settings["tasks"].values() for mode in task["modes"]]
    count = sum(number for _, _, number in asked)
    if verification is None:
        return FitsLeft(count, count, sum(number * _crops(task, mode) for task, mode, number in asked))
    runs = encoder_runs(settings, verification)
    now, before = encoders(settings, plan, runs), {task.get("key") for task in known.values()}
    former, left, crops = former_keys(settings, plan, runs), 0, 0
    for name, task in settings["tasks"].items():
        found = fits_of(task, settings, now, plan)
        if before & {task_key(task, settings, found), former[name]}:
            continue
        for one in {one.key: one for one in found}.values():
            if not fit_path(store, one.key).is_file():
                left, crops = left + 1, crops + _crops(task, one.mode)
    return FitsLeft(count, left, crops)


def _crops(task: TaskSettings, mode: str) -> int:
    """Crops that a network looks at in one fit of a task, about, a training step of it counted as three."""
    recipe, volumes = task["recipe"], len(task["cases"])
    seen = recipe["steps"] * recipe["batch_size"] * (MOST_TILES if task["kind"] == "classification" else 1)
    if mode == "probe" and task["kind"] == "classification":
        seen = volumes * MOST_TILES  # their tokens are kept
    return seen * (3 if mode == "finetune" else 1) + volumes * MOST_TILES


def encoder_runs(settings: DownstreamSettings, verification: Verification) -> dict[tuple[str, int], Run]:
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


def encoders(
    settings: DownstreamSettings, plan: Plan, runs: Mapping[tuple[str, int], Run]
) -> dict[tuple[str, int], EncoderOf]:
    """Where each encoder of each seed comes from."""
    found: dict[tuple[str, int], EncoderOf] = {place: {"run": run.key} for place, run in runs.items()}
    if "scratch" in settings["encoders"]:
        model = plan.training["model"]
        found |= {("scratch", seed): {"model": model, "seed": seed} for seed in range(settings["seeds"])}
    return found
