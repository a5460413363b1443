"""Interrupts, kills, and two at once: nothing finished is lost, nothing is left training."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import SMALL_SPEC, dvc, mixlang
from driving import results


def start(root):
    return subprocess.Popen(
        [sys.executable, "-m", "mixlang.cli", "run", "specs/small.yaml", "--jobs", "1"],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_results(root, count):
    deadline = time.monotonic() + 120
    while len(results(root)) < count:
        assert time.monotonic() < deadline, "no run finished"
        time.sleep(0.05)


def ours(root):
    """Processes that work in a workspace."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.cwd() == str(root) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_until_quiet(root, seconds=25):
    deadline = time.monotonic() + seconds
    while ours(root):
        assert time.monotonic() < deadline, [process.cmdline() for process in ours(root)]
        time.sleep(0.1)


def kill_the_tree(run, root):
    for process in ours(root):
        process.kill()


def interrupt_once(run, root):
    os.kill(run.pid, signal.SIGINT)


def terminate_dvc_alone(run, root):
    (child,) = [item for item in psutil.Process(run.pid).children() if "dvc" in item.cmdline()]
    child.terminate()


def kill_the_command_alone(run, root):
    os.kill(run.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("stop", "code"),
    [
        (kill_the_tree, -9),
        (interrupt_once, 130),
        pytest.param(terminate_dvc_alone, 130, marks=pytest.mark.long),
        pytest.param(kill_the_command_alone, -9, marks=pytest.mark.long),
    ],
    ids=lambda item: getattr(item, "__name__", ""),
)
def test_a_stopped_run_loses_nothing_and_leaves_nothing_training(workspace, stop, code):
    run = start(workspace)
    wait_for_results(workspace, 2)
    stop(run, workspace)
    stderr = run.communicate(timeout=40)[1]
    assert run.returncode == code, stderr
    assert "Traceback" not in stderr
    wait_until_quiet(workspace)
    before = results(workspace)
    assert 2 <= len(before) < 14
    mixlang("run", "specs/small.yaml", cwd=workspace)
    after = results(workspace)
    assert {key: after[key] for key in before} == before
    assert len(after) >= 14


def test_dvc_repro_alone_killed_leaves_nothing_training(workspace):
    mixlang("compile", "specs/small.yaml", cwd=workspace)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro"],
        cwd=workspace,
        env={**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1", "MIXLANG_JOBS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for_results(workspace, 1)
    process.terminate()
    process.wait(10)
    wait_until_quiet(workspace)


@pytest.mark.long
def test_two_studies_run_at_once(workspace):
    text = SMALL_SPEC.replace("name: small", "name: other").replace("seeds: 1", "seeds: 2")
    (workspace / "specs" / "other.yaml").write_text(text)
    for name in ("small", "other"):
        mixlang("compile", f"specs/{name}.yaml", cwd=workspace)
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "mixlang.cli", "run", f"specs/{name}.yaml", "--jobs", "1"], cwd=workspace
        )
        for name in ("small", "other")
    ]
    assert [run.wait(240) for run in runs] == [0, 0]
    listed = mixlang("registry", "list", cwd=workspace).stdout
    assert "small@v1" in listed
    assert "other@v1" in listed
    assert "up to date" in dvc("status", cwd=workspace).stdout


def test_a_worker_trains_its_part_of_a_plan(workspace):
    mixlang("compile", "specs/small.yaml", cwd=workspace)
    plan = json.loads((workspace / "build/small/plan.json").read_text())
    mixlang("worker", "build/small/plan.json", "--shard", "1/3", cwd=workspace)
    trained = set(results(workspace))
    assert trained < {run["key"] for run in plan["runs"]}
    assert trained
    assert mixlang("worker", "build/small/plan.json", "--shard", "5/5", cwd=workspace, check=False).returncode == 2
