"""What machine this is: for provenance, and for whose processes can be seen from here."""

from __future__ import annotations

import os
import platform
import socket
from pathlib import Path


def processor() -> str:
    """The processor's model name, or the architecture where the system does not tell."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def cores() -> int:
    """Cores this process may use: those it may run on, within what Slurm or a container grants it."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    granted = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return max(1, min(allowed, int(granted) if granted.isdigit() else allowed, _quota(allowed)))


def _quota(otherwise: int) -> int:
    """Whole cores of the container's quota of processor time (cgroup 2)."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return otherwise if quota == "max" else int(quota) // int(period)
    except (OSError, ValueError):
        return otherwise


def place() -> dict[str, str]:
    """Where processes can be found by their pids: a machine, since it was started, and a container.

    Containers may share a machine's name and count their processes by themselves; machines may share a name, too.
    """
    boot = _read(Path("/proc/sys/kernel/random/boot_id"))
    return {"host": socket.gethostname(), "boot": boot, "pid_namespace": _pid_namespace()}


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # no Linux: there are no containers that share its name
        return ""


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
