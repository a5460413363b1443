"""Laws and allocation against independent answers: numeric derivatives, known truth, another solver."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime, minimize

from mixlang.allocate import Problem, baseline_shares, solve
from mixlang.allocate.verification import agreement, improvements
from mixlang.errors import InputError, SolveError
from mixlang.files import write_json
from mixlang.laws import FAMILIES, FittedLaw, Law, LossTable, fit_laws, read_fit
from mixlang.laws.fit import fit_document

NAMES = ("ct", "mri", "pet")


def theta_of(law, seed):
    rng = np.random.default_rng(seed)
    draw = {"log_A": -1.5, "log_a": np.log(rng.uniform(0.1, 0.9)), "log_m0": np.log(rng.uniform(0.01, 0.3))}
    draw |= {"E": rng.uniform(0.01, 0.1), "log_B": -2.5, "log_b": np.log(rng.uniform(0.1, 0.5))}
    return np.array([draw.get(n, rng.uniform(0.05, 0.9) if n[0] == "k" else rng.uniform(0.3, 1.0)) for n in law.names])


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
@pytest.mark.parametrize("seed", range(3))
def test_analytic_derivatives_agree_with_numeric_ones(family, seed):
    law = Law(family, own=1, count=3)
    theta = theta_of(law, seed)
    amounts = np.random.default_rng(seed).uniform(0.05, 1, (4, 3))
    for row in range(4):
        one = amounts[row : row + 1]
        by_theta = approx_fprime(theta, lambda t, one=one: law.predict(t, one)[0], 1e-7)
        np.testing.assert_allclose(law.jacobian(theta, one)[0], by_theta, rtol=2e-4, atol=1e-6)
        by_amount = approx_fprime(one[0], lambda m: law.predict(theta, m[None])[0], 1e-7)
        np.testing.assert_allclose(law.gradient(theta, one)[0], by_amount, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_losses_are_convex_and_fall_with_own_data(family, seed):
    law = Law(family, own=0, count=3)
    theta = theta_of(law, seed)
    rng = np.random.default_rng(seed)
    one, other = rng.uniform(0, 1, (2, 1, 3))
    middle = law.predict(theta, (one + other) / 2)
    assert middle <= (law.predict(theta, one) + law.predict(theta, other)) / 2 + 1e-12
    more = one + np.array([[0.1, 0, 0]])
    assert law.predict(theta, more) < law.predict(theta, one)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_the_solver_sees_the_same_numbers(family):
    import cvxpy as cp

    law = Law(family, own=2, count=3)
    theta = theta_of(law, 5)
    variable = cp.Variable(3)
    variable.value = np.array([0.2, 0.3, 0.4])
    expression, logarithm = law.expression(theta, variable), law.log_expression(theta, variable)
    assert expression.is_convex()
    assert logarithm.is_convex()
    predicted = law.predict(theta, variable.value[None])[0]
    assert float(expression.value) == pytest.approx(predicted, rel=1e-9)
    assert float(logarithm.value) == pytest.approx(np.log(predicted), rel=1e-9)


def truth(amounts, scale=4000.0):
    """Losses of a world with asymmetric transfer: MRI helps CT, CT helps MRI less, PET is an island."""
    ct, mri, pet = np.maximum(amounts.T, 0) / scale
    return np.stack(
        [
            0.3 * (0.05 + ct + 0.5 * mri**0.8) ** -0.4,
            0.5 * (0.05 + mri + 0.2 * ct**0.8) ** -0.2,
            0.4 * (0.05 + pet) ** -0.35,
        ],
        axis=1,
    )


def world(noise=0.0, seeds=2, seed=0):
    points = [[b * (i == j) for j in range(3)] for b in (1000, 1500, 2200, 3200, 4000) for i in range(3)]
    points += [list(row) for row in 3000 * np.random.default_rng(1).dirichlet(np.ones(3), 12)]
    rng = np.random.default_rng(seed)
    runs = []
    for number, amounts in enumerate(points):
        for repeat in range(seeds):
            losses = truth(np.array([amounts], float))[0] * np.exp(noise * rng.standard_normal(3))
            runs.append(
                {
                    "key": f"{number}-{repeat}",
                    "amounts": dict(zip(NAMES, amounts, strict=True)),
                    "losses": dict(zip(NAMES, losses.tolist(), strict=True)),
                    "seed": repeat,
                }
            )
    return runs


@pytest.fixture(scope="module")
def laws():
    return fit_laws(LossTable.of(NAMES, world(noise=0.01)))


def test_a_fit_recovers_the_world_and_extrapolates(laws):
    grid = np.random.default_rng(3).dirichlet(np.ones(3), 20) * 8000
    for index, (name, law) in enumerate(laws.items()):
        error = np.abs(law.predict(grid) / truth(grid)[:, index] - 1)
        assert error.mean() < 0.03, name
        assert law.noise == pytest.approx(0.01, rel=0.5)
    assert laws["ct"].law.family.transfer
    worth = {name: law.law.exchange(law.theta, np.full(3, 0.3)) for name, law in laws.items()}
    assert worth["ct"][1] > 0.3
    assert worth["ct"][2] < 0.1
    assert worth["mri"][0] < worth["ct"][1]


def test_the_order_of_rows_and_of_columns_decides_nothing():
    runs = world(noise=0.01)
    shuffled = [
        {**run, "amounts": dict(reversed(run["amounts"].items())), "losses": dict(reversed(run["losses"].items()))}
        for run in np.random.default_rng(0).permutation(runs)
    ]
    amounts = np.array([[900.0, 800.0, 700.0]])
    one, other = (fit_laws(LossTable.of(NAMES, rows), "transfer") for rows in (runs, shuffled))
    for name in NAMES:
        assert one[name].predict(amounts)[0] == pytest.approx(other[name].predict(amounts)[0], rel=1e-6)


def test_runs_on_the_plateau_are_set_aside():
    runs = [{**run, "mean_losses": {"ct": 9.0, "mri": 9.0, "pet": 0.8}} for run in world()]
    table = LossTable.of(NAMES, runs)
    law = fit_laws(table, "power")["pet"]
    assert law.dropped == int((table.losses[:, 2] >= 0.9 * 0.8).sum()) > 0
    assert law.used + law.dropped == len(runs)
    assert law.least_share > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"losses": {"ct": 1.0, "mri": 1.0}}, "its losses name"),
        ({"losses": {"ct": float("nan"), "mri": 1.0, "pet": 1.0}}, "loss on ct is nan"),
        ({"losses": {"ct": 1.0, "mri": -1.0, "pet": 1.0}}, "loss on mri is -1"),
        ({"amounts": {"ct": 1, "mri": 1, "pte": 1}}, "its amounts name"),
    ],
)
def test_a_bad_row_is_an_error(change, words):
    with pytest.raises(InputError, match=words):
        LossTable.of(NAMES, [*world(), {**world()[0], **change}])


def test_too_few_points_are_refused():
    with pytest.raises(InputError, match="at least 4 are needed"):
        fit_laws(LossTable.of(NAMES, world()[:6]))


def test_fitted_laws_survive_their_file(laws, tmp_path):
    write_json(tmp_path / "fit.json", fit_document(laws))
    again = read_fit(tmp_path / "fit.json")
    amounts = np.array([[900.0, 800.0, 700.0]])
    assert all(again[name].predict(amounts) == laws[name].predict(amounts) for name in NAMES)
    (tmp_path / "fit.json").write_text(json.dumps({"domains": ["ct"]}))
    with pytest.raises(InputError, match="does not hold fitted laws"):
        read_fit(tmp_path / "fit.json")


# Allocation


def settings_of(**changes):
    base = {
        "costs": dict.fromkeys(NAMES, 1.0),
        "available": {
            "ct": {"volumes": 80, "crops": 800},
            "mri": {"volumes": 15, "crops": 150},
            "pet": {"volumes": 5, "crops": 50},
        },
        "objective": {"minimize": "weighted_loss", "weights": dict.fromkeys(NAMES, 1.0), "relative_to": "proportional"},
        "constraints": {"repetition": None, "share": {}, "prior": 0.0},
    }
    for path, value in changes.items():
        section, _, name = path.partition("__")
        base[section] = {**base[section], name: value} if name else value
    return base


CASES = {
    "plain": {},
    "weights": {"objective__weights": {"ct": 1.0, "mri": 0.0, "pet": 3.0}},
    "geometric": {"objective__minimize": "geometric_mean"},
    "specialist": {"objective__relative_to": "specialist"},
    "costs": {"costs": {"ct": 1.0, "mri": 2.0, "pet": 0.5}},
    "cap": {"constraints__repetition": 30.0},
    "bounds": {"constraints__share": {"ct": {"min": 0.5, "max": 1.0}, "pet": {"min": 0.0, "max": 0.2}}},
    "prior": {"constraints__prior": 0.3},
    "geometric prior": {"objective__minimize": "geometric_mean", "constraints__prior": 0.3},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_optimum_agrees_with_another_solver(laws, case):
    problem = Problem.of(laws, settings_of(**case), 6000)
    found = solve(problem)
    others = [
        minimize(
            problem.value,
            start,
            method="SLSQP",
            bounds=list(zip(np.maximum(problem.lower, 1e-7), problem.upper, strict=True)),
            constraints={"type": "eq", "fun": lambda shares: shares.sum() - 1},
            options={"ftol": 1e-13, "maxiter": 500},
        )
        for start in np.random.default_rng(0).dirichlet(np.ones(3), 6)
    ]
    best = min((item for item in others if item.success), key=lambda item: item.fun)
    assert found.objective == pytest.approx(best.fun, abs=2e-5)
    np.testing.assert_allclose(found.shares, best.x, atol=5e-3)


def test_the_worst_case_agrees_with_a_fine_grid(laws):
    problem = Problem.of(laws, settings_of(objective__minimize="worst_case", objective__relative_to="specialist"), 6000)
    found = solve(problem)
    ticks = np.arange(0.005, 1, 0.01)
    grid = [(a, b, 1 - a - b) for a in ticks for b in ticks if a + b < 1]
    best = min(problem.value(np.array(point)) for point in grid)
    assert found.objective <= best + 1e-6
    assert found.objective == pytest.approx(best, rel=0.01)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_every_answer_keeps_its_bounds_and_its_certificate(laws, data):
    draw = data.draw
    least = draw(st.floats(0, 0.3))
    case = settings_of(
        objective__minimize=draw(st.sampled_from(["weighted_loss", "geometric_mean", "worst_case"])),
        objective__weights={name: draw(st.floats(0.1, 5)) for name in NAMES},
        constraints__share={"pet": {"min": least, "max": draw(st.floats(least, 1))}},
        constraints__repetition=draw(st.sampled_from([None, 8.0, 40.0])),
    )
    budget = draw(st.integers(500, 7000))
    try:
        problem = Problem.of(laws, case, budget)
    except SolveError:
        return  # the bounds leave no mixture, and that was said before solving
    found = solve(problem)
    assert found.shares.sum() == pytest.approx(1, abs=1e-9)
    assert (found.shares >= problem.lower - 1e-9).all()
    assert (found.shares <= problem.upper + 1e-9).all()
    assert found.certificate["status"] == "optimal"
    # The certificate is a bound: no feasible mixture is better by more than the gap.
    rivals = [
        np.clip(point, problem.lower, problem.upper) for point in np.random.default_rng(0).dirichlet(np.ones(3), 200)
    ]
    feasible = [rival for rival in rivals if abs(rival.sum() - 1) < 1e-9]
    assert all(problem.value(rival) >= found.objective - found.certificate["gap"] - 1e-9 for rival in feasible)


def test_a_binding_cap_is_named_and_priced(laws):
    def at(most):
        return solve(Problem.of(laws, settings_of(constraints__share={"pet": {"min": 0.0, "max": most}}), 6000))

    found, looser = at(0.15), at(0.152)
    (active,) = found.certificate["active"]
    assert {"domain": "pet", "side": "max", "why": "share maximum"}.items() <= active.items()
    assert found.shares[2] == pytest.approx(0.15, abs=1e-5)
    price = found.certificate["shadow_prices"]["max pet"]
    assert price == pytest.approx((looser.objective - found.objective) / 0.002, rel=0.05)


def test_a_repetition_cap_is_in_samples_of_what_there_is(laws):
    problem = Problem.of(laws, settings_of(constraints__repetition=30.0), 6000)
    assert problem.upper == pytest.approx([1, 0.75, 0.25])
    assert problem.reasons["max", "pet"] == "repetition cap"


def test_impossible_problems_are_refused_in_words(laws):
    with pytest.raises(SolveError, match="the caps hold only"):
        Problem.of(laws, settings_of(constraints__repetition=1.0), 6000)
    with pytest.raises(SolveError, match="'pet': its share must be at least"):
        Problem.of(
            laws, settings_of(constraints__repetition=8.0, constraints__share={"pet": {"min": 0.5, "max": 1.0}}), 6000
        )


def test_an_answer_the_solver_did_not_prove_is_never_given(laws, monkeypatch):
    import cvxpy as cp

    monkeypatch.setattr(cp.Problem, "status", "optimal_inaccurate")
    with pytest.raises(SolveError, match="optimal_inaccurate"):
        solve(Problem.of(laws, settings_of(), 6000))


def test_baselines():
    volumes = {"a": 60, "b": 30, "c": 10}
    assert baseline_shares("proportional", volumes) == {"a": 0.6, "b": 0.3, "c": 0.1}
    assert baseline_shares("uniform", volumes) == pytest.approx({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3})
    assert baseline_shares("unimax", volumes, {"a": 1, "b": 1, "c": 0.1}) == pytest.approx(
        {"a": 0.45, "b": 0.45, "c": 0.1}
    )
    with pytest.raises(ValueError, match="no baseline"):
        baseline_shares("magic", volumes)


# Verification


def test_agreement_and_improvement_by_hand(laws):
    def run(mixture, seed, losses):
        return {
            "mixture": mixture,
            "seed": seed,
            "budget_asked": 900,
            "amounts": dict.fromkeys(NAMES, 300),
            "losses": dict(zip(NAMES, losses, strict=True)),
        }

    runs = [
        run("allocated", 0, (0.9, 0.5, 1.0)),
        run("proportional", 0, (1.0, 0.5, 1.25)),
        run("allocated", 1, (0.8, 0.5, 1.0)),
        run("proportional", 1, (1.0, 0.5, 1.25)),
    ]
    found = improvements(runs, ["proportional"], {"ct": 1.0, "mri": 1.0, "pet": 2.0})["900"]["proportional"]
    assert found["domains"]["ct"]["mean"] == pytest.approx(-0.15)
    assert found["domains"]["mri"] == {"mean": 0.0, "low": 0.0, "high": 0.0, "seeds": 2}
    assert found["overall"]["mean"] == pytest.approx((-0.15 + 0 + 2 * -0.2) / 4)
    half = 12.706 * np.std([-0.1, -0.2], ddof=1) / np.sqrt(2)
    assert found["domains"]["ct"]["high"] == pytest.approx(-0.15 + half, rel=1e-3)
    measured = agreement(runs, laws)
    predicted = laws["ct"].predict(np.full((1, 3), 300.0))[0]
    assert measured["domains"]["ct"]["bias"] == pytest.approx(
        np.mean([predicted / m - 1 for m in (0.9, 1.0, 0.8, 1.0)])
    )
    assert measured["domains"]["mri"]["pearson_r"] is None  # no spread: a correlation would be made up
    assert measured["pooled"]["count"] == 12


def test_fitted_law_reports_its_floor():
    law = Law(FAMILIES["power"], 0, 1)
    fitted = FittedLaw("x", law, np.array([-1.0, -1.0, -2.0, 0.07]), 100.0, 0, 0, {}, 1, 0, 0.0)
    assert fitted.floor == 0.07
    assert fitted.predict(np.array([[1e12]]))[0] == pytest.approx(0.07, rel=1e-2)
