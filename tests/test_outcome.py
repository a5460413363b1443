"""What `run` and `registry show` print of a finished study: each measured number with the mixture and budget it is of."""

import json
import re
from pathlib import Path

import pytest
from conftest import ROOT, mixlang

from mixlang.registry import Registry
from mixlang.registry.evidence import evidence, evidence_in_words
from mixlang.registry.headline import doubts, headline_change
from mixlang.report.head import answer_section
from mixlang.report.results import Results
from mixlang.report.verification import verification_section
from mixlang.study.outcome import _measured, _mixture, _rivals
from mixlang.verify import verdict
from mixlang.verify.measured import shares_trained
from mixlang.words import between, signed


def read(root, name):
    return json.loads((root / "build" / "small" / name).read_text())


@pytest.fixture(scope="module")
def allocation(finished):
    return read(finished, "allocation.json")


@pytest.fixture(scope="module")
def verification(finished):
    return read(finished, "verification.json")


def numbers(line):
    return [float(text) for text in re.findall(r"[-+]?[0-9]+\.[0-9]+", line.partition("  ")[2])]


def rows(lines, title):
    """The rows of the table below a title, by name; numbers as printed."""
    at = next(index for index, line in enumerate(lines) if line.strip().startswith(title))
    while not lines[at].startswith("    "):  # the title may take several lines
        at += 1
    found = {}
    for line in lines[at + 1 :]:
        match = re.match(r" {4}(\S.*?) {2,}(.*)", line)
        if not match:
            break
        found[match[1]] = match[2].split()
    return found


def apart(verification):
    """The same documents, the mixture solved for the held-out budget 30 points away from the published one."""
    changed = json.loads(json.dumps(verification))
    for run in changed["runs"]:
        if run["mixture"] == "allocated":
            total = sum(run["amounts"].values())
            ct = run["amounts"]["ct"] - round(0.3 * total) * (1 if run["amounts"]["ct"] > 0.5 * total else -1)
            run["amounts"] = {"ct": ct, "mri": total - ct}
    return changed


def test_each_block_of_measurements_names_budget_mixtures_and_shares(allocation, verification, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    changed = apart(verification)
    lines = _measured(allocation, changed)
    assert "measured at the held-out budget of 1,280 samples, 2 seeds" in lines
    shares = rows(lines, "shares trained there")
    assert set(shares) == {"published shares", "solved for 1,280", "proportional"}
    trained = shares_trained(changed["runs"], 1280, allocation["costs"])
    assert shares["published shares"] == [f"{trained['published'][name]:.1%}" for name in ("ct", "mri")]
    assert shares["solved for 1,280"] == [f"{trained['allocated'][name]:.1%}" for name in ("ct", "mri")]
    losses = rows(lines, "measured loss there")
    for shown, mixture in (("published shares", "published"), ("solved for 1,280", "allocated")):
        mine = [run["losses"] for run in changed["runs"] if run["mixture"] == mixture]
        assert losses[shown] == [f"{sum(loss[name] for loss in mine) / 2:.4f}" for name in ("ct", "mri")]
    for mixture, key in (("published shares", "published"), ("solved for 1,280", "improvements")):
        (line,) = rows(lines, f"measured change to {mixture}").values()
        found = changed[key]["1280"]["proportional"]
        assert line[:2] == [signed(found["domains"][name]["mean"]) for name in ("ct", "mri")]
        assert line[2] == signed(found["overall"]["mean"])


def test_a_rival_that_breaks_a_constraint_at_the_held_out_budget_is_marked_wherever_it_was_measured(
    allocation, verification, finished
):
    solved, broken = json.loads(json.dumps(allocation)), "mri 40.0% is above its cap of 10.0%"
    solved["holdout"]["1280"]["baselines"]["proportional"] |= {"feasible": False, "breaks": [broken]}
    lines = _measured(solved, verification)
    text = " ".join(" ".join(lines).split())
    assert "against proportional *" in text
    assert "proportional *" in rows(lines, "shares trained there")
    assert "proportional *" in rows(lines, "measured loss there")
    assert f"* not allowed by the constraints at 1,280 samples - proportional: {broken}" in text
    assert any(broken in found["says"] for found in verdict(verification, solved))
    results = Results(finished / "build" / "small")
    results.__dict__["allocation"] = solved
    page = "".join(verification_section(results))
    assert "against proportional *" in page
    assert f"proportional: {broken}" in page
    assert "the constraints do not allow" in "".join(answer_section(results))
    assert "*" not in " ".join(_measured(allocation, verification))


def test_a_held_out_budget_without_the_published_shares_says_so(allocation, verification):
    fewer = json.loads(json.dumps(verification))
    fewer["runs"] = [run for run in fewer["runs"] if run["mixture"] != "published"]
    fewer["published"] = {}
    text = " ".join(" ".join(_measured(allocation, fewer)).split())
    assert "2 seeds; no run there had the published shares" in text


def test_shares_without_a_shown_gain_are_not_told_to_be_trained_on(allocation):
    gain = [{"about": "gain", "finding": "none", "says": "No gain, for a reason."}]
    (line, *_) = _mixture("small@v1", allocation["target"], [])
    assert line.startswith("small@v1: train on these shares of 2,000 samples")
    text = " ".join(_mixture("small@v1", allocation["target"], gain))
    assert "train on" not in text
    assert "No gain, for a reason." in text
    told = {"pull": 0.1, "worse": 0.003, "error": 0.004, "is_prior": False, "moved": 0.2}
    best = dict.fromkeys(allocation["target"]["shares"], 0.5)
    decided = allocation["target"] | {"decision": told | {"best": best}, "doubts": ["the mixture does not matter."]}
    text = " ".join(" ".join(_mixture("small@v1", decided, [])).split())
    assert "The mixture does not matter." in text
    assert "within one standard error (0.4 %) of the best, the one nearest to proportional sampling is taken" in text
    nothing = decided | {"decision": told | {"best": best, "is_prior": True}}
    assert "Nothing to be gained is seen" in " ".join(" ".join(_mixture("small@v1", nothing, [])).split())
    text = " ".join(_mixture("small@v1", allocation["target"], gain))
    assert "small@v1: the published shares, solved for 2,000 samples under the laws" in " ".join(text.split())


def test_show_says_why_a_version_is_a_candidate_and_what_its_names_mean(finished):
    mixture = Registry(finished / "registry").get("small@v1")
    shown = " ".join(mixlang("registry", "show", "small", cwd=finished).stdout.split())
    why = doubts(mixture.facts["verified"])
    assert (f"a candidate until a tag makes it published: {why}" in shown) == (mixture.status == "candidate")
    assert why or mixture.status == "published"
    assert (
        "objective (weighted_loss): the weighted mean of the relative losses, equal weights; lower is better" in shown
    )
    assert "proportional: in proportion to the training volumes of each domain" in shown
    assert "solver: optimal" in shown
    assert "nothing of whether the laws are right" in shown
    found = evidence(mixture)["compared"]["proportional"]
    low, high = found["interval"]
    assert f"proportional {signed(-found['gain'])} {signed(-found['corrected'])} {between(-high, -low)}" in shown


def test_rivals_at_the_target_are_called_predicted_and_those_not_allowed_are_marked(allocation):
    target = json.loads(json.dumps(allocation["target"]))
    target["baselines"]["proportional"] |= {"feasible": False, "breaks": ["mri 40.0% is above its cap of 10.0%"]}
    target["baselines"]["nearest to proportional"] = target["baselines"]["uniform"]
    lines = _rivals(target)
    text = "\n".join(lines)
    assert "predicted by the laws at 2,000 samples, where nothing was trained" in " ".join(lines)
    names = [line.split("  ")[1].strip() for line in lines if re.match(r"  \w.* [0-9]\.[0-9]{4} ", line)]
    assert names.index("nearest to proportional") == names.index("proportional *") + 1
    assert (
        "* not allowed by the constraints at 2,000 samples\n  - proportional: mri 40.0% is above its cap of 10.0%"
        in text
    )


def test_what_run_prints_is_measured_with_the_published_shares(finished):
    said = (Path(finished).parent / "said").read_text()
    assert re.search(r"small@v1: (train on these shares of|the published shares, solved for) 2,000", said)
    assert "measured at the held-out budget of 1,280 samples, 2 seeds" in said
    assert "Trained at 1,280 samples with the published shares (solved for 2,000 samples): ct" in " ".join(said.split())
    assert max(map(len, said.partition("\nreport:")[0].splitlines())) <= 80


def test_show_tells_a_measurement_of_the_versions_own_shares_from_another(finished):
    shown = mixlang("registry", "show", "small", cwd=finished).stdout
    assert "not with these shares" not in shown
    assert "against proportional at 1,280 samples, with these shares" in " ".join(shown.split())
    mixture = Registry(finished / "registry").get("small@v1")
    own = headline_change(mixture.facts["verified"])
    assert (own.own, own.budget) == (True, 1280)
    del mixture.facts["verified"]["published"]  # as in versions of before
    assert not headline_change(mixture.facts["verified"]).own
    text = " ".join(" ".join(evidence_in_words(mixture, evidence(mixture))).split())
    assert "against proportional at 1,280 samples, not with these shares but with those solved for that budget" in text
    assert "shares of those runs: ct" in text
    assert (
        "to measure the shares above: verify: {published: largest} in the spec, and run it again: 2 runs of 1,280"
        in text
    )


def test_a_version_of_before_published_shares_were_measured_is_read_and_verified():
    registry = Registry(ROOT / "registry")
    mixture = registry.get("study@v1")
    assert not headline_change(mixture.facts["verified"]).own
    shown = " ".join(" ".join(evidence_in_words(mixture, evidence(mixture))).split())
    assert "not with these shares but with those solved for that budget" in shown
    runs = json.loads((mixture.folder / "verification.json").read_text())["runs"]
    trained = shares_trained(runs, 49152, dict.fromkeys(mixture.shares, 1.0))["allocated"]
    assert f"shares of those runs: ct_head {100 * trained['ct_head']:.1f} %" in shown
