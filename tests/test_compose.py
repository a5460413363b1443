"""Specs made of several texts: extends, --set, empty keys; each message points into the text that holds the mistake."""

import json

import pytest
import yaml
from conftest import SMALL_SPEC, dvc, mixlang

from mixlang.spec import SpecError, load_spec
from mixlang.spec.presets import resolved


@pytest.fixture
def specs(tmp_path):
    folder = tmp_path / "specs"
    (folder / "bases").mkdir(parents=True)
    (folder / "bases" / "site.yaml").write_text(SMALL_SPEC.replace("name: small\n", ""))
    return folder


def write(folder, text, name="study.yaml"):
    (folder / name).write_text(text)
    return folder / name


def problems(path, **options):
    with pytest.raises(SpecError) as error:
        load_spec(path, **options)
    return error.value.diagnostics


def test_a_spec_builds_on_another_key_by_key(specs):
    path = write(
        specs, "extends: bases/site.yaml\nname: mine\ntrain: {batch_size: 16}\nbudgets: {probe: [320, 480, 640, 800]}\n"
    )
    loaded = load_spec(path)
    assert loaded.spec.name == "mine"
    assert loaded.spec.train.batch_size == 16  # replaced
    assert loaded.spec.train.warmup_steps == 5  # from the base
    assert loaded.spec.budgets.probe == [320, 480, 640, 800]  # a list is replaced as a whole
    assert [base.name for base in loaded.bases] == ["site.yaml"]
    assert set(loaded.texts) == {str(path), str(specs / "bases" / "site.yaml")}


def test_messages_point_into_the_file_that_holds_the_mistake(specs):
    base = specs / "bases" / "site.yaml"
    base.write_text(base.read_text().replace("patch: 4", "pacth: 4"))
    path = write(specs, "extends: bases/site.yaml\nname: mine\ntrain: {batch_sise: 16}\n")
    found = {item.code: item for item in problems(path)}["MX0101"], problems(path)
    at = [(item.position.file, item.position.line) for item in found[1] if item.code == "MX0101"]
    assert at == [(str(path), 3), (str(base), 7)]
    assert all(item.source_line for item in found[1])


def test_a_key_is_taken_out_by_null(specs):
    path = write(
        specs, "extends: bases/site.yaml\nname: mine\nconstraints: {repetition: null}\nbudgets: {target: 1300}\n"
    )
    assert load_spec(path).spec.constraints.repetition == 32  # the default, not the base's 400
    path = write(
        specs,
        "extends: bases/site.yaml\nname: mine\ndomains: {mri: null, pet: {modality: pet, source: {phantom: {count: 9}}}}\n",
    )
    assert set(load_spec(path).spec.domains) == {"ct", "pet"}


def test_an_empty_section_is_a_section_left_out(tmp_path):
    path = write(tmp_path, SMALL_SPEC + "launch:\n#  max_parallel: 2\n")
    assert load_spec(path).spec.launch.max_parallel == "auto"
    assert "MX0110" not in {item.code for item in load_spec(path).warnings}


def test_a_domain_without_a_value_is_no_domain_left_out(tmp_path):
    found = problems(write(tmp_path, SMALL_SPEC.replace("domains:\n", "domains:\n  pet:\n")))[0]
    assert "'pet' must be a section of keys, not nothing" in found.message


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("extends: bases/sit.yaml\nname: a\n", "MX0011", "did you mean 'bases/site.yaml'"),
        ("extends: site.yaml\nname: a\n", "MX0011", "did you mean 'bases/site.yaml'"),
        ("extends: base/site.yaml\nname: a\n", "MX0011", "there is no folder"),
        ("extends: study.yaml\nname: a\n", "MX0012", "extends itself"),
        ("extends: [bases/site.yaml]\nname: a\n", "MX0103", "the name of one file"),
        ("extends: bases/round.yaml\nname: a\n", "MX0012", "extends itself"),
        ("extends: bases/list.yaml\nname: a\n", "MX0100", "cannot be extended"),
    ],
)
def test_what_cannot_be_extended(specs, text, code, words):
    write(specs / "bases", "extends: other.yaml\n", "round.yaml")
    write(specs / "bases", "extends: round.yaml\n", "other.yaml")
    write(specs / "bases", "- a\n", "list.yaml")
    (found,) = problems(write(specs, text))
    assert found.code == code
    assert words in found.render()


def test_overrides_go_on_top_and_the_last_wins(specs):
    path = write(specs, "extends: bases/site.yaml\nname: mine\n")
    loaded = load_spec(
        path, overrides=["budgets.target=4k", "train.flips=false", "budgets.target=8k", "domains.ct.cost=2"]
    )
    assert loaded.spec.budgets.target == 8000
    assert loaded.spec.train.flips is False
    assert loaded.spec.domains["ct"].cost == 2
    assert loaded.overrides == ("budgets.target=4k", "train.flips=false", "budgets.target=8k", "domains.ct.cost=2")


@pytest.mark.parametrize(
    ("text", "code", "column", "words"),
    [
        ("budgets.tagret=4k", "MX0101", 9, "did you mean 'target'"),
        ("budgets.target=4q", "MX0105", 16, "4q"),
        ("budgets", "MX0014", 1, "budgets.target=20k"),
        ("=4", "MX0014", 1, "sets nothing"),
        ("extends=bases/site.yaml", "MX0014", 1, "cannot be set"),
        ("a..b=4", "MX0014", 1, "sets nothing"),
        ("budgets.probe=[1", "MX0004", 15, "not valid YAML"),
        ("train.betas=[0.9, b]", "MX0103", 19, "must be a number"),
        ("train={flips: 1, flips: 2}", "MX0005", 18, "twice"),
        ("name.deep=1", "MX0103", 1, "must be text"),
    ],
)
def test_messages_point_into_the_override(specs, text, code, column, words):
    path = write(specs, "extends: bases/site.yaml\nname: mine\n")
    found = next(item for item in problems(path, overrides=["train.flips=true", text]) if item.code == code)
    assert str(found.position) == f"--set:2:{column}"
    assert words in found.render()
    assert text in found.render()


def test_what_was_set_is_compiled_kept_and_forgotten(workspace):
    spec = "specs/small.yaml"
    (workspace / "specs" / "bases" / "site.yaml").write_text("train: {warmup_steps: 6}\n")
    path = workspace / spec
    path.write_text("extends: bases/site.yaml\n" + SMALL_SPEC.replace(", warmup_steps: 5", ""))
    mixlang("compile", spec, "--set", "budgets.seeds=3", "--set", "train.flips=false", cwd=workspace)
    build = workspace / "build" / "small"
    assert json.loads((build / "overrides.json").read_text())["set"] == ["budgets.seeds=3", "train.flips=false"]
    plan = json.loads((build / "plan.json").read_text())
    assert {run["seed"] for run in plan["runs"]} == {0, 1, 2}
    assert plan["training"]["recipe"]["warmup_steps"] == 6
    # `dvc repro` alone compiles what was set, and sees a base that changed.
    before = (build / "plan.json").read_bytes()
    dvc("repro", "-q", "-s", "plan@small", cwd=workspace)
    assert (build / "plan.json").read_bytes() == before
    (workspace / "specs" / "bases" / "site.yaml").write_text("train: {warmup_steps: 7}\n")
    assert "specs/bases" in dvc("status", "plan@small", cwd=workspace).stdout
    dvc("repro", "-q", "-s", "plan@small", cwd=workspace)
    assert json.loads((build / "plan.json").read_text())["training"]["recipe"]["warmup_steps"] == 7
    mixlang("compile", spec, cwd=workspace)
    assert json.loads((build / "overrides.json").read_text())["set"] == []
    assert {run["seed"] for run in json.loads((build / "plan.json").read_text())["runs"]} == {0}


def test_a_base_elsewhere_is_refused_in_a_workspace(workspace):
    (workspace / "specs" / "site.yaml").write_text(SMALL_SPEC)
    (workspace / "specs" / "small.yaml").write_text("extends: site.yaml\nname: mine\n")
    for command in ("check", "compile"):
        done = mixlang(command, "specs/small.yaml", cwd=workspace, check=False)
        assert done.returncode == 1
        assert "specs/small.yaml:1:10: error[MX0013]" in done.stderr


def test_formats_of_check(tmp_path):
    path = write(tmp_path, SMALL_SPEC.replace("modality: ct,", "modality: cat,"))
    done = mixlang("check", str(path), "--format", "json", cwd=tmp_path, check=False)
    found = json.loads(done.stdout)
    assert (done.returncode, found["ok"]) == (1, False)
    (item,) = [item for item in found["diagnostics"] if item["severity"] == "error"]
    assert (item["code"], item["line"], item["column"], item["end_column"]) == ("MX0104", 4, 19, 22)
    lines = mixlang("check", str(path), "--format", "github", cwd=tmp_path, check=False).stdout.splitlines()
    assert f"::error file={path},line=4,col=19,title=MX0104::" in lines[0]
    path.write_text(SMALL_SPEC)
    assert mixlang("check", str(path), "--strict", cwd=tmp_path, check=False).returncode == 1
    shown = mixlang("check", str(path), "--resolved", "--set", "budgets.seeds=2", cwd=tmp_path).stdout
    assert yaml.safe_load(shown) == resolved(load_spec(path, overrides=["budgets.seeds=2"]).spec)
    found = json.loads(mixlang("check", str(path), "--resolved", "--format", "json", cwd=tmp_path).stdout)
    assert found["ok"]
    assert found["resolved"] == resolved(load_spec(path).spec)


def test_many_alike_warnings_are_folded_and_errors_are_not(tmp_path):
    names = [f"d{index}" for index in range(9)]
    domains = "".join(f"  {name}: {{modality: ct, source: {{nifti: '{name}/*.nii'}}}}\n" for name in names)
    text = SMALL_SPEC.split("domains:\n")[0] + "domains:\n" + domains + "data:" + SMALL_SPEC.split("data:")[1]
    done = mixlang("check", str(write(tmp_path, text)), cwd=tmp_path, check=False)
    assert done.stderr.count("warning[MX0220]: each") == 1
    (others,) = [line for line in done.stderr.splitlines() if line.startswith("   the same at ")]
    assert others.count("study.yaml:") == 6
    assert others.endswith(" and 2 more places")
    assert done.stderr.count("help: give source.subject") == 1
    assert done.stderr.count("error[MX0302]") == 9


def test_errors_are_one_json_document_too(workspace):
    (workspace / "specs" / "small.yaml").write_text(SMALL_SPEC.replace("modality: ct,", "modality: cat,"))
    for command in (["plan", "specs/small.yaml"], ["diff-spec", "specs/small.yaml", "specs/quickstart.yaml"]):
        done = mixlang(*command, "--format", "json", cwd=workspace, check=False)
        assert done.returncode == 1
        found = json.loads(done.stdout)
        assert not found["ok"]
        assert [item["code"] for item in found["diagnostics"] if item["severity"] == "error"] == ["MX0104"]
        assert "error[MX0104]" in done.stderr
    done = mixlang("registry", "show", "nothing", "--format", "json", cwd=workspace, check=False)
    assert json.loads(done.stdout)["error"]


def test_a_missing_spec_or_command_is_guessed(workspace):
    done = mixlang("check", "specs/smal.yaml", cwd=workspace, check=False)
    assert "did you mean specs/small.yaml?" in done.stderr
    done = mixlang("chekc", "specs/small.yaml", cwd=workspace, check=False)
    assert done.returncode == 2
    assert "did you mean 'check'?" in done.stderr
    assert "stage" not in mixlang("nothing", cwd=workspace, check=False).stderr


def test_patterns_that_match_nothing_and_a_name_taken_twice_are_said(workspace):
    from test_sources import save

    for index in range(4):
        save(workspace / "ct" / f"p{index}_ct.nii.gz", index)
        save(workspace / "ct" / f"p{index}_label.nii.gz", 10 + index)
    text = SMALL_SPEC.replace(
        "{phantom: {count: 12, seed: 1, shape: [24, 24, 24]}}",
        "{nifti: 'ct/*.nii.gz', subject: '(p.)_', exclude: ['*_label.*', '*_lable.*']}, "
        "intensity: {factors: [{files: '*_bqml*', factor: 2}]}",
    )
    text = text.replace("modality: ct,", "modality: pet,").replace("max_quarantined", "max_quarantined")
    (workspace / "specs" / "small.yaml").write_text(text)
    done = mixlang("compile", "specs/small.yaml", cwd=workspace, check=False)
    assert done.returncode == 1
    assert done.stderr.count("error[MX0309]") == 2
    assert "'*_lable.*' takes no file of domain 'ct', so nothing is left out" in done.stderr
    assert "'*_bqml*' takes no file of domain 'ct', so nothing is multiplied by 2" in done.stderr
    text = text.replace(", '*_lable.*'", "").replace("*_bqml*", "*_ct*")
    (workspace / "specs" / "small.yaml").write_text(text)
    done = mixlang("compile", "specs/small.yaml", cwd=workspace)
    assert "'*_label.*': 4 files of ct left out" in done.stderr
    assert "'*_ct*': 4 files of ct multiplied by 2" in done.stderr
    (workspace / "specs" / "copy.yaml").write_text(text)
    done = mixlang("compile", "specs/copy.yaml", cwd=workspace)
    assert "specs/copy.yaml:2:7: warning[MX0310]: specs/small.yaml publishes as 'small' too" in done.stderr


def test_check_sees_tables_that_list_nothing_usable(workspace):
    (workspace / "all.csv").write_text("path,subject,modality\na.nii.gz,p1,CT\n")
    text = SMALL_SPEC.replace(
        "{phantom: {count: 12, seed: 1, shape: [24, 24, 24]}}", "{manifest: all.csv, where: {modality: Ct}}"
    )
    text = text.replace(
        "{phantom: {count: 8, seed: 2, shape: [24, 24, 24]}}", "{manifest: all.csv, where: {modalty: CT}}"
    )
    (workspace / "specs" / "small.yaml").write_text(text)
    done = mixlang("check", "specs/small.yaml", cwd=workspace, check=False)
    assert "small.yaml:4:43: error[MX0302]" in done.stderr
    assert "column modality has no 'Ct': did you mean 'CT'?" in done.stderr
    assert "has no column 'modalty'" in done.stderr
    assert "did you mean 'modality'?" in done.stderr


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("${data_root/ct/*.nii.gz", "a variable is not closed"),
        ("{data_root}/ct/*.nii.gz", "write ${data_root}"),
        ("$HOME/ct/*.nii.gz", "write ${home}"),
        ("%DATA%/ct/*.nii.gz", "write ${data}"),
        ("~/ct/*.nii.gz", "another folder for everybody"),
        ("C:/ct/*.nii.gz", "a path of Windows"),
        ("data\\ct\\*.nii.gz", "forward slashes"),
        ("${data_rot}/ct/*.nii.gz", "defines 'data_root': is that it?"),
        (".", "is a folder; name its files"),
    ],
)
def test_paths_of_other_systems_are_not_taken_literally(workspace, path, words):
    (workspace / "mixlang.local.yaml").write_text("data_root: /nowhere\n")
    text = SMALL_SPEC.replace(
        "{phantom: {count: 12, seed: 1, shape: [24, 24, 24]}}", f"{{nifti: '{path}', subject: '(a)'}}"
    )
    (workspace / "specs" / "small.yaml").write_text(text)
    done = mixlang("check", "specs/small.yaml", cwd=workspace, check=False)
    assert done.returncode == 1
    assert words in done.stderr


@pytest.mark.parametrize(
    ("text", "at", "words"),
    [
        ("data_root: a\ndata_root: b\n", "2:1", "stands here twice"),
        ("data_root: 5\n", "1:12", "must be a path"),
        ("- a\n", "1:1", "names and paths"),
    ],
)
def test_the_local_file_is_checked_too(workspace, text, at, words):
    (workspace / "mixlang.local.yaml").write_text(text)
    done = mixlang("check", "specs/small.yaml", cwd=workspace, check=False)
    assert f"mixlang.local.yaml:{at}: error" in done.stderr
    assert words in done.stderr
