"""Published versions as others meet them: proven from their files, compared, exported, and read from other repositories."""

import csv
import json
import os
import random
import shutil
import subprocess
import sys

import pytest
import yaml
from conftest import dvc, mixlang
from driving import edit, git

from mixlang.files import digest
from mixlang.registry import Registry
from mixlang.registry.content import content_of, summary
from mixlang.registry.difference import compare, difference_in_words
from mixlang.registry.headline import doubts
from mixlang.registry.proof import check_version
from mixlang.registry.sealed import damage, manifest_of
from mixlang.study.rerun import rerun
from mixlang.study.workspace import Workspace


@pytest.fixture
def version(finished, tmp_path):
    """A registry of its own that holds small@v1: (registry, folder of the version)."""
    shutil.copytree(finished / "registry", tmp_path / "registry")
    return Registry(tmp_path / "registry"), tmp_path / "registry" / "small" / "v1"


def seal(folder):
    """Write the MANIFEST anew, as somebody would who wants a change to go unseen."""
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "MANIFEST"}
    (folder / "MANIFEST").write_bytes(manifest_of(files))


def change(folder, name, alter):
    """Alter a JSON or YAML file of a version."""
    path = folder / name
    read, write = (yaml.safe_load, yaml.safe_dump) if name.endswith("yaml") else (json.loads, json.dumps)
    value = read(path.read_text())
    alter(value)
    path.write_text(write(value))


def agree(folder):
    """Make mixture.yaml agree with whatever the evidence is now, and seal it all."""
    laws, problem, verification = (
        json.loads((folder / f"{n}.json").read_text()) for n in ("laws", "problem", "verification")
    )

    def alter(facts):
        facts["verified"] = summary(verification)
        apart = ("version", "published", "status", "supersedes", "lineage", "content")
        core = {key: value for key, value in facts.items() if key not in apart}
        facts["lineage"]["laws"] = digest(laws)
        facts["content"] = content_of(core, laws, (folder / "losses.csv").read_text(), problem)

    change(folder, "mixture.yaml", alter)
    seal(folder)


def worsen(folder, kind, factor):
    """Multiply the ct loss of the last run of a kind in losses.csv; returns its key."""
    rows = list(csv.reader((folder / "losses.csv").read_text().splitlines()))
    row = [row for row in rows if row[1] == kind][-1]
    place = rows[0].index("loss_ct")
    row[place] = repr(float(row[place]) * factor)
    (folder / "losses.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    return row[0]


def problems(registry):
    return {check.name: check.problems for check in check_version(registry, "small", 1) if check.problems}


def test_a_version_is_proven_from_its_files_alone(version, tmp_path):
    found = check_version(version[0], "small", 1)
    assert [check.name for check in found] == ["hashes", "contents", "certificate", "laws", "measurements"]
    assert all(check.problems == [] and check.detail for check in found)
    shown = mixlang("registry", "verify", "--registry", str(tmp_path / "registry"), cwd=tmp_path).stdout
    assert "small@v1: as published, and it follows from its files" in shown
    assert "fitted again from 10 rows of losses.csv: predictions differ by at most 0.0e+00" in shown


def test_any_changed_byte_of_a_real_version_is_found_and_its_file_named(version, tmp_path):
    registry, folder = version
    rng = random.Random(1)
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        for at in {0, 1, len(data) // 2, len(data) - 1, *(rng.randrange(len(data)) for _ in range(6))}:
            path.write_bytes(data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :])
            assert any(item.startswith(f"{path.name}:") for item in damage(folder)), (path.name, at)
        path.write_bytes(data)
    for name in ("MANIFEST", "mixture.yaml"):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(b"\xff" + data[1:])
        done = mixlang(
            "registry", "verify", "--format", "json", "--registry", str(registry.root), cwd=tmp_path, check=False
        )
        assert done.returncode == 1
        said = json.loads(done.stdout)["small@v1"]
        assert not said["ok"]
        assert said["problems"][0].startswith(f"{name}: changed since it was published")
        (folder / name).write_bytes(data)
    assert problems(registry) == {}


def test_changed_shares_are_found_though_every_hash_is_right(version):
    registry, folder = version

    def alter(facts):
        facts["shares"] |= {"ct": facts["shares"]["ct"] - 0.05, "mri": facts["shares"]["mri"] + 0.05}

    change(folder, "mixture.yaml", alter)
    seal(folder)
    assert "mixture.yaml: the share of 'ct' is not that of certificate.json" in problems(registry)["contents"]


def test_a_mixture_that_is_no_optimum_is_found_though_all_files_agree(version):
    registry, folder = version

    def alter(value):
        shares = value.get("target", value)["shares"]
        shares |= {"ct": shares["ct"] - 0.2, "mri": shares["mri"] + 0.2}

    change(folder, "certificate.json", alter)
    change(folder, "mixture.yaml", alter)
    agree(folder)
    found = problems(registry)
    assert "contents" not in found
    assert any("gap to the optimum" in item for item in found["certificate"])
    assert any("solved again from its laws" in item for item in found["certificate"])


def test_a_mixture_that_breaks_its_constraints_is_found(version):
    registry, folder = version
    change(folder, "problem.json", lambda value: value["constraints"].update(share={"mri": {"min": 0.9, "max": 1.0}}))
    agree(folder)
    assert "certificate.json: the mixture does not keep its constraints" in problems(registry)["certificate"]


def test_laws_that_do_not_follow_from_the_losses_are_found(version):
    registry, folder = version
    worsen(folder, "single", 1.5)
    agree(folder)
    found = problems(registry)
    assert list(found) == ["laws"]
    assert "laws.json: fitted again from losses.csv, the law of 'ct' predicts the mixture" in found["laws"][0]


def test_measurements_that_do_not_follow_from_the_losses_are_found(version):
    registry, folder = version
    worsen(folder, "verify allocated", 0.5)
    agree(folder)
    found = problems(registry)
    assert list(found) == ["measurements"]
    assert "are not those of losses.csv" in found["measurements"][0]


def test_a_claimed_gain_that_was_not_measured_is_found(version):
    registry, folder = version
    change(
        folder,
        "verification.json",
        lambda value: value["improvements"]["1280"]["proportional"]["overall"].update(mean=-0.3),
    )
    agree(folder)
    assert "the change from proportional at 1280 is" in problems(registry)["measurements"][0]


def test_a_run_that_is_missing_from_the_losses_is_said(version):
    registry, folder = version
    lines = (folder / "losses.csv").read_text().splitlines(keepends=True)
    (folder / "losses.csv").write_text("".join(lines[:1] + lines[2:]))
    agree(folder)
    assert problems(registry)["laws"] == ["laws cannot be checked: losses.csv lacks 1 of the 10 runs of plan.json"]


@pytest.mark.long
def test_the_plan_is_executed_again_and_a_false_loss_found(copied):
    registry = Registry(copied / "registry")
    folder = copied / "registry/small/v1"
    false = worsen(folder, "verify allocated", 1.2)
    seal(folder)
    check = rerun(Workspace(copied), registry.get("small"))
    assert [item.split(" differs")[0] for item in check.problems] == [f"losses.csv: trained again, run {false[:12]}"]
    assert check.detail.startswith("16 runs trained again: 15 with the same losses to the bit")
    assert not (copied / ".mixlang/rerun/small-v1").exists()


def test_a_plan_of_other_code_is_not_compared_with(copied, monkeypatch):
    from mixlang.errors import InputError
    from mixlang.plan import build

    monkeypatch.setattr(build, "TRAINING_VERSION", build.TRAINING_VERSION + 1)
    with pytest.raises(InputError, match="trained by code that gave other results"):
        rerun(Workspace(copied), Registry(copied / "registry").get("small"))


# Lifecycle and comparison of real versions


def test_what_was_not_shown_to_be_better_is_a_candidate():
    def verified(mean, low=None, high=None):
        found = {"mean": mean, "low": low, "high": high}
        solved = {"1280": {"proportional": {"mean": 0.5, "low": None, "high": None}}}
        return {"published": {"100": {"uniform": {"mean": 0.5}}, "1280": {"proportional": found}}, "change": solved}

    assert doubts(verified(-0.02)) == ""
    assert doubts(verified(-0.02, -0.03, -0.01)) == ""
    assert doubts(verified(0.03)) == "at 1,280 samples it was measured to be worse than proportional"
    assert doubts(verified(0.03, 0.01, 0.05)) == "at 1,280 samples it was measured to be worse than proportional"
    assert doubts(verified(-0.02, -0.05, 0.01)) == "at 1,280 samples no gain over proportional was shown"
    both = verified(-0.02, -0.03, -0.01)
    both["published"]["1280"]["uniform"] = {"mean": 0.01, "low": -0.01, "high": 0.03}
    assert doubts(both) == ""  # not told from another rival, and shown to be better than what one would do anyway
    both["published"]["1280"]["uniform"]["low"] = 0.005
    assert doubts(both) == "at 1,280 samples it was measured to be worse than uniform"
    other = {**both, "published": {}}
    assert doubts(other).startswith("its shares were not trained at a held-out budget")
    assert doubts(None) == "nothing was measured at a held-out budget"


@pytest.fixture(scope="module")
def twice(finished, tmp_path_factory):
    """A workspace with a second version: MRI has to get more, and the budget is another."""
    root = tmp_path_factory.mktemp("twice") / "ws"
    shutil.copytree(finished, root, symlinks=True)
    edit(root, "repetition: 400", "repetition: 400, share: {mri: {min: 0.7}}")
    edit(root, "target: 2000", "target: 2500")
    done = mixlang("run", "specs/small.yaml", cwd=root)
    assert "git tag -a -m small@v2 registry=small@v2.0.0" in done.stderr
    return root


@pytest.fixture
def second(twice, tmp_path):
    """A copy of it."""
    shutil.copytree(twice, tmp_path / "second", symlinks=True)
    return tmp_path / "second"


def test_a_difference_says_which_input_moved_which_share(twice):
    registry = Registry(twice / "registry")
    found = compare(registry.get("small@v1"), registry.get("small@v2"))
    moved = {item["input"]: item["effect"] for item in found["moved"]}
    assert set(moved) == {"constraints", "budget"}
    for name, row in found["shares"].items():
        total = sum(effect[name] for effect in moved.values()) + found["remains"][name]
        assert total == pytest.approx(row["change"], abs=1e-5)
    assert moved["constraints"]["mri"] == pytest.approx(found["shares"]["mri"]["change"], abs=0.02)
    assert {item["what"] for item in found["inputs"]["spec"]} >= {"budgets.target", "constraints.share.mri"}
    assert [item["what"] for item in found["inputs"]["problem"]] == ["constraints.share.mri", "budget"]
    assert (found["inputs"]["laws"], found["inputs"]["data"], found["laws_differ"]) == ([], [], "")
    assert registry.get("small@v2").facts["lineage"]["laws_since"] == "v1"
    shown = mixlang("registry", "diff", "small@v1", "small@v2", cwd=twice).stdout
    assert "constraints: ct -" in shown
    assert json.loads(mixlang("registry", "diff", "small@v1", "small", "--format", "json", cwd=twice).stdout) == found
    same = difference_in_words(compare(registry.get("small@v1"), registry.get("small@v1")))
    assert same[-1] == "the same mixture from the same laws, losses and problem"


@pytest.mark.long
def test_other_runs_are_told_from_other_constraints(copied):
    edit(copied, "640, 960", "640, 800, 960")
    mixlang("run", "specs/small.yaml", cwd=copied)
    registry = Registry(copied / "registry")
    found = compare(registry.get("small@v1"), registry.get("small@v2"))
    assert found["laws_differ"] == "they were fitted to other runs (10 of both, 0 dropped, 2 new)"
    assert {item["input"] for item in found["moved"]} <= {"law of ct", "law of mri"}
    assert found["moved"]
    assert any(
        item["what"] == "'single' runs that the other has not" and item["after"] == 2
        for item in found["inputs"]["runs"]
    )
    assert "the laws differ since they were fitted to other runs" in "\n".join(difference_in_words(found))


# Another repository


@pytest.fixture
def elsewhere(tmp_path):
    """Another repository, with DVC and nothing else."""
    root = tmp_path / "elsewhere"
    root.mkdir()
    git("init", "-q", cwd=root)
    dvc("init", "-q", cwd=root)
    return root


def commit(root, message):
    git("add", "-A", cwd=root)
    git("commit", "-qm", message, cwd=root)


def follow(command, root):
    """Execute a command that mixlang has printed, as typed."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    subprocess.run(command, cwd=root, shell=True, check=True, capture_output=True, env={**os.environ, "PATH": path})


def test_dvc_in_another_repository_gets_the_stable_version(copied, elsewhere):
    stable = Registry(copied / "registry").get("small@v1")
    done = mixlang("registry", "tag", "small@v1", "stable", cwd=copied)
    commit(copied, "v1")
    follow("git tag -a -m small@v1 registry=small@v1.0.0", copied)
    follow(done.stderr.rpartition("tagged: ")[2].strip(), copied)
    edit(copied, "repetition: 400", "repetition: 400, share: {mri: {min: 0.7}}")
    mixlang("run", "specs/small.yaml", cwd=copied)
    commit(copied, "v2")
    follow("git tag -a -m small@v2 registry=small@v2.0.0", copied)
    assert "up to date" in dvc("status", cwd=copied).stdout

    dvc(
        "artifacts", "get", str(copied), "registry:small", "--stage", "stable", "-o", "mixtures/small/v1", cwd=elsewhere
    )
    read = Registry(elsewhere / "mixtures").get("small@v1")
    assert read.shares == stable.shares
    assert damage(read.folder) == []
    dvc("artifacts", "get", str(copied), "registry:small", "-o", "newest", cwd=elsewhere)
    assert yaml.safe_load((elsewhere / "newest/mixture.yaml").read_text())["version"] == 2
    dvc("artifacts", "get", str(copied), "registry:small", "--rev", "v1.0.0", "-o", "first", cwd=elsewhere)
    assert (elsewhere / "first/MANIFEST").read_bytes() == (stable.folder / "MANIFEST").read_bytes()
    assert mixlang("registry", "verify", "small@v1", "--registry", "mixtures", cwd=elsewhere).returncode == 0

    # the registry as a whole, which needs no git tag; mixlang's own tags are in it
    dvc("import", "-q", str(copied), "registry", "-o", "theirs", cwd=elsewhere)
    assert Registry(elsewhere / "theirs").get("small@stable").shares == stable.shares
    assert Registry(elsewhere / "theirs").get("small").version == 2
    assert Registry(elsewhere / "theirs").problems() == []


def test_another_program_reads_the_registry_from_python_and_loads_nothing_heavy(copied, elsewhere):
    mixlang("registry", "tag", "small", "stable", cwd=copied)
    program = (
        "import json, sys\nfrom mixlang.registry import Registry\n"
        f"mixture = Registry({str(copied / 'registry')!r}).get('small@stable')\n"
        "heavy = [name for name in ('torch', 'monai', 'cvxpy', 'scipy', 'dvc', 'numpy') if name in sys.modules]\n"
        "print(json.dumps([mixture.shares, mixture.amounts, mixture.status, heavy]))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=elsewhere, capture_output=True, text=True, check=True)
    shares, amounts, status, heavy = json.loads(done.stdout)
    assert (sum(shares.values()), sum(amounts.values())) == (pytest.approx(1, abs=1e-5), 2000)
    assert (status, heavy) == ("published", [])


def test_exports_are_of_the_studys_volumes_or_of_ones_own(copied, tmp_path):
    mixlang("registry", "tag", "small", "stable", cwd=copied)
    shares = Registry(copied / "registry").get("small@stable").shares
    weighed = json.loads(mixlang("registry", "export", "small@stable", "--to", "torch", cwd=copied).stdout)
    drawn = dict.fromkeys(shares, 0.0)
    for item, weight in zip(weighed["items"], weighed["weights"], strict=True):
        drawn[item["domain"]] += weight
    assert drawn == pytest.approx(shares, abs=1e-3)
    assert {item["path"].split("/")[0] for item in weighed["items"]} == {"phantom"}
    table = tmp_path / "items.csv"
    table.write_text("path,domain\na.nii.gz,ct\nb.nii.gz,mri\n")
    out = tmp_path / "datalist.json"
    mixlang("registry", "export", "small", "--to", "monai", "--data", str(table), "--out", str(out), cwd=copied)
    training = json.loads(out.read_text())["training"]
    assert [(item["image"], item["domain"]) for item in training] == [("a.nii.gz", "ct"), ("b.nii.gz", "mri")]
    for text, words in (
        ("path,domain\na.nii.gz,pet\n", "does not mix 'pet'"),
        ("path,domain\na.nii.gz,ct\n", "gives 'mri'"),
        ("path,kind\na.nii.gz,ct\n", "no column 'domain'"),
        ("path,domain\na.nii.gz,\n", "items.csv:2: path or domain is empty"),
        ("path,domain\n", "lists no volume"),
    ):
        table.write_text(text)
        done = mixlang("registry", "export", "small", "--to", "torch", "--data", str(table), cwd=copied, check=False)
        assert (done.returncode, words in done.stderr) == (1, True), done.stderr
    done = mixlang("registry", "export", "small", "--data", str(table), cwd=copied, check=False)
    assert "--data has no meaning for --to json" in done.stderr


def test_the_commands_of_the_lifecycle(second):
    mixlang("registry", "tag", "small@v1", "stable", cwd=second)
    said = mixlang("registry", "deprecate", "small@v1", "--by", "v2", "--reason", "too little MRI", cwd=second)
    assert said.stdout == "small@v1 is deprecated (too little MRI); use small@v2\n"
    assert "the tag 'stable' still names it" in said.stderr
    shown = mixlang("registry", "show", "small@stable", cwd=second)
    assert "warning: small@v1 is deprecated" in shown.stderr
    assert shown.stdout.startswith("small@v1  deprecated stable  dated")
    for words in (
        "how sure",
        "what these names mean",
        "12 volumes of 12 subjects",
        "mixlang run specs/small.yaml",
        "commit ",
    ):
        assert words in shown.stdout
    mixlang("registry", "tag", "small", "stable", "--remove", cwd=second)
    listed = json.loads(mixlang("registry", "list", "--format", "json", cwd=second).stdout)
    assert [(item["version"], item["status"], item["tags"]) for item in listed] == [
        (1, "deprecated", []),
        (2, "candidate", []),
    ]
    assert listed[0]["superseded_by"] == "v2"
    assert "deprecated, use v2" in (second / "registry/README.md").read_text()
    assert "as published" in mixlang("registry", "verify", cwd=second).stdout


def test_dvc_shows_metrics_and_plots(finished, tmp_path):
    found = json.loads(dvc("metrics", "show", "--json", cwd=finished).stdout)
    metrics = found[""]["data"]["build/small/metrics.json"]["data"]
    allocation = json.loads((finished / "build/small/allocation.json").read_text())
    assert metrics["shares"] == allocation["target"]["shares"]
    verification = json.loads((finished / "build/small/verification.json").read_text())
    assert metrics["measured_change"] == {
        f"{mixture} at 1280 against proportional": verification[key]["1280"]["proportional"]["overall"]["mean"]
        for mixture, key in (("published", "published"), ("allocated", "improvements"))
    }
    dvc("plots", "show", "--out", str(tmp_path / "plots"), cwd=finished)
    page = (tmp_path / "plots/index.html").read_text()
    runs = json.loads((finished / "build/small/runs.json").read_text())["runs"]
    assert all(repr(loss) in page for run in runs for loss in run["losses"].values())
    assert "Held-out runs" in page
