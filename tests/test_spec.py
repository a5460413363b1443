"""The schema and the checks of meaning: each mistake found at its place, with advice that names the right word."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, SMALL_SPEC
from hypothesis import given, settings
from hypothesis import strategies as st

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


@pytest.mark.parametrize(
    ("old", "new", "code", "at", "words"),
    [
        ("name: small", "nmae: small", "MX0101", "nmae: small", "did you mean 'name'"),
        ("modality: ct,", "modality: ctt,", "MX0104", "ctt,  source", "did you mean 'ct'"),
        ("batch_size: 8", "batchsize: 8", "MX0101", "batchsize: 8", "did you mean 'batch_size'"),
        ("batch_size: 8", "batch_size: yes", "MX0103", "yes,", "integer"),
        ("target: 2000", "target: 2q", "MX0105", "2q,", "2M"),
        ("target: 2000, ", "", "MX0102", "budgets:", "'target' is missing"),
        ("mixlang: 1", "mixlang: 2", "MX0104", "2", "version 1"),
        ("name: small", "name: 'a b'", "MX0106", "'a b'", "letters"),
        ("  ct: ", "  c t: ", "MX0106", "c t:", "not a name"),
        ("crop: [16, 16, 16]", "crop: [16, 18, 16]", "MX0203", "18, 16]", "use 16"),
        ("patch: 4", "patch: 16", "MX0204", "model:", "1 patches"),
        ("320, 480", "320, 320", "MX0205", "320, 640", "listed twice"),
        ("320, 480", "321, 480", "MX0206", "321, 480", "use 320"),
        ("holdout: [1280]", "holdout: [960]", "MX0207", "960], target", "not held out"),
        ("holdout: [1280]", "holdout: [800]", "MX0208", "800], target", "interpolation"),
        ("holdout: [1280], ", "", "MX0209", "budgets:", "unverified"),
        ("warmup_steps: 5", "warmup_steps: 50", "MX0211", "50}", "warmup"),
        ("budgets: [480]}", "budgets: [481]}", "MX0212", "481]", "not a probe"),
        ("[320, 480, 640, 960]", "[480, 640, 960]", "MX0213", "[480", "at least 4"),
        ("count: 2, budgets: [480]", "count: 0", "MX0214", "design:", "identify transfer"),
        ("design: {", "design: {single_domain: false, ", "MX0214", "design:", "identify transfer"),
        ("{repetition: 400}", "{share: {pet: {min: 0.1}}}", "MX0201", "pet:", "no domain 'pet'"),
        ("{repetition: 400}", "{share: {ct: {min: .6}, mri: {min: .6}}}", "MX0216", "share:", "1.2"),
        ("{repetition: 400}", "{share: {ct: {max: .4}, mri: {max: .4}}}", "MX0217", "share:", "0.8"),
        ("{repetition: 400}", "{share: {ct: {min: .6, max: .2}}}", "MX0105", "{min: .6", "above max"),
        ("constraints: {repetition: 400}", "objective: {weights: {ct: 0, mri: 0}}", "MX0202", "{ct: 0", "zero"),
        ("width: 48,", "width: 48, heads: 5,", "MX0218", "5,", "divide"),
        ("{phantom: {count: 12,", "{nifti: x, phantom: {count: 12,", "MX0105", "{nifti", "exactly one"),
        ("verify: {", "launch: {processes_per_run: 3}\nverify: {", "MX0219", "3}", "divide"),
        ("verify: {", "launch: {processes_per_run: 2, accumulate: 3}\nverify: {", "MX0219", "3}", "the 4 crops"),
        ("{phantom: {count: 12, seed: 1, shape: [24, 24, 24]}}", "{nifti: x}", "MX0220", "x}", "own subject"),
    ],
)
def test_a_mistake_is_found_at_its_place(tmp_path, old, new, code, at, words):
    assert old in SMALL_SPEC
    text = SMALL_SPEC.replace(old, new, 1)
    found = [item for item in diagnostics(tmp_path, text) if item.code == code]
    assert found, [item.render() for item in diagnostics(tmp_path, text)]
    line = text.splitlines()[found[0].position.line - 1]
    assert line[found[0].position.column - 1 :].startswith(at), found[0].render()
    assert words in found[0].render()


def test_all_mistakes_are_reported_in_one_pass_in_file_order(tmp_path):
    text = (
        SMALL_SPEC.replace("modality: ct", "modality: cat")
        .replace("seeds: 1", "seeds: -1")
        .replace("name: s", "nam: s")
    )
    lines = [item.position.line for item in diagnostics(tmp_path, text)]
    assert len(lines) >= 4
    assert lines == sorted(lines)


def test_the_small_spec_has_only_the_warnings_it_should(tmp_path):
    assert {item.code for item in diagnostics(tmp_path, SMALL_SPEC)} == {"MX0210"}


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
  ct: {modality: ct, source: {phantom: {count: 20, seed: 1, shape: [128, 128, 128]}}}
  mri: {modality: mri, source: {phantom: {count: 20, seed: 2, shape: [128, 128, 128]}}}
budgets: {probe: [16384, 24576, 32768, 49152], holdout: [65536], target: 200k}
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


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_mutation_of_a_spec_gives_a_traceback(tmp_path_factory, data):
    text = SMALL_SPEC
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        stop = min(len(text), start + data.draw(st.integers(0, 12)))
        text = text[:start] + data.draw(st.text(max_size=6)) + text[stop:]
    path = tmp_path_factory.mktemp("fuzz") / "spec.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        load_spec(path)
        found = None
    except SpecError as error:
        found = error.diagnostics
    assert found is None or (found and all(item.position.line >= 1 for item in found))


HEAVY = ("torch", "monai", "dvc", "cvxpy", "scipy", "accelerate")


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["check", str(ROOT / "specs" / "quickstart.yaml")], ["registry", "list", "--registry", "."]],
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
