"""The schema and the checks of meaning: each mistake found at its place, with advice that names the right word."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, SMALL_SPEC

from mixlang.spec import SpecError, load_spec
from mixlang.spec.presets import resolved
from mixlang.spec.quantities import parse_amount, show_amount


def diagnostics(tmp_path, text):
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    try:
        return load_spec(path).warnings
    except SpecError as error:
        return error.diagnostics


def test_the_small_spec_has_only_the_warnings_it_should(tmp_path):
    assert {item.code for item in diagnostics(tmp_path, SMALL_SPEC)} == {"MX0210", "MX0233", "MX0251"}


@pytest.mark.parametrize("path", sorted((ROOT / "specs").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_specs_load_without_warnings(path):
    assert load_spec(path).warnings == []


def test_a_resolved_spec_has_every_default_and_loads_again(tmp_path):
    import yaml

    path = tmp_path / "spec.yaml"
    path.write_text(SMALL_SPEC)
    first = resolved(load_spec(path).spec)
    assert first["model"]["heads"] == 3
    assert first["domains"]["ct"]["intensity"]["clip"] == [-1000.0, 1000.0]
    path.write_text(yaml.safe_dump(first))
    assert resolved(load_spec(path).spec) == first


def test_a_minimal_spec_is_short(tmp_path):
    text = """\
mixlang: 1
name: tiny
domains:
  ct: {modality: ct, source: {phantom: {count: 400, seed: 1, shape: [288, 288, 288]}}}
  mri: {modality: mri, source: {phantom: {count: 400, seed: 2, shape: [288, 288, 288]}}}
budgets: {probe: [16384, 24576, 32768, 49152], holdout: [65536], target: 150k}
"""
    assert [item for item in diagnostics(tmp_path, text) if item.severity == "error"] == []


@pytest.mark.parametrize(
    ("given_", "expected"),
    [("4k", 4000), ("1.5M", 1_500_000), (4e3, 4000), ("1_000", 1000), (7, 7), ("2G", 2_000_000_000)],
)
def test_amounts(given_, expected):
    assert parse_amount(given_) == expected


@pytest.mark.parametrize("given_", [True, "4x", "k", "", "1e3k", 1.5, float("nan"), float("inf"), None, [1]])
def test_what_is_not_an_amount(given_):
    with pytest.raises(ValueError, match="number of samples"):
        parse_amount(given_)


def test_amounts_are_shown_as_people_write_them():
    assert [show_amount(value) for value in (512, 4000, 24_500, 2_000_000)] == ["512", "4k", "24.5k", "2M"]


HEAVY = ("torch", "monai", "dvc", "cvxpy", "scipy", "accelerate")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["check", str(ROOT / "specs" / "quickstart.yaml")],
        ["check", "--resolved", str(ROOT / "specs" / "quickstart.yaml")],
        ["schema"],
        ["registry", "list", "--registry", "."],
    ],
)
def test_light_commands_import_nothing_heavy(arguments):
    program = (
        "import sys; from mixlang.cli import main\n"
        f"try: main({arguments!r})\nexcept SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stderr.strip().endswith("[]"), done.stderr


def test_undefined_variables_and_missing_data_point_into_the_spec(tmp_path):
    from mixlang.spec.locations import Locations, check_sources

    text = SMALL_SPEC.replace("{phantom: {count: 12, seed: 1, shape: [24, 24, 24]}}", '{nifti: "${nowhere}/*.nii.gz"}')
    text = text.replace("{phantom: {count: 8, seed: 2, shape: [24, 24, 24]}}", "{manifest: data/mri.csv}")
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    found = check_sources(load_spec(path), Locations(Path(tmp_path), {}))
    assert [(item.code, item.position.line) for item in found] == [("MX0301", 4), ("MX0302", 5)]
    assert "MIXLANG_NOWHERE" in found[0].help
