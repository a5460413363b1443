"""The sweep: every run of a list that is not in the store yet, as many at once as the machine carries.

A result in the store, or in a committed table of results, is never computed again. A run that fails is set aside
and the others go on; the sweep then ends with an error that names it. Killed at any moment, it goes on where it was.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from mixlang.console import Progress, duration
from mixlang.errors import Interrupted, StageError
from mixlang.hardware import cores
from mixlang.plan.build import Plan, Run
from mixlang.plan.ladder import shared_samples, trunk_of
from mixlang.spec.schema import Launch
from runners.launch import AccelerateLauncher, ForkLauncher, Launcher, Started, cuda_devices
from runners.store import Lease, RunStore

_POLL = 0.1

_MOST_BROKEN = 3
"""Starts that may fail because the server that forks runs has died, before the sweep gives up."""


@dataclass
class Sweep:
    """The execution of a list of runs.

    Attributes:
        plan: the plan, and `plan_path` its file, which the runs read.
        runs: what to execute; order is kept in the results.
        launch: how to start runs; `jobs` overrides its max_parallel.
        known: results from committed tables, by key.
        ahead: samples that later stages will still train, for the estimate of what remains.
        before_training: called once if anything has to be trained.
        trunks: by key of a run that is to branch off another, the key of that other and the samples they share.
    """

    plan: Plan
    plan_path: Path
    runs: list[Run]
    store: RunStore
    launch: Launch
    title: str
    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    ahead: int = 0
    before_training: Callable[[], object] = lambda: None
    stop: int = 0
    broken: int = 0
    trunks: dict[str, tuple[str, int]] = field(default_factory=dict, init=False)

    def execute(self) -> list[dict[str, Any]]:
        """Train what is missing; returns a row for each run, in the order of `runs`.

        Raises:
            StageError: some runs failed; the others are finished and kept.
            Interrupted: a signal came; finished runs are kept and nothing is left running.
        """
        waiting = [run for run in self.runs if self._row(run) is None]
        progress = Progress(self.title)
        reused = len(self.runs) - len(waiting)
        if not waiting:
            progress.close(f"all {len(self.runs)} runs are there; nothing to train")
        else:
            self._refuse_impossible()
            self.before_training()
            begun = time.monotonic()
            self._train(sorted(waiting, key=lambda run: -run.budget), progress)
            took = duration(time.monotonic() - begun)
            again = f", {reused} reused" if reused else ""
            progress.close(f"{len(waiting)} runs trained in {took}{again}")
        return [row for run in self.runs if (row := self._row(run)) is not None]

    def _refuse_impossible(self) -> None:
        """Stop before the volumes are prepared where every run would fail for the same reason.

        Raises:
            StageError: fp16 without a GPU.
        """
        if self.plan.training["recipe"]["precision"] == "fp16" and not cuda_devices():
            raise StageError(
                "fp16 needs a GPU, and this machine has none: no run could be trained",
                "Use train.precision bf16 or fp32.",
            )

    def _row(self, run: Run) -> dict[str, Any] | None:
        found = self.store.result(run.key) or self.known.get(run.key)
        if found is None:
            return None
        return {**run.as_dict(), "losses": found["losses"], "mean_losses": found["mean_losses"]}

    def _train(self, waiting: list[Run], progress: Progress) -> None:
        launcher, slots = self._launcher()
        self.trunks = self._branchings(waiting)
        free = list(range(slots))
        running: dict[int, tuple[Run, Lease, Started]] = {}
        failed: list[str] = []
        clock = _Clock(sum(self._own_samples(run) for run in waiting), self.ahead)
        total = len(waiting)
        previous = [(number, signal.signal(number, self._on_signal)) for number in (signal.SIGINT, signal.SIGTERM)]
        try:
            while waiting or running:
                if self.stop:
                    raise Interrupted(
                        f"{self.title}: stopped by {signal.Signals(self.stop).name}; finished runs are kept",
                        "Run the same command again to go on.",
                    )
                self._start(waiting, free, running, launcher)
                time.sleep(_POLL)
                self._collect(waiting, free, running, failed, clock)
                partial = sum(self._own_samples_done(run) for run, _, _ in running.values())
                done = total - len(waiting) - len(running)
                progress.show(f"{done} of {total} runs, {clock.text(partial)}", clock.fraction(partial))
        finally:
            for _, _, started in running.values():
                started.terminate()
            for _, lease, started in running.values():
                started.join()
                lease.release()
            for number, handler in previous:
                signal.signal(number, handler)
        if failed:
            raise StageError(
                f"{len(failed)} of {len(self.runs)} runs failed; the others are kept. First: {failed[0]}",
                "Mend the cause and run again: only the failed runs are trained.",
            )

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.stop = number

    def _launcher(self) -> tuple[Launcher, int]:
        """How runs are started, and how many at once."""
        launch, recipe = self.launch, self.plan.training["recipe"]
        devices = cuda_devices()
        fork = launch.start == "fork" or (launch.start == "auto" and not devices and launch.processes_per_run == 1)
        limit = (
            devices // launch.processes_per_run
            if devices
            else cores() // (recipe["threads"] * launch.processes_per_run)
        )
        asked = os.environ.get("MIXLANG_JOBS") or launch.max_parallel
        slots = max(1, limit) if asked == "auto" else int(asked)
        if fork:
            return ForkLauncher(self.plan_path, self.store.root, launch), slots
        return AccelerateLauncher(self.plan_path, self.store.root, launch, recipe["precision"], devices), slots

    def _branchings(self, waiting: list[Run]) -> dict[str, tuple[str, int]]:
        """Which of the waiting runs branch off which other one."""
        if self.launch.ladder != "branches":
            return {}
        keys = {run.key for run in waiting}
        found = [(run, trunk_of(self.plan, run)) for run in waiting]
        return {
            run.key: (trunk.key, shared_samples(self.plan, run))
            for run, trunk in found
            if trunk is not None and trunk.key in keys
        }

    def _own_samples(self, run: Run) -> int:
        """Samples a run trains itself, those of its trunk left out."""
        return run.budget - self.trunks.get(run.key, ("", 0))[1]

    def _own_samples_done(self, run: Run) -> float:
        left = run.budget * (1 - self.store.heartbeat(run.key).fraction)
        return max(0.0, self._own_samples(run) - left)

    def _awaits_trunk(self, run: Run, coming: set[str]) -> bool:
        """Whether the checkpoint a run is to branch off is still to come, from one of the runs `coming`."""
        return self.trunks.get(run.key, ("", 0))[0] in coming and not self.store.checkpoints(run.key)

    def _start(self, waiting: list[Run], free: list[int], running: dict, launcher: Launcher) -> None:
        """Fill the free slots; a run that another sweep holds is left waiting."""
        coming = {run.key for run in waiting} | {run.key for run, _, _ in running.values()}
        for run in list(waiting):
            if not free:
                return
            if self._awaits_trunk(run, coming):
                continue
            lease = self.store.claim(run.key)
            if lease is not None:
                waiting.remove(run)
                slot = free.pop(0)
                try:
                    running[slot] = (run, lease, launcher.start(run, lease, slot))
                except (EOFError, ConnectionError) as error:
                    # The server that forks runs has died: killed along with a stop that is about to reach us too, or
                    # by itself, and then a new one is started.
                    lease.release()
                    waiting.append(run)
                    free.append(slot)
                    self.broken += 1
                    if self.broken > _MOST_BROKEN:
                        raise StageError(f"{self.title}: runs cannot be started: {error}") from error
                    time.sleep(1.0)
                    return

    def _collect(self, waiting: list[Run], free: list[int], running: dict, failed: list[str], clock: _Clock) -> None:
        """Take in the runs that have ended, here or in another sweep."""
        for run in list(waiting):
            if self.store.result(run.key) is not None:
                waiting.remove(run)
                clock.finish(self._own_samples(run))
        for slot, (run, lease, started) in list(running.items()):
            code = started.poll()
            if code is None:
                continue
            del running[slot]
            free.append(slot)
            lease.release()
            clock.finish(self._own_samples(run))
            if self.store.result(run.key) is None:
                reason = self.store.failure(run.key) or _ending(code)
                log = self.store.folder(run.key) / "log.txt"
                failed.append(f"{describe(run)}: {reason} (log: {log})")


def _ending(code: int) -> str:
    """Why a run that said nothing is gone."""
    if code >= 0:
        return f"ended with exit code {code} and left no result"
    cause = ", as the system does when memory runs out" if code == -signal.SIGKILL else ""
    return f"killed by {signal.Signals(-code).name}{cause}; another attempt goes on at its last checkpoint, if it had left one"


def describe(run: Run) -> str:
    """A run in a few words: `single ct 4,000 samples, seed 0`."""
    used = [f"{name} {amount:,}" for name, amount in run.amounts.items() if amount]
    return f"{run.kind} {' + '.join(used)} samples, seed {run.seed}"


def table(rows: Iterable[dict[str, Any]], plan: Plan) -> dict[str, Any]:
    """The table of results as it is committed: nothing in it depends on the machine or the time."""
    return {"version": 1, "domains": list(plan.domains), "runs": list(rows)}


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
