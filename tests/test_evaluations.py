"""Runs and evaluations apart: what a run's address holds, what is measured anew, and that nothing is trained for it."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
from conftest import STUDY_SPEC, mixlang
from driving import edit, fresh, git, losses_of, results, sweep
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlang.errors import InputError, StageError
from mixlang.plan.build import Plan
from mixlang.plan.data_manifest import DataManifest, DomainData, Sides, VolumeRecord
from mixlang.plan.evaluations import evaluations_of, keys_of
from mixlang.plan.split import Unsplittable, split_subjects
from mixlang.spec.schema import Launch, Split
from runners.execute.batch import Batch
from runners.execute.former import take_over
from runners.execute.scores import missing
from runners.execute.store import RunStore
from runners.execute.warm import WarmLauncher

# The split


def record(subject):
    return VolumeRecord(f"data/{subject}", subject, subject, (8, 8, 8), (1.0, 1.0, 1.0))


def manifest_of(domains):
    return DataManifest({name: DomainData(tuple(map(record, subjects))) for name, subjects in domains.items()})


SUBJECTS = st.sets(st.integers(0, 30).map(lambda number: f"p{number}"), min_size=3, max_size=12)
STEP = st.one_of(
    st.tuples(st.just("add"), st.sampled_from("abcd"), SUBJECTS),
    st.tuples(st.just("remove"), st.sampled_from("abcd"), st.none()),
    st.tuples(st.just("rename"), st.sampled_from("abcd"), st.sampled_from("wxyz")),
    st.tuples(st.just("more"), st.sampled_from("abcd"), SUBJECTS),
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from("abcd"), SUBJECTS, min_size=2), st.lists(STEP, max_size=8))
def test_nobody_is_moved_across_the_split_by_domains_and_subjects_that_come_and_go(domains, steps):
    domains = {name: set(subjects) for name, subjects in domains.items()}
    split, sides, ever = Split(validation=0.3, seed=1), None, {}
    for kind, name, value in [("start", "", None), *steps]:
        if kind == "add":
            domains[name] = set(value)
        elif kind == "remove" and len(domains) > 2:
            domains.pop(name, None)
        elif kind == "rename" and name in domains and value not in domains:
            domains[value] = domains.pop(name)
        elif kind == "more" and name in domains:
            domains[name] |= value
        try:
            sides = split_subjects(manifest_of(domains), split, sides)
        except Unsplittable:
            return  # said, not guessed
        for subject in set().union(*domains.values()):
            held = subject in sides.validation
            assert ever.setdefault(subject, held) == held
            assert held != (subject in sides.training)
        for subjects in domains.values():
            assert 0 < sum(subject in sides.validation for subject in subjects) < len(subjects)


def test_another_seed_or_fraction_splits_anew_and_names_are_held_out_whatever_the_fraction():
    manifest = manifest_of({"a": [f"p{i}" for i in range(20)], "b": [f"q{i}" for i in range(20)]})
    first = split_subjects(manifest, Split(validation=0.2, seed=1))
    assert len(first.validation) == 8
    assert split_subjects(manifest, Split(validation=0.2, seed=2), first).validation != first.validation
    held = split_subjects(manifest, Split(validation=0.2, seed=1, hold_out=["q1*"]), first)
    assert set(first.validation) | {"q1", *(f"q1{i}" for i in range(10))} == set(held.validation)
    all_trained = Sides(0.2, 1, (), tuple(f"p{i}" for i in range(20)))
    with pytest.raises(InputError, match="all of whom other domains have been trained on"):
        split_subjects(manifest, Split(validation=0.2, seed=1), all_trained)


def test_a_split_of_before_it_was_recorded_is_the_same_and_another_fraction_is_no_part_of_it(copied):
    path = copied / "build/small/data.json"
    document = json.loads(path.read_text())
    recorded = document.pop("split")
    path.write_text(json.dumps(document))
    mixlang("compile", "specs/small.yaml", cwd=copied)
    assert json.loads(path.read_text())["split"] == recorded
    path.write_text(json.dumps(document))
    edit(copied, "validation_crops: 1", "validation_crops: 1, split: {validation: 0.5}")
    mixlang("compile", "specs/small.yaml", cwd=copied)
    found = json.loads(path.read_text())["split"]
    assert (found["fraction"], len(found["validation"])) == (0.5, 10)


# Addresses


def test_a_new_domain_leaves_the_runs_of_the_others_and_what_is_measured_of_them(study):
    plan = study[0]
    more = {**plan.domains, "pet": {"train": ["ab" * 32], "validation": ["cd" * 32]}}
    wider = Plan(plan.training, plan.evaluation, more, plan.volumes, None, [])
    for run in plan.runs:
        assert wider.run(run.kind, run.amounts, run.seed).key == run.key
    before, after = keys_of(evaluations_of(plan)), keys_of(evaluations_of(wider))
    assert before == {name: after[name] for name in before}
    assert len(set(after.values())) == 3


def test_validation_crops_volumes_and_versions_change_what_is_measured_and_no_run(study, monkeypatch):
    plan = study[0]
    crops = Plan(plan.training, {**plan.evaluation, "crops": 3}, plan.domains, plan.volumes, None, [])
    domains = {**plan.domains, "ct": {**plan.domains["ct"], "validation": plan.domains["ct"]["validation"][:-1]}}
    volumes = Plan(plan.training, plan.evaluation, domains, plan.volumes, None, [])
    keys = keys_of(evaluations_of(plan))
    for other, changed in ((crops, {"ct", "mri"}), (volumes, {"ct"})):
        assert all(other.run(run.kind, run.amounts, run.seed).key == run.key for run in plan.runs)
        assert {name for name, key in keys_of(evaluations_of(other)).items() if key != keys[name]} == changed
    monkeypatch.setattr("mixlang.plan.evaluations.EVALUATION_VERSION", 99)
    assert not set(keys_of(evaluations_of(plan)).values()) & set(keys.values())


# Measuring


@pytest.fixture(scope="module")
def trained(study, tmp_path_factory):
    """Three runs of the study, trained; their records are deleted."""
    store = fresh(study, tmp_path_factory.mktemp("trained"))
    runs = sorted(study[0].runs, key=lambda run: run.budget)[:3]
    expected = {row["key"]: row for row in sweep(study, store, runs).execute()}
    for run in runs:
        shutil.rmtree(store.folder(run.key) / "evaluations")
    return store, runs, expected


def copy_of(trained, tmp_path):
    store, runs, expected = trained
    shutil.copytree(store.root, tmp_path / "store", symlinks=True)
    return RunStore(tmp_path / "store"), runs, expected


def measuring(study, store, runs, **launch):
    wanted = evaluations_of(study[0])
    return Batch(study[0], study[1], runs, store, Launch(**launch), "evaluate", evaluations=wanted)


def test_weights_measured_later_give_the_bits_that_the_run_gave(study, trained, tmp_path):
    store, runs, expected = copy_of(trained, tmp_path)
    assert measuring(study, store, runs).rows() == []
    assert measuring(study, store, runs).execute() == [expected[run.key] for run in runs]
    stamps = [path.stat().st_mtime_ns for path in store.root.glob("runs/*/*/evaluations/*")]
    assert measuring(study, store, runs).execute() == [expected[run.key] for run in runs]
    assert stamps == [path.stat().st_mtime_ns for path in store.root.glob("runs/*/*/evaluations/*")]


def test_a_worker_that_dies_takes_one_run_with_it(study, trained, tmp_path, monkeypatch):
    """The slot gets a new one, and the run is named."""
    store, runs, expected = copy_of(trained, tmp_path)
    begin, used = WarmLauncher.start, []

    def and_kill(self, run, lease, slot):
        started = begin(self, run, lease, slot)
        used.append(self.workers[slot].process.pid)
        if run.key == runs[0].key:
            os.kill(used[-1], signal.SIGKILL)
        return started

    monkeypatch.setattr(WarmLauncher, "start", and_kill)
    with pytest.raises(StageError, match=r"1 of 3 runs failed.*killed by SIGKILL"):
        measuring(study, store, runs, retries=0, max_parallel=1).execute()
    wanted = evaluations_of(study[0])
    assert [bool(missing(run.key, wanted, store, {})) for run in runs] == [True, False, False]
    assert losses_of(study[0], store, runs[1]) == expected[runs[1].key]["losses"]
    assert len(set(used)) == 2  # two runs were measured by one process


def test_damaged_weights_are_named_and_the_others_measured(study, trained, tmp_path):
    store, runs, _ = copy_of(trained, tmp_path)
    store.weights(runs[1].key).write_bytes(b"not weights")
    with pytest.raises(StageError, match=r"1 of 3 runs failed.*is not a readable mixlang checkpoint"):
        measuring(study, store, runs).execute()
    wanted = evaluations_of(study[0])
    assert [bool(missing(run.key, wanted, store, {})) for run in runs] == [False, True, False]


# Stores of before


def former(study, store, runs):
    """Give runs the addresses and the results that they had before evaluations had their own."""
    plan = study[0]
    for run in runs:
        row = {"losses": losses_of(plan, store, run), "mean_losses": dict.fromkeys(plan.domains, 0.5)}
        result = json.loads((store.folder(run.key) / "result.json").read_text())
        shutil.rmtree(store.folder(run.key) / "evaluations")
        old = store.folder(plan.former_key(run))
        old.parent.mkdir(exist_ok=True, parents=True)
        store.folder(run.key).rename(old)
        (old / "result.json").write_text(json.dumps({**result, **row, "key": old.name}))


def test_a_store_of_before_is_taken_over_without_training(study, trained, tmp_path):
    store, runs, expected = copy_of(trained, tmp_path)
    measuring(study, store, runs).execute()
    former(study, store, runs[:2])
    assert take_over(store, study[0], runs) == 2
    assert take_over(store, study[0], runs) == 0
    for run in runs[:2]:
        assert losses_of(study[0], store, run) == expected[run.key]["losses"]
        assert store.weights(run.key).samefile(store.folder(study[0].former_key(run)) / "model.safetensors")
    before = {path: path.stat().st_mtime_ns for path in store.root.glob("runs/*/*/result.json")}
    assert [row["key"] for row in sweep(study, store, runs).execute()] == [run.key for run in runs]
    assert {path: path.stat().st_mtime_ns for path in store.root.glob("runs/*/*/result.json")} == before


# A workspace


def say_of(done):
    return [line.strip() for line in done.stderr.splitlines() if line.startswith("  ")]


def test_more_validation_crops_train_nothing(copied):
    before = results(copied)
    edit(copied, "validation_crops: 1", "validation_crops: 2")
    found = json.loads(mixlang("plan", "specs/small.yaml", "--format", "json", cwd=copied).stdout)
    assert {run["todo"] for run in found["runs"]} == {"evaluate"}
    assert {run["why"] for run in found["runs"]} == {"not measured yet: ct, mri"}
    assert not found["kinds"]["verify"]["known"]  # other losses may ask for other mixtures
    said = say_of(mixlang("run", "specs/small.yaml", cwd=copied))
    assert "sweep: all 10 runs are trained; nothing to train" in said
    assert any(line.startswith("evaluate: 10 runs evaluated") for line in said)
    after = results(copied)
    assert before.items() <= after.items()
    planned = {run["key"] for run in json.loads((copied / "build/small/plan.json").read_text())["runs"]}
    assert planned <= set(before)


def test_validation_subjects_that_are_added_train_nothing(copied):
    before = results(copied)
    edit(copied, "count: 12, seed: 1", "count: 15, seed: 1")
    subjects = json.loads((copied / "build/small/data.json").read_text())["domains"]["ct"]["volumes"]
    found = mixlang("compile", "specs/small.yaml", cwd=copied)
    added = {
        volume["subject"]
        for volume in json.loads((copied / "build/small/data.json").read_text())["domains"]["ct"]["volumes"]
    } - {volume["subject"] for volume in subjects}
    assert len(added) == 3, found.stderr
    git("checkout", "-q", "--", "build", cwd=copied)
    held = ", ".join(f"'{name}'" for name in sorted(added))
    edit(copied, "data: {validation_crops: 1}", f"data: {{validation_crops: 1, split: {{hold_out: [{held}]}}}}")
    said = say_of(mixlang("run", "specs/small.yaml", cwd=copied))
    assert "sweep: all 10 runs are trained; nothing to train" in said
    assert before.items() <= results(copied).items()


def test_a_pattern_that_holds_nobody_out_is_refused(copied):
    edit(copied, "data: {validation_crops: 1}", "data: {validation_crops: 1, split: {hold_out: [nobody]}}")
    done = mixlang("plan", "specs/small.yaml", cwd=copied, check=False)
    assert "error[MX0318]: 'nobody' names no subject" in done.stderr


def test_runs_whose_weights_are_gone_are_named_with_their_cost_and_trained_again(copied, tmp_path):
    shutil.rmtree(copied / ".mixlang" / "runs")
    edit(copied, "validation_crops: 1", "validation_crops: 2")
    found = json.loads(mixlang("plan", "specs/small.yaml", "--format", "json", cwd=copied).stdout)
    assert {run["why"] for run in found["runs"]} == {"weights are gone; to be measured: ct, mri"}
    assert found["kinds"]["single"]["again"] == 8
    assert found["kinds"]["single"]["samples_left"] > 0
    assert found["cost"]["device_hours"] > found["cost"]["evaluation_hours"] > 0
    done = mixlang("run", "specs/small.yaml", "--set", "limits.max_device_hours=1e-9", cwd=copied, check=False)
    assert "error[MX0401]" in done.stderr
    said = say_of(mixlang("run", "specs/small.yaml", cwd=copied))
    assert any(line.startswith("evaluate: the weights of 10 runs are not in") for line in said)
    assert any(line.startswith("evaluate, again: 10 runs trained") for line in said)


def test_a_clone_without_a_store_trains_and_evaluates_nothing(copied, tmp_path):
    clone = tmp_path / "clone"
    git("clone", "-q", str(copied), str(clone), cwd=tmp_path)
    said = say_of(mixlang("run", "specs/small.yaml", cwd=clone))
    assert "sweep: all 10 runs are trained; nothing to train" not in said  # not even asked: DVC has nothing to do
    assert not (clone / ".mixlang" / "runs").exists()
    assert not git("status", "--short", "build", cwd=clone)


def test_killed_while_it_evaluates_it_goes_on_where_it_was(copied):
    edit(copied, "validation_crops: 1", "validation_crops: 32")

    def records():
        return set((copied / ".mixlang").glob("runs/*/*/evaluations/*.json"))

    before, trained = records(), results(copied)
    run = subprocess.Popen(
        [sys.executable, "-m", "mixlang.cli", "run", "specs/small.yaml", "--jobs", "1"],
        cwd=copied,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while len(records() - before) < 3:
        assert time.monotonic() < deadline
        assert run.poll() is None
        time.sleep(0.01)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd() == str(copied):
                process.kill()
    kept = {path: path.stat().st_mtime_ns for path in records() - before}
    assert all(json.loads(path.read_text())["loss"] > 0 for path in kept)
    mixlang("run", "specs/small.yaml", cwd=copied)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert trained.items() <= results(copied).items()


# Reuse


def with_a_domain(root, reuse=True):
    edit(
        root, "data: {", "  pet: {modality: pet, source: {phantom: {count: 8, seed: 3, shape: [24, 24, 24]}}}\ndata: {"
    )
    edit(root, "design: {", "design: {reuse: [small@v1], " if reuse else "design: {")


def test_a_domain_is_added_without_training_an_old_run(copied, tmp_path):
    before = results(copied)
    with_a_domain(copied)
    found = json.loads(mixlang("plan", "specs/small.yaml", "--format", "json", cwd=copied).stdout)
    old = [run for run in found["runs"] if run["key"] in before]
    assert found["reused"] == [{"version": "small@v1", "runs": 10, "left_out": {}}]
    assert [run["todo"] for run in old] == ["evaluate"] * 10
    assert {run["why"] for run in old} == {"not measured yet: pet"}
    new = [run for run in found["runs"] if run["key"] not in before]
    assert all(run["amounts"]["pet"] for run in new)
    assert {run["why"] for run in new if run["kind"] == "single"} == {"the domain pet is new"}
    text = mixlang("plan", "specs/small.yaml", cwd=copied).stdout
    assert "small@v1: 10 of its probe runs are kept" in text
    said = say_of(mixlang("run", "specs/small.yaml", cwd=copied))
    assert f"plan: {len(found['runs'])} probe runs, 10 of them of small@v1" in "\n".join(said)
    assert before.items() <= results(copied).items()
    rows = {row["key"]: row for row in json.loads((copied / "build/small/runs.json").read_text())["runs"]}
    # A study that has had all domains from the beginning, in a store of its own, comes to the same bits.
    other = tmp_path / "other"
    mixlang("init", str(other), cwd=tmp_path)
    (other / "specs" / "small.yaml").write_text(STUDY_SPEC)
    with_a_domain(other, reuse=False)
    mixlang("compile", "specs/small.yaml", cwd=other)
    for name in ("prepare", "sweep", "evaluate"):
        mixlang("stage", name, "small", cwd=other)
    beginning = {row["key"]: row for row in json.loads((other / "build/small/runs.json").read_text())["runs"]}
    shared = set(rows) & set(beginning)
    assert len(shared) == 14
    assert all(rows[key]["losses"] == beginning[key]["losses"] for key in shared)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("count: 12, seed: 1", "count: 14, seed: 1", "the training volumes of 'ct' are others: 2 new, 0 gone"),
        ("  ct:  {", "  chest:  {", "samples of 'ct', which is no domain of this spec"),
    ],
)
def test_what_cannot_be_kept_is_named(copied, old, new, reason):
    with_a_domain(copied)
    edit(copied, old, new)
    found = json.loads(mixlang("plan", "specs/small.yaml", "--format", "json", cwd=copied).stdout)
    (version,) = found["reused"]
    assert version["runs"] == 4
    assert version["left_out"] == {reason: 6}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("small@v1", "small@v7", "the registry has no version small@v7"),
        ("small@v1", "large@v1", "the registry has no version large@v1"),
        (
            "learning_rate: 5e-3",
            "learning_rate: 4e-3",
            "small@v1 was trained otherwise: train.learning_rate 0.005 -> 0.004",
        ),
    ],
)
def test_a_version_that_teaches_nothing_is_refused_at_its_place(copied, old, new, words):
    with_a_domain(copied)
    edit(copied, old, new)
    done = mixlang("plan", "specs/small.yaml", cwd=copied, check=False)
    assert done.returncode == 1
    assert f"error[MX0317]: {words}" in done.stderr


def test_a_reference_without_a_number_is_no_version(copied):
    with_a_domain(copied)
    edit(copied, "small@v1", "small@latest")
    done = mixlang("check", "specs/small.yaml", cwd=copied, check=False)
    assert "'small@latest' is no version with its number, such as study@v1" in done.stderr


# DVC


def test_the_stages_of_an_older_pipeline_are_brought_up_to_date_and_others_kept():
    from mixlang.study.pipeline import render, with_stages

    now = render(["small"])
    own = "  mine:\n    cmd: echo\n    deps:\n      - x\n"
    older = now.replace("evaluate", "evaluated") + own
    assert with_stages(older) == now + own
    assert with_stages(now + own) == now + own
    foreign = "vars:\n  - specs: [small]\nstages:\n" + own
    assert with_stages(foreign) == foreign
