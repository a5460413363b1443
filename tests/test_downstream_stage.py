"""The downstream stage as a user runs it: a real workspace, real DVC, real fits, and what must not be trained again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import STUDY_SPEC, dvc, mixlang
from driving import edit, git, results

from mixlang.spec import SpecError
from mixlang.study.compile import compile_study
from runners.data.phantom import Recipe, anatomy, write_phantom

TASKS = """\
tasks:
  lesion: {kind: classification, domain: ct, present: [8], modes: [probe], folds: 2, steps: 3}
  organs: {kind: segmentation, domain: mri, classes: {liver: 2}, modes: [probe], folds: 2, steps: 2, batch_size: 1}
downstream:
  encoders: [allocated, proportional, scratch]
  seeds: 2
"""


def fits(root):
    return {path.stem: path.stat().st_mtime_ns for path in (root / ".mixlang").glob("downstream/*/*.json")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A workspace in which the small spec has been run with two tasks, and committed; tests work on copies of it."""
    root = tmp_path_factory.mktemp("downstream") / "ws"
    mixlang("init", str(root), cwd=root.parent)
    (root / "specs" / "small.yaml").write_text(STUDY_SPEC + TASKS)
    mixlang("run", "specs/small.yaml", cwd=root, timeout=900)
    git("add", "-A", cwd=root)
    git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "a study", cwd=root)
    return root


@pytest.fixture
def study(finished, tmp_path):
    """A copy of the finished workspace, run store included."""
    root = tmp_path / "a copy"
    shutil.copytree(finished, root, symlinks=True)
    return root


def document(root):
    return json.loads((root / "build/small/downstream.json").read_text())


def test_tables_intervals_and_sentences_are_where_they_should_be(finished):
    found = document(finished)
    assert len(fits(finished)) == 2 * 3 * 2 * 2  # tasks, encoders, seeds, folds
    lesion, organs = found["tasks"]["lesion"], found["tasks"]["organs"]
    assert lesion["test"] == {"volumes": 12, "subjects": 12, "seen_unlabelled": True}
    assert [item["encoder"] for item in lesion["results"]] == ["allocated", "proportional", "scratch"]
    for item in lesion["results"]:
        assert item["auroc"]["low"] <= item["auroc"]["mean"] <= item["auroc"]["high"]
        assert len(item["seeds"]) == 2
        assert item["auroc"]["mean"] == pytest.approx(sum(item["seeds"]) / 2, abs=1e-4)
    pairs = {(item["encoder"], item["against"]): item["mean"] for item in organs["differences"]}
    means = {item["encoder"]: item["dice"]["mean"] for item in organs["results"]}
    assert set(pairs) == {("allocated", "proportional"), ("allocated", "scratch"), ("proportional", "scratch")}
    for (ours, other), difference in pairs.items():
        assert difference == pytest.approx(means[ours] - means[other], abs=2e-5)
    assert "the allocated encoder is" in lesion["sentences"][0]
    assert "against proportional's" in found["sentences"][0]
    assert "no pretraining" in found["sentences"][1]
    version = finished / "registry/small/v1"
    page = (version / "report.html").read_text()
    assert "Downstream tasks" in page
    assert "without labels" in page  # what the encoders have seen of test subjects
    shown = mixlang("registry", "show", "small", cwd=finished).stdout
    assert "the allocated encoder is" in " ".join(shown.split())
    assert json.loads((version / "downstream.json").read_text()) == found
    assert "as published" in mixlang("registry", "verify", cwd=finished).stdout


def test_a_second_run_fits_nothing_and_a_clone_is_clean(study, tmp_path):
    before = (fits(study), results(study))
    mixlang("run", "specs/small.yaml", cwd=study)
    assert (fits(study), results(study)) == before
    assert "up to date" in dvc("status", cwd=study).stdout
    assert git("status", "--porcelain", cwd=study) == ""
    clone = tmp_path / "clone"
    git("clone", "-q", str(study), str(clone), cwd=tmp_path)
    assert "up to date" in dvc("repro", cwd=clone).stdout
    assert not (clone / ".mixlang").exists()


def stage(root):
    """The stage alone, on what stands in the build folder."""
    return mixlang("stage", "downstream", "small", cwd=root).stderr


def test_a_changed_task_is_fitted_alone_and_pretraining_is_left_alone(study):
    before, runs, old = fits(study), results(study), document(study)
    edit(study, "classes: {liver: 2}", "classes: {spleen: 3}")
    mixlang("compile", "specs/small.yaml", cwd=study)
    stage(study)
    after, new = fits(study), document(study)
    assert {key: after[key] for key in before} == before
    assert len(after) == len(before) + 12
    assert results(study) == runs
    assert new["tasks"]["lesion"] == old["tasks"]["lesion"]
    assert new["tasks"]["organs"]["classes"] == ["spleen"]
    edit(study, "classes: {spleen: 3}", "classes: {liver: 2}")
    mixlang("compile", "specs/small.yaml", cwd=study)
    stage(study)
    assert (fits(study), document(study)) == (after, old)  # what was fitted before is taken as it is


def test_weights_that_are_gone_are_trained_again_aloud_and_give_the_same_answer(study):
    rows = json.loads((study / "build/small/verification.json").read_text())["runs"]
    gone = next(row["key"] for row in rows if row["mixture"] == "proportional")
    old, runs = document(study), results(study)
    shutil.rmtree(study / ".mixlang" / "runs" / gone[:2] / gone)
    (study / "build/small/downstream.json").unlink()
    for key in list(fits(study))[::6]:
        (study / ".mixlang" / "downstream" / key[:2] / f"{key}.json").unlink()
    assert "the weights of 1 run are not in" in stage(study)
    assert document(study) == old
    assert {key for key, written in results(study).items() if written != runs[key]} == {gone}


def test_an_interrupted_stage_goes_on_where_it_was(study):
    old = document(study)
    shutil.rmtree(study / ".mixlang" / "downstream")
    (study / "build/small/downstream.json").unlink()
    command = [sys.executable, "-m", "mixlang.cli", "stage", "downstream", "small"]
    env = {**os.environ, "MIXLANG_JOBS": "1"}
    child = subprocess.Popen(command, cwd=study, env=env, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while len(fits(study)) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGTERM)
    said = child.communicate(timeout=120)[1]
    assert child.returncode == 130, said
    kept = fits(study)
    assert 3 <= len(kept) < 24
    stage(study)
    after = fits(study)
    assert {key: after[key] for key in kept} == kept
    assert len(after) == 24
    assert document(study) == old


# What cannot be measured is refused before anything is trained


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ("present: [8]", "present: [1]", (16, 3), "all 12 volumes are of the class 'present'"),
        ("classes: {liver: 2}", "classes: {liver: 2, x: 99}", (17, 3), "'x' (label 99) is in no label map"),
        ("{liver: 2}, modes: [probe], folds: 2", "{x: 99}", (17, 3), "'x' (label 99) is in no label map"),
    ],
)
def test_a_task_that_cannot_be_measured_is_refused(tmp_path, old, new, place, words):
    (tmp_path / "specs").mkdir()
    (tmp_path / "dvc.yaml").write_text("vars:\n  - specs: []\nstages: {}\n")
    (tmp_path / ".dvc").mkdir()
    text = STUDY_SPEC + TASKS
    assert old in text
    (tmp_path / "specs/small.yaml").write_text(text.replace(old, new))
    with pytest.raises(SpecError) as caught:
        compile_study(tmp_path / "specs/small.yaml", write=True)
    (found,) = caught.value.diagnostics
    assert (found.code, (found.position.line, found.position.column)) == ("MX0312", place)
    assert words in found.message
    assert not (tmp_path / "build").exists()


def test_a_volume_is_positive_where_its_labels_are_larger_than_asked(tmp_path):
    (tmp_path / "specs").mkdir()
    (tmp_path / "dvc.yaml").write_text("vars:\n  - specs: []\nstages: {}\n")
    (tmp_path / ".dvc").mkdir()
    sizes = np.array(
        [(anatomy(Recipe("ct", (24, 24, 24), (1.0, 1.0, 1.0), 1, index)) == 2).sum() / 1000 for index in range(12)]
    )
    middle = float(np.median(sizes))
    text = (STUDY_SPEC + TASKS).replace("present: [8]", f"present: [2], larger_than: {middle:.4f}")
    (tmp_path / "specs/small.yaml").write_text(text)
    compile_study(tmp_path / "specs/small.yaml", write=True)
    cases = json.loads((tmp_path / "build/small/settings/downstream.json").read_text())["tasks"]["lesion"]["cases"]
    assert sorted(case["class"] for case in cases) == sorted((sizes > round(middle, 4)).astype(int).tolist())
    assert 0 < sum(case["class"] for case in cases) < 12


def test_labels_that_are_not_there_are_refused_at_their_place(tmp_path):
    (tmp_path / "specs").mkdir()
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "dvc.yaml").write_text("vars:\n  - specs: []\nstages: {}\n")
    rows = ["path,subject,grade"]
    for index in range(8):
        recipe = Recipe("ct", (20, 20, 20), (1.0, 1.0, 1.0), 5, index)
        image, label = write_phantom(recipe, tmp_path)
        (tmp_path / f"v{index}.nii.gz").write_bytes(image.read_bytes())
        (tmp_path / f"v{index}_seg.nii.gz").write_bytes(label.read_bytes())
        rows.append(f"v{index}.nii.gz,s{index},{'high' if index % 2 else 'low'}")
    (tmp_path / "ct.csv").write_text("\n".join(rows) + "\n")
    spec = STUDY_SPEC.replace("phantom: {count: 12, seed: 1, shape: [24, 24, 24]}", "manifest: ct.csv")
    tasks = "tasks:\n  a: {kind: segmentation, domain: ct, classes: {liver: 2}, folds: 2}\n"

    def problem(old="", new=""):
        (tmp_path / "specs/small.yaml").write_text(spec + tasks.replace(old, new))
        try:
            return compile_study(tmp_path / "specs/small.yaml", write=False).compiled
        except SpecError as error:
            (found,) = [item for item in error.diagnostics if item.severity == "error"]
            return found.code, found.position.line, f"{found.message}; {found.help}"

    code, line, said = problem()
    assert (code, line) == ("MX0311", 16)
    assert "no volume of 'ct' has a label map" in said
    code, line, said = problem(
        "kind: segmentation, domain: ct, classes: {liver: 2}", "kind: classification, domain: ct, column: gradde"
    )
    assert (code, line) == ("MX0311", 16)
    assert "did you mean 'grade'?" in said
    by_grade = problem(
        "kind: segmentation, domain: ct, classes: {liver: 2}", "kind: classification, domain: ct, column: grade"
    )
    cases = by_grade.settings["downstream"]["tasks"]["a"]["cases"]
    assert sorted((case["subject"], case["class"]) for case in cases) == [(f"s{i}", 1 - i % 2) for i in range(8)]
    assert by_grade.settings["downstream"]["tasks"]["a"]["classes"] == ["high", "low"]
    named = problem("{liver: 2}", "{liver: 2}, label_map: '{stem}_seg.nii.gz'").settings["downstream"]["tasks"]["a"]
    assert len(named["cases"]) == 8
    assert all(case["label"]["path"].endswith("_seg.nii.gz") for case in named["cases"])
    some = problem("{liver: 2}", "{liver: 2}, label_map: '{stem}_seg.nii.gz', files: ['v[0-5].*']")
    assert len(some.settings["downstream"]["tasks"]["a"]["cases"]) == 6
    (tmp_path / "v3_seg.nii.gz").write_text("damaged")
    code, line, said = problem("{liver: 2}", "{liver: 2}, label_map: '{stem}_seg.nii.gz'")
    assert (code, line) == ("MX0311", 16)
    assert "v3_seg.nii.gz cannot be used" in said
