"""Names that select something are checked when the spec is; each list of names is written once, and hints keep to it."""

import json
import re
from typing import get_args

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS
from conftest import SMALL_SPEC, mixlang

from mixlang.laws.families import FAMILIES
from mixlang.names import (
    BASELINES,
    FAMILY_NAMES,
    FIXED_TOTAL,
    OBJECTIVES,
    OWN_ENCODERS,
    TRACKERS,
    FamilyName,
    TrackerName,
)
from mixlang.spec import SpecError, load_spec
from mixlang.spec.codes import CODES, EXAMPLE_SPEC
from mixlang.spec.lookup import json_schema

TASK = "tasks: {organs: {kind: segmentation, domain: ct, classes: {liver: 2}}}"
BROKEN = "verify: {baselines: [proportional], seeds: 2}\n"


def refused(tmp_path, text, *overrides):
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    try:
        load_spec(path, overrides=overrides)
    except SpecError as error:
        return [item for item in error.diagnostics if item.severity == "error"]
    return []


def test_the_lists_are_those_of_the_code_that_uses_them():
    assert FAMILY_NAMES == ("stacked", "auto", *FAMILIES) == get_args(FamilyName)
    assert tuple(name for name, family in FAMILIES.items() if family.fixed_total) == FIXED_TOTAL
    assert set(TRACKERS) == set(LOGGER_TYPE_TO_CLASS)
    assert set(get_args(TrackerName)) == {"auto", "none", *TRACKERS}


def enums(node):
    """All closed lists of words in a schema."""
    if isinstance(node, dict):
        if "enum" in node:
            yield node["enum"]
        for item in node.values():
            yield from enums(item)
    elif isinstance(node, list):
        for item in node:
            yield from enums(item)


def test_the_schema_has_the_same_lists():
    lists = [list(found) for found in enums(json_schema())]
    for wanted in (BASELINES, OBJECTIVES, FAMILY_NAMES, OWN_ENCODERS, get_args(TrackerName)):
        assert list(wanted) in lists


@pytest.mark.parametrize("name", [*BASELINES, "habit", "scratch", "allocated"])
def test_an_encoder_that_is_offered_is_accepted(tmp_path, name):
    """Everything MX0238 lists may be written there; best_single once crashed at the report, habit was refused."""
    verify = f"verify: {{baselines: [{', '.join(BASELINES)}], mixtures: {{habit: {{ct: 0.7, mri: 0.3}}}}, seeds: 2}}\n"
    text = SMALL_SPEC.replace(BROKEN, verify)
    (found,) = refused(tmp_path, text + f"downstream: {{encoders: [zzz]}}\n{TASK}\n")
    assert found.code == "MX0238"
    assert name in found.help.removeprefix("there are ").split(", ")
    assert not refused(tmp_path, text + f"downstream: {{encoders: [{name}]}}\n{TASK}\n")


def test_a_page_draws_every_encoder_a_study_may_have():
    from mixlang.report.downstream import _task

    encoders = ["allocated", *BASELINES, "habit", "scratch"]
    score = {"mean": 0.5, "low": 0.4, "high": 0.6}
    results = [
        {"mode": "probe", "labels": part, "encoder": name, "training_volumes": count, "auroc": score, "accuracy": score}
        for name in encoders
        for part, count in ((0.5, 4), (1.0, 8))
    ]
    task = {"kind": "classification", "domain": "ct", "folds": None, "classes": ["a", "b"], "results": results}
    task |= {"test": {"volumes": 4, "subjects": 4, "seen_unlabelled": False}, "differences": [], "sentences": []}
    page = "".join(_task("organs", task, encoders))
    assert all(name in page for name in encoders)


WORDS = re.compile(r"'([^']+)'")


def slips():
    """A slip in every closed list of words of the language: the override that makes it, and the list."""
    places = {
        "verify.baselines": ("[{}]", BASELINES),
        "objective.minimize": ("{}", OBJECTIVES),
        "law.family": ("{}", FAMILY_NAMES),
        "launch.tracker": ("{}", get_args(TrackerName)),
        "downstream.encoders": ("[{}]", ("allocated", "proportional", "scratch")),
        "train.schedule": ("{}", ("wsd", "cosine")),
        "train.precision": ("{}", ("fp32", "bf16", "fp16")),
        "train.repetition": ("{}", ("free", "match")),
        "train.sampling": ("{}", ("volume", "subject")),
        "model.arch": ("{}", ("vit_micro", "vit_tiny", "vit_small", "vit_base")),
        "launch.executor": ("{}", ("local", "slurm")),
        "launch.start": ("{}", ("auto", "fork", "accelerate")),
        "launch.ladder": ("{}", ("branches", "independent")),
        "objective.relative_to": ("{}", ("proportional", "specialist")),
        "law.choose": ("{}", ("each", "all")),
    }
    for key, (form, words) in places.items():
        for word in words:
            yield key, form, word


@pytest.mark.parametrize(("key", "form", "word"), list(slips()))
def test_what_a_hint_offers_is_accepted_at_that_key(tmp_path, key, form, word):
    (found, *_) = refused(tmp_path, SMALL_SPEC, f"{key}={form.format(word + 'x')}")
    offered = WORDS.findall(found.help.split("did you mean")[-1]) if "did you mean" in found.help else []
    assert not found.help.startswith("did you mean") or offered
    for value in offered:
        again = refused(tmp_path, SMALL_SPEC, f"{key}={form.format(value)}")
        assert not [item for item in again if item.code in ("MX0104", "MX0238")], (key, value)
    if len(word) > 4:
        assert word in offered


def test_what_the_table_of_codes_offers_is_accepted(tmp_path):
    """The help that an example of docs/diagnostics.md gets, where it offers a word, is taken at its place."""
    tried = 0
    for code, said in CODES.items():
        if not said.old or code[:4] not in ("MX01", "MX02"):
            continue
        for item in refused(tmp_path, EXAMPLE_SPEC.replace(said.old, said.new, 1)):
            match = re.fullmatch(r"did you mean '([^']+)'\?", item.help)
            if not match:
                continue
            lines = (tmp_path / "spec.yaml").read_text().splitlines()
            line, column = item.position.line - 1, item.position.column - 1
            lines[line] = lines[line][:column] + match[1] + lines[line][column + item.width :]
            left = refused(tmp_path, "\n".join(lines) + "\n")
            assert item.position not in [other.position for other in left], item.render()
            tried += 1
    assert tried >= 4


def test_a_tracker_that_is_not_installed_is_reported_with_the_spec(workspace):
    spec = workspace / "specs" / "small.yaml"
    spec.write_text(SMALL_SPEC + "launch: {tracker: aim}\n")
    done = mixlang("check", "specs/small.yaml", cwd=workspace)
    assert "specs/small.yaml:14:19: warning[MX0313]: the tracker 'aim' is not installed here" in done.stderr
    assert "pip install 'aim<4'" in done.stderr
    assert mixlang("check", "specs/small.yaml", "--strict", cwd=workspace, check=False).returncode == 1
    done = mixlang("run", "specs/small.yaml", cwd=workspace, check=False)
    assert done.returncode == 1
    assert "error[MX0313]" in done.stderr
    assert not (workspace / "build" / "small").exists()


def test_a_tracker_of_this_machine_is_checked_too(workspace):
    local = workspace / "mixlang.local.yaml"
    local.write_text("launch: {tracker: wanddb}\n")
    done = mixlang("check", "specs/small.yaml", cwd=workspace, check=False)
    assert done.returncode == 1
    assert "mixlang.local.yaml:1:19: error[MX0104]" in done.stderr
    assert "did you mean 'wandb'?" in done.stderr
    local.write_text("launch: {tracker: clearml}\n")
    done = mixlang("check", "specs/small.yaml", cwd=workspace)
    assert "'clearml' is not installed here (mixlang.local.yaml asks for it)" in done.stderr


BIDS = "{modality: mri, source: {bids: b, suffix: [T1w], where: {ses: '01'}}}"


def test_names_in_sources_are_checked_with_the_spec(workspace):
    for subject in "abc":
        folder = workspace / "b" / f"sub-{subject}" / "ses-01" / "anat"
        folder.mkdir(parents=True)
        for suffix in ("T1w", "FLAIR"):
            (folder / f"sub-{subject}_ses-01_{suffix}.nii.gz").touch()
    (workspace / "m.csv").write_text("path,subject,grade\n" + "".join(f"{i}.nii,s{i},low\n" for i in range(4)))
    (workspace / "l.json").write_text(json.dumps({"training": [{"image": "a.nii"}], "validation": []}))
    manifest = "{modality: mri, source: {manifest: m.csv}}"
    listed = "{modality: mri, source: {monai_datalist: l.json, key: trainig}}"
    task = "tasks: {grade: {kind: classification, domain: mri, column: graed}}"
    cases = [
        (BIDS.replace("T1w", "T1W"), "", "did you mean 'T1w'?"),
        (BIDS.replace("[T1w]", "[T1w, FLIAR]"), "", "did you mean 'FLAIR'?"),
        (BIDS.replace("ses:", "sess:"), "", "did you mean 'ses'?"),
        (listed, "", "did you mean 'training'?"),
        (manifest.replace("m.csv}", "m.csv, where: {graed: low}}"), "", "did you mean 'grade'?"),
        (manifest, f"{task}\n", "did you mean 'grade'?"),
    ]
    for domain, more, words in cases:
        text = re.sub(r"  mri: .*", f"  mri: {domain}", SMALL_SPEC) + more
        (workspace / "specs" / "small.yaml").write_text(text)
        done = mixlang("check", "specs/small.yaml", cwd=workspace, check=False)
        assert done.returncode == 1, (domain, done.stderr)
        assert words in done.stderr, done.stderr


def test_options_and_names_of_the_command_line_have_a_nearest_one(finished):
    for arguments, words in (
        (["registry", "show", "smal"], "Did you mean 'small'?"),
        (["registry", "show", "small@lates"], "Did you mean 'latest'?"),
        (["allocate", "--fit", "x", "--budgt", "3"], "did you mean '--budget'?"),
    ):
        done = mixlang(*arguments, cwd=finished, check=False)
        assert done.returncode in (1, 2)
        assert words in done.stderr, done.stderr
