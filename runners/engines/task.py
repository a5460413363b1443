"""What a job does: it trains its batch like a sweep of its own, and answers a warning with checkpoints."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mixlang.console import say
from mixlang.errors import InputError, MixlangError

_SUBMITTERS_OWN = ("MIXLANG_PARENT", "MIXLANG_OUTCOME", "MIXLANG_JOBS", "MIXLANG_DETACH")
"""What the environment says of the process that submitted, and not of a job."""

_now: list[Any] = []
"""The sweep in progress; not part of a task, which is pickled."""


class Task:
    """One batch of a submission, as submitit calls it.

    Args:
        folder: the submission's.
        index: which of its batches.
        launch: how to start runs, as JSON.
    """

    def __init__(self, folder: Path, index: int, launch: str) -> None:
        self.folder, self.index, self.launch = folder, index, launch

    def __call__(self) -> None:
        """Train what is missing of the batch. What fails is in the store, for the submitter to judge."""
        from mixlang.plan.build import Plan
        from mixlang.spec.schema import Launch
        from runners.engines.jobs import read
        from runners.store import RunStore
        from runners.sweep import Sweep

        for name in _SUBMITTERS_OWN:
            os.environ.pop(name, None)
        submission = read(self.folder)
        if submission is None:
            raise InputError(f"{self.folder} is no submission")
        launch = Launch.model_validate_json(self.launch)
        local = launch.model_copy(update={"executor": "local", "retries": 0})
        plan, store = Plan.read(submission.plan), RunStore(self.folder.parent.parent)
        title = f"job {self.index}"
        sweep = Sweep(plan, submission.plan, submission.batches[self.index], store, local, title)
        sweep.nodes = launch.slurm.nodes
        _now[:] = [sweep]
        try:
            sweep.execute()
        except MixlangError as error:
            say(f"{error} {error.hint}".strip())

    def checkpoint(self) -> Any:
        """Called when the job is about to be ended: leave checkpoints, and be queued again as we are."""
        from submitit.helpers import DelayedSubmission

        if _now and _now[0].engine is not None:
            _now[0].engine.cancel()
        return DelayedSubmission(self)
