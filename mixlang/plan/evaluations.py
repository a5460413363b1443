"""What is measured of runs: each evaluation has a content address of its own, apart from the runs it is made of.

A record of one is known by (run, evaluation). New domains, other validation volumes and new tasks therefore cost
evaluations of weights that are there, and no training.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixlang.documents import EvaluateSettings, ProbeTask
from mixlang.errors import InputError
from mixlang.files import digest, read_json
from mixlang.plan.build import EVALUATION_VERSION, Plan
from mixlang.plan.tasks import MOST_TILES, TASK_LOSS_VERSION


@dataclass(frozen=True)
class Evaluation:
    """One loss that is measured of runs.

    Attributes:
        name: of the loss: a domain's, or a task's.
        key: content address of all that decides it beside the run.
        task: what a task's loss is measured on; None for the reconstruction loss on a domain's validation crops.
    """

    name: str
    key: str
    task: ProbeTask | None = None


def evaluations_of(plan: Plan, settings: EvaluateSettings | None = None) -> list[Evaluation]:
    """What is measured of the runs of a plan: the loss on each domain, then that of each task of the objective."""
    found = [_of_domain(plan, name) for name in plan.domains]
    for name, task in settings["tasks"].items() if settings is not None else ():
        found.append(Evaluation(name, digest({"version": TASK_LOSS_VERSION, "task": _by_content(task)}), task))
    return found


def _by_content(task: ProbeTask) -> dict[str, Any]:
    """A task without the paths of its label maps: where files are decides nothing."""
    cases = [{**case, "label": case["label"]["key"]} if "label" in case else case for case in task["cases"]]
    return {**task, "cases": cases}


def read_evaluations(plan: Plan, path: Path) -> list[Evaluation]:
    """The evaluations of a plan whose file is at `path`, with the tasks of the settings beside it, if there are any."""
    try:
        settings = read_json(path.parent / "settings" / "evaluate.json")
    except InputError:
        settings = None
    return evaluations_of(plan, settings)


def keys_of(evaluations: Iterable[Evaluation]) -> dict[str, str]:
    """Evaluation keys by the name of the loss, as tables hold them."""
    return {one.name: one.key for one in evaluations}


def _of_domain(plan: Plan, name: str) -> Evaluation:
    definition = {
        "version": EVALUATION_VERSION,
        **plan.evaluation,
        "volumes": plan.domains[name]["validation"],
    }
    return Evaluation(name, digest(definition))


def crops_of(plan: Plan, evaluation: Evaluation) -> int:
    """Crops that a network looks at for one evaluation of a run; of a task's volumes at most so many tiles each."""
    if evaluation.task is None:
        return plan.evaluation["crops"] * len(plan.domains[evaluation.name]["validation"])
    return MOST_TILES * len(evaluation.task["cases"])
