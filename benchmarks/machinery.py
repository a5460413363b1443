"""What mixlang itself costs beside the runs it starts.

    python benchmarks/machinery.py sweep [RUNS]    a sweep of stub runs: overhead a run, memory
    python benchmarks/machinery.py study [RUNS]    a finished study: run, dvc repro and status with nothing to do
    python benchmarks/machinery.py workers         two workers against one, single-threaded runs, same losses

A stub run is forked, leased, beaten and finished like any other, and trains nothing.
"""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from mixlang.plan.build import Plan, Run
from mixlang.plan.evaluations import evaluations_of
from mixlang.spec.schema import Launch
from runners.execute import launch
from runners.execute.batch import Batch
from runners.execute.scores import row_of
from runners.execute.store import Heartbeat, Lease, RunStore

BIN = Path(sys.executable).parent
SPEC = """\
mixlang: 1
name: many
domains:
  ct:  {modality: ct,  source: {phantom: {count: 12, seed: 1, shape: [24, 24, 24]}}}
  mri: {modality: mri, source: {phantom: {count: 8, seed: 2, shape: [24, 24, 24]}}}
  pet: {modality: pet, source: {phantom: {count: 8, seed: 3, shape: [24, 24, 24]}}}
volume: {spacing: [1, 1, 1], crop: [16, 16, 16]}
model: {arch: vit_micro, patch: 4, width: 48, depth: 2, decoder_width: 24}
train: {batch_size: 8}
budgets: {probe: [2048, 3072, 4096, 6144], target: 16k, seeds: SEEDS}
design: {mixtures: {count: MIXTURES, budgets: [4096, 6144]}}
constraints: {repetition: unlimited}
verify: {baselines: [proportional]}
"""


def workspace(folder: Path, runs: int) -> tuple[Path, Plan]:
    """A workspace with a study of about so many probe runs, compiled; nothing is trained."""
    root = folder / "workspace"
    subprocess.run([BIN / "mixlang", "init", root], check=True, capture_output=True)
    seeds = max(1, min(5, runs // 20))
    mixtures = max(2, math.ceil((runs / seeds - 12) / 2))
    (root / "specs/many.yaml").write_text(SPEC.replace("SEEDS", str(seeds)).replace("MIXTURES", str(mixtures)))
    subprocess.run([BIN / "mixlang", "compile", "specs/many.yaml"], cwd=root, check=True, capture_output=True)
    return root, Plan.read(root / "build/many/plan.json")


def finish(store: RunStore, plan: Plan, run: Run) -> None:
    """Keep losses of a law that the fit finds easily, with a little noise, as if the run had been trained."""
    noise = 1 + 0.01 * math.sin(int(run.key[:6], 16))
    losses = {
        name: noise * (0.1 + 2 * (50 + run.amounts[name] + 0.2 * (run.budget - run.amounts[name])) ** -0.4)
        for name in plan.domains
    }
    for one in evaluations_of(plan):
        store.record(run.key, one.key, {"loss": losses[one.name], "mean_loss": 1.0})
    result = {
        "seconds": {"train": 1.0, "evaluate": 0.1},
        "crops_evaluated": 10,
        "resumed_at_step": 0,
        "curve": [[index, 0.5] for index in range(64)],
        "begun": 0.0,
        "device": "none",
        "processes": 1,
        "torch": "none",
    }
    store.finish(run.key, result)  # type: ignore[arg-type]


def stub(plan: Path, run: dict, store: Path, _launch: str, lease: Path, _sweep: str) -> None:
    """What a forked process does instead of training."""
    Lease(lease).beat(Heartbeat(0.5, 0.1, 100.0))
    read = Run.from_dict(run)
    finish(RunStore(store), Plan.read(plan), read)


def sweep(runs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, plan = workspace(Path(folder), runs)
        launch._run_forked = stub
        store = RunStore(root / ".mixlang")
        settings = Launch(ladder="independent")
        path = root / "build/many/plan.json"
        for jobs in (1, 2):
            os.environ["MIXLANG_JOBS"] = str(jobs)
            Batch(plan, path, plan.runs[:2], store, settings, "warm").execute()
            for run in plan.runs:
                store.forget(run.key)
            memory, begun = psutil.Process().memory_info().rss, time.perf_counter()
            Batch(plan, path, plan.runs, store, settings, "sweep").execute()
            took = time.perf_counter() - begun
            grown = (psutil.Process().memory_info().rss - memory) / 2**20
            print(
                f"{len(plan.runs)} stub runs, {jobs} at once: {took:.1f} s, {1000 * took / len(plan.runs):.1f} ms a run; "
                f"the sweep grew by {grown:.1f} MiB, peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB",
                flush=True,
            )


def study(runs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, plan = workspace(Path(folder), runs)
        store = RunStore(root / ".mixlang")
        for run in plan.runs:
            finish(store, plan, run)
        env = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
        commands = {
            "mixlang run, from the store": [BIN / "mixlang", "run", "specs/many.yaml"],
            "mixlang run, nothing to do": [BIN / "mixlang", "run", "specs/many.yaml"],
            "dvc repro, nothing to do": [BIN / "dvc", "repro"],
            "mixlang status": [BIN / "mixlang", "status"],
            "mixlang status --format json": [BIN / "mixlang", "status", "--format", "json"],
        }
        print(f"{len(plan.runs)} probe runs")
        for name, command in commands.items():
            times = []
            for _ in range(1 if "store" in name else 3):
                begun = time.perf_counter()
                done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
                times.append(time.perf_counter() - begun)
                assert done.returncode == 0, done.stderr
            print(f"  {name:30} {sorted(times)[len(times) // 2]:6.2f} s", flush=True)


def workers() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, plan = workspace(Path(folder), 24)
        env = {**os.environ, "MIXLANG_JOBS": "1"}
        losses: dict[int, dict[str, object]] = {}
        times: dict[int, float] = {}
        for count in (1, 2):
            store = RunStore(root / f"store-{count}")
            env["MIXLANG_STORE"] = str(store.root)
            fill = [BIN / "mixlang", "stage", "prepare", "many"]
            subprocess.run(fill, cwd=root, env=env, check=True, capture_output=True)
            begun = time.perf_counter()
            command = [BIN / "mixlang", "worker", "build/many/plan.json", "--shard"]
            started = [
                subprocess.Popen([*command, f"{index}/{count}"], cwd=root, env=env, stderr=subprocess.DEVNULL)
                for index in range(count)
            ]
            assert [process.wait() for process in started] == [0] * count
            times[count] = time.perf_counter() - begun
            wanted = evaluations_of(plan)
            rows = [row_of(run, wanted, store, {}) for run in plan.runs]
            losses[count] = {row["key"]: row["losses"] for row in rows if row is not None}
            print(f"{count} worker{'s' * (count > 1)}: {len(plan.runs)} runs in {times[count]:.1f} s", flush=True)
        same = json.dumps(losses[1], sort_keys=True) == json.dumps(losses[2], sort_keys=True)
        print(f"ratio {times[1] / times[2]:.2f}; losses {'identical' if same else 'DIFFER'}")


if __name__ == "__main__":
    what, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    workers() if what == "workers" else {"sweep": sweep, "study": study}[what](count)
