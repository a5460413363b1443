"""Warm workers: a process a slot that measures one run after the other.

Imports and the device are paid for once a process, not once a run. A run that kills its process takes no other with it:
the next one of the slot gets a fresh process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from mixlang.environment import for_runs, inherited
from mixlang.plan.build import Run
from runners.execute.devices import Devices
from runners.execute.launch import PRELOAD, Started, deaf_to_warnings
from runners.execute.liveness import end_with, me
from runners.execute.store import Lease

_PATIENCE = 5.0
"""Seconds that a process has to end; what it was measuring is dropped, records being whole or not there."""


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection


@dataclass
class _Measured:
    """A run that a worker measures."""

    worker: _Worker

    @property
    def sentinel(self) -> int:
        return self.worker.pipe.fileno()  # readable once it answers, or dies

    def poll(self) -> int | None:
        if not self.worker.pipe.poll():
            return None
        try:
            return self.worker.pipe.recv()
        except (EOFError, OSError):
            self.worker.process.join()
            return self.worker.process.exitcode or 1

    def terminate(self) -> None:
        self.worker.process.terminate()

    def join(self) -> None:
        _end(self.worker)


class WarmLauncher:
    """Hands runs to the warm processes of their slots.

    Args:
        plan: path of the plan; the settings of its evaluations are beside it.
        store: root of the store.
        threads: of each process.
        devices: what runs are measured on, where that is not the CPU.
    """

    def __init__(self, plan: Path, store: Path, threads: int, devices: Devices) -> None:
        self.plan, self.store, self.threads, self.devices = plan, store, threads, devices
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(PRELOAD)
        self.workers: dict[int, _Worker] = {}

    def start(self, run: Run, lease: Lease, slot: int) -> Started:
        """Have a run measured by the worker of its slot."""
        worker = self.workers.get(slot)
        if worker is None or not worker.process.is_alive():
            worker = self.workers[slot] = self._worker(slot)
        worker.pipe.send((run.as_dict(), lease.path))
        return _Measured(worker)

    def close(self) -> None:
        """End the workers."""
        for worker in self.workers.values():
            worker.process.terminate()
        for worker in self.workers.values():
            _end(worker)
        self.workers.clear()

    def _worker(self, slot: int) -> _Worker:
        ours, theirs = self.context.Pipe()
        arguments = (theirs, self.plan, self.store, me(), self.devices.of(slot, 1))
        process = self.context.Process(target=_serve, args=arguments, name=f"measure-{slot}", daemon=True)
        with deaf_to_warnings(), inherited(for_runs(os.environ, self.threads)):
            process.start()
        theirs.close()
        return _Worker(process, ours)


def _end(worker: _Worker) -> None:
    worker.process.join(_PATIENCE)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()
    worker.pipe.close()


def _serve(pipe: Any, plan: Path, store: Path, sweep: str, device: dict[str, str]) -> None:
    """Measure runs until the pipe closes, each with its own log."""
    os.environ.update(device)  # before the driver, which reads it once, is asked for anything
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the batch decides what a Ctrl-C means
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with([sweep])
    from runners.train.measure import measure_run

    while True:
        try:
            run, lease = pipe.recv()
        except (EOFError, OSError):
            return
        log = os.open(lease.with_name("log.txt"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        code = measure_run(plan, Run.from_dict(run), store)
        try:
            pipe.send(code)
        except OSError:
            return
