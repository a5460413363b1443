"""The local engine: several runs at once on this machine, packed on its cores or its accelerators."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

from mixlang.errors import InputError, StageError
from mixlang.files import takes_nothing
from mixlang.hardware import cores
from mixlang.plan.build import Plan, Run
from mixlang.spec.schema import Launch
from runners.execute.devices import Devices, devices
from runners.execute.engines import Ended
from runners.execute.faults import Fault, unexplained
from runners.execute.launch import AccelerateLauncher, ForkLauncher, Launcher, Started
from runners.execute.store import Lease, RunStore
from runners.execute.warm import WarmLauncher

_MOST_BROKEN = 3
"""Starts that may fail because the server that forks runs has died, before the sweep gives up."""

_LOOK_AGAIN = 2.0
"""Seconds after which a run that another sweep holds is looked at again."""

_TOUCH = 10.0
"""Seconds between signs of life in the leases."""


@dataclass
class _Running:
    run: Run
    lease: Lease
    started: Started


class LocalEngine:
    """Starts runs on this machine, each with a lease of its own.

    Args:
        plan: the plan, and `plan_path` its file, which the runs read.
        store: where results go.
        launch: how to start runs.
        done: whether the store has what is to be done of a run, by its key.
        trunks: by key of a run that branches off another one, the key of that one.
        nodes: nodes of the surrounding job that each run spreads over, one run at a time.
        evaluating: whether runs are measured, not trained.
    """

    outlives = False

    def __init__(
        self,
        plan: Plan,
        plan_path: Path,
        store: RunStore,
        launch: Launch,
        done: Callable[[str], bool],
        trunks: Mapping[str, str],
        nodes: int = 1,
        evaluating: bool = False,
    ) -> None:
        self.store, self.done, self.trunks = store, done, trunks
        self.launcher, slots = _launcher(plan, plan_path, store, launch, nodes, evaluating)
        self.free = list(range(slots))
        self.running: dict[int, _Running] = {}
        self.elsewhere: dict[str, float] = {}
        self.broken = 0
        self.touched = time.monotonic()

    def submit(self, runs: Sequence[Run]) -> list[Run]:
        """Start runs on the free slots; one that another sweep holds, or whose trunk is still to come, is not taken.

        Raises:
            StageError: the server that forks runs dies over and over.
        """
        if not self.free:
            return []
        coming = {run.key for run in runs} | {item.run.key for item in self.running.values()}
        taken = []
        for run in runs:
            if not self.free:
                break
            if self._awaits_trunk(run, coming) or time.monotonic() < self.elsewhere.get(run.key, 0.0):
                continue
            lease = self.store.claim(run.key)
            if lease is None:
                self.elsewhere[run.key] = time.monotonic() + _LOOK_AGAIN
            elif self.done(run.key):  # another sweep has finished it since we last looked
                lease.release()
                self.elsewhere[run.key] = time.monotonic() + _LOOK_AGAIN
            elif not self._start(run, lease):
                break
            else:
                taken.append(run)
        return taken

    def poll(self, seconds: float) -> list[Ended]:
        """The attempts that have ended; waits up to `seconds` for one."""
        sentinels = [item.started.sentinel for item in self.running.values()]
        known = [item for item in sentinels if item is not None]
        if known:
            wait(known, seconds)
        else:
            time.sleep(seconds)
        self._touch()
        ended = []
        for slot, item in list(self.running.items()):
            code = item.started.poll()
            if code is None:
                continue
            del self.running[slot]
            self.free.append(slot)
            item.lease.release()
            fault = None
            if not self.done(item.run.key):
                fault = self.store.failure(item.run.key) or self._unexplained(code)
            ended.append(Ended(item.run, fault))
        return ended

    def cancel(self) -> None:
        """Ask all runs to end, which leaves checkpoints; kill those that do not."""
        for item in self.running.values():
            item.started.terminate()
        for item in self.running.values():
            item.started.join()
            item.lease.release()
        self.running.clear()
        self.launcher.close()

    def doing(self) -> str:
        """Nothing: the count of runs says it all."""
        return ""

    def _awaits_trunk(self, run: Run, coming: set[str]) -> bool:
        """Whether the checkpoint a run is to branch off is still to come, from one of the runs `coming`."""
        return self.trunks.get(run.key, "") in coming and not self.store.checkpoints(run.key)

    def _start(self, run: Run, lease: Lease) -> bool:
        slot = self.free.pop(0)
        try:
            self.running[slot] = _Running(run, lease, self.launcher.start(run, lease, slot))
        except (EOFError, ConnectionError) as error:
            # The server that forks runs has died: killed along with a stop that is about to reach us too, or by
            # itself, and then a new one is started.
            lease.release()
            self.free.append(slot)
            self.broken += 1
            if self.broken > _MOST_BROKEN:
                raise StageError(f"runs cannot be started: {error}") from error
            time.sleep(1.0)
            return False
        return True

    def _unexplained(self, code: int) -> Fault:
        """Why an attempt ended that left no reason: the disk may have had no room for that either."""
        if takes_nothing(self.store.root):
            return Fault("machine", "the disk is full", full=True)
        return unexplained(code)

    def _touch(self) -> None:
        now = time.monotonic()
        if now - self.touched > _TOUCH:
            self.touched = now
            for item in self.running.values():
                item.lease.touch()


def runs_at_once(launch: Launch, threads: int, found: Devices) -> int:
    """How many runs this machine trains side by side: as many as asked for, else as its devices or cores carry.

    Args:
        threads: of each process of a run.
        found: the devices they may use.

    Raises:
        InputError: MIXLANG_JOBS is not a number of runs.
    """
    asked = os.environ.get("MIXLANG_JOBS") or launch.max_parallel
    if asked == "auto":
        processes = launch.processes_per_run
        return max(1, len(found) // processes if found else cores() // (threads * processes))
    if not str(asked).isdecimal() or int(asked) == 0:
        raise InputError(f"MIXLANG_JOBS is '{asked}'; expected how many runs to train at once, such as 2")
    return int(asked)


def _launcher(
    plan: Plan, plan_path: Path, store: RunStore, launch: Launch, nodes: int, evaluating: bool
) -> tuple[Launcher, int]:
    """How runs are started, and how many at once."""
    recipe, found, processes = plan.training["recipe"], devices(), launch.processes_per_run
    if evaluating:
        slots = runs_at_once(launch.model_copy(update={"processes_per_run": 1}), recipe["threads"], found)
        return WarmLauncher(plan_path, store.root, recipe["threads"], found), slots
    found.require(processes // nodes)
    if nodes > 1:
        return AccelerateLauncher(plan_path, store.root, launch, recipe, found, nodes), 1
    slots = runs_at_once(launch, recipe["threads"], found)
    if launch.start == "fork" or (launch.start == "auto" and not found and processes == 1):
        return ForkLauncher(plan_path, store.root, launch, recipe["threads"], found), slots
    return AccelerateLauncher(plan_path, store.root, launch, recipe, found), slots
