"""Executing a list of runs through an engine: training those that are not in the store yet, or measuring trained ones.

A result in the store, or in a committed table of results, is never computed again. A run that its machine ended is
tried again; one that fails is set aside and the others go on; the batch then ends with an error that names it. Killed
at any moment, it goes on where it was.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from mixlang.console import Progress, duration, say
from mixlang.documents import FailedRun, RunRow
from mixlang.errors import Detached, DiskFull, InputError, Interrupted, MixlangError, StageError, WriteError, disk_full
from mixlang.files import free_bytes
from mixlang.plan.build import Plan, Run
from mixlang.plan.cost import checkpoint_bytes
from mixlang.plan.evaluations import Evaluation, evaluations_of, read_evaluations
from mixlang.plan.ladder import shared_samples, trunk_of
from mixlang.spec.schema import Launch
from runners.execute.devices import devices
from runners.execute.disk_room import require_room
from runners.execute.engines import Ended, Engine
from runners.execute.engines.jobs import read
from runners.execute.engines.local import LocalEngine
from runners.execute.faults import Attempts, Fault, pause
from runners.execute.scores import Known, missing, row_of
from runners.execute.store import RunStore

_POLL = 0.1

_LOOK_ELSEWHERE = 2.0
"""Seconds between looks for runs that another sweep has finished."""

_LAG = 0.2
"""Seconds by which a stop may reach us later than the run that it ended."""

_BESIDES = 64 * 1024
"""Bytes that a run keeps beside its weights: its result, log and pictures."""

_LOG_LINES = 5
"""Lines of its log that are shown of a run that failed."""


@dataclass
class Batch:
    """The execution of a list of runs.

    Attributes:
        plan: the plan, and `plan_path` its file, which the runs read.
        runs: what to execute; order is kept in the results.
        launch: how to start runs.
        evaluations: what to measure of the runs, which are trained; None where they are to be trained.
        known: records from committed tables; a run that has one is not trained.
        ahead: samples that later stages will still train, for the estimate of what remains.
        before: called once if anything has to be done.
        max_failed: runs that may fail; `failed` then holds them, and the results lack them.
        nodes: nodes of the surrounding job that each run spreads over.
        engine: what executes them, once it does.
        trunks: by key of a run that is to branch off another, the key of that other and the samples they share.
    """

    plan: Plan
    plan_path: Path
    runs: list[Run]
    store: RunStore
    launch: Launch
    title: str
    evaluations: Sequence[Evaluation] | None = None
    known: Known = field(default_factory=dict)
    ahead: int = 0
    before: Callable[[], object] = lambda: None
    max_failed: int = 0
    nodes: int = 1
    stop: int = 0
    trunks: dict[str, tuple[str, int]] = field(default_factory=dict, init=False)
    failed: list[tuple[Run, Fault]] = field(default_factory=list, init=False)
    engine: Engine | None = field(default=None, init=False)

    def execute(self) -> list[RunRow]:
        """Do what is missing; returns a row for each run whose losses are known, in the order of `runs`.

        Raises:
            StageError: more runs failed than may; the others are finished and kept.
            Interrupted: a signal came; finished runs are kept, and nothing is left running but the jobs of a scheduler.
            InputError: the store's disk has no room for what the runs will keep.
            DiskFull: it was filled on the way; finished runs are kept.
            Detached: the runs are with a scheduler, and MIXLANG_DETACH says not to wait for them.
        """
        waiting = [run for run in self.runs if not self._done(run)]
        progress = Progress(self.title)
        reused = len(self.runs) - len(waiting)
        if not waiting:
            nothing = "trained; nothing to train" if self.evaluations is None else "measured; nothing to evaluate"
            progress.close(f"all {len(self.runs)} runs are {nothing}")
        else:
            self._refuse_impossible()
            self.before()
            if self.evaluations is None:
                require_room(self.store.root, 0, self._weights * len(waiting), len(waiting))
            begun = time.monotonic()
            self._execute(sorted(waiting, key=lambda run: -run.budget), progress)
            took = duration(time.monotonic() - begun)
            again = f", {reused} reused" if reused else ""
            lost = f", {len(self.failed)} failed" if self.failed else ""
            did = "trained" if self.evaluations is None else "evaluated"
            progress.close(f"{len(waiting) - len(self.failed)} runs {did} in {took}{again}{lost}")
        return self.rows()

    def rows(self) -> list[RunRow]:
        """The runs whose losses are all known."""
        wanted = evaluations_of(self.plan) if self.evaluations is None else self.evaluations
        found = (row_of(run, wanted, self.store, self.known) for run in self.runs)
        return [row for row in found if row is not None]

    def _done(self, run: Run) -> bool:
        return (self.evaluations is None and run.key in self.known) or self._recorded(run.key)

    def _recorded(self, key: str) -> bool:
        """Whether the store has what is to be done of a run."""
        if self.evaluations is None:
            return self.store.result(key) is not None
        return not missing(key, self.evaluations, self.store, self.known)

    def _refuse_impossible(self) -> None:
        """Stop before the volumes are prepared where every run would fail for the same reason.

        Raises:
            StageError: fp16 without a GPU.
        """
        fp16 = self.plan.training["recipe"]["precision"] == "fp16"
        if fp16 and self.launch.executor == "local" and not devices():
            raise StageError(
                "fp16 needs a GPU, and this machine has none: no run could be trained",
                "Use train.precision bf16 or fp32.",
            )

    def _execute(self, runs: list[Run], progress: Progress) -> None:
        self.trunks = self._branchings(runs)
        clock = _Clock(sum(self._own_samples(run) for run in runs), self.ahead)
        attempts = Attempts(self.launch.retries)
        waiting = {run.key: run for run in runs}
        under_way: dict[str, Run] = {}
        later: dict[str, float] = {}
        looked = time.monotonic()
        engine = self.engine = self._engine()
        previous = [(number, signal.signal(number, self._on_signal)) for number in (signal.SIGINT, signal.SIGTERM)]
        try:
            while waiting or under_way:
                self._refuse_to_go_on()
                now = time.monotonic()
                ready = [run for run in waiting.values() if later.get(run.key, 0.0) <= now]
                for run in engine.submit(ready if engine.outlives else ready[: self._room(under_way)]):
                    under_way[run.key] = waiting.pop(run.key)
                if os.environ.get("MIXLANG_DETACH") and not waiting:
                    raise Detached(f"{self.title}: {engine.doing()}")
                for ended in engine.poll(_POLL):
                    run = under_way.pop(ended.run.key, None)
                    if run is None:
                        continue  # of jobs that were submitted for an earlier plan
                    again = self._settle(ended, attempts, clock)
                    if again is not None:
                        waiting[run.key], later[run.key] = run, time.monotonic() + again
                if now - looked > _LOOK_ELSEWHERE:
                    looked = now
                    for run in [run for run in waiting.values() if self._recorded(run.key)]:
                        del waiting[run.key]
                        clock.finish(self._own_samples(run))
                if progress.due:
                    partial = sum(self._own_samples_done(run) for run in under_way.values())
                    done = f"{len(runs) - len(waiting) - len(under_way)} of {len(runs)} runs"
                    said = ", ".join(filter(None, [done, engine.doing(), clock.text(partial)]))
                    progress.show(said, clock.fraction(partial))
        except DiskFull as error:
            engine.cancel()  # jobs of a scheduler too: what they trained could not be kept
            finished = sum(self._done(run) for run in self.runs)
            raise DiskFull(
                f"{self.title}: {error}; {finished} of {len(self.runs)} runs are finished and kept, no others are started",
                error.hint,
            ) from error
        finally:
            if not engine.outlives:
                engine.cancel()
            for number, handler in previous:
                signal.signal(number, handler)
        if len(self.failed) > self.max_failed:
            self._refuse_failed()

    @property
    def _weights(self) -> int:
        """Bytes that each finished run keeps; those of runs that are measured are there already."""
        return checkpoint_bytes(self.plan.training, 1) if self.evaluations is None else 0

    def _room(self, under_way: Mapping[str, Run]) -> int:
        """How many runs to start at most, so that they and those under way can be kept.

        Raises:
            DiskFull: none, and none is under way.
        """
        free = free_bytes(self.store.root)
        if free is None:
            return len(self.runs)
        room = free // (self._weights + _BESIDES) - len(under_way)
        if room <= 0 and not under_way:
            raise disk_full(f"the disk of the store {self.store.root} has no room for another run's weights")
        return max(0, room)

    def _refuse_to_go_on(self) -> None:
        if self.stop:
            raise Interrupted(
                f"{self.title}: stopped by {signal.Signals(self.stop).name}; finished runs are kept",
                "Run the same command again to go on.",
            )

    def _refuse_failed(self) -> None:
        run, fault = self.failed[0]
        allowed = f" ({self.max_failed} may)" if self.max_failed else ""
        raise StageError(
            f"{len(self.failed)} of {len(self.runs)} runs failed{allowed}; the others are kept. First: {describe(run)}: "
            f"{fault.reason} (log: {self.store.log(run.key)})",
            "Fix the cause and run again: only the failed runs are repeated.",
        )

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.stop = number

    def _engine(self) -> Engine:
        if self.launch.executor == "slurm":
            from runners.execute.engines.slurm import SlurmEngine

            return SlurmEngine(
                self.plan,
                self.plan_path,
                self.store,
                self.launch,
                functools.partial(Task, evaluating=self.evaluations is not None),
                self._recorded,
                self.evaluations is not None,
            )
        trunks = {key: trunk for key, (trunk, _) in self.trunks.items()}
        evaluating = self.evaluations is not None
        return LocalEngine(
            self.plan, self.plan_path, self.store, self.launch, self._recorded, trunks, self.nodes, evaluating
        )

    def _settle(self, ended: Ended, attempts: Attempts, clock: _Clock) -> float | None:
        """Take in an attempt that is over; returns the seconds to wait before the next one, if there is to be one."""
        run, fault = ended.run, ended.fault
        if fault is None:
            clock.finish(self._own_samples(run))
            return None
        if fault.full:
            raise disk_full(f"the disk of the store {self.store.root} is full ({describe(run)}: {fault.reason})")
        if fault.cause == "machine":
            time.sleep(_LAG)
            if self.stop:
                return 0.0
        if not ended.counts:
            return pause()
        if self.store.failure(run.key) is None:  # for others, such as who submitted the job that we are
            with contextlib.suppress(WriteError):
                self.store.fail(run.key, fault)
        reached = max((path.name for path in self.store.checkpoints(run.key)), default="")
        wait = attempts.again(run.key, fault, reached)
        if wait is not None:
            how = "from its last checkpoint" if reached else "from the beginning"
            say(f"  {self.title}: {describe(run)}: {fault.reason}; tried again {how} in {duration(wait)}")
            return wait
        self.failed.append((run, fault))
        clock.finish(self._own_samples(run))
        say(f"  {self.title}: FAILED: {describe(run)}: {fault.reason}")
        for line in _last_lines(self.store.log(run.key)):
            say(f"      {line}")
        return None

    def _branchings(self, waiting: list[Run]) -> dict[str, tuple[str, int]]:
        """Which of the waiting runs branch off which other one."""
        if self.launch.ladder != "branches" or self.evaluations is not None:
            return {}
        keys = {run.key for run in waiting}
        found = [(run, trunk_of(self.plan, run)) for run in waiting]
        return {
            run.key: (trunk.key, shared_samples(self.plan, run))
            for run, trunk in found
            if trunk is not None and trunk.key in keys
        }

    def _own_samples(self, run: Run) -> int:
        """Samples a run trains itself, those of its trunk left out; runs that are measured take the same time each."""
        if self.evaluations is not None:
            return 1
        return run.budget - self.trunks.get(run.key, ("", 0))[1]

    def _own_samples_done(self, run: Run) -> float:
        if self.evaluations is not None:
            return 0.0
        left = run.budget * (1 - self.store.heartbeat(run.key).fraction)
        return max(0.0, self._own_samples(run) - left)


def _last_lines(log: Path) -> list[str]:
    """The end of a log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    return [line[:200] for line in lines if line.strip()][-_LOG_LINES:]


def describe(run: Run) -> str:
    """A run in a few words: `single ct 4,000 samples, seed 0`."""
    used = [f"{name} {amount:,}" for name, amount in run.amounts.items() if amount]
    return f"{run.kind} {' + '.join(used)} samples, seed {run.seed}"


def failures(failed: Iterable[tuple[Run, Fault]]) -> list[FailedRun]:
    """Runs that failed, as tables list them."""
    return [{"key": run.key, "run": describe(run), "reason": fault.reason} for run, fault in failed]


class _Clock:
    """How far a sweep is, in samples, and how long the rest will take at the rate so far."""

    def __init__(self, total: int, ahead: int) -> None:
        self.total, self.ahead, self.finished, self.begun = total, ahead, 0.0, time.monotonic()

    def finish(self, samples: int) -> None:
        self.finished += samples

    def fraction(self, partial: float) -> float:
        return (self.finished + partial) / self.total

    def text(self, partial: float) -> str:
        done, took = self.finished + partial, time.monotonic() - self.begun
        if took < 5 or done < 0.02 * self.total:  # too early for a rate
            return f"{100 * self.fraction(partial):.0f} % of the samples"
        left = (self.total - done + self.ahead) * took / done
        rest = ", verification included" if self.ahead else ""
        return f"{100 * self.fraction(partial):.0f} % of the samples, about {duration(left)} left{rest}"


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
        evaluating: whether the runs are measured, not trained.
    """

    def __init__(self, folder: Path, index: int, launch: str, evaluating: bool = False) -> None:
        self.folder, self.index, self.launch, self.evaluating = folder, index, launch, evaluating

    def __call__(self) -> None:
        """Do what is missing of the batch. What fails is in the store, for the submitter to judge."""
        for name in _SUBMITTERS_OWN:
            os.environ.pop(name, None)
        submission = read(self.folder)
        if submission is None:
            raise InputError(f"{self.folder} is no submission")
        launch = Launch.model_validate_json(self.launch)
        local = launch.model_copy(update={"executor": "local", "retries": 0})
        plan, store = Plan.read(submission.plan), RunStore(self.folder.parent.parent)
        title = f"job {self.index}"
        sweep = Batch(plan, submission.plan, submission.batches[self.index], store, local, title)
        if self.evaluating:
            sweep.evaluations = read_evaluations(plan, submission.plan)
        else:
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
