"""What is counted as done: runs of exactly these settings, told by their keys, on a study that is finished."""

import json

from conftest import mixlang
from driving import edit, git

PET = "data: {", "  pet: {modality: pet, source: {phantom: {count: 8, seed: 3, shape: [24, 24, 24]}}}\ndata: {"


def planned(root, *arguments):
    return json.loads(mixlang("plan", "specs/small.yaml", "--format", "json", *arguments, cwd=root).stdout)


def counts(found):
    return {kind: (row["runs"], row["done"]) for kind, row in found["kinds"].items()}


def test_a_finished_study_has_nothing_to_do(copied):
    found = planned(copied)
    assert all(runs == done for runs, done in counts(found).values())
    assert sum(row["samples_left"] for row in found["kinds"].values()) == 0
    assert found["kinds"]["verify"]["known"]
    assert found["cost"]["device_hours"] == 0


def test_runs_of_other_domains_are_not_done(copied):
    edit(copied, *PET)
    found = planned(copied)
    assert all(done == 0 for _, done in counts(found).values())
    assert not found["kinds"]["verify"]["known"]
    assert "not known before the allocation" in mixlang("plan", "specs/small.yaml", cwd=copied).stdout


def test_runs_of_another_model_are_not_done(copied):
    found = planned(copied, "--set", "model={arch: vit_tiny, patch: 8}")
    assert all(done == 0 for _, done in counts(found).values())


def test_runs_at_another_held_out_budget_are_not_done(copied):
    found = planned(copied, "--set", "budgets.holdout=[1600]")
    assert counts(found)["single"] == (8, 8)
    assert counts(found)["verify"][1] == 0
    assert not found["kinds"]["verify"]["known"]


def test_held_out_runs_are_known_while_the_allocation_is_the_one_there_would_be(copied):
    before = counts(planned(copied))["verify"]
    more = planned(copied, "--set", "verify.seeds=3")["kinds"]["verify"]
    assert more["known"]
    assert more["done"] == before[1]
    assert more["runs"] > before[0]
    assert more["samples_left"] == 1280 * (more["runs"] - more["done"])
    # Another constraint gives another allocation, though its file is still there.
    assert not planned(copied, "--set", "constraints.share={mri: {min: 0.3}}")["kinds"]["verify"]["known"]
    assert not planned(copied, "--set", "law.family=power")["kinds"]["verify"]["known"]
    # So does a table of runs that is not the one the laws were fitted to.
    table = copied / "build/small/runs.json"
    table.write_text(table.read_text().replace("0.", "1.", 1))
    assert not planned(copied)["kinds"]["verify"]["known"]
    git("checkout", "--", "build", cwd=copied)
    (copied / "build/small/allocation.json").write_text("{")
    assert not planned(copied)["kinds"]["verify"]["known"]


def test_limits_count_the_same_way(copied):
    edit(copied, "verify: {", "limits: {max_device_hours: 1e-9}\nverify: {")
    mixlang("run", "specs/small.yaml", cwd=copied)  # nothing is left to train
    said = mixlang("run", "specs/small.yaml", "--set", "budgets.holdout=[1600]", cwd=copied, check=False)
    assert said.returncode == 1
    assert "are left to train, over the limit" in said.stderr


def test_status_counts_the_plan_as_compiled(copied):
    mixlang("compile", "specs/small.yaml", "--set", "model={arch: vit_tiny, patch: 8}", cwd=copied)
    assert "0 of 10 probe runs done" in mixlang("status", cwd=copied).stdout
