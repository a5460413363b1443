"""Ending when those we work for are gone: nothing trains on after its DVC, sweep or user has been killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType, TracebackType

import psutil

_PERIOD = 1.0
"""Seconds between looks."""


def me() -> str:
    """This process as `pid:create_time`, which stays unique when pids are used again."""
    process = psutil.Process()
    return f"{process.pid}:{process.create_time()}"


def alive(who: str) -> bool:
    """Whether the process written by `me`, in this same place, still runs."""
    pid, _, created = who.partition(":")
    try:
        process = psutil.Process(int(pid))
        return abs(process.create_time() - float(created)) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, ValueError):
        return False


def parent() -> str:
    """The process that started this one, as `me` would write it."""
    process = psutil.Process(os.getppid())
    return f"{process.pid}:{process.create_time()}"


def masters() -> list[str]:
    """Who a stage works for: the processes above it up to DVC, and the `mixlang run` that started it."""
    found = []
    for process in psutil.Process().parents():
        try:
            found.append(f"{process.pid}:{process.create_time()}")
            if any("dvc" in part for part in process.cmdline()[:3]):
                break
        except psutil.Error:
            continue
    else:
        found = found[:1]  # not under DVC: only the direct parent counts
    return [*found, *filter(None, [os.environ.get("MIXLANG_PARENT")])]


def end_with(whom: list[str], number: int = signal.SIGTERM) -> None:
    """Send this process `number` as soon as any of `whom` is gone; then end at once if it is still there 20 s later."""

    def watch() -> None:
        while all(alive(who) for who in whom):
            time.sleep(_PERIOD)
        os.kill(os.getpid(), number)
        time.sleep(20)
        os._exit(143)

    threading.Thread(target=watch, name="liveness", daemon=True).start()


class StopRequest:
    """While it is open, SIGTERM does not end the process but asks it to end at a good moment.

    Args:
        patient: whether this process has something to save. One that has not is ended a little later anyway, in
            case it waits for one that has gone.
    """

    _PATIENCE = 10
    """Seconds."""

    def __init__(self, patient: bool = True) -> None:
        self.patient, self.requested = patient, False

    def __enter__(self) -> StopRequest:
        self._previous = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        signal.signal(signal.SIGTERM, self._previous)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        if not self.patient:
            signal.alarm(self._PATIENCE)
