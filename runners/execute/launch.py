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
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

import psutil

from mixlang.documents import Recipe
from mixlang.environment import CONFIG, for_runs, inherited
from mixlang.hardware import place
from mixlang.plan.build import Run
from mixlang.spec.schema import Launch
from runners.execute.devices import Devices
from runners.execute.liveness import end_with, me
from runners.execute.store import Lease

PRELOAD = ["torch", "accelerate", "torch._dynamo", "torch.utils.tensorboard", "runners.train.pretrain"]
"""Modules that cannot be imported, an extra that is not installed, are passed over by the server."""


_PATIENCE = 15.0
"""Seconds a run has to leave a checkpoint when it is asked to end."""


class Started(Protocol):
    """A run that has been started."""

    sentinel: int | None
    """Becomes readable when it ends; None where only asking tells."""

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""

    def terminate(self) -> None:
        """Ask it to end; it leaves a checkpoint first."""

    def join(self) -> None:
        """Wait a little for it to end, then kill it."""


class Launcher(Protocol):
    """A way to start runs."""

    def start(self, run: Run, lease: Lease, slot: int) -> Started:
        """Start a run; `slot` tells which device of several is its own."""

    def close(self) -> None:
        """End what is kept for further runs; called when none is running."""


@dataclass
class _Forked:
    process: BaseProcess

    @property
    def sentinel(self) -> int | None:
        return self.process.sentinel

    def poll(self) -> int | None:
        return self.process.exitcode

    def terminate(self) -> None:
        self.process.terminate()

    def join(self) -> None:
        self.process.join(_PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class ForkLauncher:
    """Forks each run from a server that has everything imported; one process a run.

    Args:
        plan: path of the plan.
        store: root of the store.
        launch: how runs are executed.
        threads: of each run.
        devices: what runs are trained on, where that is not the CPU.
    """

    def __init__(self, plan: Path, store: Path, launch: Launch, threads: int, devices: Devices) -> None:
        self.plan, self.store, self.launch, self.threads, self.devices = plan, store, launch, threads, devices
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(PRELOAD)

    def start(self, run: Run, lease: Lease, slot: int) -> Started:
        """Start a run."""
        device = self.devices.of(slot, 1)
        arguments = (self.plan, run.as_dict(), self.store, self.launch.model_dump_json(), lease.path, me(), device)
        process = self.context.Process(target=_run_forked, args=arguments, name=run.key[:12], daemon=True)
        # The server starts with the first run and hands its environment on to all of them.
        with deaf_to_warnings(), inherited(for_runs(os.environ, self.threads)):
            process.start()
        return _Forked(process)

    def close(self) -> None:
        """Nothing: the server ends with this process."""


def _run_forked(
    plan: Path, run: dict, store: Path, launch: str, lease: Path, sweep: str, device: dict[str, str]
) -> None:
    os.environ.update(device)  # before the driver, which reads it once, is asked for anything
    log = os.open(lease.with_name("log.txt"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the sweep decides what a Ctrl-C means
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with([sweep])
    from runners.train.pretrain import execute

    settings = Launch.model_validate_json(launch)
    sys.exit(execute(plan, Run.from_dict(run), store, settings, Lease(lease)))


@dataclass
class _Launched:
    process: subprocess.Popen[bytes]
    sentinel: None = None

    def poll(self) -> int | None:
        return self.process.poll()

    def terminate(self) -> None:
        # The launcher itself would die at once and leave its processes to finish unobserved; it ends when they do.
        processes = self._descendants()
        for process in processes or [self.process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()

    def join(self) -> None:
        try:
            self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            for process in [*self._descendants(), psutil.Process(self.process.pid)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self.process.wait()

    def _descendants(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []


@dataclass
class _Stepped:
    """A run on several nodes: the srun that holds its processes, which are not below it."""

    process: subprocess.Popen[bytes]
    sentinel: None = None

    def poll(self) -> int | None:
        return self.process.poll()

    def terminate(self) -> None:
        self.process.terminate()  # srun passes it on to every node

    def join(self) -> None:
        try:
            self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class AccelerateLauncher:
    """`accelerate launch` for each run; on several nodes, one on each of them, started by srun.

    Args:
        plan: path of the plan.
        store: root of the store.
        launch: how runs are executed.
        recipe: of the runs.
        devices: what runs are trained on, where that is not the CPU.
        nodes: nodes of the surrounding job that a run spreads over; this machine is the first of them.
    """

    def __init__(
        self, plan: Path, store: Path, launch: Launch, recipe: Recipe, devices: Devices, nodes: int = 1
    ) -> None:
        self.plan, self.store, self.launch, self.devices, self.nodes = plan, store, launch, devices, nodes
        self.processes, self.threads = launch.processes_per_run, recipe["threads"]
        self.precision = {"fp32": "no"}.get(recipe["precision"], recipe["precision"])

    def command(self) -> list[str]:
        """The command line; every setting given, so that no user-wide default of Accelerate leaks in."""
        several = ["--multi_gpu", "--main_process_port", "0"] if self.processes > 1 else []
        start = [sys.executable]
        if self.nodes > 1:
            address = os.environ.get("SLURM_LAUNCH_NODE_IPADDR") or socket.gethostname()
            several = ["--multi_gpu", "--main_process_ip", address, "--main_process_port", str(_free_port())]
            several += ["--machine_rank", "{rank}"]
            nodes = str(self.nodes)
            start = ["srun", "--overlap", "--nodes", nodes, "--ntasks", nodes, "--ntasks-per-node", "1"]
            start += ["--cpu-bind", "none", "--kill-on-bad-exit=1", "--unbuffered", "--export=ALL"]
            start += [sys.executable, "-m", "runners.execute.slurm_node", sys.executable]
        return [
            *(*start, "-m", "accelerate.commands.launch", "--config_file", str(CONFIG)),
            *("--num_machines", str(self.nodes), "--num_processes", str(self.processes)),
            *("--mixed_precision", self.precision, "--dynamo_backend", "no"),
            *several,
            *("-m", "runners.train.pretrain", str(self.plan), str(self.store)),
        ]

    def environment(self, slot: int) -> dict[str, str]:
        """What a run of a slot inherits, but for what says which run it is."""
        env = for_runs(os.environ, self.threads, step=self.nodes > 1)
        if not self.devices:
            # `--cpu --num_processes 2` starts one process in silence; this starts as many as asked.
            return {**env, "ACCELERATE_USE_CPU": "true"}
        # On several nodes a run has all devices that Slurm gives it on each.
        return env if self.nodes > 1 else {**env, **self.devices.of(slot, self.processes)}

    def start(self, run: Run, lease: Lease, slot: int) -> Started:
        """Start a run on the devices of its slot."""
        env = self.environment(slot)
        env |= {
            "MIXLANG_RUN": json.dumps(run.as_dict()),
            "MIXLANG_LEASE": str(lease.path),
            "MIXLANG_SWEEP": me(),
            "MIXLANG_SWEEP_PLACE": json.dumps(place()),
            "MIXLANG_LAUNCH": self.launch.model_dump_json(),
        }
        with lease.path.with_name("log.txt").open("ab") as log, deaf_to_warnings():
            process = subprocess.Popen(
                self.command(), env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        return _Launched(process) if self.nodes == 1 else _Stepped(process)

    def close(self) -> None:
        """Nothing is kept."""


def _free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def deaf_to_warnings() -> Iterator[None]:
    """What is started in the block never hears SIGUSR2, with which a scheduler warns a whole job of its end.

    The engine above answers it; a run that heard it would die of it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
