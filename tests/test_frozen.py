"""The losses of tasks under frozen encoders: the probes' mathematics against independent answers, and what they depend on."""

import json

import numpy as np
import pytest
import torch
from conftest import SMALL_SPEC, mixlang
from driving import edit, git, results
from scipy.optimize import minimize

from mixlang.plan.tasks import MOST_TILES
from runners.downstream import frozen
from runners.downstream.crops import tile_boxes

RNG = np.random.default_rng(0)


def sums(x, y):
    return frozen._Sums(x.T @ x, x.T @ y, float((y**2).sum()))


def with_ones(x):
    return np.column_stack([x, np.ones(len(x))])


def test_ridge_is_the_least_squares_of_rows_that_hold_the_penalty():
    """A penalty on standardised weights is as many rows more, of zeros to be predicted."""
    x, y = RNG.normal(3.0, [1.0, 5.0, 0.2], (200, 3)), RNG.normal(0.0, 1.0, (200, 2))
    found = sums(with_ones(x), y).solve(0.3)
    rows = np.column_stack([np.diag(np.sqrt(0.3 * 200) * x.std(axis=0)), np.zeros(3)])
    expected = np.linalg.lstsq(np.vstack([with_ones(x), rows]), np.vstack([y, np.zeros((3, 2))]), rcond=None)[0]
    assert found == pytest.approx(expected, abs=1e-9)


def test_the_error_of_weights_is_known_from_sums_alone():
    x, y, weights = with_ones(RNG.normal(size=(50, 3))), RNG.normal(size=(50, 2)), RNG.normal(size=(4, 2))
    assert sums(x, y).error(weights) == pytest.approx(float(((y - x @ weights) ** 2).sum()))


def test_a_penalty_is_chosen_by_subjects_left_out():
    """Where features say nothing the largest one wins, where they say all the smallest."""
    x = RNG.normal(size=(120, 8))
    folds = [index % 4 for index in range(12)]
    parts = [slice(10 * index, 10 * index + 10) for index in range(12)]
    noise, signal = RNG.normal(size=(120, 1)), x[:, :1] * 2.0
    for y, expected in ((noise, frozen.RIDGE[-1]), (signal, frozen.RIDGE[0])):
        penalty, _ = frozen._ridge([sums(with_ones(x[part]), y[part]) for part in parts], folds)
        assert penalty == expected
    alone, _ = frozen._ridge([sums(with_ones(x), noise)], [0])
    assert alone == frozen.RIDGE[-1]


def test_the_logistic_fit_is_the_minimum_that_another_solver_finds():
    x, truth = RNG.normal(size=(60, 4)), RNG.integers(0, 3, 60)
    found = frozen._logistic(x, truth, 3, 0.1)

    def value(flat):
        weights = torch.tensor(flat.reshape(5, 3), requires_grad=True)
        logits = torch.from_numpy(with_ones(x)) @ weights
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(truth)) + 0.05 * (weights[:-1] ** 2).sum()
        loss.backward()
        return float(loss.detach()), weights.grad.numpy().ravel()

    best = minimize(value, np.zeros(15), jac=True, method="BFGS", options={"gtol": 1e-9})
    assert value(found.ravel())[0] == pytest.approx(best.fun, abs=1e-9)
    assert found[:-1] == pytest.approx(best.x.reshape(5, 3)[:-1], abs=1e-4)


def test_chances_are_averaged_over_penalties_and_change_smoothly():
    x, truth = RNG.normal(size=(40, 6)), RNG.integers(0, 2, 40)
    x[:, 0] += 1.5 * truth
    folds = [index % 4 for index in range(40)]
    asked = RNG.normal(size=(5, 6))
    found = frozen._averaged(x, truth, 2, folds, asked)
    assert found.sum(axis=1) == pytest.approx(np.ones(5))
    moved = frozen._averaged(x + 1e-4 * RNG.normal(size=x.shape), truth, 2, folds, asked)
    assert np.abs(found - moved).max() < 1e-3


def test_tokens_and_voxels_of_a_patch_are_brought_together():
    maps = torch.arange(2 * 3 * 8 * 4 * 8).view(2, 3, 8, 4, 8)
    found = frozen._by_token(maps, 4)
    assert found.shape == (2 * 2 * 1 * 2, 3 * 64)
    assert torch.equal(found[1].view(3, 4, 4, 4), maps[0, :, :4, :, 4:])
    assert torch.equal(found[6].view(3, 4, 4, 4), maps[1, :, 4:, :, :4])


def test_the_tiles_seen_are_few_fixed_and_hold_classes():
    assert len(tile_boxes((64, 64, 64), (16, 16, 16))) == 64
    holds = [index >= 60 for index in range(64)]
    chosen = frozen._chosen(64, holds, 7, "tiles a")
    assert chosen == frozen._chosen(64, holds, 7, "tiles a")
    assert chosen != frozen._chosen(64, holds, 8, "tiles a")
    assert len(chosen) == MOST_TILES
    assert sum(holds[tile] for tile in chosen) == 4


# A study with tasks in its objective

TASKS = """\
tasks:
  organs: {kind: segmentation, domain: ct, classes: {liver: 2}, folds: 2, modes: []}
  lesion: {kind: classification, domain: ct, present: [8], folds: 2, modes: []}
objective: {weights: {domains: 0, tasks: {organs: 1, lesion: 2}}}
"""


@pytest.fixture(scope="module")
def with_tasks(finished, tmp_path_factory):
    """The finished small study, to whose objective two tasks were added; what it said."""
    import shutil

    root = tmp_path_factory.mktemp("tasks") / "ws"
    shutil.copytree(finished, root, symlinks=True)
    before = results(root)
    path = root / "specs" / "small.yaml"
    path.write_text(SMALL_SPEC + TASKS)
    plan = json.loads(mixlang("plan", "specs/small.yaml", "--format", "json", cwd=root).stdout)
    done = mixlang("run", "specs/small.yaml", cwd=root)
    return root, before, plan, done


def test_tasks_are_added_to_the_objective_without_training_a_probe_run(with_tasks):
    root, before, plan, done = with_tasks
    assert {run["todo"] for run in plan["runs"]} == {"evaluate"}
    assert {run["why"] for run in plan["runs"]} == {"not measured yet: organs, lesion"}
    assert "sweep:" not in done.stderr  # the plan of the runs is what it was
    assert "evaluate: 10 runs evaluated" in done.stderr
    table = json.loads((root / "build/small/runs.json").read_text())
    assert set(table["evaluations"]) == {"ct", "mri", "organs", "lesion"}
    assert {row["key"] for row in table["runs"]} <= set(before)
    assert before.items() <= results(root).items()


def test_the_allocation_and_its_proof_are_of_the_tasks(with_tasks):
    root, *_ = with_tasks
    allocation = json.loads((root / "build/small/allocation.json").read_text())
    measure = allocation["target"]["measure"]
    assert measure["weights"] == pytest.approx({"ct": 0, "mri": 0, "organs": 1 / 3, "lesion": 2 / 3})
    assert set(allocation["target"]["structure"]["links"]) == {"ct", "mri", "organs", "lesion"}
    page = (root / "build/small/report.html").read_text()
    assert "Tasks of the objective" in page
    assert mixlang("registry", "verify", "small@v2", cwd=root).returncode == 0
    shown = mixlang("registry", "show", "small@v2", cwd=root).stdout
    assert "organs" in shown


def test_a_second_run_measures_nothing_and_a_clone_neither(with_tasks, tmp_path):
    import shutil

    root, *_ = with_tasks
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, symlinks=True)
    said = mixlang("run", "specs/small.yaml", cwd=copy).stderr
    assert "evaluated" not in said
    git("add", "-A", cwd=copy)
    git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "tasks", cwd=copy)
    shutil.rmtree(copy / ".mixlang")
    edit(copy, "lesion: 2}", "lesion: 1}")
    mixlang("run", "specs/small.yaml", "--set", "budgets.holdout=[]", cwd=copy)
    assert not list((copy / ".mixlang").glob("runs/*/*/result.json"))


@pytest.mark.long
def test_a_version_with_tasks_is_trained_again_from_its_plan(with_tasks):
    root, *_ = with_tasks
    said = mixlang("registry", "verify", "small@v2", "--rerun", cwd=root).stdout
    assert "with the same losses to the bit" in said
    assert "the losses of tasks are not measured again: lesion, organs" in said


def test_a_task_says_how_its_loss_came_about(with_tasks):
    root, *_ = with_tasks
    records = [json.loads(path.read_text()) for path in (root / ".mixlang").glob("runs/*/*/evaluations/*.json")]
    organs = [record for record in records if "classes" in record]
    lesion = [record for record in records if "constant" in record]
    assert len(organs) == len(lesion) >= 10
    assert all(0 < record["classes"]["liver"] == record["loss"] < 1 for record in organs)
    assert all(record["penalty"] in frozen.RIDGE for record in organs)
    assert len({record["constant"] for record in lesion}) == 1


def test_a_task_whose_classes_cannot_be_measured_is_refused_before_training(workspace):
    text = SMALL_SPEC + TASKS.replace("folds: 2, modes: []}\n  lesion", "modes: [], files: ['*/0']}\n  lesion")
    (workspace / "specs" / "small.yaml").write_text(text)
    done = mixlang("run", "specs/small.yaml", cwd=workspace, check=False)
    assert done.returncode == 1
    assert "error[MX0312]" in done.stderr
    assert not (workspace / ".mixlang" / "runs").exists()
