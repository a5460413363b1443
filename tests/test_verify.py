"""What held-out runs prove, against answers worked out by hand and worlds whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm, t
from worlds import NAMES, table, truth

from mixlang.allocate import Problem, answer, solve
from mixlang.laws import fit_laws
from mixlang.plan.design import grid_points, sobol_simplex
from mixlang.verify import Rival, agreement, improvement, regret, verdict
from mixlang.verify.objective import Objective
from mixlang.verify.verdict import finding

SETTINGS = {
    "costs": dict.fromkeys(NAMES, 1.0),
    "available": {name: {"volumes": count, "crops": count} for name, count in zip(NAMES, (60, 30, 10), strict=True)},
    "objective": {"minimize": "weighted_loss", "weights": {}, "relative_to": "proportional", "tail": 0.2},
    "constraints": {"repetition": None, "share": {}, "group": {}, "prior": 0.0},
}


@pytest.fixture(scope="module")
def fit():
    return fit_laws(table(noise=0.01), fixed_total=False, draws=20)


def run(mixture, seed, losses, amounts=(300, 300, 300)):
    return {
        "mixture": mixture,
        "seed": seed,
        "budget_asked": 900,
        "amounts": dict(zip(NAMES, amounts, strict=True)),
        "losses": dict(zip(NAMES, losses, strict=True)),
    }


def plain(weights=(1, 1, 1), kind="weighted_loss", reference=(1, 1, 1)):
    weights = np.array(weights, float)
    return Objective(kind, weights / weights.sum(), np.array(reference, float))


def test_improvement_is_paired_by_seed(fit):
    ours = np.array([[0.9, 0.5, 1.0], [0.8, 0.5, 1.0]])
    rival = Rival(np.array([[1.0, 0.5, 1.25], [1.0, 0.5, 1.25]]), np.full(3, 300.0))
    found = improvement(ours, rival, fit, plain((1, 1, 2), reference=(1.0, 0.5, 1.25)))
    assert found["domains"]["ct"]["mean"] == pytest.approx(-0.15)
    assert found["domains"]["mri"] == {"mean": 0.0, "low": 0.0, "high": 0.0, "seeds": 2}
    assert found["overall"]["mean"] == pytest.approx((-0.15 + 0 + 2 * -0.2) / 4)
    half = t.ppf(0.975, 1) * np.std([-0.1, -0.2], ddof=1) / np.sqrt(2)
    assert found["domains"]["ct"]["high"] == pytest.approx(-0.15 + half)


def test_reducible_loss_is_what_lies_above_the_floor():
    laws = fit_laws(table(noise=0.002), family="transfer", draws=0)
    mri = laws.names.index("mri")
    floors = np.array([law.floor for law in laws.laws])
    assert floors[mri] > 0.05
    ours, theirs = floors + 0.1, floors + 0.2
    found = improvement(ours[None], Rival(theirs[None], np.full(3, 300.0)), laws, plain())
    assert found["reducible"]["mri"]["mean"] == pytest.approx(-0.5)
    assert found["domains"]["mri"]["mean"] == pytest.approx(-0.1 / (floors[mri] + 0.2))
    at_floor = improvement(ours[None], Rival(np.maximum(floors, 1e-3)[None] * 1.0001, np.full(3, 300.0)), laws, plain())
    assert at_floor["reducible"]["mri"] is None  # a ratio of noise to noise means nothing


def test_the_data_a_rival_needs_undoes_the_change(fit):
    amounts = np.array([100.0, 500.0, 300.0])
    theirs, better = fit.predict(amounts)[0], fit.predict(3 * amounts)[0]
    objective = plain(reference=theirs)
    data = improvement(better[None], Rival(theirs[None], amounts), fit, objective)["data"]
    assert data["objective"] == pytest.approx(3, rel=1e-3)
    assert list(data["domains"].values()) == pytest.approx([3, 3, 3], rel=1e-3)
    worse = improvement(theirs[None], Rival(better[None], 3 * amounts), fit, objective)["data"]
    assert worse["objective"] == pytest.approx(1 / 3, rel=1e-3)
    blind = replace(fit, laws=tuple(replace(law, least_share=0.2) for law in fit.laws))
    silent = improvement(better[None], Rival(theirs[None], amounts), blind, objective)["data"]
    assert silent["domains"]["ct"] is None  # 11 % of it, and the law begins at 20 %
    assert silent["domains"]["mri"] == pytest.approx(3, rel=1e-3)
    assert silent["objective"] is None
    never = improvement(theirs[None] * 1e-3, Rival(theirs[None], amounts), fit, objective)["data"]
    assert never["objective"] is None


@pytest.mark.parametrize(
    ("kind", "value"), [("weighted_loss", 1.0), ("geometric_mean", 0.5**0.5 * 2**0.25), ("worst_case", 2.0)]
)
def test_an_objective_of_measured_losses(kind, value):
    objective = plain((2, 1, 1), kind, (1.0, 1.0, 0.5))
    assert objective.value(np.array([0.5, 2.0, 0.5])) == pytest.approx(value)
    assert objective.value(np.array([1.0, 1.0, 0.5])) == pytest.approx(1.0)


def test_the_measured_objective_is_the_one_that_was_minimised(fit):
    for kind in ("weighted_loss", "geometric_mean", "worst_case"):
        settings = {**SETTINGS, "objective": {**SETTINGS["objective"], "minimize": kind, "weights": {"ct": 2.0}}}
        solved = answer(fit, settings, 5000, uncertain=False)
        losses = np.array([solved["predicted"][name] for name in fit.names])
        assert Objective.of(fit.names, solved).value(losses) == pytest.approx(solved["objective"], rel=1e-6)


def test_agreement_by_hand(fit):
    predicted = fit.predict(np.full((1, 3), 300.0))[0]
    rows = [run("allocated", 0, predicted * 1.02), run("allocated", 1, predicted * 1.04)]
    rows += [run("uniform", 0, predicted * 0.98), run("uniform", 1, predicted * 1.0)]
    measured = agreement(rows, fit)
    factors = np.array([1.02, 1.04, 0.98, 1.0])
    assert measured["domains"]["ct"]["bias"] == pytest.approx(np.mean(1 / factors - 1))
    assert measured["domains"]["ct"]["mean_relative_error"] == pytest.approx(np.mean(np.abs(1 / factors - 1)))
    assert measured["domains"]["ct"]["pearson_r"] is None  # one prediction: a correlation would be made up
    assert measured["pooled"]["count"] == 12
    assert measured["pooled"]["pearson_r"] == pytest.approx(
        np.corrcoef(np.tile(predicted, 4), np.concatenate([predicted * factor for factor in factors]))[0, 1]
    )


def test_noise_and_spread_are_told_apart(fit):
    predicted = fit.predict(np.array([[300.0, 300, 300], [600.0, 150, 150]]))
    rows = []
    for index, amounts in enumerate(((300, 300, 300), (600, 150, 150))):
        for seed, shift in enumerate((-0.01, 0.01)):
            rows.append(run(f"m{index}", seed, predicted[0] * np.exp(0.3 * index + shift), amounts))
    entry = agreement(rows, fit)["domains"]["pet"]
    assert entry["noise"] == pytest.approx(0.01 * np.sqrt(2))
    assert entry["spread"] == pytest.approx(0.3 / np.sqrt(2))


def test_the_ceiling_is_the_correlation_of_exact_predictions(fit):
    rng = np.random.default_rng(4)
    rows = []
    for index, shares in enumerate(rng.dirichlet(np.ones(3), 60)):
        amounts = tuple(900 * shares)
        exact = fit.predict(np.array([amounts]))[0]
        rows += [run(f"m{index}", seed, exact * np.exp(0.08 * rng.standard_normal(3)), amounts) for seed in range(4)]
    for entry in agreement(rows, fit)["domains"].values():
        assert entry["pearson_r"] == pytest.approx(entry["ceiling"], abs=0.04)
        assert entry["pearson_r"] < 0.99


def test_intervals_cover_as_often_as_they_say():
    """New runs of a known world, at twice the largest budget fitted, fall into their intervals."""
    rng = np.random.default_rng(5)
    fitted = fit_laws(table(noise=0.02), draws=30)
    amounts = rng.dirichlet(np.ones(3), 400) * 2 * fitted.budgets[1]
    losses = truth(amounts) * np.exp(0.02 * rng.standard_normal((400, 3)))
    rows = [run("m", 0, row, tuple(n)) for row, n in zip(losses, amounts, strict=True)]
    found = agreement(rows, fitted)["supported"]["coverage"]
    assert found["0.9"] > 0.8
    assert found["0.5"] < found["0.8"] < found["0.95"]


def test_what_was_never_observed_is_said(fit):
    laws = replace(fit, laws=tuple(replace(law, least_share=0.05) for law in fit.laws))
    rows = [run("m", 0, (1, 1, 1), (900, 0, 0)), run("n", 0, (1, 1, 1))]
    found = agreement(rows, laws)
    flags = {(point["mixture"], point["domain"]): point["supported"] for point in found["points"]}
    assert flags["n", "pet"]
    assert flags["m", "ct"]
    assert not flags["m", "pet"]
    assert not flags["m", "mri"]
    assert found["supported"]["count"] == 4
    assert found["domains"]["pet"]["supported"]["count"] == 1
    assert found["domains"]["pet"]["count"] == 2


def test_prediction_intervals_hold_a_new_run_not_only_the_curve(fit):
    amounts = np.array([[300.0, 300, 300]])
    inner, outer = fit.interval(amounts, 0.9), fit.prediction_interval(amounts, 0.9)
    assert (outer[0] < inner[0]).all()
    assert (outer[1] > inner[1]).all()
    half = np.log(outer[1] / fit.predict(amounts))[0] / norm.ppf(0.95)
    assert (half >= [0.9 * law.noise for law in fit.laws]).all()
    assert all(law.held_out_error >= law.error for law in fit.laws)
    old = replace(fit, laws=tuple(replace(law, unknown=None) for law in fit.laws))
    half = np.log(old.prediction_interval(amounts)[1] / old.predict(amounts))[0] / norm.ppf(0.95)
    assert (half >= [law.held_out_error for law in fit.laws]).all()  # laws fitted before version 3


def test_regret_by_hand():
    ours = np.array([[1.0, 1, 1], [1.0, 1, 1]])
    others = {"a": np.array([[0.9, 0.9, 0.9], [1.2, 1.2, 1.2]]), "b": np.array([[1.3, 1.3, 1.3], [0.95, 0.95, 0.95]])}
    found = regret(ours, others, plain())
    assert found["rank"] == 1
    assert found["best"] == "a"
    assert [entry["mixture"] for entry in found["objectives"]] == ["allocated", "a", "b"]
    assert found["to_best"]["mean"] == pytest.approx(np.mean([1 / 0.9 - 1, 1 / 1.2 - 1]))
    # Seed 0's best by seed 1 is b (1.3), seed 1's best by seed 0 is a (1.2): luck does not carry over.
    assert found["corrected"]["mean"] == pytest.approx(np.mean([1 / 1.3 - 1, 1 / 1.2 - 1]))
    assert regret(ours[:1], {"a": others["a"][:1]}, plain())["corrected"] is None


def test_picking_the_best_of_noise_is_not_called_regret():
    """Equal mixtures: the best of twenty looks better than it is; chosen by other seeds it does not."""
    rng = np.random.default_rng(3)
    naive, fair = [], []
    for _ in range(60):
        draw = 1 + 0.02 * rng.standard_normal((21, 3, 1)) * np.ones(3)
        found = regret(draw[0], {str(i): draw[i] for i in range(1, 21)}, plain())
        naive.append(found["to_best"]["mean"])
        fair.append(found["corrected"]["mean"])
    assert np.mean(naive) > 0.01
    assert abs(np.mean(fair)) < 0.005


def test_the_grid_is_feasible_spread_and_apart_from_the_probe(fit):
    settings = {**SETTINGS, "constraints": {**SETTINGS["constraints"], "share": {"ct": {"min": 0.2, "max": 0.5}}}}
    problem = Problem.of(fit, settings, 5000)
    points = np.array(grid_points(3, 16))
    solved = answer(fit, settings, 5000, uncertain=False, points=points)
    shares = solve(problem).shares
    assert len(solved["grid"]) == 16
    mixtures = np.array([[mixture[name] for name in fit.domains] for mixture in solved["grid"].values()])
    assert all(problem.allows(mixture) for mixture in mixtures)
    assert mixtures.sum(axis=1) == pytest.approx(np.ones(16))
    gaps = np.abs(mixtures - shares).sum(axis=1)
    near = np.array([name.startswith("near") for name in solved["grid"]])
    assert gaps[near].mean() < gaps[~near].mean()
    assert len(np.unique(np.round(mixtures, 6), axis=0)) == 16
    probe = np.array(sobol_simplex(3, 500))
    assert min(np.abs(probe - point).max(axis=1).min() for point in points) > 1e-6


def test_best_single_and_named_mixtures_are_rivals(fit):
    named = {"habit": {"ct": 0.7, "pet": 0.3}}
    solved = answer(fit, SETTINGS, 5000, ["proportional", "best_single"], uncertain=False, named=named)
    assert solved["baselines"]["habit"]["shares"] == {"ct": 0.7, "mri": 0.0, "pet": 0.3}
    single = solved["baselines"]["best_single"]["shares"]
    assert sorted(single.values()) == [0.0, 0.0, 1.0]
    problem = Problem.of(fit, SETTINGS, 5000)
    values = {name: problem.value(np.eye(3)[index]) for index, name in enumerate(fit.domains)}
    assert single[min(values, key=values.get)] == 1.0


# In words


def change(mean, low, high):
    return {"mean": mean, "low": low, "high": high, "seeds": 3}


def document(overall, domains=None, times=2.0):
    domains = domains or {"ct": change(-0.1, -0.2, -0.05), "pet": change(0.02, 0.01, 0.03)}
    entry = {"overall": overall, "domains": domains, "data": {"objective": times, "domains": {}}}
    pooled = {"pearson_r": 0.99, "mean_relative_error": 0.02, "coverage": {"0.9": 0.91}, "count": 12}
    in_ct = {"supported": {"pearson_r": 0.97, "noise": 0.01, "spread": 0.1}}
    trained = {"published": (675, 225), "allocated": (450, 450), "proportional": (630, 270)}
    runs = [
        {"budget_asked": 900, "grid": False, "mixture": name, "seed": seed, "amounts": {"ct": ct, "pet": pet}}
        for name, (ct, pet) in trained.items()
        for seed in range(3)
    ]
    return {
        "runs": runs,
        "published": {"900": {"proportional": entry}},
        "improvements": {"900": {"proportional": entry}},
        "regret": {},
        "agreement": {"pooled": pooled, "supported": None, "domains": {"ct": in_ct, "pet": {"supported": None}}},
    }


def allocation(ours, proportional, interval):
    gain = {"interval": interval, "corrected": 1 - ours / proportional}
    sure = {"gains": {"proportional": gain}, "shares": {"ct": [0.3, 0.8], "pet": [0.1, 0.6]}}
    rival = {"objective": proportional, "shares": {"ct": 0.7, "pet": 0.3}, "feasible": True, "breaks": []}
    target = {"budget": 5000, "shares": {"ct": 0.75, "pet": 0.25}, "objective": ours, "intervals": sure}
    held = {"900": {"baselines": {"proportional": dict(rival)}}}
    return {
        "target": {**target, "baselines": {"proportional": rival}},
        "costs": {"ct": 1.0, "pet": 1.0},
        "holdout": held,
    }


@pytest.mark.parametrize(
    ("overall", "kind", "words"),
    [
        (change(-0.1, -0.15, -0.05), "better", "10.0% below that of proportional"),
        (change(0.1, 0.05, 0.15), "worse", "10.0% above"),
        (change(-0.1, -0.25, 0.05), "open", "no difference shown"),
        (change(-0.1, None, None), "open", "(one seed: not known whether that is more than noise)"),
        (change(-0.1, -1.4, 1.2), "open", "(95 % interval wider than ±100 % over 3 seeds: no difference shown)"),
    ],
)
def test_better_worse_or_not_shown(overall, kind, words):
    found = verdict(document(overall), allocation(0.8, 1.0, [0.1, 0.3]))
    rival = next(item for item in found if item["about"] == "rival")
    assert rival["finding"] == kind == finding(overall)
    assert words in rival["says"]
    assert ("times the samples" in rival["says"]) == (kind == "better")
    weakest = next(item for item in found if item["about"] == "weakest")
    assert weakest["finding"] == "worse"
    assert "Of the domains, pet changes worst from proportional" in weakest["says"]
    assert "+2.0%" in weakest["says"]
    assert not any(item["about"] == "gain" for item in found)


def test_predictions_are_judged_where_the_laws_say_anything_and_the_rest_is_told():
    found = document(change(-0.1, -0.2, -0.05))
    found["agreement"]["pooled"]["mean_relative_error"] = 0.3
    found["agreement"]["supported"] = {**found["agreement"]["pooled"], "mean_relative_error": 0.02, "count": 10}
    quiet = {
        "supported": {"pearson_r": 0.1, "noise": 0.01, "spread": 0.015}
    }  # less than twice the noise: r says nothing
    found["agreement"]["domains"]["pet"] = quiet
    said = verdict(found, allocation(0.8, 1.0, [0.1, 0.3]))[-1]
    assert said["finding"] == "held"
    for words in (
        "error of 2.0%",
        "at least 0.970 (ct)",
        "without 2 of 12 losses",
        "the 9 held-out runs, of 900 samples",
        "with them the error is 30.0%",
    ):
        assert words in said["says"]


@pytest.mark.parametrize(
    ("predicted", "interval", "measured", "nothing"),
    [
        (0.995, [-0.01, 0.02], change(0.001, -0.01, 0.01), True),
        (0.8, [0.1, 0.3], change(0.001, -0.01, 0.01), False),  # the laws promise a gain
        (0.995, [-0.01, 0.02], change(-0.02, -0.03, -0.01), False),  # there was a gain
        (0.995, [-0.01, 0.02], change(-0.02, None, None), False),  # nobody knows
    ],
)
def test_nothing_to_gain_is_said_only_when_neither_laws_nor_runs_show_a_gain(predicted, interval, measured, nothing):
    found = verdict(document(measured), allocation(predicted, 1.0, interval))
    assert (found[0]["about"] == "gain") == nothing
    if nothing:
        says = found[0]["says"]
        assert says.startswith("No gain over proportional sampling is shown.")
        assert (
            "measured +0.1% for the published shares, trained on 900 (95 % interval -1.0% to +1.0% over 3 seeds)"
            in says
        )
        assert "+0.1% for the mixture solved for 900 samples, trained on 900 " in says
        assert (
            "predicted by the laws -0.5% as fitted, -0.5% corrected for optimism, for the published shares at 5,000 samples"
            in says
        )
        assert "Train on proportional shares: ct 70.0 %, pet 30.0 %, inside the 90 % intervals" in says


def test_a_rival_that_the_constraints_forbid_at_the_budget_is_told_to_be_so():
    solved = allocation(0.8, 1.0, [0.1, 0.3])
    solved["holdout"]["900"]["baselines"]["proportional"]["breaks"] = ["ct 70.0% is above its cap of 60.0%"]
    found = verdict(document(change(-0.1, -0.2, -0.05)), solved)
    rivals = [item["says"] for item in found if item["about"] == "rival"]
    assert len(rivals) == 2
    for says in rivals:
        assert (
            "proportional is not allowed by the constraints at 900 samples: ct 70.0% is above its cap of 60.0%." in says
        )


def test_every_measured_figure_names_the_mixture_and_the_budget_it_was_measured_with():
    found = verdict(document(change(-0.1, -0.2, -0.05)), allocation(0.8, 1.0, [0.1, 0.3]))
    heads = [item["says"] for item in found if item["about"] == "shares"]
    assert heads[0] == (
        "Trained at 900 samples with the published shares (solved for 5,000 samples): ct 75.0 %, pet 25.0 %."
    )
    assert heads[1] == (
        "Trained at 900 samples with the mixture solved for 900 samples: ct 50.0 %, pet 50.0 %. These are not the published "
        "shares: the published shares, which are for 5,000 samples, have ct 75.0 %, 25.0 points more."
    )
    for item in found:
        if item["about"] in ("rival", "weakest"):
            assert "the published shares" in item["says"] or "the mixture solved for 900 samples" in item["says"]
            assert "900 samples" in item["says"]


def test_a_mixture_solved_for_the_budget_that_is_the_published_one_is_told_once():
    found = document(change(-0.1, -0.2, -0.05))
    for run in found["runs"]:
        if run["mixture"] == "allocated":
            run["amounts"] = {"ct": 674, "pet": 226}
    said = verdict(found, allocation(0.8, 1.0, [0.1, 0.3]))
    assert [item["about"] for item in said] == ["shares", "rival", "weakest", "prediction"]
    assert not any("the mixture solved for" in item["says"] for item in said)


def test_where_no_run_had_the_published_shares_that_is_said_with_what_it_would_take():
    found = document(change(-0.1, -0.2, -0.05))
    found["published"] = {}
    said = verdict(found, allocation(0.8, 1.0, [0.1, 0.3]))
    assert said[0]["about"] == "shares"
    assert "No run was trained with the published shares" in said[0]["says"]
    assert "verify: {published: largest}" in said[0]["says"]
    assert "3 runs of 900 samples" in said[0]["says"]


def test_proportional_is_not_advised_where_the_constraints_forbid_it():
    solved = allocation(0.995, 1.0, [-0.01, 0.02])
    rivals = solved["target"]["baselines"]
    rivals["proportional"] |= {"feasible": False, "breaks": ["ct 70.0% is above its repetition cap of 60.0%"]}
    rivals["nearest to proportional"] = {"shares": {"ct": 0.6, "pet": 0.4}}
    advice = verdict(document(change(0.001, -0.01, 0.01)), solved)[0]
    assert advice["about"] == "gain"
    assert "Train on proportional shares" not in advice["says"]
    assert "At 5,000 samples proportional sampling is not allowed" in advice["says"]
    assert "above its repetition cap of 60.0%" in advice["says"]
    assert "ct 60.0 %, pet 40.0 %" in advice["says"]
