"""The runs of a verification and its document, with losses of a known world in place of training."""

import re

import numpy as np
import pytest
from conftest import SMALL_SPEC
from worlds import NAMES, table, truth

from mixlang.allocate import answer
from mixlang.laws import fit_laws
from mixlang.plan.build import compile_plan
from mixlang.plan.cost import held_out_work
from mixlang.plan.design import grid_points
from mixlang.spec import load_spec
from mixlang.spec.locations import Locations
from mixlang.verify.trials import trials, verification
from runners.data.scan import scan

VERIFY = """verify:
  baselines: [proportional, uniform, best_single]
  mixtures: {habit: {ct: 0.7, mri: 0.3}}
  seeds: 3
  grid: {count: 6, seeds: 2}
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The small spec with three domains, two holdout budgets and everything a verification can have."""
    root = tmp_path_factory.mktemp("spec")
    text = SMALL_SPEC.replace(
        "data: {", "  pet: {modality: pet, source: {phantom: {count: 8, seed: 3, shape: [24, 24, 24]}}}\ndata: {"
    )
    text = re.sub(r"verify: .*", VERIFY, text).replace("holdout: [1280]", "holdout: [8000, 16000]")
    text = text.replace("count: 2, budgets: [480]", "count: 4, budgets: [480]").replace("target: 2000", "target: 20k")
    (root / "spec.yaml").write_text(text.replace("repetition: 400", "repetition: unlimited"))
    spec = load_spec(root / "spec.yaml").spec
    return spec, compile_plan(spec, scan(spec, Locations(root, {}), root / "store", 1))


@pytest.fixture(scope="module")
def allocation(compiled):
    given = compiled[1].settings["allocate"]
    # Decided by the fit alone, mixtures of two budgets differ enough to be told of one by one.
    settings = given | {"objective": given["objective"] | {"decide": "best_guess"}}
    laws = fit_laws(table(noise=0.01), fixed_total=True, draws=20)
    points = np.array(grid_points(3, settings["grid"]))
    held = {
        str(budget): answer(
            laws,
            settings,
            budget,
            settings["baselines"],
            uncertain=False,
            named=settings["mixtures"],
            points=None if number else points,
        )
        for number, budget in enumerate(settings["holdout"])
    }
    target = answer(laws, settings, settings["target"], settings["baselines"], named=settings["mixtures"])
    return laws, {"costs": settings["costs"], "target": target, "holdout": held}


def test_every_mixture_is_trained_as_often_as_asked(compiled, allocation):
    spec, made = compiled
    wanted = trials(made.plan, allocation[1], made.settings["verify"])
    assert (len(wanted), sum(trial.run.budget for trial in wanted)) == held_out_work(spec)
    names = {trial.mixture for trial in wanted if not trial.grid}
    assert names == {"published", "allocated", "proportional", "uniform", "best_single", "habit"}
    published = [trial for trial in wanted if trial.mixture == "published"]
    assert {trial.budget for trial in published} == {16000}  # the largest alone
    target = allocation[1]["target"]["shares"]
    for trial in published:
        assert all(abs(trial.run.amounts[name] / 16000 - target[name]) <= 1 / 16000 for name in NAMES)
    grid = [trial for trial in wanted if trial.grid]
    assert {trial.budget for trial in grid} == {8000}
    assert len({trial.mixture for trial in grid}) == 6
    assert {trial.run.seed for trial in grid} == {0, 1}
    habit = next(trial.run for trial in wanted if trial.mixture == "habit" and trial.budget == 16000)
    assert habit.amounts == {"ct": 11200, "mri": 4800, "pet": 0}


def test_the_document_says_what_the_runs_show(compiled, allocation):
    _, made = compiled
    laws, solved = allocation
    wanted = trials(made.plan, solved, made.settings["verify"])
    rng = np.random.default_rng(0)
    rows = {}
    for trial in wanted:
        losses = truth(np.array([[trial.run.amounts[name] for name in NAMES]]))[0]
        noise = np.exp(0.001 * rng.standard_normal(3))
        rows[trial.run.key] = {
            **trial.run.as_dict(),
            "losses": dict(zip(NAMES, (losses * noise).tolist(), strict=True)),
        }
    document = verification(rows, wanted, laws, solved, made.settings["verify"])
    assert set(document["improvements"]) == {"8000", "16000"}
    assert set(document["published"]) == {"16000"}
    assert set(document["regret"]) == {"8000"}
    gain = document["improvements"]["8000"]["proportional"]["overall"]
    expected = [
        np.mean(
            [
                truth(np.array([[mixture["shares"][name] * 8000 for name in NAMES]]))[0][i] / reference
                for i, reference in enumerate(solved["holdout"]["8000"]["measure"]["reference"].values())
            ]
        )
        for mixture in (solved["holdout"]["8000"], solved["holdout"]["8000"]["baselines"]["proportional"])
    ]
    assert gain["mean"] == pytest.approx(expected[0] / expected[1] - 1, abs=0.01)
    assert gain["high"] < 0
    assert document["regret"]["8000"]["rank"] <= 3
    assert document["agreement"]["supported"]["pearson_r"] > 0.99
    said = [item["about"] for item in document["verdict"]]
    assert said.count("rival") == 12  # of the published shares at one budget, of those solved for each of the two
    assert said.count("weakest") == 3
    assert said[-2:] == ["regret", "prediction"]


def test_without_a_holdout_budget_there_is_nothing_to_say(compiled, allocation):
    laws, solved = allocation
    bare = {**solved, "holdout": {}}
    assert trials(compiled[1].plan, bare, compiled[1].settings["verify"]) == []
    assert verification({}, [], laws, bare, compiled[1].settings["verify"])["runs"] == []


@pytest.mark.parametrize(("asked", "budgets"), [("largest", {16000}), ("all", {8000, 16000}), ("none", set())])
def test_the_published_shares_are_trained_where_the_spec_asks(compiled, allocation, asked, budgets):
    spec, made = compiled
    settings = made.settings["verify"] | {"published": asked}
    wanted = trials(made.plan, allocation[1], settings)
    assert {trial.budget for trial in wanted if trial.mixture == "published"} == budgets
    verify = spec.verify.model_copy(update={"published": asked})
    planned = held_out_work(spec.model_copy(update={"verify": verify}))
    assert planned == (len(wanted), sum(trial.run.budget for trial in wanted))
