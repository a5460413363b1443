"""Starting one run: forked from a warm process, or through `accelerate launch`.

A small CPU run is dominated by imports (5 s against .07 s), so those are forked from a server that holds torch and
accelerate; the results are bit-identical. Accelerators and several processes always go through `accelerate launch`.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

from mixlang.plan.build import Plan, Run
from runners.liveness import end_with, me
from runners.store import Lease

_PRELOAD = ["torch", "accelerate", "torch._dynamo", "runners.pretrain"]


class Started(Protocol):
    """A run that has been started."""

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""

    def terminate(self) -> None:
        """Ask it to end, and wait a little for it; then kill it."""


class Launcher(Protocol):
    """A way to start runs."""

    def start(self, run: Run, lease: Lease, slot: int) -> Started:
        """Start a run; `slot` tells which device of several is its own."""


@dataclass
class _Forked:
    process: BaseProcess

    def poll(self) -> int | None:
        return self.process.exitcode

    def terminate(self) -> None:
        self.process.terminate()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class ForkLauncher:
    """Forks each run from a server that has everything imported; one process a run.

    Args:
        plan: path of the plan.
        store: root of the store.
    """

    def __init__(self, plan: Path, store: Path) -> None:
        self.plan, self.store = plan, store
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(_PRELOAD)

    def start(self, run: Run, lease: Lease, slot: int) -> Started:
        """Start a run."""
        arguments = (self.plan, run.as_dict(), self.store, lease.path, me())
        process = self.context.Process(target=_run_forked, args=arguments, name=run.key[:12], daemon=True)
        process.start()
        return _Forked(process)


def _run_forked(plan: Path, run: dict, store: Path, lease: Path, sweep: str) -> None:
    log = os.open(lease.with_name("log.txt"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the sweep decides what a Ctrl-C means
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with([sweep])
    from runners.pretrain import execute

    sys.exit(execute(Plan.read(plan), Run.from_dict(run), store, 1, Lease(lease)))


@dataclass
class _Launched:
    process: subprocess.Popen[bytes]

    def poll(self) -> int | None:
        return self.process.poll()

    def terminate(self) -> None:
        for number, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience)
                return


class AccelerateLauncher:
    """`accelerate launch` for each run.

    Args:
        plan: path of the plan.
        store: root of the store.
        processes: processes a run.
        precision: the run's mixed precision.
        devices: accelerators of this machine; 0 for CPU.
    """

    def __init__(self, plan: Path, store: Path, processes: int, precision: str, devices: int) -> None:
        self.plan, self.store, self.processes, self.devices = plan, store, processes, devices
        self.precision = {"fp32": "no"}.get(precision, precision)

    def command(self) -> list[str]:
        """The command line; every setting given, so that no user-wide default of Accelerate leaks in."""
        several = ["--multi_gpu", "--main_process_port", "0"] if self.processes > 1 else []
        return [
            *(sys.executable, "-m", "accelerate.commands.launch"),
            *("--num_machines", "1", "--num_processes", str(self.processes)),
            *("--mixed_precision", self.precision, "--dynamo_backend", "no"),
            *several,
            *("-m", "runners.pretrain", str(self.plan), str(self.store)),
        ]

    def start(self, run: Run, lease: Lease, slot: int) -> Started:
        """Start a run on the devices of its slot."""
        env = {
            **os.environ,
            "MIXLANG_RUN": json.dumps(run.as_dict()),
            "MIXLANG_LEASE": str(lease.path),
            "MIXLANG_SWEEP": me(),
            "MIXLANG_PROCESSES": str(self.processes),
        }
        if self.devices:
            first = slot * self.processes
            env["CUDA_VISIBLE_DEVICES"] = ",".join(str(first + index) for index in range(self.processes))
        else:
            # `--cpu --num_processes 2` starts one process in silence; this starts as many as asked.
            env["ACCELERATE_USE_CPU"] = "true"
        with lease.path.with_name("log.txt").open("ab") as log:
            process = subprocess.Popen(
                self.command(), env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        return _Launched(process)


def cuda_devices() -> int:
    """Accelerators of this machine."""
    import torch

    return torch.cuda.device_count()
