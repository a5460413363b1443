"""The reference is what the compiler is: pages made from it are current, every code, command and flag is explained."""

import argparse
import json
import re

import jsonschema
import pytest
import yaml
from conftest import ROOT, SMALL_SPEC, mixlang

from mixlang.cli import CommandParser, parser
from mixlang.spec import SpecError, load_spec
from mixlang.spec.codes import CODES, EXAMPLE_SPEC
from mixlang.spec.lookup import json_schema
from mixlang.spec.reference import diagnostics_page, spec_page
from mixlang.spec.schema import Section

REMAKE = "run: python -m mixlang.spec.reference"

# Knobs belong in the spec: a flag that is not here is a change of the command line's contract.
FLAGS = {
    "init": {"--from"},
    "doctor": {"--out"},
    "check": {"--set", "--format", "--strict", "--resolved"},
    "plan": {"--set", "--format"},
    "compile": {"--set"},
    "diff-spec": {"--format"},
    "schema": set(),
    "run": {"--set", "--jobs", "--detach"},
    "status": {"--format", "--watch"},
    "worker": {"--shard"},
    "gc": {"--dry-run", "--yes", "--empty-trash", "--unknown", "--release"},
    "fit": {"--mixtures", "--losses", "--key", "--budget", "--seed", "--ignore", "--law", "--choose", "--draws"}
    | {"--keep", "--maximize", "--shares", "--where"}
    | {"--trees", "--out"},
    "predict": {"--fit", "--mixtures", "--key", "--budget", "--seed", "--ignore", "--shares", "--at", "--out"}
    | {"--intervals"},
    "allocate": {
        "--fit",
        "--budget",
        "--objective",
        "--tail",
        "--weights",
        "--available",
        "--repetition",
        "--floor",
        "--share",
    }
    | {"--group", "--cost", "--prior", "--worse", "--decide", "--reach", "--path", "--out", "--format"},
    "registry list": {"--registry", "--format"},
    "registry show": {"--registry", "--format"},
    "registry diff": {"--registry", "--format"},
    "registry verify": {"--registry", "--format", "--rerun"},
    "registry tag": {"--registry", "--remove"},
    "registry deprecate": {"--registry", "--by", "--reason"},
    "registry export": {"--registry", "--to", "--data", "--out"},
    "report": {"--registry", "--open"},
    "stage": set(),
}


def commands(group=None, prefix=""):
    """Every command by its full name, with its parser complete."""
    found = {}
    for action in (group or parser())._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, one in action.choices.items():
                assert isinstance(one, CommandParser)
                one.complete()
                inner = commands(one, f"{prefix}{name} ")
                found |= inner or {f"{prefix}{name}": one}
    return found


def flags(one):
    return {name for action in one._actions for name in action.option_strings if name.startswith("--")} - {"--help"}


def test_the_flags_are_those_agreed_on():
    assert {name: flags(one) for name, one in commands().items()} == FLAGS


def test_every_command_and_flag_is_documented():
    text = (ROOT / "docs" / "commands.md").read_text()
    found = re.findall(r"^### `mixlang ((?:registry )?[a-z-]+)(.*?)(?=^### |^## |\Z)", text, re.M | re.S)
    sections = dict(found)
    assert set(sections) == set(FLAGS)
    for name, names in FLAGS.items():
        for flag in names:
            assert re.search(rf"{flag}\b", sections[name]), f"docs/commands.md does not explain {flag} of {name}"


def test_the_reference_pages_are_current():
    assert (ROOT / "docs" / "spec.md").read_text() == spec_page(), REMAKE
    assert (ROOT / "docs" / "diagnostics.md").read_text() == diagnostics_page(), REMAKE
    shown = mixlang("schema", cwd=ROOT).stdout
    assert (ROOT / "specs" / "mixlang.schema.json").read_text() == shown, REMAKE
    assert json.loads(shown) == json_schema()


def leaves():
    """Every key that holds a value, as (section, key, field)."""
    pending, seen = [Section], set()
    while pending:
        for section in pending.pop().__subclasses__():
            if section not in seen:
                seen.add(section)
                pending.append(section)
                for key, field in section.model_fields.items():
                    yield section.__name__, field.alias or key, field


def test_every_key_has_text_example_and_unit():
    nested = ("default_factory",)
    for section, key, field in leaves():
        if any(getattr(field, name) is not None for name in nested) or key in ("source", "phantom", "budgets"):
            continue  # a section of its own, which its docstring explains
        where = f"{section}.{key}"
        assert field.description, where
        assert field.examples, where
        kind = str(field.annotation)
        if "int" in kind or "float" in kind:
            assert (field.json_schema_extra or {}).get("unit"), f"{where} is a number without a unit"


def test_every_section_has_a_docstring():
    for node in json_schema()["$defs"].values():
        assert node["description"].strip()


@pytest.mark.parametrize("code", [code for code, said in CODES.items() if said.old])
def test_the_example_of_a_code_shows_it(tmp_path, code):
    said = CODES[code]
    assert said.old in EXAMPLE_SPEC
    path = tmp_path / "demo.yaml"
    path.write_text(EXAMPLE_SPEC.replace(said.old, said.new, 1))
    if code == "MX0221":
        path.write_text(path.read_text().replace("{modality: ct,", "{modality: ct, cost: 2,"))
    done = mixlang("check", str(path), "--format", "json", cwd=tmp_path, check=False)
    found = {item["code"]: item["severity"] for item in json.loads(done.stdout)["diagnostics"]}
    assert found.get(code) == ("warning" if said.warning else "error"), done.stdout


def test_the_example_spec_itself_is_clean(tmp_path):
    path = tmp_path / "demo.yaml"
    path.write_text(EXAMPLE_SPEC)
    assert load_spec(path).warnings == []


def test_every_code_in_the_sources_is_in_the_table_and_the_other_way_round():
    used = set()
    for folder in ("mixlang", "runners"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name != "codes.py":
                used |= set(re.findall(r"MX0\d{3}", path.read_text()))
    assert used == set(CODES)


@pytest.mark.parametrize("path", sorted((ROOT / "specs").glob("*.yaml")), ids=lambda path: path.name)
def test_editors_accept_shipped_specs(path):
    value = yaml.safe_load(path.read_text().replace("1.5e-3", "0.0015"))  # YAML 1.1 would take it for text
    jsonschema.validate(value, json_schema(), jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    ("old", "new"),
    [("batch_size", "batchsize"), ("modality: ct,", "modality: cat,"), ("target: 2000, ", ""), ("name: small\n", "")],
)
def test_editors_see_mistakes(old, new):
    value = yaml.safe_load(SMALL_SPEC.replace("5e-3", "0.005"))
    jsonschema.validate(value, json_schema(), jsonschema.Draft202012Validator)
    value = yaml.safe_load(SMALL_SPEC.replace("5e-3", "0.005").replace(old, new, 1))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, json_schema(), jsonschema.Draft202012Validator)


def test_the_yaml_table_of_the_reference_holds(tmp_path):
    """What docs/spec.md says of `1_000`, `.5`, `0o17` and so on, at keys where each is given."""
    path = tmp_path / "spec.yaml"

    def spec(old, new):
        path.write_text(SMALL_SPEC.replace(old, new, 1))
        return load_spec(path).spec

    assert spec("target: 2000", "target: 1_000").budgets.target == 1000
    assert spec("target: 2000", "target: 1.5k").budgets.target == 1500
    assert spec("learning_rate: 5e-3", "learning_rate: .5").train.learning_rate == 0.5
    assert spec("learning_rate: 5e-3", "learning_rate: 1e-3").train.learning_rate == 1e-3
    assert spec("batch_size: 8", "batch_size: 010").train.batch_size == 10
    assert spec("name: small", "name: no").name == "no"
    assert spec("name: small", "name: on").name == "on"
    assert set(spec("  ct: ", "  y: ").domains) == {"y", "mri"}
    assert spec("verify:", "limits: {max_disk: 1.5 GB}\nverify:").limits.max_disk == 1_500_000_000
    for wrong in ("0o17", "12:30:45", "1_000", "'8'"):
        with pytest.raises(SpecError):
            spec("batch_size: 8", f"batch_size: {wrong}")


def test_the_readme_shows_a_spec_that_compiles(tmp_path):
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    assert [item.code for item in load_spec(path).warnings] == []
