"""Many files worked on side by side, each in a process that may die without taking the others' work with it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

import psutil

from mixlang.environment import for_runs, inherited
from mixlang.errors import Interrupted

_SHARE = 0.5
"""Fraction of the memory free at the start that the jobs at work may need together."""


class WorkerDied(Exception):
    """The process that did a job ended by itself, and the job with it."""

    def __init__(self, code: int | None) -> None:
        killed = code is not None and code < 0
        how = f"killed by {signal.Signals(-code).name}" if killed else f"ended with exit code {code}"
        super().__init__(f"its process was {how}" + (" (out of memory?)" if code == -signal.SIGKILL else ""))


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    job: int | None = None


def each(
    work: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], bytes_needed: Sequence[int], count: int
) -> Iterator[tuple[int, Any]]:
    """Do `work(*job)` for every job; yields (index of the job, what it returned or the exception it ended with).

    Jobs come in the order they finish. When the caller stops early, or a signal comes, the processes are ended and
    what they were doing is dropped.

    Args:
        bytes_needed: of each job, what it is expected to occupy at its peak; as many jobs are begun as memory holds,
            but always one.
        count: processes at most.

    Raises:
        Interrupted: SIGINT or SIGTERM came.
    """
    # Spawned, not forked: what they import is light, and the fork server is kept for the training runs.
    context = multiprocessing.get_context("spawn")
    room = int(_SHARE * psutil.virtual_memory().available)
    waiting, running = deque(range(len(jobs))), []
    idle: list[_Worker] = []
    with _stopped_by_signals() as stop:
        try:
            while waiting or running:
                if stop:
                    raise Interrupted(
                        f"stopped by {signal.Signals(stop[0]).name}; what had finished is kept",
                        "Run the same command again to go on.",
                    )
                used = sum(bytes_needed[worker.job] for worker in running)
                while waiting and len(running) < count and (not running or used + bytes_needed[waiting[0]] <= room):
                    worker = idle.pop() if idle else _start(context, work)
                    worker.job = waiting.popleft()
                    used += bytes_needed[worker.job]
                    with contextlib.suppress(OSError):  # it has just died; that is seen below
                        worker.pipe.send(jobs[worker.job])
                    running.append(worker)
                for worker in _ready(running):
                    running.remove(worker)
                    job, worker.job = worker.job, None
                    try:
                        result = worker.pipe.recv()
                        idle.append(worker)
                    except (EOFError, OSError):
                        worker.process.join()
                        worker.pipe.close()
                        result = WorkerDied(worker.process.exitcode)
                    yield job, result
        finally:
            _end([*running, *idle])


def _start(context: Any, work: Callable[..., Any]) -> _Worker:
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work), daemon=True)
    with inherited(for_runs(os.environ)):
        process.start()
    theirs.close()
    return _Worker(process, ours)


def _ready(running: list[_Worker]) -> list[_Worker]:
    """Those that have answered or died; waits up to half a second for one."""
    by_pipe = {worker.pipe: worker for worker in running}
    return [by_pipe[pipe] for pipe in wait(list(by_pipe), 0.5)]  # type: ignore[index]


def _end(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join(5)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.pipe.close()


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM while the block runs; yields those received."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _serve(pipe: Connection, work: Callable[..., Any]) -> None:
    """Do jobs until the pipe closes, as it does when the parent ends in whatever way."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what a Ctrl-C means
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # half-written files are removed
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            result = work(*job)
        except Exception as error:
            result = error
        try:
            pipe.send(result)
        except OSError:
            return
