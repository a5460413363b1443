"""Runs: leases and results, exact training, launching for real, and sweeps that survive what kills them."""

import json
import multiprocessing
import os
import signal
import threading
import time

import numpy as np
import pytest
from conftest import SMALL_SPEC

from mixlang.errors import Interrupted, StageError
from mixlang.files import write_json
from mixlang.plan.build import Plan, compile_plan
from mixlang.spec import load_spec
from mixlang.spec.locations import Locations
from mixlang.spec.schema import Launch
from runners.data.scan import scan
from runners.data.volumes import prepare
from runners.launch import ForkLauncher
from runners.liveness import alive, me
from runners.pretrain import learning_rate, train_run
from runners.store import Lease, RunStore
from runners.sweep import Sweep

KEY = "ab" * 32


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A small plan with its volumes prepared: (plan, its path, store)."""
    root = tmp_path_factory.mktemp("study")
    (root / "spec.yaml").write_text(SMALL_SPEC)
    spec = load_spec(root / "spec.yaml").spec
    store = root / "store"
    plan = compile_plan(spec, scan(spec, Locations(root, {}), store, 1)).plan
    prepare(plan.volumes, store, Locations(root, {}), 2)
    write_json(root / "plan.json", plan.as_dict())
    return Plan.read(root / "plan.json"), root / "plan.json", store


def fresh(study, tmp_path):
    """A store with the study's volumes and no runs."""
    (tmp_path / "store").mkdir()
    os.symlink(study[2] / "volumes", tmp_path / "store" / "volumes")
    return RunStore(tmp_path / "store")


def sweep(study, store, runs, **launch):
    return Sweep(study[0], study[1], runs, store, Launch(**launch), "sweep")


# The store


def test_only_whole_results_of_the_right_run_count(tmp_path):
    store = RunStore(tmp_path)
    assert store.result(KEY) is None
    store.finish(KEY, {"losses": {"ct": 1.0}})
    assert store.result(KEY)["losses"] == {"ct": 1.0}
    path = store.folder(KEY) / "result.json"
    for damaged in ("", "{", "null", json.dumps({"key": "other"})):
        path.write_text(damaged)
        assert store.result(KEY) is None


def test_one_of_two_claims_and_a_release_frees(tmp_path):
    store = RunStore(tmp_path)
    lease = store.claim(KEY)
    assert store.claim(KEY) is None
    assert store.held(KEY)
    lease.beat(0.25)
    assert store.progress(KEY) == 0.25
    lease.release()
    assert not store.held(KEY)
    assert store.claim(KEY) is not None


def test_the_lease_of_a_dead_process_is_taken_over_at_once(tmp_path):
    store = RunStore(tmp_path)
    child = multiprocessing.get_context("fork").Process(target=lambda: store.claim(KEY) and os._exit(0))
    child.start()
    child.join()
    assert list(store.folder(KEY).glob("lease.*"))
    assert store.claim(KEY).path.name == "lease.1"


def test_the_lease_of_another_machine_lives_by_its_heartbeat(tmp_path):
    store = RunStore(tmp_path)
    lease = store.claim(KEY)
    lease.path.write_text(json.dumps({"host": "elsewhere", "process": "1:1.0"}))
    assert store.claim(KEY) is None
    os.utime(lease.path, (time.time() - 3600,) * 2)
    assert store.claim(KEY) is not None


def test_of_many_that_take_over_one_wins(tmp_path):
    store = RunStore(tmp_path)
    stale = store.claim(KEY)
    stale.path.write_text(json.dumps({"host": "elsewhere", "process": "1:1.0"}))
    os.utime(stale.path, (1, 1))
    won = []
    threads = [threading.Thread(target=lambda: won.append(store.claim(KEY))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(lease is not None for lease in won) == 1


def test_liveness_tells_a_reused_pid_apart():
    assert alive(me())
    pid, _, created = me().partition(":")
    assert not alive(f"{pid}:{float(created) - 100}")
    assert not alive("999999999:1.0")


# Training


def test_the_learning_rate_warms_up_holds_and_decays_to_nearly_zero():
    recipe = {"learning_rate": 1.0, "warmup_steps": 10, "decay_fraction": 0.2}
    rates = [learning_rate(step, 100, recipe) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:80] == [1.0] * 71
    assert np.all(np.diff(rates[79:]) < 0)
    assert 0 < rates[-1] < 0.06
    flat = {**recipe, "warmup_steps": 0, "decay_fraction": 0}
    assert {learning_rate(step, 50, flat) for step in range(50)} == {1.0}


def test_a_run_learns_and_is_a_function_of_its_inputs(study, tmp_path):
    plan = study[0]
    run = next(run for run in plan.runs if run.kind == "mixture")
    results = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        store = fresh(study, tmp_path / name)
        train_run(plan, run, store.root, 1, None)
        results.append(store.result(run.key))
    assert results[0]["losses"] == results[1]["losses"]
    assert results[0]["curve"] == results[1]["curve"]
    for name, loss in results[0]["losses"].items():
        assert loss < 0.9 * results[0]["mean_losses"][name]
    other = plan.run("other seed", run.amounts, 7)
    train_run(plan, other, store.root, 1, None)
    assert store.result(other.key)["losses"] != results[0]["losses"]
    assert store.result(other.key)["mean_losses"] == results[0]["mean_losses"]  # the same crops and masks for all


def test_forked_and_launched_runs_give_the_same_bits(study, tmp_path):
    """The forked run, a real `accelerate launch`, and the run in this process."""
    plan = study[0]
    run = min(plan.runs, key=lambda item: item.budget)
    losses = []
    for start in ("fork", "accelerate"):
        (tmp_path / start).mkdir()
        store = fresh(study, tmp_path / start)
        (row,) = sweep(study, store, [run], start=start).execute()
        losses.append(row["losses"])
    (tmp_path / "here").mkdir()
    store = fresh(study, tmp_path / "here")
    train_run(plan, run, store.root, 1, None)
    losses.append(store.result(run.key)["losses"])
    assert losses[0] == losses[1] == losses[2]


def test_two_processes_give_the_same_up_to_the_order_of_sums(study, tmp_path):
    plan = study[0]
    run = min(plan.runs, key=lambda item: item.budget)
    losses = []
    for processes in (1, 2):
        (tmp_path / str(processes)).mkdir()
        store = fresh(study, tmp_path / str(processes))
        (row,) = sweep(study, store, [run], start="accelerate", processes_per_run=processes).execute()
        assert store.result(run.key)["processes"] == processes
        losses.append(row["losses"])
    for name in losses[0]:
        assert losses[0][name] == pytest.approx(losses[1][name], rel=2e-3)


def test_a_wrong_world_size_is_an_error(study, tmp_path):
    plan = study[0]
    with pytest.raises(StageError, match="was to have 2 processes but has 1"):
        train_run(plan, plan.runs[0], fresh(study, tmp_path).root, 2, None)


# Sweeps


def test_a_sweep_trains_what_is_missing_and_nothing_else(study, tmp_path):
    plan, store = study[0], fresh(study, tmp_path)
    some = [run for run in plan.runs if run.budget <= 480]
    rows = sweep(study, store, some).execute()
    assert [row["key"] for row in rows] == [run.key for run in some]
    times = {run.key: (store.folder(run.key) / "result.json").stat().st_mtime_ns for run in some}
    job = sweep(study, store, some)
    job.before_training = lambda: pytest.fail("nothing was to be trained")
    assert job.execute() == rows
    assert {key: (store.folder(key) / "result.json").stat().st_mtime_ns for key in times} == times
    elsewhere = fresh(study, tmp_path / "clone") if (tmp_path / "clone").mkdir() is None else None
    job = sweep(study, elsewhere, some)
    job.known = {row["key"]: row for row in rows}
    assert job.execute() == rows  # a committed table is enough; the store stays empty
    assert elsewhere.keys() == []


def test_a_failing_run_does_not_end_the_others(study, tmp_path):
    plan, store = study[0], fresh(study, tmp_path)
    broken = json.loads(study[1].read_text())
    broken["training"]["recipe"]["learning_rate"] = 1e30
    write_json(tmp_path / "plan.json", broken)
    bad = Plan.read(tmp_path / "plan.json")
    run = min(plan.runs, key=lambda item: item.budget)
    bad_run = bad.run("single", run.amounts, 0)
    job = Sweep(bad, tmp_path / "plan.json", [bad_run], store, Launch(), "sweep")
    with pytest.raises(StageError, match=r"1 of 1 runs failed.*(the loss became|not finite)"):
        job.execute()
    assert "Lower train.learning_rate" in store.failure(bad_run.key)
    assert store.result(bad_run.key) is None
    assert not store.held(bad_run.key)


def test_an_interrupted_sweep_keeps_finished_runs_and_leaves_nothing_running(study, tmp_path):
    import psutil

    plan, store = study[0], fresh(study, tmp_path)
    job = sweep(study, store, plan.runs, max_parallel=1)

    def stop_after_two():
        while len(list(store.root.glob("runs/*/*/result.json"))) < 2:
            time.sleep(0.01)
        job.stop = 2

    threading.Thread(target=stop_after_two, daemon=True).start()
    with pytest.raises(Interrupted, match="SIGINT; finished runs are kept"):
        job.execute()
    done = [run for run in plan.runs if store.result(run.key)]
    assert 2 <= len(done) < len(plan.runs)
    assert not any(store.held(run.key) for run in plan.runs)
    below = {item: " ".join(item.cmdline()) for item in psutil.Process().children(recursive=True)}
    # The fork server itself stays; what it forks has its command line but not its parent.
    trainers = [
        item
        for item, said in below.items()
        if "runners.pretrain" in said and not ("forkserver" in said and item.ppid() == os.getpid())
    ]
    assert trainers == []


def test_a_fork_server_that_dies_is_started_again_or_ends_in_the_stop_that_killed_it(study, tmp_path, monkeypatch):
    plan, store = study[0], fresh(study, tmp_path)
    run = min(plan.runs, key=lambda item: item.budget)
    start, calls = ForkLauncher.start, []

    def once_broken(self, *arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise EOFError("unexpected EOF")
        return start(self, *arguments)

    monkeypatch.setattr(ForkLauncher, "start", once_broken)
    assert [row["key"] for row in sweep(study, store, [run]).execute()] == [run.key]
    assert len(calls) == 2
    store.forget(run.key)
    job = sweep(study, store, [run])

    def stopped(self, *arguments):
        job.stop = signal.SIGTERM
        raise EOFError("unexpected EOF")

    monkeypatch.setattr(ForkLauncher, "start", stopped)
    with pytest.raises(Interrupted):
        job.execute()
    assert store.claim(run.key) is not None  # its lease was given back

    def dead(self, *arguments):
        raise EOFError("unexpected EOF")

    store = fresh(study, tmp_path / "other") if (tmp_path / "other").mkdir() is None else None
    monkeypatch.setattr(ForkLauncher, "start", dead)
    with pytest.raises(StageError, match="runs cannot be started"):
        sweep(study, store, [run]).execute()


def test_two_sweeps_at_once_share_the_work(study, tmp_path):
    plan, store = study[0], fresh(study, tmp_path)
    runs = [run for run in plan.runs if run.budget <= 640]
    context = multiprocessing.get_context("spawn")
    arguments = (study[1], store.root, [run.as_dict() for run in runs])
    others = [context.Process(target=_sweep_elsewhere, args=arguments) for _ in range(2)]
    for other in others:
        other.start()
    for other in others:
        other.join()
        assert other.exitcode == 0
    assert all(store.result(run.key) for run in runs)
    logs = [(store.folder(run.key) / "log.txt") for run in runs]
    assert all(log.exists() for log in logs)
    assert not any(store.held(run.key) for run in runs)


def _sweep_elsewhere(plan_path, root, runs):
    from mixlang.plan.build import Run

    plan = Plan.read(plan_path)
    wanted = [Run.from_dict(run) for run in runs]
    rows = Sweep(plan, plan_path, wanted, RunStore(root), Launch(max_parallel=1), "sweep").execute()
    assert len(rows) == len(wanted)


def test_a_lost_lease_file_does_not_end_a_run(tmp_path):
    lease = Lease(tmp_path / "gone" / "lease.0")
    lease.beat(0.5)
    lease.release()
