"""A clone without the data: whatever needs only committed results goes on; what needs the files says so."""

import json
import re
import shutil

import pytest
from conftest import SMALL_SPEC, dvc, mixlang
from driving import edit, git

from runners.data.phantom import Recipe, write_phantom

SOURCES = {"ct": (12, 1), "mri": (8, 2)}
"""Scans of each domain, and the seed of the phantoms that they are."""


def write_scans(root):
    """Phantoms as files, a file a subject."""
    for name, (count, seed) in SOURCES.items():
        (root / name).mkdir(parents=True)
        phantom = {"seed": seed, "shape": [24, 24, 24], "spacing": [1.0, 1.0, 1.0], "anatomy": "trunk"}
        for index in range(count):
            image, _ = write_phantom(Recipe.of(name, phantom, index), root / "made")
            shutil.copy(image, root / name / f"{name}{index:02d}.nii.gz")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A finished, committed study of files below ${data_root}, and its clone on a machine without them."""
    top = tmp_path_factory.mktemp("absent")
    write_scans(top / "data")
    root = top / "ws"
    mixlang("init", str(root), cwd=top)
    text = SMALL_SPEC
    for name, (count, seed) in SOURCES.items():
        phantom = f"{{phantom: {{count: {count}, seed: {seed}, shape: [24, 24, 24]}}}}"
        assert phantom in text
        pattern = f"{{nifti: \"${{data_root}}/{name}/*.nii.gz\", subject: '({name}[0-9]+)'}}"
        text = text.replace(phantom, pattern)
    (root / "specs" / "small.yaml").write_text(text)
    mixlang("run", "specs/small.yaml", cwd=root, env={"MIXLANG_DATA_ROOT": str(top / "data")})
    git("add", "-A", cwd=root)
    git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "a study", cwd=root)
    git("clone", "-q", str(root), str(top / "clone"), cwd=top)
    return top / "clone"


@pytest.fixture
def clone(published, tmp_path):
    shutil.copytree(published, tmp_path / "clone", symlinks=True)
    return tmp_path / "clone"


def shares(root):
    return json.loads((root / "build" / "small" / "allocation.json").read_text())["target"]["shares"]


def test_nothing_is_asked_of_the_data_where_nothing_is_trained(clone):
    done = mixlang("run", "specs/small.yaml", cwd=clone)
    assert "${data_root} is not defined: what an earlier scan found is used as it is" in done.stderr
    assert "trained" not in done.stderr
    assert re.search(r"small@v1: (train on these shares|the published shares)", done.stdout)
    assert git("status", "--porcelain", "--", "build/small/plan.json", "registry", cwd=clone) == ""
    assert "scan" not in dvc("status", cwd=clone).stdout


def test_check_and_plan_answer_without_the_data(clone):
    assert "warning[MX0316]" in mixlang("check", "specs/small.yaml", cwd=clone).stderr
    found = json.loads(mixlang("plan", "specs/small.yaml", "--format", "json", cwd=clone).stdout)
    assert all(run["done"] for run in found["runs"])
    strict = mixlang("check", "specs/small.yaml", "--strict", cwd=clone, check=False)
    assert strict.returncode == 1


def test_another_constraint_is_solved_and_published_without_the_data(clone):
    before = shares(clone)
    bound = "{ct: {max: 0.3}}" if before["ct"] > 0.35 else "{mri: {max: 0.3}}"
    edit(clone, "constraints: {repetition: 400}", f"constraints: {{repetition: 400, share: {bound}}}")
    done = mixlang("run", "specs/small.yaml", cwd=clone, check=False)
    assert done.returncode == 3  # its mixture has never been trained
    assert "there is something to train, and its data are not here" in done.stderr
    assert "--set 'budgets.holdout=[]'" in done.stderr
    after = shares(clone)
    assert min(after.values()) == pytest.approx(0.3, abs=1e-6) or max(after.values()) == pytest.approx(0.7, abs=1e-6)
    done = mixlang("run", "specs/small.yaml", "--set", "budgets.holdout=[]", cwd=clone)
    assert "small@v2" in done.stdout
    assert mixlang("registry", "verify", "small@v2", cwd=clone)


def test_another_source_needs_the_data(clone):
    edit(clone, "/ct/*.nii.gz", "/other/*.nii.gz")
    done = mixlang("run", "specs/small.yaml", cwd=clone, check=False)
    assert done.returncode == 1
    assert "error[MX0301]" in done.stderr
    assert "${data_root} is not defined" in done.stderr
