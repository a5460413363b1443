"""Allocations against independent answers: another solver, a grid, arithmetic by hand."""

import re
import sys
from dataclasses import replace

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from worlds import NAMES, random_fit, settings_of, table, theta_of

from mixlang.allocate import Problem, answer, baseline_shares, over_budgets, smallest_budget, solve
from mixlang.allocate.cones import Cones
from mixlang.allocate.descent import descend
from mixlang.allocate.feasible import nearest
from mixlang.allocate.problem import tail_mean
from mixlang.errors import InputError, SolveError
from mixlang.laws import FAMILIES, Fit, FittedLaw, Law, fit_laws

SOLVABLE = ("power", "transfer", "transfer_common", "transfer_saturating", "transfer_tilted", "additive", "exponential")


@pytest.fixture(scope="module")
def fit():
    return fit_laws(table(noise=0.01), fixed_total=False, draws=20)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
@pytest.mark.parametrize("own", [2, None], ids=["own", "anonymous"])
def test_the_solver_sees_the_same_numbers(family, own):
    if family.transfer == "none" and family.effective and own is None:
        return  # power is of own data only, so never of a loss without a domain
    law = Law(family, own=own, count=3)
    theta = theta_of(law, 5)
    point = np.array([0.2, 0.3, 0.4])
    cones, amounts = Cones(float(point.sum())), cp.Variable(3)
    floor, terms = law.terms(theta, amounts, cones)
    loss, log_losses = floor + sum(term.over(1.0) for term in terms), [term.log_over(1.0) for term in terms]
    assert loss.is_convex()
    assert all(item.is_convex() for item in log_losses)
    held = [amounts == point, *cones.constraints]
    for expression, expected in ((loss, law.predict(theta, point[None])[0]), (sum(map(cp.exp, log_losses)), None)):
        program = cp.Problem(cp.Minimize(expression), held)
        program.solve(solver=cp.CLARABEL)
        wanted = law.predict(theta, point[None])[0] - floor if expected is None else expected
        assert program.value == pytest.approx(wanted, rel=1e-6)


def slsqp(problem, starts=2):
    """The optimum by an independent method."""
    best = np.inf
    bounds = list(zip(np.maximum(problem.lower, np.minimum(1e-8, problem.upper)), problem.upper, strict=True))
    constraints = [{"type": "eq", "fun": lambda shares: shares.sum() - 1}]
    for group in problem.groups:
        constraints.append({"type": "ineq", "fun": lambda shares, g=group: g.members @ shares - g.lower})
        constraints.append({"type": "ineq", "fun": lambda shares, g=group: g.upper - g.members @ shares})

    def both(shares):
        values, slopes, _ = problem.pieces(shares)
        penalty, pull = problem.penalty(shares)
        return values[0] + penalty, slopes[0] + pull

    for start in np.random.default_rng(0).dirichlet(np.ones(len(problem.lower)), starts):
        inside = np.clip(start, problem.lower, problem.upper)
        found = minimize(
            both, inside, jac=True, method="SLSQP", bounds=bounds, constraints=constraints,
            options={"ftol": 1e-15, "maxiter": 1000},
        )  # fmt: skip
        if abs(found.x.sum() - 1) < 1e-9:
            best = min(best, found.fun)
    return best


def random_problem(seed):
    """A problem of 1 to 12 domains with floors, caps, groups, costs and pulls that may bind."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 13))
    fit = random_fit(count, seed, SOLVABLE if seed % 2 else ("transfer",))
    names = fit.domains
    changes = {"objective__minimize": ["weighted_loss", "geometric_mean"][seed % 3 == 0]}
    if rng.random() < 0.5:
        changes["objective__weights"] = {name: float(rng.uniform(0, 3)) + 0.01 for name in names}
    if rng.random() < 0.5 and count > 2:
        low = float(rng.uniform(0, 0.3))
        changes["constraints__share"] = {names[0]: {"min": low, "max": low + 0.2}, names[1]: {"min": 0.0, "max": 0.05}}
    if rng.random() < 0.3:
        changes["constraints__prior"] = float(rng.uniform(0.01, 0.3))
    if rng.random() < 0.3 and count > 3:
        changes["constraints__group"] = {"g": {"members": list(names[:3]), "min": 0.35, "max": 0.5}}
    if rng.random() < 0.4:
        changes["constraints__repetition"] = float(rng.uniform(1.1, 3)) * 2000 / (10 * np.geomspace(80, 5, count).sum())
    if not fit.fixed_total and rng.random() < 0.4:
        changes["costs"] = {name: float(rng.uniform(0.5, 3)) for name in names}
    return fit, settings_of(names, **changes)


@pytest.mark.parametrize("block", range(8))
def test_the_optimum_agrees_with_another_solver(block):
    """200 random problems, to 6 digits of the objective, with active caps and floors among them."""
    active, infeasible = 0, 0
    for seed in range(25 * block, 25 * block + 25):
        fit, asked = random_problem(seed)
        try:
            problem = Problem.of(fit, asked, 2000.0)
        except SolveError:
            infeasible += 1
            continue
        found = solve(problem)
        other = slsqp(problem)
        # SLSQP may stop early; being better than it is no disagreement beyond what our bound allows.
        assert found.objective == pytest.approx(other, rel=1e-6) or (
            found.objective < other and found.certificate["gap"] < 1e-6
        ), seed
        assert found.certificate["kkt_residual"] < 1e-6, seed
        active += len(found.certificate["active"])
    assert active > 5
    assert infeasible < 8


def test_the_worst_case_agrees_with_a_fine_grid(fit):
    problem = Problem.of(fit, settings_of(objective__minimize="worst_case", objective__relative_to="specialist"), 6000)
    found = solve(problem)
    ticks = np.arange(0.005, 1, 0.01)
    best = min(problem.value(np.array((a, b, 1 - a - b))) for a in ticks for b in ticks if a + b < 1)
    assert found.objective <= best + 1e-6
    assert found.objective == pytest.approx(best, rel=0.01)
    relative = problem.relative(found.shares)
    assert (relative > relative.max() - 1e-6).sum() > 1  # a worst case ties losses


def test_the_robust_optimum_is_the_least_tail_mean(fit):
    problem = Problem.of(fit, settings_of(objective__minimize="robust", objective__tail=0.3), 6000)
    found = solve(problem)
    assert found.certificate["kkt_residual"] < 1e-6
    values = problem.pieces(found.shares)[0]
    assert len(values) == 20
    assert found.objective == pytest.approx(np.sort(values)[-6:].mean())  # the worst 30 % of 20
    rivals = np.random.default_rng(0).dirichlet(np.ones(3), 500)
    assert min(problem.value(rival) for rival in rivals) >= found.objective - found.certificate["gap"]
    assert problem.value(descend(problem, np.full(3, 1 / 3))) == pytest.approx(found.objective, abs=1e-5)


def test_a_robust_problem_without_draws_says_so():
    with pytest.raises(InputError, match="needs bootstrap draws"):
        Problem.of(random_fit(3, 0), settings_of(("d0", "d1", "d2"), objective__minimize="robust"), 500)


def test_tail_means_by_hand():
    values = np.array([1.0, 4.0, 2.0, 3.0])
    assert tail_mean(values, 1.0) == 4.0
    assert tail_mean(values, 1 / (0.5 * 4)) == 3.5
    assert tail_mean(values, 1 / 4) == 2.5
    assert tail_mean(values, 1 / (0.4 * 4)) == pytest.approx((4 + 0.6 * 3) / 1.6)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_answer_keeps_its_constraints_and_its_certificate(fit, data):
    draw = data.draw
    least = draw(st.floats(0, 0.3))
    case = settings_of(
        objective__minimize=draw(st.sampled_from(["weighted_loss", "geometric_mean", "worst_case"])),
        objective__weights={name: draw(st.floats(0.1, 5)) for name in NAMES},
        constraints__share={"pet": {"min": least, "max": draw(st.floats(least, 1))}},
        constraints__group=draw(st.sampled_from([{}, {"g": {"members": ["ct", "pet"], "min": 0.2, "max": 0.6}}])),
        constraints__repetition=draw(st.sampled_from([None, 8.0, 40.0])),
    )
    try:
        problem = Problem.of(fit, case, draw(st.integers(500, 7000)))
    except SolveError:
        return  # the constraints leave no mixture, and that was said before solving
    found = solve(problem)
    assert found.shares.sum() == pytest.approx(1, abs=1e-9)
    assert (found.shares >= problem.lower - 1e-9).all()
    assert (found.shares <= problem.upper + 1e-9).all()
    assert all(g.lower - 1e-9 <= g.members @ found.shares <= g.upper + 1e-9 for g in problem.groups)
    assert found.certificate["status"] == "optimal"
    assert found.certificate["kkt_residual"] < 1e-6
    # The certificate is a bound: no feasible mixture is better by more than the gap.
    for rival in np.random.default_rng(0).dirichlet(np.ones(3), 300):
        inside = (rival >= problem.lower).all() and (rival <= problem.upper).all()
        if inside and all(g.lower <= g.members @ rival <= g.upper for g in problem.groups):
            assert problem.value(rival) >= found.objective - found.certificate["gap"] - 1e-9


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-6, 1e6), st.integers(2, 6))
def test_units_and_the_order_of_domains_do_not_move_the_answer(seed, unit, count):
    fit = random_fit(count, seed)
    asked = settings_of(fit.domains)
    base = solve(Problem.of(fit, asked, 1500.0)).shares
    scaled = replace(
        fit, laws=tuple(replace(law, scale=law.scale * unit) for law in fit.laws), scale=fit.scale * unit,
        budgets=(fit.budgets[0] * unit, fit.budgets[1] * unit),
    )  # fmt: skip
    np.testing.assert_allclose(solve(Problem.of(scaled, asked, 1500.0 * unit)).shares, base, atol=1e-4)
    order = np.random.default_rng(seed).permutation(count)
    moved = solve(Problem.of(reordered(fit, order), settings_of(fit.domains) | {"costs": asked["costs"]}, 1500.0))
    np.testing.assert_allclose(moved.objective, solve(Problem.of(fit, asked, 1500.0)).objective, rtol=1e-6)
    names = list(moved.problem.domains)
    np.testing.assert_allclose([moved.shares[names.index(name)] for name in fit.domains], base, atol=1e-4)


def reordered(fit, order):
    """The same laws over domains in another order."""
    laws = []
    for position in order:
        old = fit.laws[position]
        law = Law(old.law.family, int(np.flatnonzero(order == position)[0]), len(order))
        values = dict(zip(old.law.names, old.theta, strict=True))
        theta = []
        for name in law.names:
            kind, _, column = name.rpartition("_")
            theta.append(values[f"{kind}_{order[int(column)]}" if column.isdigit() else name])
        laws.append(replace(old, law=law, theta=np.array(theta), draws=np.zeros((0, len(theta)))))
    return replace(fit, domains=tuple(fit.domains[i] for i in order), laws=tuple(laws), mixtures=np.eye(len(order)))


def test_a_binding_cap_is_named_and_priced(fit):
    def at(most):
        return solve(Problem.of(fit, settings_of(constraints__share={"pet": {"min": 0.0, "max": most}}), 6000))

    found, looser = at(0.15), at(0.152)
    (active,) = found.certificate["active"]
    assert {"domain": "pet", "side": "max", "why": "share maximum"}.items() <= active.items()
    assert found.shares[2] == pytest.approx(0.15, abs=1e-9)
    price = found.certificate["shadow_prices"]["max pet"]
    assert price == active["price"] == pytest.approx((found.objective - looser.objective) / 0.002, rel=0.05)


def test_a_binding_group_is_named_and_priced(fit):
    def at(most):
        bound = {"both": {"members": ["ct", "pet"], "min": 0.0, "max": most}}
        return solve(Problem.of(fit, settings_of(constraints__group=bound), 6000))

    found, looser = at(0.5), at(0.502)
    (active,) = found.certificate["active"]
    assert active["domain"] == "group both"
    assert active["price"] == pytest.approx((found.objective - looser.objective) / 0.002, rel=0.05)


def test_a_repetition_cap_is_in_units_of_what_there_is(fit):
    asked = settings_of(constraints__repetition=30.0)
    asked["available"] |= {"mri": {"volumes": 15, "crops": 150}, "pet": {"volumes": 5, "crops": 50}}
    problem = Problem.of(fit, asked, 6000)
    assert problem.upper == pytest.approx([1, 0.75, 0.25])
    assert problem.reasons["max", "pet"] == "repetition cap"


def test_what_one_more_volume_is_worth_is_what_solving_with_it_gives(fit):
    """The sentence's two prices against two solves with a little more."""

    def at(volumes, repetition=2.0):
        # relative to specialists: proportional sampling, the usual reference, itself moves with the volumes
        asked = settings_of(constraints__repetition=repetition, objective__relative_to="specialist")
        asked["available"] |= {name: {"volumes": 9000, "crops": 90_000} for name in ("ct", "mri")}
        asked["available"] |= {"pet": {"volumes": volumes, "crops": 4 * volumes}}
        return answer(fit, asked, 6000, ["uniform"], uncertain=False)

    found, more = at(100), at(101)
    (says,) = found["binding"]
    assert says.startswith("pet is held down at 13.33% by its repetition cap (2 times each distinct crop; 100 volumes)")
    told = float(re.search(r"one more volume by ([0-9.e-]+) %", says)[1]) / 100
    assert told == pytest.approx(1 - more["objective"] / found["objective"], rel=0.2)
    point = float(re.search(r"one point more .* by about ([0-9.e-]+) %", says)[1]) / 100
    wider = at(100, repetition=2.0 * 0.1343333 / 0.1333333)  # a tenth of a point: the price holds for small changes
    assert point / 10 == pytest.approx(1 - wider["objective"] / found["objective"], rel=0.2)


def test_a_floor_is_below_every_domain_and_is_the_reason_given(fit):
    asked = settings_of(constraints__floor=0.2, constraints__share={"pet": {"min": 0.25, "max": 1.0}})
    problem = Problem.of(fit, asked, 6000)
    assert problem.lower == pytest.approx([0.2, 0.2, 0.25])
    assert problem.reasons["min", "ct"] == "floor"
    assert problem.reasons["min", "pet"] == "share minimum"


# Next to nothing


def test_a_domain_with_next_to_nothing_is_told_with_what_keeping_it_costs(fit):
    free = {name: {"min": 0.0, "max": 1.0} for name in NAMES}
    asked = settings_of(constraints__share=free, objective__weights={"ct": 1.0, "mri": 1.0, "pet": 0.0})
    found = answer(fit, asked, 6000, ["uniform"])
    assert found["shares"]["pet"] < 0.005
    weights, kept_share = asked["objective"]["weights"], {"pet": {"min": 0.01, "max": 1.0}}
    kept_settings = settings_of(constraints__share=free | kept_share, objective__weights=weights)
    kept = answer(fit, kept_settings, 6000, ["uniform"], uncertain=False)
    cost = found["dropped"]["domains"]["pet"]["cost"]
    assert cost == pytest.approx(kept["objective"] / found["objective"] - 1, abs=1e-7)
    assert cost > 0
    (says,) = found["dropped"]["says"]
    assert says.startswith("pet gets 0.0% of the budget, next to nothing.")
    assert "constraints: {share: {pet: {min: 0.01}}}" in says


def test_several_dropped_domains_are_priced_together_and_offered_a_floor(fit):
    free = {name: {"min": 0.0, "max": 1.0} for name in NAMES}
    weights = {"ct": 0.0, "mri": 0.0, "pet": 1.0}
    found = answer(fit, settings_of(constraints__share=free, objective__weights=weights), 6000, ["uniform"])
    assert set(found["dropped"]["domains"]) == {"ct", "mri"}
    each = [entry["cost"] for entry in found["dropped"]["domains"].values()]
    assert found["dropped"]["together"] >= max(each) > 0
    assert "constraints: {floor: 0.01}" in found["dropped"]["says"][-1]


def test_an_answer_that_drops_nobody_says_nothing_of_it(whole):
    assert whole["dropped"] == {}


# What has no answer


@pytest.mark.parametrize(
    ("changes", "budget", "error", "words"),
    [
        ({"constraints__repetition": 1.0}, 60000, SolveError, "the caps hold only"),
        (
            {"constraints__repetition": 8.0, "constraints__share": {"pet": {"min": 0.5, "max": 1.0}}},
            6000, SolveError, r"'pet': its share must be at least 0\.5 .share minimum. and at most",
        ),
        ({"constraints__share": {key: {"min": 0.5, "max": 1.0} for key in NAMES}}, 6000, SolveError, "sum to 1.5"),
        ({"constraints__share": {key: {"min": 0.0, "max": 0.3} for key in NAMES}}, 6000, SolveError, "hold only 90"),
        (
            {"constraints__group": {"g": {"members": ["ct"], "min": 0.9, "max": 1.0}},
             "constraints__share": {"ct": {"min": 0.0, "max": 0.5}}},
            6000, SolveError, "group 'g': its shares are to sum to 0.9 to 1",
        ),
        (
            {"constraints__group": {
                "a": {"members": ["ct", "mri"], "min": 0.0, "max": 0.4},
                "b": {"members": ["mri", "pet"], "min": 0.0, "max": 0.4},
                "c": {"members": ["ct", "pet"], "min": 0.0, "max": 0.4}}},
            6000, SolveError, "groups a, b, c contradict each other",
        ),
        ({"constraints__group": {"g": {"members": ["cy"], "min": 0.0, "max": 0.4}}}, 6000, InputError, "no domain 'cy'"),
        ({"objective__weights": dict.fromkeys(NAMES, 0.0)}, 6000, InputError, "weight zero"),
        ({"objective__minimize": "magic"}, 6000, InputError, "no objective 'magic'"),
        ({"costs": dict.fromkeys(NAMES, 0.0)}, 6000, InputError, "costs are positive"),
        ({}, 0, InputError, "a budget is a positive number"),
        ({}, float("nan"), InputError, "a budget is a positive number"),
        ({}, float("inf"), InputError, "a budget is a positive number"),
    ],
)  # fmt: skip
def test_what_has_no_answer_has_a_named_reason(fit, changes, budget, error, words):
    with pytest.raises(error, match=words):
        solve(Problem.of(fit, settings_of(**changes), budget))


def test_nothing_available_of_a_domain_leaves_it_out(fit):
    asked = settings_of()
    asked["available"]["mri"] = {"volumes": 0, "crops": 0}
    found = solve(Problem.of(fit, asked, 6000))
    assert found.shares[1] == 0
    assert found.shares.sum() == pytest.approx(1)
    asked["constraints"]["prior"] = 0.5  # KL to a prior that has none of it
    assert solve(Problem.of(fit, asked, 6000)).shares[1] == 0


def test_one_domain_gets_everything():
    fit = random_fit(1, 0)
    found = answer(fit, settings_of(fit.domains), 2000)
    assert found["shares"] == {"d0": pytest.approx(1.0)}
    assert found["certificate"]["gap"] < 1e-9


def test_equal_laws_share_equally():
    law = Law(FAMILIES["transfer"], 0, 4)
    theta = theta_of(law, 3)
    theta[law.at["k"]], theta[law.at["g"]] = 0.2, 0.7
    laws = tuple(
        FittedLaw(
            f"d{i}", Law(FAMILIES["transfer"], i, 4), theta, 1000.0, 0, 0, {}, 1, 0, 0.0, np.zeros((0, len(theta)))
        )
        for i in range(4)
    )
    fit = Fit(tuple(f"d{i}" for i in range(4)), laws, (1.0, 1000.0), 1000.0, np.eye(4))
    for kind in ("weighted_loss", "geometric_mean", "worst_case"):
        found = solve(Problem.of(fit, settings_of(fit.domains, objective__minimize=kind, available=None), 2000))
        np.testing.assert_allclose(found.shares, 0.25, atol=1e-5)


def test_laws_that_do_not_depend_on_the_mixture_still_give_a_mixture():
    law = Law(FAMILIES["exponential"], 0, 2)
    theta = np.zeros(len(law.names))
    fit = Fit(
        ("d0", "d1"),
        tuple(FittedLaw(f"d{i}", law, theta, 1.0, 0, 0, {}, 1, 0, 0.0, np.zeros((0, len(theta)))) for i in range(2)),
        (0.1, 1.0), 1.0, np.eye(2),
    )  # fmt: skip
    found = solve(Problem.of(fit, settings_of(fit.domains), 1.0))
    assert found.shares.sum() == pytest.approx(1)
    assert found.certificate["gap"] < 1e-9


def test_a_budget_the_laws_never_saw_is_refused():
    fit = replace(random_fit(3, 0), budgets=(1000.0, 1000.0))
    with pytest.raises(InputError, match="nothing is known about 2000"):
        Problem.of(fit, settings_of(fit.domains), 2000)


def test_laws_of_shares_refuse_unequal_costs():
    fit = random_fit(3, 0, ("additive",))
    with pytest.raises(SolveError, match="only be solved where all costs are equal"):
        Problem.of(fit, settings_of(fit.domains, costs={"d0": 1.0, "d1": 2.0, "d2": 1.0}), 500)


def test_an_answer_nothing_proves_is_never_given(fit, monkeypatch):
    monkeypatch.setattr(cp.Problem, "status", "optimal_inaccurate")
    problem = Problem.of(fit, settings_of(), 6000)
    module = sys.modules["mixlang.allocate.solve"]  # the package's name of it is the function
    other = solve(problem)  # the second way, proven apart from the solver
    assert other.certificate["solver"] == "SLSQP"
    assert other.certificate["gap"] < 1e-6
    monkeypatch.setattr(module, "descend", lambda problem, start: start)
    monkeypatch.setattr(module, "polished", lambda shares, problem: shares)
    with pytest.raises(SolveError, match="optimal_inaccurate"):
        solve(problem)


def test_a_wrong_answer_of_the_solver_is_caught(fit, monkeypatch):
    module = sys.modules["mixlang.allocate.solve"]
    monkeypatch.setattr(module, "repaired", lambda shares, problem: np.array([0.6, 0.2, 0.2]))
    monkeypatch.setattr(module, "polished", lambda shares, problem: shares)
    with pytest.raises(SolveError, match="above the optimum; it is not given out"):
        solve(Problem.of(fit, settings_of(), 6000))


def test_laws_that_are_not_convex_are_caught(fit):
    law = fit.laws[0]
    theta = law.theta.copy()
    where = law.law.at["k"]
    theta[where] = -0.01
    broken = replace(fit, laws=(replace(law, theta=theta), *fit.laws[1:]))
    with pytest.raises(SolveError, match="not convex"):
        solve(Problem.of(broken, settings_of(), 6000))


# The whole answer


@pytest.fixture(scope="module")
def whole(fit):
    return answer(fit, settings_of(), 6000)


def test_an_answer_has_rivals_intervals_and_structure(fit, whole):
    assert set(whole["baselines"]) == {"proportional", "uniform", "unimax", "best_observed", "no_transfer"}
    assert whole["baselines"]["proportional"]["objective"] == pytest.approx(1)
    assert all(rival["objective"] >= whole["objective"] - 1e-9 for rival in whole["baselines"].values())
    sure = whole["intervals"]
    assert sure["draws"] == 20
    for name in NAMES:
        low, high = sure["shares"][name]
        assert low - 0.05 <= whole["shares"][name] <= high + 0.05
        low, high = sure["predicted"][name]
        assert low <= whole["predicted"][name] <= high
    gain = sure["gains"]["proportional"]
    assert gain["apparent"] == pytest.approx(1 - whole["objective"])
    assert gain["corrected"] < gain["apparent"]
    assert gain["probability"] > 0.9
    assert whole["structure"]["domains"]["pet"]["kind"] == "island"
    assert "above all to ct" in whole["structure"]["domains"]["mri"]["says"]
    assert whole["structure"]["domains"]["pet"]["says"].endswith("Only its own data help it.")
    assert whole["structure"]["domains"]["mri"]["giving"] > whole["structure"]["domains"]["ct"]["giving"]


def test_a_baseline_outside_the_constraints_is_marked(fit):
    asked = settings_of(constraints__share={"pet": {"min": 0.5, "max": 1.0}})
    found = answer(fit, asked, 6000, ["proportional"], uncertain=False)
    proportional, instead = found["baselines"]["proportional"], found["baselines"]["nearest to proportional"]
    assert not proportional["feasible"]
    assert proportional["breaks"] == [f"pet {proportional['shares']['pet']:.1%} is below its share minimum of 50.0%"]
    assert instead["feasible"]
    assert instead["breaks"] == []
    assert "intervals" not in found


@pytest.mark.parametrize("seed", range(6))
def test_the_nearest_mixture_is_the_one_another_solver_finds(fit, seed):
    rng = np.random.default_rng(seed)
    low = rng.dirichlet(np.ones(3)) * 0.3
    bounds = {name: {"min": float(low[i]), "max": float(low[i] + 0.5)} for i, name in enumerate(NAMES)}
    group = {"both": {"members": ["ct", "pet"], "min": 0.0, "max": float(low[0] + low[2] + 0.35)}}
    problem = Problem.of(fit, settings_of(constraints__share=bounds, constraints__group=group), 6000)
    aim = rng.dirichlet(np.full(3, 0.4))
    found = nearest(problem, aim)
    assert problem.allows(found)

    def distance(shares):
        return float(np.sum(shares * np.log(np.maximum(shares, 1e-300) / aim)))

    middle, top = (problem.lower + problem.upper) / 2, problem.groups[0].upper
    limits = [
        {"type": "eq", "fun": lambda shares: shares.sum() - 1},
        {"type": "ineq", "fun": lambda shares: top - shares[0] - shares[2]},
    ]
    sides = list(zip(problem.lower, problem.upper, strict=True))
    best = minimize(
        distance, middle, method="SLSQP", bounds=sides, constraints=limits, options={"ftol": 1e-13, "maxiter": 500}
    )
    assert distance(found) == pytest.approx(distance(best.x), abs=1e-6)
    assert found == pytest.approx(best.x, abs=1e-3)


def test_a_cap_moves_what_is_left_over_in_proportion(fit):
    """By hand: 60/30/10 with 60 capped at 40 leaves 60 for 30:10."""
    asked = settings_of(constraints__share={name: {"min": 0.0, "max": 0.4 if name == "ct" else 1.0} for name in NAMES})
    assert nearest(Problem.of(fit, asked, 6000), np.array([0.6, 0.3, 0.1])) == pytest.approx(
        [0.4, 0.45, 0.15], abs=1e-5
    )


def test_a_cap_by_repetition_says_how_often_a_crop_would_be_shown(fit):
    asked = settings_of(constraints__repetition=2.0)
    asked["available"] = {name: {"volumes": 9000, "crops": 90_000} for name in NAMES}
    asked["available"] |= {"pet": {"volumes": 100, "crops": 400}}
    found = answer(fit, asked, 6000, ["uniform"], uncertain=False)
    assert found["baselines"]["uniform"]["breaks"] == [
        "pet 33.3% is above its repetition cap of 13.3% (it would show each distinct crop 5 times, and 2 are allowed)"
    ]


def test_differences_below_seed_noise_are_marked(fit):
    noisy = replace(fit, laws=tuple(replace(law, noise=0.5) for law in fit.laws))
    found = answer(noisy, settings_of(), 6000, ["uniform"], uncertain=False)
    assert found["baselines"]["uniform"]["within_noise"] == list(NAMES)
    once = replace(fit, laws=tuple(replace(law, noise=float("nan")) for law in fit.laws))
    found = answer(once, settings_of(), 6000, ["uniform"], uncertain=False)["baselines"]["uniform"]
    assert (found["within_noise"], found["noise_unknown"]) == ([], list(NAMES))


def test_elasticities_agree_with_differences(fit, whole):
    amounts = np.array(list(whole["amounts"].values()))
    more = amounts * np.array([1, 1 + 1e-6, 1])
    change = np.log(fit.predict(more) / fit.predict(amounts))[0] / np.log(1 + 1e-6)
    for name, value in zip(NAMES, change, strict=True):
        assert whole["structure"]["elasticity"][name]["mri"] == pytest.approx(-value, abs=1e-5)


def test_the_smallest_budget_just_reaches_its_goals(fit):
    at_5000 = solve(Problem.of(fit, settings_of(), 5000))
    goals = dict(zip(NAMES, at_5000.losses.tolist(), strict=True))
    found = smallest_budget(fit, settings_of(), goals)
    assert found.problem.budget == pytest.approx(5000, rel=0.02)
    assert all(loss <= goals[name] * (1 + 1e-6) for name, loss in zip(NAMES, found.losses, strict=True))
    easier = smallest_budget(fit, settings_of(), {"pet": goals["pet"]})
    assert easier.problem.budget < found.problem.budget


def test_goals_that_cannot_be_reached_are_named(fit):
    law = Law(FAMILIES["power"], 2, 3)
    floored = replace(fit.laws[2], law=law, theta=np.array([-1.0, -1.0, -2.0, 0.2]), draws=np.zeros((0, 4)))
    limited = replace(fit, laws=(*fit.laws[:2], floored))
    with pytest.raises(SolveError, match=r"irreducible loss is 0\.2"):
        smallest_budget(limited, settings_of(), {"pet": 0.19})
    with pytest.raises(SolveError, match="before the caps"):
        smallest_budget(fit, settings_of(constraints__repetition=8.0), {"pet": 0.01})
    with pytest.raises(InputError, match="no loss 'cz'"):
        smallest_budget(fit, settings_of(), {"cz": 0.1})
    with pytest.raises(InputError, match="positive number"):
        smallest_budget(fit, settings_of(), {"ct": float("nan")})


def test_a_path_names_the_budgets_it_cannot_fill(fit):
    found = over_budgets(fit, settings_of(constraints__repetition=8.0), [1000, 3000, 1e6])
    assert [("shares" in step) for step in found] == [True, True, False]
    assert "caps hold only" in found[2]["reason"]


def test_baselines():
    volumes = {"a": 60, "b": 30, "c": 10}
    assert baseline_shares("proportional", volumes) == {"a": 0.6, "b": 0.3, "c": 0.1}
    assert baseline_shares("uniform", volumes) == pytest.approx({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3})
    assert baseline_shares("unimax", volumes, {"a": 1, "b": 1, "c": 0.1}) == pytest.approx(
        {"a": 0.45, "b": 0.45, "c": 0.1}
    )
    with pytest.raises(ValueError, match="no baseline"):
        baseline_shares("magic", volumes)


def test_a_loss_that_does_not_count_binds_no_share(fit):
    blind = replace(fit, laws=tuple(replace(law, least_share=0.3) for law in fit.laws))
    counted = settings_of(objective__weights=dict.fromkeys(fit.names, 1.0))
    assert list(Problem.of(blind, counted, 8000).lower) == [0.3] * 3
    last = fit.names[-1]
    counted["objective"]["weights"] = {name: float(name != last) for name in fit.names}
    assert list(Problem.of(blind, counted, 8000).lower) == [0.3, 0.3, 0.0]


def test_the_optimism_of_laws_that_explode_is_at_most_everything(monkeypatch):
    """A draw's optimum where the fit predicts any number counts as losing everything, and no more."""
    from mixlang.allocate import uncertainty

    drawn = fit_laws(table(noise=0.02), "transfer", draws=8)
    problem = Problem.of(drawn, settings_of(), 8000)
    ours, rival = solve(problem).shares, np.ones(3) / 3
    usual = uncertainty.intervals(problem, ours, {"uniform": rival})["gains"]["uniform"]["corrected"]
    value = Problem.value
    monkeypatch.setattr(
        Problem,
        "value",
        lambda self, shares: value(self, shares) * (1e9 if self is problem and not np.allclose(shares, rival) else 1.0),
    )
    found = uncertainty.intervals(problem, ours, {"uniform": rival})["gains"]["uniform"]
    assert found["corrected"] == pytest.approx(found["apparent"] - 1.0)
    assert abs(usual) < 0.5
