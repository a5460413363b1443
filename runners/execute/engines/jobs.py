"""What has been given to a scheduler, on disk: enough to find the jobs again after their submitter has died.

A folder `jobs/ID` of the store a submission, written before the scheduler is asked. Jobs carry the ID in their name, so
the queue itself says which of them live, and no job is unknown because somebody died between asking and noting.
"""

from __future__ import annotations

import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mixlang.errors import InputError
from mixlang.files import read_json, write_json
from mixlang.plan.build import Run
from runners.execute.engines import squeue
from runners.execute.store import RunStore

Work = Literal["train", "evaluate"]
"""What jobs do of their runs."""


@dataclass(frozen=True)
class Submission:
    """Batches of runs that were given to the scheduler together, as one array of jobs.

    Attributes:
        folder: where it is noted, and where its jobs write.
        study: whose runs they are.
        batches: the runs of each job, by its index in the array.
        work: what is done of them.
    """

    folder: Path
    study: str
    batches: list[list[Run]]
    work: Work = "train"

    @property
    def name(self) -> str:
        """The name of its jobs in the queue."""
        return f"mixlang-{self.study}-{self.folder.name}"

    @property
    def plan(self) -> Path:
        """The plan as it was when the jobs were submitted; the study's own may change while they wait."""
        return self.folder / self.study / "plan.json"

    @property
    def logs(self) -> Path:
        """Where the jobs themselves log; each run has a log of its own in the store."""
        return self.folder / "logs"

    @property
    def since(self) -> float:
        """When it was noted, by the clock of the store's disk."""
        return (self.folder / "batches.json").stat().st_mtime


def note(store: RunStore, plan: Path, batches: list[list[Run]], work: Work = "train") -> Submission:
    """Write down what is about to be submitted.

    Args:
        plan: the study's plan.json, of which a copy is kept, and of the settings of its evaluations beside it.
    """
    submission = Submission(store.root / "jobs" / uuid.uuid4().hex[:12], plan.parent.name, batches, work)
    submission.logs.mkdir(parents=True)
    submission.plan.parent.mkdir()
    shutil.copyfile(plan, submission.plan)
    settings = plan.parent / "settings" / "evaluate.json"
    if settings.is_file():
        (submission.plan.parent / "settings").mkdir()
        shutil.copyfile(settings, submission.plan.parent / "settings" / "evaluate.json")
    listed = [[run.as_dict() for run in batch] for batch in batches]
    document = {"study": submission.study, "work": work, "batches": listed}
    write_json(submission.folder / "batches.json", document)
    return submission


def read(folder: Path) -> Submission | None:
    """A submission, or None where the folder holds none that was noted whole."""
    try:
        value = read_json(folder / "batches.json")
        runs = [[Run.from_dict(run) for run in batch] for batch in value["batches"]]
        return Submission(folder, value["study"], runs, value.get("work", "train"))
    except (InputError, KeyError, TypeError):
        return None


def noted(store: RunStore, study: str | None = None, work: Work | None = None) -> list[Submission]:
    """The submissions of a study, or of all; of one kind of work, or of both."""
    found = [read(folder) for folder in sorted((store.root / "jobs").glob("*"), key=os.path.getmtime)]
    return [item for item in found if item and study in (None, item.study) and work in (None, item.work)]


def is_over(submission: Submission) -> bool:
    """Whether none of its jobs lives, as far as Slurm says; False where it does not answer."""
    queued = squeue.queue()
    return queued is not None and all(name != submission.name for name, _ in queued)


def forget(submission: Submission) -> None:
    """Delete a submission none of whose jobs lives."""
    shutil.rmtree(submission.folder, ignore_errors=True)
