"""The plan: identity, the firewall, the design of the probe, the split."""

import dataclasses
import json

import pytest
from conftest import SMALL_SPEC
from hypothesis import given
from hypothesis import strategies as st

from mixlang.errors import InputError
from mixlang.files import canonical_json, canonical_object, digest
from mixlang.plan.build import Plan, compile_plan, unusable
from mixlang.plan.data_manifest import DataManifest, DomainData, VolumeRecord, in_two_domains
from mixlang.plan.design import probe_points, sobol_simplex
from mixlang.plan.ladder import shared_samples, trunk_of
from mixlang.plan.split import split_subjects
from mixlang.plan.stages import STAGES
from mixlang.plan.whole_samples import whole_amounts, whole_mixture
from mixlang.spec import load_spec
from mixlang.spec.feasibility import infeasible
from mixlang.spec.schema import Split
from mixlang.study.pipeline import register, render
from mixlang.study.workspace import Study, Workspace


def spec_of(tmp_path, text=SMALL_SPEC):
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    return load_spec(path).spec


def manifest_of(**counts):
    def volume(name, index):
        return VolumeRecord(f"{name}/{index}", f"{name}-{index}", digest([name, index]), (24, 24, 24), (1.0, 1.0, 1.0))

    return DataManifest({name: DomainData(tuple(volume(name, i) for i in range(n))) for name, n in counts.items()})


MANIFEST = manifest_of(ct=12, mri=8)


def compiled(tmp_path, text=SMALL_SPEC, manifest=MANIFEST):
    # Manifest entries of phantom domains carry their index at the end of the path, as scanning writes them.
    return compile_plan(spec_of(tmp_path, text), manifest)


def test_a_plan_is_a_function_of_its_inputs(tmp_path):
    assert compiled(tmp_path).plan.as_dict() == compiled(tmp_path).plan.as_dict()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: small", "name: small  # a comment"),
        ("repetition: 400", "repetition: 300"),
        ("target: 2000", "target: 3000"),
        ("seeds: 2}", "seeds: 3}"),
        ("design:", "objective: {minimize: worst_case}\nlaunch: {max_parallel: 1}\ndesign:"),
    ],
)
def test_what_does_not_change_the_probe_runs_leaves_the_plan_as_it_is(tmp_path, old, new):
    assert compiled(tmp_path, SMALL_SPEC.replace(old, new)).plan.as_dict() == compiled(tmp_path).plan.as_dict()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("learning_rate: 5e-3", "learning_rate: 4e-3"),
        ("patch: 4", "patch: 8"),
        ("width: 48", "width: 96"),
        ("crop: [16, 16, 16]", "crop: [20, 20, 20]"),
    ],
)
def test_what_changes_results_changes_every_key(tmp_path, old, new):
    before = {run.key for run in compiled(tmp_path).plan.runs}
    assert before.isdisjoint(run.key for run in compiled(tmp_path, SMALL_SPEC.replace(old, new)).plan.runs)


def test_a_new_budget_adds_runs_and_keeps_the_others(tmp_path):
    before = {run.key for run in compiled(tmp_path).plan.runs}
    after = {run.key for run in compiled(tmp_path, SMALL_SPEC.replace("640, 960", "640, 800, 960")).plan.runs}
    assert before < after
    assert len(after - before) == 2  # one run for each domain alone, one seed


def test_the_order_of_domains_in_the_file_decides_nothing(tmp_path):
    lines = SMALL_SPEC.splitlines()
    lines[3], lines[4] = lines[4], lines[3]
    one, other = compiled(tmp_path), compiled(tmp_path, "\n".join(lines))
    assert one.plan.as_dict() == other.plan.as_dict()


def test_new_data_of_one_domain_changes_only_the_runs_that_draw_from_it(tmp_path):
    more = manifest_of(ct=12, mri=9)
    before, after = compiled(tmp_path).plan, compiled(tmp_path, manifest=more).plan
    same = {run.key for run in before.runs} & {run.key for run in after.runs}
    assert all(run.amounts["mri"] == 0 for run in before.runs if run.key in same)


def test_a_plan_survives_its_file(tmp_path):
    from mixlang.files import write_json

    plan = compiled(tmp_path).plan
    write_json(tmp_path / "plan.json", plan.as_dict())
    again = Plan.read(tmp_path / "plan.json")
    assert again == plan
    assert again.run("x", {"mri": 100, "ct": 220}, 0).key == plan.run("y", {"ct": 220, "mri": 100}, 0).key


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"version": 2}', '{"version": 1}'])
def test_a_damaged_plan_is_an_error_for_people(tmp_path, text):
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(InputError, match=r"plan\.json"):
        Plan.read(tmp_path / "plan.json")


def test_repetition_match_takes_nested_subsets(tmp_path):
    plan = compiled(tmp_path, SMALL_SPEC.replace("warmup_steps: 5", "warmup_steps: 5, repetition: match")).plan
    small, large = plan.volumes_for("ct", 480), plan.volumes_for("ct", 1000)
    assert len(small) == 3  # 9 training volumes x 480 / 2000, rounded up
    assert large[: len(small)] == small
    assert plan.volumes_for("ct", 10**9) == plan.domains["ct"]["train"]


@given(st.integers(2, 12), st.integers(0, 40))
def test_mixtures_lie_on_the_simplex_and_are_nested(domains, count):
    points = sobol_simplex(domains, count)
    assert len(points) == count
    for point in points:
        assert sum(point) == pytest.approx(1)
        assert all(share > 0 for share in point)
    assert len({tuple(round(share, 9) for share in point) for point in points}) == count
    assert sobol_simplex(domains, count + 3)[:count] == points


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9).filter(lambda items: sum(items) > 1e-3), st.integers(1, 10**7))
def test_whole_amounts_sum_exactly(weights, budget):
    shares = [weight / sum(weights) for weight in weights]
    amounts = whole_amounts(shares, budget)
    assert sum(amounts) == budget
    assert all(abs(amount - share * budget) < 1 + 1e-6 * budget for amount, share in zip(amounts, shares, strict=True))


def test_a_whole_mixture_never_exceeds_its_budget():
    amounts = whole_mixture({"a": 0.5, "b": 0.5}, {"a": 1.0, "b": 3.0}, 1000, batch=8)
    assert sum(amounts.values()) % 8 == 0
    assert amounts["a"] + 3 * amounts["b"] <= 1000 + 3
    assert amounts["a"] == pytest.approx(3 * amounts["b"], abs=3)


def test_a_patient_falls_on_one_side_in_every_domain():
    def volume(name, subject):
        return VolumeRecord(f"{name}/{subject}", subject, digest([name, subject]), (8, 8, 8), (1.0, 1.0, 1.0))

    manifest = DataManifest(
        {
            "ct": DomainData(tuple(volume("ct", f"p{i}") for i in range(20))),
            "pet": DomainData(tuple(volume("pet", f"p{i}") for i in range(15, 25))),
        }
    )
    chosen = split_subjects(manifest, Split(validation=0.2, seed=3)).validation
    for data in manifest.domains.values():
        held = [item.subject for item in data.volumes if item.subject in chosen]
        assert 0.2 * len(data.volumes) <= len(held) < len(data.volumes)
    assert split_subjects(manifest, Split(validation=0.2, seed=3)).validation == chosen
    assert split_subjects(manifest, Split(validation=0.2, seed=4)).validation != chosen


def test_a_domain_with_one_subject_cannot_be_split():
    with pytest.raises(InputError, match="'mri' has 1 usable subject"):
        split_subjects(manifest_of(ct=5, mri=1), Split(validation=0.2))


def test_too_much_quarantine_is_said_of_each_domain():
    data = DomainData(MANIFEST.domains["ct"].volumes[:3], (("x.nii.gz", "truncated"),))
    found = unusable(DataManifest({"ct": data, "mri": data, "pet": DomainData(data.volumes)}), 0.2)
    assert found["ct"] == "domain 'ct': 1 of 4 files are unusable (x.nii.gz: truncated)"
    assert set(found) == {"ct", "mri"}
    assert unusable(DataManifest({"ct": data}), 0.25) == {}
    assert set(unusable(DataManifest({"ct": DomainData(())}), 1.0)) == {"ct"}


def test_one_file_in_two_domains_is_found_by_its_content():
    ct, mri = MANIFEST.domains["ct"].volumes, MANIFEST.domains["mri"].volumes
    both = dataclasses.replace(ct[0], path="elsewhere", subject="another")
    found = in_two_domains(DataManifest({"ct": DomainData(ct), "mri": DomainData((*mri, both))}))
    assert found == {"mri": "domain 'mri' has 1 of its files in common with others (elsewhere is ct/0 of 'ct')"}
    assert in_two_domains(MANIFEST) == {}
    phantom = dataclasses.replace(ct[0], path="phantom/a/0")
    assert in_two_domains(DataManifest({"a": DomainData((phantom,)), "b": DomainData((phantom,))})) == {}


def test_infeasible_caps_are_found_with_the_data_known(tmp_path):
    text = SMALL_SPEC.replace("repetition: 400", "repetition: 100, share: {mri: {min: 0.5}}")
    assert infeasible(spec_of(tmp_path, text), {"ct": 30.0, "mri": 20.0}) == []
    found = infeasible(spec_of(tmp_path, text), {"ct": 10.0, "mri": 4.0})
    assert [code for code, *_ in found] == ["MX0303", "MX0304"]
    assert infeasible(spec_of(tmp_path, SMALL_SPEC.replace("400", "unlimited")), {"ct": 1.0, "mri": 1.0}) == []
    text = SMALL_SPEC.replace("constraints: {repetition: 400}\n", "")
    ((_, path, _, _),) = infeasible(
        spec_of(tmp_path, text.replace("target: 2000", "target: 1500")), {"ct": 9.0, "mri": 9.0}
    )
    assert path == ("budgets", "target")  # nobody wrote the cap


def test_phantoms_that_cannot_hold_the_budget_are_found_at_once(tmp_path):
    from mixlang.spec import SpecError

    with pytest.raises(SpecError) as error:
        spec_of(tmp_path, SMALL_SPEC.replace("repetition: 400", "repetition: 20"))
    assert [item.code for item in error.value.diagnostics if item.severity == "error"] == ["MX0303"]


@given(st.dictionaries(st.text(max_size=4), st.lists(st.integers() | st.text(max_size=3) | st.none(), max_size=3)))
def test_an_object_written_in_parts_is_the_same_text(value):
    assert canonical_object({key: canonical_json(item) for key, item in value.items()}) == canonical_json(value)


def test_canonical_json_refuses_what_has_no_identity():
    assert canonical_json({"b": 1.0, "a": (0.1, True, None)}) == '{"a":[0.1,true,null],"b":1}'
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="identity"):
            canonical_json([value])
    for value in ({1: 2}, {1}, object()):
        with pytest.raises(TypeError, match="identity"):
            canonical_json(value)


def test_the_committed_pipeline_is_what_is_rendered():
    from conftest import ROOT

    text = (ROOT / "dvc.yaml").read_text()
    import yaml

    specs = yaml.safe_load(text)["vars"][0]["specs"]
    assert text == render(specs)
    assert all((ROOT / "specs" / f"{name}.yaml").is_file() for name in specs)


def test_registering_edits_one_line(tmp_path):
    (tmp_path / "dvc.yaml").write_text("# mine\n" + render([]))
    workspace = Workspace(tmp_path)
    assert register(workspace, Study(tmp_path, "a"))
    assert register(workspace, Study(tmp_path, "b-2"))
    assert not register(workspace, Study(tmp_path, "a"))
    assert (tmp_path / "dvc.yaml").read_text() == "# mine\n" + render(["a", "b-2"])
    assert all(f"  {stage}:" in render([]) for stage in STAGES)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    with pytest.raises(InputError, match="specs"):
        register(workspace, Study(tmp_path, "c"))


def test_crops_count_extent_not_voxels():
    record = VolumeRecord("x", "x", "x", (64, 64, 16), (1.0, 1.0, 4.0))
    assert record.crops([2.0, 2.0, 2.0], [32, 32, 32]) == 1.0
    assert record.crops([1.0, 1.0, 1.0], [32, 32, 32]) == 8.0
    assert dataclasses.replace(record, shape=(8, 8, 8)).crops([1.0, 1.0, 1.0], [32, 32, 32]) == 1.0


def test_mixtures_repeat_exactly_at_multiples_of_4096(tmp_path):
    def mixtures(budgets):
        text = SMALL_SPEC.replace("[320, 480, 640, 960]", "[2048, 4096, 8192, 12288, 16384]")
        text = text.replace("holdout: [1280], target: 2000", "holdout: [32768], target: 40k")
        text = text.replace("count: 2, budgets: [480]", f"count: 5, budgets: {budgets}").replace("400", "unlimited")
        path = tmp_path / "spec.yaml"
        path.write_text(text)
        found = {}
        for kind, amounts in probe_points(load_spec(path).spec):
            if kind == "mixture":
                found.setdefault(sum(amounts.values()), []).append(amounts)
        return found

    found = mixtures([4096, 12288, 16384])
    for budget, times in ((12288, 3), (16384, 4)):
        assert found[budget] == [{name: times * amount for name, amount in mix.items()} for mix in found[4096]]
    # A budget more changes none of the others: nothing is trained again.
    more = mixtures([2048, 4096, 12288, 16384])
    assert {budget: more[budget] for budget in found} == found
    assert all(sum(mix.values()) == 2048 for mix in more[2048])


def test_an_optimal_design_is_a_plan_that_trains_what_it_says_and_constraints_leave_it(tmp_path):
    text = SMALL_SPEC.replace("{mixtures: {count: 2, budgets: [480]}}", "{kind: optimal, samples: 9000}")
    plan = compiled(tmp_path, text).plan
    assert plan.design is not None
    trunks, trained = {}, 0
    for run in plan.runs:
        whole = trunk_of(plan, run)
        trained += run.budget - (shared_samples(plan, run) if whole is not None else 0)
        trunks[run.key] = whole
    assert any(trunks.values())
    assert trained == plan.design["samples"] <= 9000
    changed = text.replace("prior: {kl: 0}", "prior: {kl: 0.1}") + "objective: {weights: {ct: 2}}\n"
    again = compiled(tmp_path, changed).plan
    assert again.as_dict() == plan.as_dict()
    (tmp_path / "plan.json").write_text(json.dumps(plan.as_dict()))
    assert Plan.read(tmp_path / "plan.json") == plan
    other = compiled(tmp_path, text.replace("samples: 9000", "samples: 7000")).plan
    assert other.design["samples"] <= 7000
    single = compiled(tmp_path, text.replace("samples: 9000", "samples: 9000, single_domain: false")).plan
    assert {run.kind for run in single.runs} == {"mixture"}
