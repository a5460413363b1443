"""Asking Slurm: which jobs are in its queue, what became of one, and cancelling."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

_PATIENCE = 60
"""Seconds a command of Slurm may take; a busy controller takes long."""


@dataclass(frozen=True)
class Job:
    """A job in the queue.

    Attributes:
        id: as `scancel` takes it, such as `123_4`.
        state: such as RUNNING or PENDING.
        reason: why it is pending.
    """

    id: str
    state: str
    reason: str


Place = tuple[str, int]
"""A job's name and its index in the array (0 where it is in none)."""


def queue() -> dict[Place, Job] | None:
    """The user's jobs in the queue; None where Slurm does not answer."""
    form = "%i|%K|%j|%T|%r"
    asked = _slurm("squeue", "--noheader", "--array", f"--user={os.getuid()}", f"--format={form}")
    return None if asked is None else parse(asked)


def parse(text: str) -> dict[Place, Job]:
    """What squeue printed, as jobs by name and index."""
    found = {}
    for line in text.splitlines():
        parts = line.strip().split("|")
        if len(parts) == 5:
            identity, index, name, state, reason = parts
            found[name, int(index) if index.isdigit() else 0] = Job(identity, state, reason)
    return found


def fate(job: str) -> str:
    """What Slurm says became of a job that has left the queue, such as `TIMEOUT`; '' where it has forgotten."""
    said = _slurm("scontrol", "show", "job", job, "--oneliner") or ""
    fields = dict(part.split("=", 1) for part in said.split() if "=" in part)
    state = fields.get("JobState", "")
    return "" if state in ("", "COMPLETED") else state


def cancel(names: Iterable[str]) -> None:
    """Cancel the user's jobs of these names."""
    for name in names:
        _slurm("scancel", f"--user={os.getuid()}", f"--name={name}")


def _slurm(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
