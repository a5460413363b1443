"""The whole loop as a user runs it: real workspaces, real DVC, real training, and what must not be repeated."""

import json
import re
import subprocess
import sys
import time

import pytest
from conftest import STUDY_SPEC, dvc, mixlang
from driving import edit, git, results

from runners.execute.store import Heartbeat, RunStore


@pytest.fixture
def study(copied):
    """A copy of the finished workspace, run store included."""
    return copied


def test_the_run_leaves_everything_it_should(finished):
    build, version = finished / "build" / "small", finished / "registry" / "small" / "v1"
    said = (finished.parent / "said").read_text()
    assert re.search(r"small@v1: (train on these shares of|the published shares, solved for) 2,000", said)
    assert "proportional" in said
    assert "report.html" in said
    assert len(json.loads((build / "runs.json").read_text())["runs"]) == 10
    verification = json.loads((build / "verification.json").read_text())
    assert {run["mixture"] for run in verification["runs"]} == {"published", "allocated", "proportional"}
    assert verification["agreement"]["pooled"]["count"] == 12
    provenance = json.loads((version / "provenance.json").read_text())
    assert provenance["spec"]["text"] == STUDY_SPEC
    assert provenance["data"]["ct"]["volumes"] == 12
    assert provenance["hardware"]["training"]["runs_recorded_here"] == 16
    assert provenance["environment"]["packages"]["torch"]
    assert str(finished) not in "".join(path.read_text() for path in version.iterdir())
    assert "as published" in mixlang("registry", "verify", cwd=finished).stdout
    assert mixlang("registry", "list", cwd=finished).stdout.startswith("small@v1")
    assert json.loads(mixlang("registry", "show", "small", "--format", "json", cwd=finished).stdout)["version"] == 1
    assert "10 of 10 probe runs done" in mixlang("status", cwd=finished).stdout
    overview = json.loads(mixlang("plan", "specs/small.yaml", "--format", "json", cwd=finished).stdout)
    assert overview["kinds"]["single"] == {
        "runs": 8,
        "done": 8,
        "samples": 4800,
        "samples_left": 0,
        "known": True,
        "evaluate": 0,
        "again": 0,
        "train": 0,
        "crops_left": 0,
        "flops": pytest.approx(4800 * overview["flops_per_sample"]),
    }


def test_a_second_run_trains_nothing_and_dvc_is_clean(study):
    before = results(study)
    begun = time.monotonic()
    mixlang("run", "specs/small.yaml", cwd=study)
    assert time.monotonic() - begun < 30
    assert results(study) == before
    assert "up to date" in dvc("status", cwd=study).stdout
    assert git("status", "--porcelain", cwd=study) == ""
    assert (study / "registry" / "small" / "v1").is_dir()
    assert not (study / "registry" / "small" / "v2").exists()


def test_status_says_how_a_running_run_is_doing(study):
    (study / "build/small/runs.json").unlink()
    run = json.loads((study / "build/small/plan.json").read_text())["runs"][0]
    store = RunStore(study / ".mixlang")
    store.forget(run["key"])
    store.claim(run["key"]).beat(Heartbeat(0.5, 0.1234, 40.0))
    said = mixlang("status", cwd=study).stdout
    assert "9 of 10 probe runs done, 1 running" in said
    rows = [line.split() for line in said.splitlines()]
    assert ["state", "run", "done", "loss", "samples/s", "remaining"] in rows
    assert ["running", "ct", "320,", "seed", "0", "50%", "0.1234", "40", "4", "s"] in rows
    assert sum(row[0] == "done" and "took" in row for row in rows) == 9
    (found,) = json.loads(mixlang("status", "--format", "json", cwd=study).stdout)
    assert found["running"][0]["seconds_left"] == 4.0


def test_status_watches_until_all_runs_are_there(study):
    assert "10 of 10 probe runs done" in mixlang("status", "--watch", cwd=study).stdout
    run = json.loads((study / "build/small/plan.json").read_text())["runs"][0]
    (study / "build/small/runs.json").unlink()
    store = RunStore(study / ".mixlang")
    result = store.result(run["key"])
    records = {path.stem: json.loads(path.read_text()) for path in (store.folder(run["key"]) / "evaluations").glob("*")}
    (study / "build/small/trained.json").unlink()
    store.forget(run["key"])
    watching = subprocess.Popen(
        [sys.executable, "-m", "mixlang.cli", "status", "--watch"], cwd=study, stdout=subprocess.PIPE, text=True
    )
    time.sleep(3)
    assert watching.poll() is None
    store.folder(run["key"]).mkdir(parents=True)
    for evaluation, record in records.items():
        store.record(run["key"], evaluation, record)
    store.finish(run["key"], result)
    assert "10 of 10 probe runs done" in watching.communicate(timeout=60)[0]


def stages_run(output):
    return [line.split("'")[1].split("@")[0] for line in output.splitlines() if line.startswith("Running stage")]


def test_deleted_laws_are_fitted_again_and_nothing_is_trained(study):
    before = results(study)
    path = study / "build" / "small" / "fit.json"
    text = path.read_text()
    path.unlink()
    ran = stages_run(dvc("repro", cwd=study).stdout)
    assert ran[0] == "fit"
    assert not {"plan", "prepare", "sweep"} & set(ran)
    assert path.read_text() == text
    assert results(study) == before
    assert "up to date" in dvc("status", cwd=study).stdout


def test_a_changed_constraint_solves_again_without_training_a_probe_run(study):
    probe = {run["key"] for run in json.loads((study / "build/small/plan.json").read_text())["runs"]}
    before = results(study)
    edit(study, "repetition: 400", "repetition: 400, share: {mri: {min: 0.7}}")
    ran = stages_run(dvc("repro", cwd=study).stdout)
    assert ran[:2] == ["plan", "allocate"]
    after = results(study)
    assert {key: after[key] for key in before} == before
    assert not (set(after) - set(before)) & probe
    assert json.loads((study / "build/small/allocation.json").read_text())["target"]["shares"]["mri"] >= 0.7 - 1e-6
    assert (study / "registry/small/v2").is_dir()


def test_a_new_budget_trains_the_new_runs_alone(study):
    before = results(study)
    edit(study, "640, 960", "640, 800, 960")
    mixlang("run", "specs/small.yaml", cwd=study)
    after = results(study)
    assert {key: after[key] for key in before} == before
    rows = json.loads((study / "build/small/runs.json").read_text())["runs"]
    assert len([row for row in rows if row["key"] not in before and row["budget"] == 800]) == 2
    assert len(rows) == 12


def test_a_changed_comment_runs_the_plan_alone(study):
    edit(study, "name: small", "name: small   # the same")
    assert stages_run(dvc("repro", cwd=study).stdout) == ["plan"]
    assert "up to date" in dvc("status", cwd=study).stdout


def test_a_clone_is_clean_and_retrains_nothing_without_a_store(study, tmp_path):
    clone = tmp_path / "clone"
    git("clone", "-q", str(study), str(clone), cwd=tmp_path)
    assert not (clone / ".mixlang").exists()
    assert "up to date" in dvc("status", cwd=clone).stdout
    assert "up to date" in dvc("repro", cwd=clone).stdout
    assert results(clone) == {}
    edit(clone, "repetition: 400", "repetition: 399")  # reaches allocation, not training
    dvc("repro", cwd=clone)
    assert results(clone) == {}
    mixlang("run", "specs/small.yaml", cwd=clone)
    assert results(clone) == {}


@pytest.mark.long
def test_another_full_run_gives_the_same_losses_and_shares(finished, tmp_path):
    root = tmp_path / "again"
    mixlang("init", str(root), cwd=tmp_path)
    (root / "specs" / "small.yaml").write_text(STUDY_SPEC)
    mixlang("run", "specs/small.yaml", cwd=root)
    for name in ("runs.json", "fit.json", "allocation.json", "verification.json", "published.json"):
        assert (root / "build/small" / name).read_text() == (finished / "build/small" / name).read_text(), name


# What goes wrong


@pytest.mark.parametrize(
    ("old", "new", "where", "words"),
    [
        ("batch_size: 8", "batchsize: 8", "specs/small.yaml:9:9", "did you mean 'batch_size'"),
        (
            "{phantom: {count: 12, seed: 1, shape: [24, 24, 24]}}",
            '{nifti: "${data_root}/ct/*.nii.gz"}',
            "specs/small.yaml:4:40",
            "MIXLANG_DATA_ROOT",
        ),
        (
            "{phantom: {count: 12, seed: 1, shape: [24, 24, 24]}}",
            "{manifest: nowhere/ct.csv}",
            "specs/small.yaml:4:43",
            "there is no manifest",
        ),
        ("repetition: 400", "repetition: 2", "specs/small.yaml:12:27", "raise constraints.repetition (at least"),
        ("repetition: 400", "repetition: 40, share: {mri: {min: 0.99}}", "specs/small.yaml:12:50", "at least 0.99"),
    ],
)
def test_a_wrong_spec_ends_in_one_message_at_its_place_before_training(workspace, old, new, where, words):
    edit(workspace, old, new)
    done = mixlang("run", "specs/small.yaml", cwd=workspace, check=False)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if ": error[" in line]
    assert len(errors) == 1
    assert errors[0].startswith(where + ": error[MX")
    assert words in done.stderr
    assert results(workspace) == {}
    assert not (workspace / "build").exists()


def test_usage_errors_are_for_people(tmp_path):
    assert "not inside a mixlang workspace" in mixlang("status", cwd=tmp_path, check=False).stderr
    done = mixlang("check", "nowhere.yaml", cwd=tmp_path, check=False)
    assert (done.returncode, "nowhere.yaml:1:1: error[MX0001]" in done.stderr) == (1, True)
    assert mixlang("frobnicate", cwd=tmp_path, check=False).returncode == 2
    done = mixlang("registry", "show", "x", "--registry", str(tmp_path), cwd=tmp_path, check=False)
    assert (done.returncode, "holds nothing" in done.stderr) == (1, True)


def test_init_keeps_what_is_there(tmp_path):
    root = tmp_path / "mine"
    (root / "specs").mkdir(parents=True)
    (root / "specs" / "quickstart.yaml").write_text("mine\n")
    (root / ".gitignore").write_text("*.tmp\n")
    mixlang("init", str(root), cwd=tmp_path)
    mixlang("init", str(root), cwd=tmp_path)
    assert (root / "specs" / "quickstart.yaml").read_text() == "mine\n"
    assert (root / ".gitignore").read_text().count(".mixlang/") == 1
    assert (root / ".gitignore").read_text().startswith("*.tmp\n")
    assert "analytics = false" in (root / ".dvc" / "config").read_text()
