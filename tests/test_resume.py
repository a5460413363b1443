"""Runs that are killed, run out of disk or meet a NaN: nothing is lost, and the result is the same to the last bit."""

import json
import multiprocessing
import os
import random
import resource
import signal
import time

import pytest
import torch
from driving import fresh
from safetensors.torch import load_file

import runners.train.pretrain as pretrain
from mixlang.plan.build import Run
from mixlang.spec.schema import Launch
from runners.execute.store import RunStore
from runners.train.pretrain import STOPPED, execute, train_run
from runners.train.resume import Checkpoints

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["torch", "accelerate", "torch._dynamo", "runners.train.pretrain"])


def outcome(store, run):
    """Records, curve and weights of a finished run."""
    result = store.result(run.key)
    records = sorted((store.folder(run.key) / "evaluations").glob("*.json"))
    losses = {path.stem: json.loads(path.read_text())["loss"] for path in records}
    return losses, result["curve"], load_file(store.folder(run.key) / "model.safetensors")


def assert_same(one, other):
    assert one[:2] == other[:2]
    assert one[2].keys() == other[2].keys()
    for name, value in one[2].items():
        assert torch.equal(value, other[2][name]), name


@pytest.fixture(scope="module")
def run(study):
    """A mixture of two domains, long enough to be killed often."""
    return study[0].run("mixture", {"ct": 1600, "mri": 1440}, 3)


@pytest.fixture(scope="module")
def uninterrupted(study, run, tmp_path_factory):
    store = fresh(study, tmp_path_factory.mktemp("uninterrupted"))
    train_run(study[0], run, store.root, Launch(), None)
    assert store.checkpoints(run.key) == []  # a short run has none, and a finished one has dropped them
    return outcome(store, run)


def attempt(plan, run, root, every, limit=None):
    """In a process of its own: a run with a checkpoint every `every` seconds, on a disk that takes `limit` bytes."""
    pretrain.CHECKPOINT_EVERY, pretrain.CHECKPOINT_COST = every, 1.0
    log = os.open(RunStore(root).folder(run["key"]) / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 2)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    os._exit(execute(plan, Run.from_dict(run), root, Launch(), None))


def start(study, store, run, every, limit=None):
    store.folder(run.key).mkdir(parents=True, exist_ok=True)
    process = FORKS.Process(target=attempt, args=(study[1], run.as_dict(), store.root, every, limit))
    process.start()
    return process


def wait_for(condition, process):
    deadline = time.monotonic() + 60
    while not condition():
        assert process.is_alive(), "the run ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_killed_at_ten_random_moments_a_run_ends_with_the_same_bits(study, run, uninterrupted, tmp_path):
    store, moments = fresh(study, tmp_path), random.Random(0)
    reached = []
    for number in [signal.SIGKILL, signal.SIGTERM] * 5:
        before = store.checkpoints(run.key)
        process = start(study, store, run, 0.02)
        wait_for(lambda seen=before: store.checkpoints(run.key)[:1] != seen[:1], process)
        time.sleep(moments.uniform(0, 0.1))
        os.kill(process.pid, number)
        process.join(20)
        assert process.exitcode == (-number if number == signal.SIGKILL else STOPPED)
        assert store.result(run.key) is None
        assert store.failure(run.key) is None
        reached.append(store.checkpoints(run.key)[0])
        assert len(store.checkpoints(run.key)) <= 2
    assert sorted(set(reached)) == reached  # each attempt went on from where the one before was
    process = start(study, store, run, 60.0)
    process.join(60)
    assert process.exitcode == 0
    assert store.result(run.key)["resumed_at_step"] > 0
    assert_same(outcome(store, run), uninterrupted)
    assert store.checkpoints(run.key) == []


class Cut(BaseException):
    """The end of an attempt, wherever it happens to be."""


def train_until(step, study, run, store, monkeypatch, launch=None):
    """Train in this process with a checkpoint after every step, and end after `step` of them as a kill would."""
    with monkeypatch.context() as patch:
        patch.setattr(pretrain, "CHECKPOINT_EVERY", 0.0)
        patch.setattr(pretrain, "CHECKPOINT_COST", 1e9)
        optimize = pretrain.Trainer.optimize

        def until(trainer):
            if trainer.step == step:
                raise Cut
            optimize(trainer)

        patch.setattr(pretrain.Trainer, "optimize", until)
        with pytest.raises(Cut):
            train_run(study[0], run, store.root, launch or Launch(), None)
    return store.checkpoints(run.key)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, empty], ids=lambda item: item.__name__)
def test_a_damaged_checkpoint_falls_back_to_the_one_before_aloud(
    study, run, uninterrupted, tmp_path, monkeypatch, capsys, damage
):
    store = fresh(study, tmp_path)
    newest, before = train_until(200, study, run, store, monkeypatch)
    damage(newest)
    train_run(study[0], run, store.root, Launch(), None)
    said = capsys.readouterr().err
    assert f"{newest.name} is not used: " in said
    assert "going on at step 199 of 380" in said
    assert before.name == "checkpoint-000000199.safetensors"
    assert_same(outcome(store, run), uninterrupted)


def test_with_no_intact_checkpoint_a_run_starts_over(study, run, uninterrupted, tmp_path, monkeypatch, capsys):
    store = fresh(study, tmp_path)
    for path in train_until(30, study, run, store, monkeypatch):
        truncate(path)
    train_run(study[0], run, store.root, Launch(), None)
    assert capsys.readouterr().err.count("is not used: it cannot be read") == 2
    assert store.result(run.key)["resumed_at_step"] == 0
    assert_same(outcome(store, run), uninterrupted)


def test_checkpoints_of_other_runs_and_other_training_code_are_never_used(study, run, tmp_path, monkeypatch, capsys):
    store = fresh(study, tmp_path)
    other = study[0].run("mixture", run.amounts, 4)
    (path, _) = train_until(5, study, other, store, monkeypatch)
    store.folder(run.key).mkdir(parents=True)
    path.rename(store.folder(run.key) / path.name)
    assert Checkpoints(store, run.key).latest() is None
    assert "it is of another run" in capsys.readouterr().err
    train_until(5, study, run, store, monkeypatch)
    assert Checkpoints(store, run.key).latest().step == 5
    monkeypatch.setattr("runners.train.resume.TRAINING_VERSION", 10**6)
    assert Checkpoints(store, run.key).latest() is None
    assert "it is of training version" in capsys.readouterr().err


def test_a_claim_clears_what_a_kill_left_half_written(study, run, tmp_path):
    store = fresh(study, tmp_path)
    store.folder(run.key).mkdir(parents=True)
    part = store.folder(run.key) / ".checkpoint-000000007.safetensors.x1.tmp"
    part.write_bytes(b"half")
    assert Checkpoints(store, run.key).latest() is None
    store.claim(run.key)
    assert not part.exists()


def test_a_disk_too_full_for_checkpoints_does_not_end_a_run(study, run, uninterrupted, tmp_path):
    store = fresh(study, tmp_path)
    weights = sum(value.numel() * 4 for value in uninterrupted[2].values())
    process = start(study, store, run, 0.05, limit=2 * weights)  # a checkpoint takes three times the weights
    process.join(60)
    assert process.exitcode == 0
    log = (store.folder(run.key) / "log.txt").read_text()
    assert "no checkpoint, the run goes on without: could not write" in log
    assert_same(outcome(store, run), uninterrupted)


def test_a_disk_too_full_for_the_result_fails_the_run_and_it_can_go_on(
    study, run, uninterrupted, tmp_path, monkeypatch
):
    store = fresh(study, tmp_path)
    train_until(370, study, run, store, monkeypatch)
    process = start(study, store, run, 60.0, limit=100_000)
    process.join(60)
    assert process.exitcode == 3
    assert store.result(run.key) is None
    assert "could not write" in store.failure(run.key).reason
    assert "Free disk space" in store.failure(run.key).reason
    train_run(study[0], run, store.root, Launch(), None)
    assert store.result(run.key)["resumed_at_step"] == 370
    assert_same(outcome(store, run), uninterrupted)


def test_a_nan_fails_the_run_and_keeps_its_last_good_checkpoints_aside(
    study, run, uninterrupted, tmp_path, monkeypatch
):
    """The rate is absurd at one step, as after a fault: weights of 1e30 are finite still, and not to be gone on from."""
    store, rate = fresh(study, tmp_path), pretrain.learning_rate
    reasons = []
    with monkeypatch.context() as patch:
        patch.setattr(pretrain, "learning_rate", lambda step, *rest: 1e30 if step == 100 else rate(step, *rest))
        patch.setattr(pretrain, "CHECKPOINT_EVERY", 0.0)
        patch.setattr(pretrain, "CHECKPOINT_COST", 1e9)
        for _ in range(2):
            assert execute(study[1], run, store.root, Launch(), None) == 3
            reasons.append(store.failure(run.key).reason)
            assert store.checkpoints(run.key) == []
            kept = list(store.folder(run.key).glob("diverged-*.safetensors"))
            assert len(kept) == 2
            assert all(value.isfinite().all() for path in kept for value in load_file(path).values())
    assert "the loss became nan at step 102 of 380. Lower train.learning_rate" in reasons[0]
    assert reasons[0] == reasons[1]  # tried again with its cause still there, it comes to the same end
    train_run(study[0], run, store.root, Launch(), None)
    assert store.result(run.key)["resumed_at_step"] == 0
    assert_same(outcome(store, run), uninterrupted)
    assert not list(store.folder(run.key).glob("*-*.safetensors"))
