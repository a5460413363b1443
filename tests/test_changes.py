"""What a change of a spec touches, why each new run is new, what is left costs, and the limits on it."""

import json

import pytest
from conftest import SMALL_SPEC, STUDY_SPEC, mixlang
from hypothesis import given, settings
from hypothesis import strategies as st
from test_plan import MANIFEST, compiled, manifest_of

from mixlang.plan.changes import FIRST, Before, Change, Reasons, differences, grouped, touched
from mixlang.plan.cost import checkpoint_bytes, flops_per_sample, parameters, volume_bytes


def reasons(tmp_path, text=SMALL_SPEC, manifest=MANIFEST):
    """Why each run of the changed study is new, by how many."""
    before, after = compiled(tmp_path).plan, compiled(tmp_path, text, manifest).plan
    say = Reasons(before, after)
    return {reason: count for reason, count in grouped(say.of(run) for run in after.runs).items() if reason}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("name: small", "name: other  # and a comment", {}),
        ("repetition: 400", "repetition: 300", {}),
        ("640, 960", "640, 800, 960", {"the budget 800 is new": 2}),
        ("seeds: 1", "seeds: 2", {"seed 1 is new": 10}),
        ("count: 2,", "count: 4,", {"its mixture is new": 2}),
        ("budgets: [480]", "budgets: [480, 960]", {"its mixture was not planned at this budget and seed": 2}),
        ("learning_rate: 5e-3", "learning_rate: 4e-3", {"recipe.learning_rate 0.005 -> 0.004": 10}),
        ("width: 48,", "width: 96,", {"model.width 48 -> 96": 10}),
        ("validation_crops: 1", "validation_crops: 2", {}),
    ],
)
def test_each_new_run_has_its_reason(tmp_path, old, new, expected):
    assert old in SMALL_SPEC
    assert reasons(tmp_path, SMALL_SPEC.replace(old, new, 1)) == expected


def test_changed_data_are_named(tmp_path):
    found = reasons(tmp_path, manifest=manifest_of(ct=12, mri=9))
    assert found == {"training volumes of mri: 1 new, 0 gone": 6}  # those that hold none of it are what they were
    found = reasons(tmp_path, SMALL_SPEC.replace("spacing: [1, 1, 1]", "spacing: [2, 2, 2]"))
    assert all("preprocessing of" in text and "spacing [1, 1, 1] -> [2, 2, 2]" in text for text in found)
    assert sum(found.values()) == 10


def test_a_first_plan_has_one_reason(tmp_path):
    plan = compiled(tmp_path).plan
    assert {Reasons(None, plan).of(run) for run in plan.runs} == {FIRST}


def stages(tmp_path, text, untrained=0):
    before = compiled(tmp_path)
    found = touched(Before(before.plan, before.settings), compiled(tmp_path, text), untrained)
    return {name for name, why in found.items() if why}


def test_the_stages_a_change_touches(tmp_path):
    def after(old, new, untrained=0):
        return stages(tmp_path, SMALL_SPEC.replace(old, new, 1), untrained)

    assert after("name: small", "name: small  # comment") == set()
    assert after("repetition: 400", "repetition: 300") == {
        "plan",
        "allocate",
        "verify",
        "downstream",
        "report",
        "publish",
    }
    assert after("seeds: 2}", "seeds: 3}") == {"plan", "verify", "downstream", "report", "publish"}
    assert after("640, 960", "640, 800, 960", 2) == {
        "plan",
        "sweep",
        "evaluate",
        "fit",
        "allocate",
        "verify",
        "downstream",
        "report",
        "publish",
    }
    everything = {
        "plan",
        "prepare",
        "sweep",
        "evaluate",
        "fit",
        "allocate",
        "verify",
        "downstream",
        "report",
        "publish",
    }
    assert after("spacing: [1, 1, 1]", "spacing: [2, 2, 2]", 10) == everything


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2),
    lambda inner: (
        st.dictionaries(st.text("xyz", min_size=1, max_size=2), inner, max_size=3) | st.lists(inner, max_size=2)
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(json_values, json_values)
def test_differences_are_none_only_between_equals_and_name_both_sides(one, other):
    found = differences(one, other)
    assert differences(one, one) == []
    assert {(item.path, repr(item.before)) for item in found} == {
        (item.path, repr(item.after)) for item in differences(other, one)
    }
    if not found and one != other:  # a key whose value is null is a key that is not there
        assert "None" in repr(one) or "None" in repr(other) or {} in (one, other)


def test_changes_are_shown_in_short():
    assert str(Change("a.b", None, [1, 2])) == "a.b nothing -> [1, 2]"
    assert str(Change("x", 0.5, list(range(20)))) == "x 0.5 -> 20 entries"


@pytest.mark.parametrize(
    "model",
    [
        {"patch": 4, "mask_ratio": 0.75, "width": 48, "depth": 2, "heads": 3, "decoder_width": 24}
        | {"decoder_depth": 1, "decoder_heads": 3},
        {"patch": 8, "mask_ratio": 0.6, "width": 96, "depth": 4, "heads": 4, "decoder_width": 48}
        | {"decoder_depth": 3, "decoder_heads": 2},
    ],
)
def test_parameters_and_operations_are_those_of_the_model(model):
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from runners.train.mae import MAESize, MaskedAutoencoder

    crop = [16, 16, 24] if model["patch"] == 4 else [32, 32, 48]
    network = MaskedAutoencoder(MAESize.of(model, crop))
    assert parameters(model) == sum(value.numel() for value in network.parameters())
    training = {"model": model, "crop": crop}
    assert checkpoint_bytes(training, 3) == 12 * parameters(model)
    order = torch.stack([torch.randperm(network.size.tokens) for _ in range(2)])
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:  # fused attention is not counted
        network(torch.randn(2, *crop), order).mean().backward()
    assert flops_per_sample(training) == pytest.approx(counter.get_total_flops() / 2, rel=0.15)


def test_volumes_are_never_larger_than_estimated():
    assert volume_bytes((64, 64, 20), (1.0, 1.0, 3.0), (2.0, 2.0, 2.0)) == 2 * 32 * 32 * 30


def test_plan_says_what_runs_why_and_what_it_costs(workspace):
    def plan(*arguments):
        return json.loads(mixlang("plan", "specs/small.yaml", "--format", "json", *arguments, cwd=workspace).stdout)

    before = {path: path.read_bytes() for path in sorted((workspace / "build").rglob("*")) if path.is_file()}
    found = plan()
    assert [run["why"] for run in found["runs"]] == [FIRST] * 10
    assert found["kinds"]["verify"]["runs"] == 6
    assert found["cost"]["device_hours"] > 0
    assert found["cost"]["speed"]["train"] > found["cost"]["speed"]["evaluate"] > 0
    assert found["cost"]["disk"]["checkpoints"] > 0
    assert [stage["name"] for stage in found["stages"]] == [
        "plan",
        "prepare",
        "sweep",
        "evaluate",
        "fit",
        "allocate",
        "verify",
        "downstream",
        "report",
        "publish",
    ]
    assert {stage["name"]: stage["after"] for stage in found["stages"]}["report"] == ["downstream"]
    assert all(stage["runs"] for stage in found["stages"])
    after = {path: path.read_bytes() for path in sorted((workspace / "build").rglob("*")) if path.is_file()}
    assert before == after
    # measured once: the second plan reads it
    (kept,) = (workspace / ".mixlang" / "calibration").iterdir()
    changed = kept.stat().st_mtime_ns
    assert plan()["cost"]["speed"] == found["cost"]["speed"]
    assert kept.stat().st_mtime_ns == changed
    mixlang("compile", "specs/small.yaml", cwd=workspace)
    found = plan("--set", "budgets.seeds=2")
    assert grouped(run["why"] for run in found["runs"]) == {"planned before, not trained yet": 10, "seed 1 is new": 10}
    text = mixlang("plan", "specs/small.yaml", "--set", "budgets.seeds=2", cwd=workspace).stdout
    assert "  10  seed 1 is new" in text
    assert "device-hours left" in text
    # limits: refused before anything is trained, by `run` and by DVC alone
    limited = ["--set", "limits.max_device_hours=1e-9", "--set", "limits.max_disk=1 kB"]
    done = mixlang("run", "specs/small.yaml", *limited, cwd=workspace, check=False)
    assert done.returncode == 1
    assert done.stderr.count("error[MX0401]") == 2
    assert "--set:1:25: error[MX0401]: about" in done.stderr
    from conftest import dvc

    by_dvc = dvc("repro", "sweep@small", cwd=workspace, check=False)
    assert by_dvc.returncode != 0
    assert "error[MX0401]" in by_dvc.stderr + by_dvc.stdout
    assert not (workspace / ".mixlang" / "runs").exists()
    assert len(plan(*limited)["limits"]) == 2


def test_diff_spec_tells_before_it_is_made(workspace):
    other = workspace / "specs" / "other.yaml"
    other.write_text(STUDY_SPEC.replace("640, 960", "640, 800, 960").replace("repetition: 400", "repetition: 300"))
    command = ["diff-spec", "specs/small.yaml", "specs/other.yaml"]
    found = json.loads(mixlang(*command, "--format", "json", cwd=workspace).stdout)
    assert {item["path"] for item in found["changes"]} == {"budgets.probe", "constraints.repetition"}
    assert (found["runs"]["kept"], len(found["runs"]["new"]), found["runs"]["dropped"]) == (10, 2, 0)
    assert {run["why"] for run in found["runs"]["new"]} == {"the budget 800 is new"}
    text = mixlang(*command, cwd=workspace).stdout
    assert "constraints.repetition 400 -> 300" in text
    assert "10 kept, 2 new (1,600 samples), 0 dropped" in text
    assert "stays  prepare" in text
    assert not (workspace / "build" / "other").exists()
    same = mixlang("diff-spec", "specs/small.yaml", "specs/small.yaml", cwd=workspace).stdout
    assert "the same spec" in same
    assert "runs " not in same.split("stages\n")[1]


def test_heavy_repetition_and_domains_that_cannot_be_split_are_said_at_their_place(workspace):
    spec = workspace / "specs" / "small.yaml"
    spec.write_text(SMALL_SPEC.replace("count: 8, seed: 2", "count: 2, seed: 2"))
    done = mixlang("compile", "specs/small.yaml", cwd=workspace)
    assert "specs/small.yaml:5:3: warning[MX0306]: a probe run shows each distinct crop of 'mri'" in done.stderr
    from test_sources import save

    folder = workspace / "mri"
    folder.mkdir()
    save(folder / "one.nii.gz")
    spec.write_text(
        SMALL_SPEC.replace("{phantom: {count: 8, seed: 2, shape: [24, 24, 24]}}", "{nifti: 'mri/*.nii.gz'}")
    )
    done = mixlang("compile", "specs/small.yaml", cwd=workspace, check=False)
    assert "specs/small.yaml:5:24: error[MX0305]: domain 'mri' has 1 usable subject" in done.stderr


def test_only_runs_that_trained_all_their_samples_tell_the_rate(tmp_path):
    from mixlang.study.estimate import _speed
    from mixlang.study.known import Progress
    from mixlang.study.workspace import Workspace

    plan = compiled(tmp_path).plan
    whole, branch = plan.runs[0], plan.runs[1]
    times = {"seconds": {"train": 32.0, "evaluate": 1.0}, "resumed_at_step": 0, "crops_evaluated": 5}
    short = {"seconds": {"train": 0.1, "evaluate": 1.0}, "resumed_at_step": 30, "crops_evaluated": 5}
    done = Progress({whole.key: {**whole.as_dict(), **times}, branch.key: {**branch.as_dict(), **short}})
    speed, unknown = _speed(Workspace(tmp_path), plan, done)
    assert unknown == ""
    assert (speed.train, speed.evaluate) == (pytest.approx(32.0 / whole.budget), pytest.approx(0.2))
    assert speed.device == "1 runs of this study"
