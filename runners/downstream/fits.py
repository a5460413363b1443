"""All fits of a task as jobs, each named by what decides its result, and what the store has found of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixlang.documents import Case, DownstreamSettings, EncoderOf, FitCase, FitJob, TaskSettings
from mixlang.files import digest
from mixlang.plan.build import Plan
from mixlang.plan.tasks import folds_of, labelled

FIT_VERSION = 1
"""Raised when the same fit would give another result; part of every fit's key."""


def fit_path(store: Path, key: str) -> Path:
    """Where the result of a fit lies."""
    return store / "downstream" / key[:2] / f"{key}.json"


def finished(store: Path, key: str) -> dict[str, Any] | None:
    """What a fit found, or None where it is not there whole."""
    try:
        value = json.loads(fit_path(store, key).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) and value.get("key") == key else None


@dataclass(frozen=True)
class Fit:
    """One fit of a task.

    Attributes:
        key: named by everything that decides the result.
        encoder, mode, labels, seed, fold: which one it is.
        test: the cases it is scored on, by their place in the task.
        job: what `runners.downstream.train.fit` needs.
    """

    key: str
    encoder: str
    mode: str
    labels: float
    seed: int
    fold: int
    test: list[int]
    job: FitJob

    @property
    def words(self) -> str:
        """The fit for people."""
        return f"{self.mode} of {self.encoder} with {self.labels:.0%} of the labels, seed {self.seed}"


def fits_of(
    task: TaskSettings, settings: DownstreamSettings, encoders: Mapping[tuple[str, int], EncoderOf], plan: Plan
) -> list[Fit]:
    """Every fit of a task.

    Args:
        settings: of the stage.
        encoders: what each (encoder, seed) is: {run: key}, or {model, seed} from scratch.
    """
    found = []
    size = plan.volumes[task["cases"][0]["volume"]]["preprocessing"]
    for fold, (training, test) in enumerate(folds_of(task)):
        for part in settings["labels"]:
            for seed in range(settings["seeds"]):
                used = labelled(task, training, part, seed)
                for mode in task["modes"]:
                    for name in settings["encoders"]:
                        job = {
                            "version": FIT_VERSION,
                            "kind": task["kind"],
                            "mode": mode,
                            "classes": task["values"] if task["kind"] == "segmentation" else len(task["classes"]),
                            "recipe": task["recipe"],
                            "crop": plan.training["crop"],
                            "spacing": size["spacing"],
                            "encoder": encoders[name, seed],
                            "seed": seed,
                            "training": [_case(task["cases"][index]) for index in used],
                            "test": [_case(task["cases"][index]) for index in test],
                        }
                        found.append(Fit(digest(job), name, mode, part, seed, fold, test, job))
    return found


def _case(case: Case) -> FitCase:
    """What a fit sees of a case: not whose it is, nor where its files lie."""
    if "label" in case:
        return {"volume": case["volume"], "label": {"key": case["label"]["key"]}}
    return {"volume": case["volume"], "class": case["class"]}
