"""All fits of a task as jobs, each named by what decides its result, and their execution side by side."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mixlang.console import Progress, duration
from mixlang.documents import Case, DownstreamSettings, EncoderOf, FitCase, FitJob, TaskSettings
from mixlang.errors import StageError, disk_full, is_full
from mixlang.files import digest
from mixlang.plan.build import Plan
from mixlang.plan.tasks import folds_of, labelled
from runners.data.workers import WorkerDied, each
from runners.downstream.train import FIT_VERSION, finished, fit


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
            "Mend the cause and run again: only the failed fits are trained.",
        )
