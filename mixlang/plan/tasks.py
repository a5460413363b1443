"""Tasks as data: the labelled volumes of each task, its folds, and what of it cannot be measured.

A function of the spec and the data manifest, as the plan is; `settings/downstream.json` holds it, so that an edited task
trains no pretraining run again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from mixlang.documents import Case, DownstreamSettings, LabelFile, ProbeTask, TaskSettings
from mixlang.files import digest
from mixlang.names import ALLOCATED, PUBLISHED, SCRATCH, published_budgets
from mixlang.plan.data_manifest import DataManifest, VolumeRecord
from mixlang.plan.split import order_key
from mixlang.spec.positions import Path_
from mixlang.spec.schema import Spec, Task

TASK_LOSS_VERSION = 1
"""Raised when a frozen probe would give another loss."""

MOST_TILES = 8
"""Tiles of a volume that a frozen probe sees, at most."""

LABEL_VERSION = 1
"""Raised when the same label map would be prepared otherwise."""

_LEAST_TEST = 2
"""Subjects of a class that a fold is tested on, at least."""

Problem = tuple[str, Path_, str, str]
"""Code, place in the spec, message, what to do."""


def compile_tasks(
    spec: Spec, manifest: DataManifest, keys: Mapping[tuple[str, str], str], held_out: set[str]
) -> dict[str, TaskSettings]:
    """The tasks of a spec with their labelled volumes, by name.

    Args:
        keys: prepared-volume keys by (domain, path).
        held_out: the validation subjects of pretraining.
    """
    return {name: _task(spec, name, task, manifest, keys, held_out) for name, task in spec.tasks.items()}


def probe_tasks(spec: Spec, tasks: Mapping[str, TaskSettings]) -> dict[str, ProbeTask]:
    """The tasks that the objective names, as a frozen probe of every run sees them: not how a head would be trained."""
    found: dict[str, ProbeTask] = {}
    for name in spec.objective.of_tasks:
        task = tasks[name]
        kept = {part: task[part] for part in ("kind", "domain", "classes", "values", "folds", "seed", "cases")}
        found[name] = kept  # type: ignore[assignment]
    return found


def downstream_settings(spec: Spec, tasks: Mapping[str, TaskSettings]) -> DownstreamSettings:
    """What the downstream stage depends on; of a spec without tasks that are measured at the end nothing."""
    downstream, measured = spec.downstream, {name: task for name, task in tasks.items() if task["modes"]}
    if not measured:
        return {"tasks": {}}
    budget = downstream.budget or max(spec.budgets.holdout, default=None)
    return {
        "encoders": downstream.encoders or [solved_encoder(spec, budget), *spec.verify.baselines, SCRATCH],
        "budget": budget,
        "seeds": downstream.seeds,
        "labels": sorted(downstream.labels),
        "pretraining_seeds": spec.verify.seeds,
        "tasks": measured,
    }


def solved_encoder(spec: Spec, budget: int | None) -> str:
    """Which solved mixture's encoder is compared by default: that of the published shares where runs have them."""
    return PUBLISHED if budget in published_budgets(spec.verify.published, spec.budgets.holdout) else ALLOCATED


def _task(
    spec: Spec,
    name: str,
    task: Task,
    manifest: DataManifest,
    keys: Mapping[tuple[str, str], str],
    held_out: set[str],
) -> dict[str, Any]:
    records = manifest.domains[task.domain].volumes if task.domain in manifest.domains else ()
    annotated = [(record, found) for record in records if (found := (record.annotations or {}).get(name)) is not None]
    if task.column:
        classes = sorted({found["class"] for _, found in annotated})
    else:
        classes = ["absent", "present"] if task.kind == "classification" else list(task.classes)
    cases = []
    for record, found in annotated:
        case: Case = {
            "volume": keys[task.domain, record.path],
            "subject": record.subject,
            "held_out": record.subject in held_out,
        }
        if task.column:
            case["class"] = classes.index(found["class"])
        elif task.kind == "classification":
            amounts = [ml for value, ml in zip(found["values"], found["ml"], strict=True) if value in task.present]
            case["class"] = int(sum(amounts) > task.larger_than)
        else:
            case["label"] = _label(case["volume"], record, found)
            case["holds"] = [
                kind for kind, values in task.values.items() if not set(values).isdisjoint(found["values"])
            ]
        cases.append(case)
    return {
        "kind": task.kind,
        "domain": task.domain,
        "classes": classes,
        "values": task.values,
        "modes": list(task.modes),
        "folds": task.folds,
        "seed": spec.data.split.seed,
        "recipe": {"steps": task.steps, "batch_size": task.batch_size, "learning_rate": task.learning_rate},
        "cases": sorted(cases, key=lambda case: (order_key(spec.data.split.seed, case["subject"]), case["volume"])),
    }


def _label(volume: str, record: VolumeRecord, found: dict[str, Any]) -> LabelFile:
    """A prepared label map: its key, and the file it comes from (a phantom's is made with its image)."""
    key = digest({"version": LABEL_VERSION, "volume": volume, "content": found["content"]})
    return {"key": key, "path": found.get("path"), "content": found["content"]}


def folds_of(task: TaskSettings | ProbeTask) -> list[tuple[list[int], list[int]]]:
    """The (training, test) cases of each fold; a subject is never on both sides.

    Without `folds` there is one: trained on the training subjects of pretraining, tested on its validation subjects.
    With them subjects are dealt out in their fixed order; those that bear a rarer class first, so that each fold gets
    its part of them.
    """
    cases = task["cases"]
    if not task["folds"]:
        return [
            (
                [i for i, case in enumerate(cases) if not case["held_out"]],
                [i for i, case in enumerate(cases) if case["held_out"]],
            )
        ]
    places: dict[str, int] = {}
    for subject in _rarest_first(cases):
        places[subject] = len(places) % task["folds"]
    return [
        (
            [i for i, case in enumerate(cases) if places[case["subject"]] != fold],
            [i for i, case in enumerate(cases) if places[case["subject"]] == fold],
        )
        for fold in range(task["folds"])
    ]


def _rarest_first(cases: list[Case]) -> list[str]:
    """Subjects grouped by what their labels hold, the rarest first; in a group in their fixed order."""
    held: dict[str, set[str]] = {}
    for case in cases:
        held.setdefault(case["subject"], set()).update(_held(case))
    groups: dict[tuple[str, ...], list[str]] = {}
    for subject, found in held.items():
        groups.setdefault(tuple(sorted(found)), []).append(subject)
    return [
        subject for _, group in sorted(groups.items(), key=lambda item: (len(item[1]), item[0])) for subject in group
    ]


def _held(case: Case) -> Iterable[str]:
    """The classes a case's labels hold, by name (segmentation) or index (classification)."""
    return case["holds"] if "holds" in case else [str(case["class"])]


def labelled(task: TaskSettings | ProbeTask, training: list[int], fraction: float, seed: int) -> list[int]:
    """The training cases whose labels are used: of the subjects with each combination of classes that part, rounded up.

    Subsets are nested: with the same seed a larger part holds the smaller ones.
    """
    cases = task["cases"]
    groups: dict[tuple[str, ...], list[str]] = {}
    held: dict[str, set[str]] = {}
    for index in training:
        held.setdefault(cases[index]["subject"], set()).update(_held(cases[index]))
    for subject in sorted(held, key=lambda subject: order_key(seed, f"labels {subject}")):
        groups.setdefault(tuple(sorted(held[subject])), []).append(subject)
    kept = {subject for group in groups.values() for subject in group[: math.ceil(fraction * len(group) - 1e-9)]}
    return [index for index in training if cases[index]["subject"] in kept]


def task_problems(spec: Spec, tasks: Mapping[str, TaskSettings | ProbeTask]) -> list[Problem]:
    """Why tasks could not be trained or measured, each at its place in the spec; nothing is trained before it is fixed."""
    found: list[Problem] = []
    for name, task in tasks.items():
        place: Path_ = ("tasks", name)
        if not task["cases"]:
            declared = spec.tasks[name]
            what = f"has a class in the column '{declared.column}'" if declared.column else "has a label map"
            help = (
                "fill the column"
                if declared.column
                else "name them in the source (column label of a manifest) or with the task's label_map"
            )
            found.append(("MX0311", (*place, "domain"), f"no volume of '{task['domain']}' {what}", help))
        else:
            found += [
                ("MX0312", place, message, help) for message, help in _unmeasurable(task, min(spec.downstream.labels))
            ]
    return found


def _unmeasurable(task: TaskSettings | ProbeTask, fraction: float) -> list[tuple[str, str]]:
    """What is wrong with a task's classes, at most one thing a class."""
    if task["kind"] == "classification" and len({case["class"] for case in task["cases"]}) < 2:
        index = task["cases"][0]["class"]
        return [
            (f"all {len(task['cases'])} volumes are of the class '{task['classes'][index]}'", "one class has no AUROC")
        ]
    problems: dict[str, tuple[str, str]] = {}
    for number, (training, test) in enumerate(folds_of(task)):
        where = f" in fold {number + 1} of {task['folds']}" if task["folds"] else ""
        used = labelled(task, training, fraction, 0)
        for index, name in enumerate(task["classes"]):
            held = name if task["kind"] == "segmentation" else str(index)

            def subjects(cases: list[int], held: str = held) -> int:
                return len({task["cases"][i]["subject"] for i in cases if held in _held(task["cases"][i])})

            tested, trained = subjects(test), subjects(used)
            if not subjects(list(range(len(task["cases"])))):
                values = ", ".join(map(str, task["values"].get(name, [])))
                message = (
                    f"the class '{name}'" + (f" (label {values})" if values else "") + " is in no label map of the task"
                )
                problems.setdefault(name, (message, "look which labels the maps hold"))
            if tested < _LEAST_TEST or not trained:
                message = (
                    f"the class '{name}' is in {tested} test subject{'s' * (tested != 1)} and, of {fraction:g} of the "
                    f"labels, in {trained} training subject{'s' * (trained != 1)}{where}; {_LEAST_TEST} and 1 are needed"
                )
                help = "bring more labelled subjects, use larger parts of the labels, " + (
                    "or fewer folds" if task["folds"] else "or cross-validate with 'folds'"
                )
                problems.setdefault(name, (message, help))
    return list(problems.values())
