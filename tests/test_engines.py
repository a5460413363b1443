"""Dividing runs among jobs and workers, what is noted of jobs, the site's own settings, and runs a study does without."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, mixlang
from driving import fresh, results
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlang.errors import InputError
from mixlang.plan.build import Plan
from mixlang.plan.ladder import trunk_of
from mixlang.spec import SpecError, load_spec
from mixlang.spec.local_launch import launch_here
from mixlang.spec.quantities import wall_minutes
from mixlang.spec.schema import Launch
from runners.execute.batch import Task
from runners.execute.engines import slurm, squeue
from runners.execute.engines.jobs import forget, note, noted, read
from runners.execute.engines.local import LocalEngine
from runners.execute.shards import ladders, samples_of, shard

# Shards and batches


@settings(max_examples=50, deadline=None)
@given(count=st.integers(1, 12), branches=st.booleans(), chosen=st.sets(st.integers(0, 9)))
def test_every_run_is_in_exactly_one_shard_and_ladders_stay_together(study, count, branches, chosen):
    plan = study[0]
    runs = [plan.runs[index] for index in sorted(chosen)]
    parts = [shard(plan, runs, index, count, branches) for index in range(count)]
    assert sorted(run.key for part in parts for run in part) == sorted(run.key for run in runs)
    if branches:
        for part in parts:
            for run in part:
                trunk = trunk_of(plan, run)
                assert trunk is None or trunk not in runs or trunk in part
    work = [sum(samples_of(plan, group) for group in ladders(plan, part, branches)) for part in parts]
    largest = max((samples_of(plan, group) for group in ladders(plan, runs, branches)), default=0)
    assert max(work) - min(work) <= largest


def test_a_trunk_comes_before_its_branches_and_its_samples_count_once(study):
    plan = study[0]
    (group, *_) = ladders(plan, [run for run in plan.runs if run.amounts["mri"] == 0], True)
    assert [run.budget for run in group] == [960, 640, 480, 320]
    assert samples_of(plan, group) == 960 + (640 - 512) + (480 - 384) + (320 - 256)


@pytest.mark.parametrize(
    ("asked", "seconds", "sizes"),
    [
        ({}, None, [4, 4, 1, 1]),  # nothing has been timed: a ladder a job
        ({"jobs": 2}, None, [4, 4, 1, 1]),
        ({"jobs": 2}, 0.01, [5, 5]),  # short runs: no more jobs than may run at once
        ({"jobs": 2}, 1.0, [4, 4, 2]),  # 20 minutes each
        ({"jobs": 64}, 0.01, [4, 4, 1, 1]),  # room for all at once
        ({"runs_per_job": 5}, 1.0, [5, 5]),
        ({"runs_per_job": 1}, 0.01, [4, 4, 1, 1]),
    ],
)
def test_jobs_hold_about_20_minutes_of_whole_ladders(study, tmp_path, monkeypatch, asked, seconds, sizes):
    monkeypatch.setattr(slurm, "_submitit", lambda: None)
    monkeypatch.setattr(squeue, "queue", dict)
    store, plan = fresh(study, tmp_path), study[0]
    engine = slurm.SlurmEngine(plan, study[1], store, Launch(executor="slurm", slurm=asked), Task, lambda key: False)
    if seconds:
        key = plan.runs[0].key
        store.finish(key, {"seconds": {"train": seconds * plan.runs[0].budget}})
    found = engine._batches(plan.runs)
    assert sorted(run.key for batch in found for run in batch) == sorted(run.key for run in plan.runs)
    assert [len(batch) for batch in found] == sizes


# Jobs


def test_the_queue_is_read_by_name_and_index():
    text = "7_2|2|mixlang-a-1|RUNNING|None\n7_3|3|mixlang-a-1|PENDING|Priority\n9|N/A|other|RUNNING|None\nnoise\n"
    found = squeue.parse(text)
    assert found["mixlang-a-1", 2] == squeue.Job("7_2", "RUNNING", "None")
    assert found["mixlang-a-1", 3].reason == "Priority"
    assert found["other", 0].id == "9"
    assert len(found) == 3


def test_no_slurm_is_no_answer_and_not_an_empty_queue(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert squeue.queue() is None


def test_a_submission_is_found_again_and_keeps_its_plan(study, tmp_path):
    store = fresh(study, tmp_path)
    parts = [study[0].runs[:2], study[0].runs[2:3]]
    submission = note(store, study[1], parts)
    assert read(submission.folder) == submission
    assert noted(store, study[1].parent.name) == [submission]
    assert noted(store, "another") == []
    assert submission.plan.read_bytes() == study[1].read_bytes()
    (store.root / "jobs" / "torn").mkdir()
    assert noted(store) == [submission]
    forget(submission)
    assert noted(store) == []


def test_a_lease_stays_fresh_while_its_engine_lives(study, tmp_path, monkeypatch):
    """Through an evaluation that says nothing for long, too."""
    store, run = fresh(study, tmp_path), study[0].runs[0]
    engine = LocalEngine(study[0], study[1], store, Launch(max_parallel=1), lambda key: False, {})
    monkeypatch.setattr("runners.execute.engines.local._TOUCH", 0.0)
    try:
        assert engine.submit([run]) == [run]
        (lease,) = store.folder(run.key).glob("lease.*")
        os.utime(lease, (1, 1))
        engine.poll(0.0)
        assert time.time() - lease.stat().st_mtime < 30
    finally:
        engine.cancel()
    assert not store.held(run.key)


# The site


@pytest.fixture
def site(workspace):
    def write(text, spec=""):
        (workspace / "mixlang.local.yaml").write_text(text)
        path = workspace / "specs/small.yaml"
        path.write_text(path.read_text() + spec)
        return launch_here(load_spec(path).spec, workspace)

    return write


def test_a_spec_goes_before_the_site_and_the_site_before_the_defaults(site):
    text = "data_root: /data\nlaunch: {executor: slurm, retries: 7, slurm: {partition: gpu, time: 90}}\n"
    found = site(text, "launch: {retries: 1, slurm: {time: '2:00:00'}}\n")
    assert (found.executor, found.retries, found.max_failed) == ("slurm", 1, 0)
    assert (found.slurm.partition, found.slurm.time, found.slurm.jobs) == ("gpu", "2:00:00", 64)


def test_a_mistake_of_the_site_is_named_at_its_place(site):
    with pytest.raises(SpecError) as caught:
        site("data_root: /data\nlaunch:\n  slurm: {partitoin: gpu, time: soon}\n")
    said = [item.render() for item in caught.value.diagnostics]
    assert any("mixlang.local.yaml:3:11" in item and "did you mean 'partition'" in item for item in said)
    assert any("mixlang.local.yaml:3:" in item and "'soon' is not a time limit" in item for item in said)


def test_processes_of_the_spec_and_nodes_of_the_site_must_go_together(site):
    with pytest.raises(InputError, match="1 processes a run do not divide over 2 nodes"):
        site("launch: {slurm: {nodes: 2}}\n")


def test_check_says_what_is_wrong_with_the_site(workspace):
    (workspace / "mixlang.local.yaml").write_text("launch: {executer: slurm}\n")
    done = mixlang("check", "specs/small.yaml", cwd=workspace, check=False)
    assert done.returncode == 1
    assert "mixlang.local.yaml:1:10: error[MX0101]: unknown key 'executer'" in done.stderr


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("90:30", 91), ("1:30:00", 90), ("1-12", 2160), ("1-12:30", 2190), ("2-00:00:01", 2881)],
)
def test_time_limits_are_those_of_slurm(text, minutes):
    assert wall_minutes(text) == minutes


@pytest.mark.parametrize("text", ["0", "0:00:00", "4h", "1:2:3:4", "", "-1"])
def test_what_is_no_time_limit_is_refused(text):
    with pytest.raises(ValueError, match=r"time"):
        wall_minutes(text)


def test_detaching_needs_a_scheduler(workspace):
    done = mixlang("run", "specs/small.yaml", "--detach", cwd=workspace, check=False)
    assert done.returncode == 1
    assert "launch.executor is local" in done.stderr
    assert not (workspace / ".mixlang" / "runs").exists()


def test_slurm_without_slurm_is_said(workspace):
    (workspace / "mixlang.local.yaml").write_text("launch: {executor: slurm}\n")
    (workspace / "bin").mkdir()
    for name in ("git", "env"):
        (workspace / "bin" / name).symlink_to(f"/usr/bin/{name}")
    mixlang("compile", "specs/small.yaml", cwd=workspace)
    done = mixlang("stage", "sweep", "small", cwd=workspace, env={"PATH": str(workspace / "bin")}, check=False)
    assert done.returncode == 3
    assert "needs Slurm's commands" in done.stderr


# Workers


def test_two_workers_come_to_the_table_of_one_sweep(workspace, finished):
    """As the documented manifests start them: each is told its index and how many there are."""
    mixlang("compile", "specs/small.yaml", cwd=workspace)
    command = [sys.executable, "-m", "mixlang.cli", "worker", "build/small/plan.json", "--shard"]
    started = [subprocess.Popen([*command, f"{index}/2"], cwd=workspace) for index in range(2)]
    assert [process.wait(120) for process in started] == [0, 0]
    for stage in ("sweep", "evaluate"):
        mixlang("stage", stage, "small", cwd=workspace)
    assert (workspace / "build/small/runs.json").read_bytes() == (finished / "build/small/runs.json").read_bytes()


# Runs a study does without


def test_the_laws_are_fitted_without_failed_runs_where_that_is_allowed_and_possible(copied):
    plan = json.loads((copied / "build/small/plan.json").read_text())
    lost = next(run for run in plan["runs"] if run["kind"] == "mixture")
    folder = copied / ".mixlang" / "runs" / lost["key"][:2] / lost["key"]
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
    (folder / "reconstructions.npz").mkdir()  # cannot be replaced by a file
    for name in ("trained.json", "runs.json"):
        (copied / "build/small" / name).unlink()
    site = copied / "mixlang.local.yaml"
    site.write_text("launch: {retries: 0}\n")
    done = mixlang("stage", "sweep", "small", cwd=copied, check=False)
    assert done.returncode == 3
    assert "1 of 10 runs failed; the others are kept. First: mixture" in done.stderr
    assert not (copied / "build/small/trained.json").exists()
    site.write_text("launch: {retries: 0, max_failed: 1}\n")
    done = mixlang("stage", "sweep", "small", cwd=copied)
    assert "FAILED: mixture" in done.stderr
    mixlang("stage", "evaluate", "small", cwd=copied)
    table = json.loads((copied / "build/small/runs.json").read_text())
    assert len(table["runs"]) == 9
    assert [item["key"] for item in table["failed"]] == [lost["key"]]
    done = mixlang("stage", "fit", "small", cwd=copied)
    assert "1 of 10 probe runs failed (mixture" in done.stderr
    assert "fitted without them" in json.loads((copied / "build/small/fit.json").read_text())["notes"][0]
    table["failed"] += [
        {"key": run["key"], "run": "single", "reason": "x"} for run in table["runs"] if run["amounts"]["mri"]
    ]
    table["runs"] = [run for run in table["runs"] if not run["amounts"]["mri"]]
    (copied / "build/small/runs.json").write_text(json.dumps(table))
    done = mixlang("stage", "fit", "small", cwd=copied, check=False)
    assert done.returncode == 1
    assert "probe runs failed" in done.stderr
    assert "and without them" in done.stderr


# The manifests of docs/cluster.md


def manifest(language, word):
    text = (ROOT / "docs" / "cluster.md").read_text()
    (found,) = [block for block in re.findall(rf"```{language}\n(.*?)```", text, re.S) if word in block]
    return found


@pytest.fixture
def large(workspace):
    """A workspace with the small spec as `large`, whose volumes are ready."""
    spec = workspace / "specs" / "large.yaml"
    spec.write_text((workspace / "specs" / "small.yaml").read_text().replace("name: small", "name: large"))
    mixlang("compile", "specs/large.yaml", cwd=workspace)
    mixlang("stage", "prepare", "large", cwd=workspace)
    return workspace


def follow(command, where, **env):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, **env}
    done = subprocess.run(command, cwd=where, env=env, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_kubernetes_manifest_trains_every_run_once_among_its_pods(large):
    """Its container's command is executed as a pod would, for each index; no Kubernetes is needed for that."""
    job = yaml.safe_load(manifest("yaml", "kind: Job"))["spec"]
    (container,) = job["template"]["spec"]["containers"]
    assert job["completionMode"] == "Indexed"
    assert {volume["name"] for volume in job["template"]["spec"]["volumes"]} == {
        mount["name"] for mount in container["volumeMounts"]
    }
    for index in (0, 7, 3):
        follow(container["command"], large, JOB_COMPLETION_INDEX=str(index))
    plan = Plan.read(large / "build/large/plan.json")
    wanted = {run.key for index in (0, 7, 3) for run in shard(plan, plan.runs, index, job["completions"], True)}
    assert set(results(large)) == wanted


def test_gnu_parallel_trains_the_plan(large):
    if shutil.which("parallel") is None:
        pytest.skip("SKIPPED FOR LACK OF GNU PARALLEL: apt-get install parallel")
    follow(["bash", "-c", manifest("text", "parallel")], large)
    plan = Plan.read(large / "build/large/plan.json")
    assert set(results(large)) == {run.key for run in plan.runs}
