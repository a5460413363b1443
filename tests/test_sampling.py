"""Whose crops a run draws: sampling by volume and by subject, and subjects and sites that dominate a domain."""

import csv
import hashlib
import json
import re
from collections import Counter

import nibabel
import numpy as np
import pytest
from conftest import SMALL_SPEC, mixlang
from hypothesis import given
from hypothesis import strategies as st

from mixlang.files import read_json, write_json
from mixlang.plan.build import Plan, compile_plan
from mixlang.plan.data_manifest import DataManifest, DomainData, VolumeRecord
from mixlang.plan.dominance import Parts, in_words, parts_of
from mixlang.plan.ladder import shared_samples
from mixlang.spec import load_spec
from runners.data.sampling import SampleOrder
from runners.train.branches import branches_of, sample_order


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=6), st.integers(0, 120), st.integers(0, 120), st.integers(0, 99)
)
def test_subjects_are_drawn_equally_often_whatever_they_have(volumes, amount, more, seed):
    """Exact counts, of each subject and of each of its volumes; a shorter run's draws of a domain begin a longer one's."""
    subjects = [number for number, count in enumerate(volumes) for _ in range(count)]
    keys = [f"v{index}" for index in range(len(subjects))]
    shorter, longer = (
        SampleOrder.of({"a": count, "b": 5}, {"a": keys, "b": ["w"]}, seed, {"a": subjects})
        for count in (amount, amount + more)
    )
    drawn = [[index for index in order.volume if order.keys[index] != "w"] for order in (shorter, longer)]
    assert [len(found) for found in drawn] == [amount, amount + more]
    assert drawn[1][:amount] == drawn[0]
    by_subject = Counter(dict.fromkeys(range(len(volumes)), 0))
    by_subject.update(subjects[index] for index in drawn[0])
    assert max(by_subject.values()) - min(by_subject.values()) <= 1
    for number in range(len(volumes)):
        mine = [drawn[0].count(index) for index, whose in enumerate(subjects) if whose == number]
        assert max(mine) - min(mine) <= 1


def test_sampling_by_volume_draws_as_it_always_has():
    """The digest of the order of a run, fixed when there was no other sampling."""
    order = SampleOrder.of({"a": 40, "b": 23}, {"a": ["x", "y", "z"], "b": ["u", "v"]}, 7)
    assert hashlib.sha256(order.volume.tobytes()).hexdigest()[:16] == "46f35925edd8d9e9"


def test_sampling_by_subject_is_part_of_a_runs_identity_and_volume_is_not(tmp_path):
    manifest = DataManifest(
        {
            name: DomainData(
                tuple(
                    VolumeRecord(f"{name}/{index}", f"p{index // 2}", f"{name}{index}", (24, 24, 24), (1.0, 1.0, 1.0))
                    for index in range(16)
                )
            )
            for name in ("ct", "mri")
        }
    )
    plans = {}
    for sampling in ("", "sampling: volume, ", "sampling: subject, "):
        (tmp_path / "spec.yaml").write_text(SMALL_SPEC.replace("train: {", f"train: {{{sampling}"))
        plans[sampling] = compile_plan(load_spec(tmp_path / "spec.yaml").spec, manifest).plan
    default, volume, subject = plans.values()
    assert default.as_dict() == volume.as_dict()
    assert "sampling" not in json.dumps(default.as_dict())
    assert not {run.key for run in default.runs} & {run.key for run in subject.runs}
    write_json(tmp_path / "plan.json", subject.as_dict())
    assert Plan.read(tmp_path / "plan.json").as_dict() == subject.as_dict()
    run = max(subject.runs, key=lambda run: run.budget)
    drawn = Counter(sample_order(subject, run).volume.tolist())
    assert sum(drawn.values()) == run.budget


def test_ladders_branch_with_subjects_drawn_equally_often(tmp_path):
    """The longer run of a mixture begins with the samples that the shorter one sees before it decays."""
    text = SMALL_SPEC.replace("train: {", "train: {sampling: subject, ")
    text = text.replace("budgets: [480]", "budgets: [480, 960]")
    (tmp_path / "spec.yaml").write_text(text)
    records = {
        name: DomainData(
            tuple(
                VolumeRecord(
                    f"{name}/{i}", f"p{i % 5}" if i % 3 else "big", f"{name}{i}", (24, 24, 24), (1.0, 1.0, 1.0)
                )
                for i in range(30)
            )
        )
        for name in ("ct", "mri")
    }
    plan = compile_plan(load_spec(tmp_path / "spec.yaml").spec, DataManifest(records)).plan
    trunks = [run for run in plan.runs if branches_of(plan, run)]
    assert trunks
    for run in trunks:
        for other in branches_of(plan, run).values():
            count = shared_samples(plan, other)
            assert np.array_equal(sample_order(plan, run).volume[:count], sample_order(plan, other).volume[:count])


def test_what_dominates():
    """A patient with nine volumes beside four with one each: 9 of 13 training draws, as many as 2.0 subjects."""
    volumes = [{"subject": "big", "site": "a"}] * 9 + [{"subject": f"s{i}", "site": "b"} for i in range(4)]
    subjects, sites = parts_of(volumes, "volume")
    assert subjects.largest == ("big", pytest.approx(9 / 13))
    assert subjects.dominates
    assert subjects.effective == pytest.approx(169 / 85)
    assert in_words(subjects) == "its 5 subjects count as much as 2.0 of equal weight"
    assert sites.largest == ("a", pytest.approx(9 / 13))
    assert not sites.dominates  # of two sites one is nearly always above a half
    subjects, sites = parts_of(volumes, "subject")
    assert subjects.parts == pytest.approx(dict.fromkeys(["big", "s0", "s1", "s2", "s3"], 0.2))
    assert not subjects.dominates
    assert sites.largest == ("b", pytest.approx(0.8))
    assert sites.dominates
    assert Parts("subject", {"a": 0.3, **{f"s{i}": 0.07 for i in range(10)}}).dominates  # 3.3 times its equal part
    assert not Parts("subject", {"a": 0.25, **{f"s{i}": 0.075 for i in range(10)}}).dominates  # 2.75 times
    assert not Parts("subject", {"a": 0.5, "b": 0.5}).dominates
    assert Parts("subject", {"a": 1.0}).dominates
    assert not Parts("site", {"a": 1.0}).dominates
    assert parts_of([{"subject": "x", "site": None}], "volume")[1].parts == {}


@pytest.fixture
def lopsided(workspace):
    """A workspace whose ct, from a manifest with sites, is 69 % of one subject's; real files."""
    rng = np.random.default_rng(0)
    rows = [("big", "north")] * 18 + [(f"p{i}", "north" if i < 6 else "south") for i in range(9)]
    with (workspace / "ct.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "subject", "center"])
        for index, (subject, site) in enumerate(rows):
            image = np.full((20, 20, 20), -1000, np.int16)
            image[3:-3, 3:-3, 3:-3] = rng.normal(40, 30, (14, 14, 14))
            nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), workspace / f"{index}.nii")
            table.writerow([f"{index}.nii", subject, site])
    text = re.sub(r"  ct: .*", "  ct:  {modality: ct, source: {manifest: ct.csv}}", SMALL_SPEC)
    text = text.replace("data: {", "data: {split: {validation: 0.1, seed: 3}, ")
    (workspace / "specs" / "small.yaml").write_text(text)
    return workspace


def test_a_subject_that_dominates_is_named_by_plan_and_then_by_check(lopsided):
    spec = lopsided / "specs" / "small.yaml"
    assert "MX0314" not in mixlang("check", "specs/small.yaml", cwd=lopsided).stderr  # nothing has been scanned yet
    done = mixlang("plan", "specs/small.yaml", cwd=lopsided)
    (line,) = [
        line for line in done.stderr.splitlines() if "MX0314" in line and "draws of 'ct' are of the subject" in line
    ]
    assert line.startswith(
        "specs/small.yaml:4:3: warning[MX0314]: 69% of the training draws of 'ct' are of the subject big"
    )
    assert "its 9 subjects count as much as 2.0 of equal weight" in line
    assert "help: train.sampling: subject draws each subject equally often" in done.stderr
    mixlang("compile", "specs/small.yaml", cwd=lopsided)
    assert read_json(lopsided / "build" / "small" / "data.json")["domains"]["ct"]["volumes"][0]["site"] == "north"
    done = mixlang("check", "specs/small.yaml", cwd=lopsided)
    assert "are of the subject big, as last scanned; its 9 subjects" in done.stderr
    assert mixlang("check", "--strict", "specs/small.yaml", cwd=lopsided, check=False).returncode == 1
    spec.write_text(spec.read_text().replace("train: {", "train: {sampling: subject, "))
    assert "subject big" not in mixlang("check", "specs/small.yaml", cwd=lopsided).stderr


def test_a_subject_that_dominates_the_validation_is_named(lopsided):
    """With a seed of the split that puts the large subject on the validation side."""
    for seed in range(40):
        plan = mixlang("plan", "specs/small.yaml", "--set", f"data.split.seed={seed}", cwd=lopsided)
        if "validation crops of 'ct'" in plan.stderr:
            break
    assert "of the validation crops of 'ct' are of the subject" in plan.stderr


def test_the_report_says_whose_data_they_are(copied):
    from mixlang.report.data import data_section
    from mixlang.report.results import Results

    build = copied / "build" / "small"
    page = "".join(data_section(Results(build)))
    assert "Whose data they are" in page
    assert "training draws" in page
    assert "validation crops" in page
    data = read_json(build / "data.json")
    plan = read_json(build / "plan.json")
    trained = {plan["volumes"][key]["path"] for key in plan["domains"]["ct"]["train"]}
    for volume in data["domains"]["ct"]["volumes"]:
        if volume["path"] in trained:
            volume["subject"] = "big" if volume["path"] != min(trained) else "other"
    write_json(build / "data.json", data)
    count = len(trained)
    page = "".join(data_section(Results(build)))
    assert f"{(count - 1) / count:.0%} of the training draws of ct are of the subject big" in page


def test_an_export_gives_each_subject_its_part(tmp_path):
    from mixlang.registry.export import _parts

    members = {"train": ["x", "y", "z"], "subjects": [0, 0, 1], "validation": []}
    assert _parts(members) == {"x": 0.25, "y": 0.25, "z": 0.5}
    assert _parts({"train": ["x", "y"], "validation": []}) == {"x": None, "y": None}
