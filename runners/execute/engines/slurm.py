"""The Slurm engine: batches of runs as arrays of jobs, through submitit.

The store alone says how a run ended, and the queue which jobs live; submitit's own results are never waited for. The
jobs outlive whoever submitted them: another engine of the same study finds them by their names and takes them over.
"""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mixlang.console import say
from mixlang.environment import for_tools, inherited
from mixlang.errors import StageError
from mixlang.files import takes_nothing
from mixlang.plan.build import Plan, Run
from mixlang.spec.quantities import wall_minutes
from mixlang.spec.schema import Launch
from runners.execute.engines import Ended, squeue
from runners.execute.engines.jobs import Submission, forget, note, noted
from runners.execute.faults import Fault
from runners.execute.shards import ladders, parts, samples_of
from runners.execute.store import RunStore

_SOONEST, _LATEST = 1.0, 15.0
"""Seconds between looks at the queue: a tenth of the time in which nothing has happened, within these."""

_GRACE = 5.0
"""Seconds a job may be gone from the queue before its runs are given up: a shared disk shows files late."""

_AGAIN = 30.0
"""Seconds until Slurm is asked again to take jobs, when its controller did not answer."""

_UNREACHABLE = ("Unable to contact slurm controller", "Socket timed out", "temporarily", "Connection refused")
"""In what sbatch says when not the jobs are wrong but its controller is away."""

_OF_A_JOB = (
    "SLURM_JOB",
    "SLURM_MEM",
    "SLURM_CPU",
    "SLURM_N",
    "SLURM_TASK",
    "SLURM_STEP",
    "SLURM_GPU",
    "SLURM_ARRAY",
    "SRUN_",
)
"""Variables of a job's environment; SLURM_CONF, and what a user may set for sbatch, are not among them."""

_MOST_JOBS = 1000
"""Jobs in an array at most, as Slurm's own default has it (MaxArraySize 1001)."""

_FULL = 20 * 60
"""Seconds of training that make a job worth its start."""

_MEASURED_A_JOB = 50
"""Runs that a job measures, at least, where there are so many: each takes seconds."""

_FEW = 20
"""Finished runs that are asked how long a sample takes."""


@dataclass
class _Part:
    """A job and what it is still to train."""

    submission: Submission
    index: int
    runs: dict[str, Run]
    job: str = ""
    gone: float | None = field(default=None)

    @property
    def place(self) -> squeue.Place:
        return self.submission.name, self.index


class SlurmEngine:
    """Gives runs to Slurm.

    Args:
        plan: the plan, and `plan_path` its file, of which each submission keeps a copy.
        store: where results go; the jobs must see it at the same path.
        launch: how to start runs, and what to ask Slurm for.
        task: what a job calls: from a submission's folder, the index of its batch and `launch` as JSON.
        done: whether the store has what is to be done of a run, by its key.
        evaluating: whether runs are measured, not trained.

    Raises:
        StageError: submitit or Slurm's commands are not there.
    """

    outlives = True

    def __init__(
        self,
        plan: Plan,
        plan_path: Path,
        store: RunStore,
        launch: Launch,
        task: Callable[[Path, int, str], Any],
        done: Callable[[str], bool],
        evaluating: bool = False,
    ) -> None:
        self.plan, self.plan_path, self.store, self.launch, self.task = plan, plan_path, store, launch, task
        self.done, self.work = done, "evaluate" if evaluating else "train"
        self.submitit = _submitit()
        self.live: list[_Part] = []
        self.jobs: dict[squeue.Place, squeue.Job] = {}
        self.answers = True
        self.looked = self.changed = time.monotonic()
        self.asked_again = 0.0
        self._take_over()

    def submit(self, runs: Sequence[Run]) -> list[Run]:
        """Submit the runs that no living job has; all are then taken.

        Raises:
            StageError: Slurm refuses the jobs.
        """
        held = {key for batch in self.live for key in batch.runs}
        new = [run for run in runs if run.key not in held]
        if new and time.monotonic() < self.asked_again:
            return []
        if new and not self._submit(new):
            self.asked_again = time.monotonic() + _AGAIN
            return []
        return list(runs)

    def poll(self, seconds: float) -> list[Ended]:
        """The attempts that have ended, looking at store and queue now and then."""
        time.sleep(seconds)
        now = time.monotonic()
        if now - self.looked < min(_LATEST, max(_SOONEST, 0.1 * (now - self.changed))):
            return []
        found = squeue.queue()
        self.answers = found is not None
        ended = [item for batch in self.live for item in self._finished(batch)]
        if found is not None:
            if {place: job.state for place, job in found.items()} != {
                place: job.state for place, job in self.jobs.items()
            }:
                self.changed = now
            self.jobs = found
            ended += [item for batch in self.live for item in self._lost(batch, now)]
        self.live = [batch for batch in self.live if batch.runs]
        self.looked = time.monotonic()
        if ended:
            self.changed = now
        return ended

    def cancel(self) -> None:
        """Cancel the study's jobs; their runs leave checkpoints."""
        squeue.cancel({batch.submission.name for batch in self.live})

    def doing(self) -> str:
        """How many jobs are in which state."""
        if not self.answers:
            return "Slurm does not answer"
        states: Counter[str] = Counter()
        for batch in self.live:
            job = self.jobs.get(batch.place)
            why = f" ({job.reason})" if job and job.state == "PENDING" and job.reason not in ("None", "") else ""
            states[f"{job.state.lower()}{why}" if job else "submitted"] += 1
        return "jobs: " + ", ".join(f"{count} {state}" for state, count in states.most_common())

    # Submitting

    def _submit(self, runs: list[Run]) -> bool:
        """Give runs to Slurm; False where its controller is away."""
        batches = self._batches(runs)
        for run in runs:
            self.store.forget_failure(run.key)
        submission = note(self.store, self.plan_path, batches, self.work)
        launch = self.launch.model_dump_json()
        tasks = [self.task(submission.folder, index, launch) for index in range(len(batches))]
        try:
            jobs = _array(self.submitit, submission, self.launch, self.plan.training["recipe"]["threads"], tasks)
        except (self.submitit.core.utils.FailedJobError, self.submitit.core.utils.FailedSubmissionError) as error:
            forget(submission)
            said = _sbatch_said(error)
            if any(word in said for word in _UNREACHABLE):
                say(f"  slurm: {said}; asked again in {_AGAIN:.0f} s")
                return False
            raise StageError(
                f"Slurm refused the jobs: {said}", "See launch.slurm in the spec, or in mixlang.local.yaml."
            ) from error
        for index, part in enumerate(batches):
            self.live.append(_Part(submission, index, {run.key: run for run in part}, jobs[index]))
        return True

    def _batches(self, runs: list[Run]) -> list[list[Run]]:
        """Runs by job: as many jobs as may run at once, and more only where each would take longer than it should."""
        if self.work == "evaluate":
            count = min(self.launch.slurm.jobs, math.ceil(len(runs) / _MEASURED_A_JOB))
            return [runs[index::count] for index in range(count)]
        groups = ladders(self.plan, runs, self.launch.ladder == "branches")
        slurm, pace = self.launch.slurm, self._seconds_a_sample()
        if slurm.runs_per_job != "auto":
            count = math.ceil(len(runs) / slurm.runs_per_job)
        elif pace is None:
            count = len(groups)
        else:
            seconds = pace * sum(samples_of(self.plan, group) for group in groups)
            count = max(slurm.jobs, math.ceil(seconds / _FULL))
        return [part for part in parts(self.plan, groups, min(count, len(groups), _MOST_JOBS)) if part]

    def _seconds_a_sample(self) -> float | None:
        """Of the runs of this plan that the store has timed; None where it has not."""
        found = (self.store.result(run.key) for run in self.plan.runs)
        timed = [(run, result) for run, result in zip(self.plan.runs, found, strict=True) if result]
        whole = [(run, result["seconds"]) for run, result in timed if not result.get("resumed_at_step")][:_FEW]
        samples = sum(run.budget for run, _ in whole)
        return sum(sum(seconds.values()) for _, seconds in whole) / samples if samples else None

    # Watching

    def _take_over(self) -> None:
        """Answer for the jobs an earlier submitter has left; forget what is over."""
        left = noted(self.store, self.plan_path.parent.name, self.work)
        found = squeue.queue() if left else {}
        if found is None:
            raise StageError("Slurm does not answer, so jobs submitted before cannot be told", "Try 'squeue'.")
        self.jobs = found
        for submission in left:
            living = [index for index in range(len(submission.batches)) if (submission.name, index) in found]
            for index in living:
                missing = {run.key: run for run in submission.batches[index] if not self.done(run.key)}
                self.live.append(_Part(submission, index, missing, found[submission.name, index].id))
            if not living and all(self.done(run.key) for batch in submission.batches for run in batch):
                forget(submission)
        if self.live:
            say(f"  slurm: {len(self.live)} jobs of an earlier submission are taken over")

    def _finished(self, batch: _Part) -> list[Ended]:
        """The runs of a batch that the store says are over."""
        ended = []
        for key, run in list(batch.runs.items()):
            if self.done(key):
                ended.append(Ended(run, None))
            elif (fault := self.store.failure(key)) is not None and not self.store.held(key):
                ended.append(Ended(run, fault))
            else:
                continue
            del batch.runs[key]
        return ended

    def _lost(self, batch: _Part, now: float) -> list[Ended]:
        """The runs of a batch whose job has left the queue without finishing them.

        Only those that had begun are charged with it, or all if none had.
        """
        if batch.place in self.jobs:
            batch.job, batch.gone = self.jobs[batch.place].id, None
            return []
        batch.gone = batch.gone or now
        if not batch.runs or now - batch.gone < _GRACE:
            return []
        fate = squeue.fate(batch.job)
        reason = f"its job {batch.job} left the queue" + (f" ({fate})" if fate else "")
        if not any(self._begun(batch, key) for key in batch.runs):
            reason += f" before it began (see {batch.submission.logs})"
        begun = {key for key in batch.runs if self._begun(batch, key)} or set(batch.runs)
        fault = Fault("machine", reason, full=takes_nothing(self.store.root))
        lost = [Ended(run, fault, counts=key in begun) for key, run in batch.runs.items()]
        batch.runs.clear()
        return lost

    def _begun(self, batch: _Part, key: str) -> bool:
        """Whether a run has said anything since its job was submitted."""
        try:
            return self.store.log(key).stat().st_mtime >= batch.submission.since
        except OSError:
            return False


def _submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise StageError(
            "launch.executor: slurm needs submitit, which is not installed", "Install it: pip install 'mixlang[slurm]'"
        ) from error
    if submitit.SlurmExecutor.affinity() <= 0:
        raise StageError(
            "launch.executor: slurm needs Slurm's commands, and there is no srun here",
            "Run this on a machine of the cluster, or set launch.executor to local.",
        )
    return submitit


def _array(submitit: Any, submission: Submission, launch: Launch, threads: int, tasks: list[Any]) -> list[str]:
    """Submit tasks as one array; returns the ids of its jobs."""
    slurm = launch.slurm
    # -P: a job starts in the workspace, whose random.py, if it has one, is not Python's. What a job inherits beyond
    # that is cleaned where it starts runs.
    python = f"{shlex.quote(sys.executable)} -P"
    executor = submitit.SlurmExecutor(folder=submission.logs, max_num_timeout=1_000_000, python=python)
    asked = {name: getattr(slurm, name) for name in ("partition", "account", "qos", "gres", "constraint")}
    at_once = 1 if launch.max_parallel == "auto" else launch.max_parallel
    executor.update_parameters(
        job_name=submission.name,
        time=wall_minutes(slurm.time),
        nodes=slurm.nodes,
        ntasks_per_node=1,
        cpus_per_task=(
            threads * launch.processes_per_run * at_once // slurm.nodes if slurm.cpus == "auto" else slurm.cpus
        ),
        array_parallelism=slurm.jobs,
        signal_delay_s=slurm.warning,
        stderr_to_stdout=True,
        setup=slurm.setup or None,
        srun_args=["--nodes=1", "--ntasks=1", "--overlap"],
        additional_parameters={"requeue": True, **({"mem": slurm.memory} if slurm.memory else {})},
        **{name: value for name, value in asked.items() if value is not None},
    )
    with _outside_of_a_job():
        return [job.job_id for job in executor.submit_array(tasks)]


@contextlib.contextmanager
def _outside_of_a_job() -> Iterator[None]:
    """What Slurm says of the job we may be in ourselves is nothing that the jobs we submit should inherit."""
    env = for_tools(os.environ)
    with inherited({name: value for name, value in env.items() if not name.startswith(_OF_A_JOB)}):
        yield


def _sbatch_said(error: Exception) -> str:
    """The line of sbatch's complaint that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if "sbatch: error" in line or "slurm_" in line]
    said = lines[-1] if lines else str(error)
    return said.removeprefix("sbatch: error: ").removeprefix("Batch job submission failed: ")
