"""Runs: leases and results, exact training, launching for real, and sweeps that survive what kills them."""

import json
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from driving import fresh, losses_of, sweep

from mixlang.errors import Interrupted, StageError, WriteError
from mixlang.files import write_json
from mixlang.plan.build import Plan
from mixlang.plan.evaluations import evaluations_of, keys_of
from mixlang.plan.whole_samples import stable_steps
from mixlang.spec.schema import Launch
from runners.execute import faults
from runners.execute.batch import Batch
from runners.execute.launch import ForkLauncher
from runners.execute.liveness import alive, me
from runners.execute.scores import row_of
from runners.execute.store import Heartbeat, Lease, RunStore
from runners.train.evaluate import evaluate
from runners.train.pretrain import execute, train_run
from runners.train.schedule import learning_rate
from runners.train.weights import load_model

KEY = "ab" * 32


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
    lease.beat(Heartbeat(0.25, 1.5, 100.0))
    assert store.heartbeat(KEY) == Heartbeat(0.25, 1.5, 100.0)
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
    recipe = {"learning_rate": 1.0, "schedule": "wsd", "warmup_steps": 10, "decay_fraction": 0.2}
    rates = [learning_rate(step, 100, recipe) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:80] == [1.0] * 71
    assert np.all(np.diff(rates[79:]) < 0)
    assert 0 < rates[-1] < 0.06
    flat = {**recipe, "warmup_steps": 0, "decay_fraction": 0}
    assert {learning_rate(step, 50, flat) for step in range(50)} == {1.0}


def test_a_cosine_falls_from_the_warmup_to_nearly_zero():
    recipe = {"learning_rate": 1.0, "schedule": "cosine", "warmup_steps": 10}
    rates = [learning_rate(step, 110, recipe) for step in range(110)]
    assert rates[9] == rates[10] == 1.0
    assert rates[60] == pytest.approx(0.5)
    assert np.all(np.diff(rates[10:]) < 0)
    assert 0 < rates[-1] < 0.001
    assert stable_steps(110, recipe) == 0


def test_the_rate_before_the_decay_does_not_depend_on_the_budget():
    for warmup, decay in ((0, 0.2), (30, 0.2), (5, 1.0), (5, 0.0)):
        recipe = {"learning_rate": 0.3, "schedule": "wsd", "warmup_steps": warmup, "decay_fraction": decay}
        stable = stable_steps(40, recipe)
        same = [learning_rate(step, 40, recipe) for step in range(stable)]
        assert same == [learning_rate(step, 400, recipe) for step in range(stable)][: 400 - round(decay * 400)]
        if 0 < decay < 1:
            assert learning_rate(stable, 40, recipe) < learning_rate(stable, 400, recipe)


def test_a_run_learns_and_is_a_function_of_its_inputs(study, tmp_path):
    plan = study[0]
    run = next(run for run in plan.runs if run.kind == "mixture")
    results = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        store = fresh(study, tmp_path / name)
        train_run(plan, run, store.root, Launch(), None)
        results.append((store.result(run.key)["curve"], row_of(run, evaluations_of(plan), store, {})))
    assert results[0] == results[1]
    row = results[0][1]
    for name, loss in row["losses"].items():
        assert loss < 0.9 * row["mean_losses"][name]
    other = plan.run("other seed", run.amounts, 7)
    train_run(plan, other, store.root, Launch(), None)
    again = row_of(other, evaluations_of(plan), store, {})
    assert again["losses"] != row["losses"]
    assert again["mean_losses"] == row["mean_losses"]  # the same crops and masks for all


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
    train_run(plan, run, store.root, Launch(), None)
    losses.append(losses_of(plan, store, run))
    assert losses[0] == losses[1] == losses[2]


def test_two_processes_give_the_same_losses_up_to_the_order_of_sums(study, tmp_path):
    run = min(study[0].runs, key=lambda item: item.budget)
    losses = []
    for processes in (1, 2):
        store = fresh(study, tmp_path / str(processes))
        (row,) = sweep(study, store, [run], start="accelerate", processes_per_run=processes).execute()
        assert store.result(run.key)["processes"] == processes
        losses.append(row["losses"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.long
def test_two_processes_stopped_on_the_way_give_the_bits_of_one_in_two_parts(study, tmp_path):
    """Halves are added in one order only, so here not even rounding may differ, however long the run."""
    run = study[0].run("mixture", {"ct": 2000, "mri": 1200}, 0)
    alone, together = fresh(study, tmp_path / "1"), fresh(study, tmp_path / "2")
    (expected,) = sweep(study, alone, [run], accumulate=2).execute()
    job = sweep(study, together, [run], start="accelerate", processes_per_run=2)

    def stop_when_it_trains():
        while not (together.folder(run.key) / "logs").exists():  # the tracker is started with the first step
            time.sleep(0.01)
        job.stop = signal.SIGTERM

    threading.Thread(target=stop_when_it_trains, daemon=True).start()
    with pytest.raises(Interrupted):
        job.execute()
    assert len(together.checkpoints(run.key)) == 1
    assert together.failure(run.key) is None
    (row,) = sweep(study, together, [run], start="accelerate", processes_per_run=2).execute()
    assert together.result(run.key)["resumed_at_step"] > 0
    assert row == expected
    assert together.result(run.key)["curve"] == alone.result(run.key)["curve"]


def test_accumulation_changes_nothing_but_the_order_of_sums(study, tmp_path):
    run = min(study[0].runs, key=lambda item: item.budget)
    losses = []
    for parts in (1, 4):
        store = fresh(study, tmp_path / str(parts))
        train_run(study[0], run, store.root, Launch(accumulate=parts), None)
        losses.append(losses_of(study[0], store, run))
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def changed_recipe(study, **changes):
    plan = study[0]
    return replace(plan, training={**plan.training, "recipe": {**plan.training["recipe"], **changes}})


def test_bf16_comes_near_fp32_and_is_evaluated_in_fp32(study, tmp_path):
    losses = []
    for precision in ("fp32", "bf16"):
        plan = changed_recipe(study, precision=precision, learning_rate=1e-3)
        run = plan.run("single", {"ct": 640}, 0)
        store = fresh(study, tmp_path / precision)
        write_json(tmp_path / "plan.json", plan.as_dict())
        sweep((plan, tmp_path / "plan.json"), store, [run]).execute()
        losses.append(losses_of(plan, store, run))
        model = load_model(store.folder(run.key) / "model.safetensors")
        found = evaluate(model, plan, store.root, torch.device("cpu"))
        assert {name: score["loss"] for name, score in found.items()} == losses[-1]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="of a machine without a GPU")
def test_fp16_without_a_gpu_is_refused(study, tmp_path):
    plan = changed_recipe(study, precision="fp16")
    with pytest.raises(StageError, match="fp16 needs a GPU"):
        train_run(plan, plan.run("single", {"ct": 320}, 0), fresh(study, tmp_path).root, Launch(), None)


def test_a_wrong_world_size_is_an_error(study, tmp_path):
    plan = study[0]
    with pytest.raises(StageError, match="was to have 2 processes but has 1"):
        train_run(plan, plan.runs[0], fresh(study, tmp_path).root, Launch(processes_per_run=2), None)


# Sweeps


def test_a_sweep_trains_what_is_missing_and_nothing_else(study, tmp_path):
    plan, store = study[0], fresh(study, tmp_path)
    some = [run for run in plan.runs if run.budget <= 480]
    rows = sweep(study, store, some).execute()
    assert [row["key"] for row in rows] == [run.key for run in some]
    times = {run.key: (store.folder(run.key) / "result.json").stat().st_mtime_ns for run in some}
    job = sweep(study, store, some)
    job.before = lambda: pytest.fail("nothing was to be trained")
    assert job.execute() == rows
    assert {key: (store.folder(key) / "result.json").stat().st_mtime_ns for key in times} == times
    elsewhere = fresh(study, tmp_path / "clone") if (tmp_path / "clone").mkdir() is None else None
    job = sweep(study, elsewhere, some)
    keys = keys_of(evaluations_of(plan))
    job.known = {
        row["key"]: {keys[name]: {"loss": row["losses"][name], "mean_loss": row["mean_losses"][name]} for name in keys}
        for row in rows
    }
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
    job = Batch(bad, tmp_path / "plan.json", [bad_run], store, Launch(), "sweep")
    with pytest.raises(StageError, match=r"1 of 1 runs failed.*(the loss became|not finite)"):
        job.execute()
    assert "Lower train.learning_rate" in store.failure(bad_run.key).reason
    assert store.result(bad_run.key) is None
    assert not store.held(bad_run.key)


def killing(monkeypatch, doomed):
    """From now on runs are killed as they start while `doomed(run, attempts so far)`; returns the attempts by key."""
    start, attempts = ForkLauncher.start, {}

    def and_perhaps_kill(self, run, *arguments):
        started = start(self, run, *arguments)
        attempts[run.key] = attempts.get(run.key, 0) + 1
        if doomed(run, attempts[run.key]):
            started.process.kill()
        return started

    monkeypatch.setattr(ForkLauncher, "start", and_perhaps_kill)
    monkeypatch.setattr(faults, "_BACKOFF", 0.1)
    return attempts


def test_a_run_that_its_machine_killed_is_tried_again(study, tmp_path, monkeypatch, capsys):
    plan, store = study[0], fresh(study, tmp_path)
    runs = [run for run in plan.runs if run.budget in (320, 960)]
    attempts = killing(monkeypatch, lambda run, attempt: run == runs[0] and attempt == 1)
    assert len(sweep(study, store, runs).execute()) == 4
    assert attempts == {run.key: 1 + (run == runs[0]) for run in runs}
    assert "killed by SIGKILL, as the system does when memory runs out; tried again" in capsys.readouterr().err


def test_a_run_that_is_always_killed_is_tried_as_often_as_the_policy_says(study, tmp_path, monkeypatch, capsys):
    plan, store = study[0], fresh(study, tmp_path)
    runs = [run for run in plan.runs if run.budget in (320, 960)]
    attempts = killing(monkeypatch, lambda run, attempt: run == runs[1])
    with pytest.raises(StageError, match=r"1 of 4 runs failed.*killed by SIGKILL, as the system does when memory"):
        sweep(study, store, runs, retries=3, ladder="independent").execute()
    assert attempts == {run.key: 1 + 3 * (run == runs[1]) for run in runs}
    assert [run for run in runs if store.result(run.key) is None] == [runs[1]]
    assert store.failure(runs[1].key).cause == "machine"
    assert "sweep: FAILED: single" in capsys.readouterr().err
    job = sweep(study, store, runs, retries=0)
    job.max_failed = 1
    assert [row["key"] for row in job.execute()] == [run.key for run in runs if run != runs[1]]
    assert [run for run, _ in job.failed] == [runs[1]]


def test_a_run_that_gets_further_each_time_is_not_given_up():
    attempts, fault = faults.Attempts(1), faults.Fault("machine", "lost")
    for step in range(5):
        assert attempts.again("a", fault, f"checkpoint-{step:09}") == 5.0
    assert attempts.again("a", fault, "checkpoint-000000004") is None
    assert attempts.again("b", faults.Fault("run", "nan"), "checkpoint-9") is None
    many = faults.Attempts(20)
    assert [many.again("c", fault, "") for _ in range(8)] == [5, 10, 20, 40, 80, 160, 300, 300]


def test_what_the_machine_did_is_told_from_what_the_run_did():
    for error in (OSError(28, "No space left on device"), WriteError("full"), RuntimeError("NCCL error: unhandled")):
        assert faults.cause_of(error) == "machine"
    for error in (StageError("nan"), ValueError("x"), RuntimeError("shapes"), FileNotFoundError("volume")):
        assert faults.cause_of(error) == "run"


def test_a_changed_plan_is_not_trained_under_old_names(study, tmp_path):
    store, run = fresh(study, tmp_path), study[0].runs[0]
    changed = json.loads(study[1].read_text())
    changed["training"]["recipe"]["learning_rate"] *= 2
    write_json(tmp_path / "plan.json", changed)
    assert execute(tmp_path / "plan.json", run, store.root, Launch(), None) == 3
    assert "has changed since this run was asked for" in store.failure(run.key).reason


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
        if "runners.train.pretrain" in said and not ("forkserver" in said and item.ppid() == os.getpid())
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
    rows = Batch(plan, plan_path, wanted, RunStore(root), Launch(max_parallel=1), "sweep").execute()
    assert len(rows) == len(wanted)


def test_a_lost_lease_file_does_not_end_a_run(tmp_path):
    lease = Lease(tmp_path / "gone" / "lease.0")
    lease.beat(Heartbeat(0.5))
    lease.release()
