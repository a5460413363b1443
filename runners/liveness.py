"""Ending when those we work for are gone: nothing trains on after its DVC, sweep or user has been killed."""

from __future__ import annotations

import os
import signal
import threading
import time

import psutil

_PERIOD = 1.0
"""Seconds between looks."""


def me() -> str:
    """This process as `pid:create_time`, which stays unique when pids are used again."""
    process = psutil.Process()
    return f"{process.pid}:{process.create_time()}"


def alive(who: str) -> bool:
    """Whether the process written by `me` (of this machine) still runs."""
    pid, _, created = who.partition(":")
    try:
        process = psutil.Process(int(pid))
        return abs(process.create_time() - float(created)) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, ValueError):
        return False


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
