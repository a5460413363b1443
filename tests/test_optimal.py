"""Designs that choose their runs: against every possible choice, the formula, and the costs of ladders by hand."""

import itertools

import numpy as np
import pytest
from conftest import SMALL_SPEC
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlang.laws.sensitivity import Sensitivity, sensitivities
from mixlang.plan.chosen_runs import optimal_points
from mixlang.plan.optimal import Costs, choose
from mixlang.spec.loader import load_spec


def variance(part, chosen):
    """Mean variance of what is asked, from the formula, in units of that before any run."""
    total = before = 0.0
    for runs, asked in zip(part.runs, part.asked, strict=True):
        information = np.eye(runs.shape[1]) + runs[chosen].T @ runs[chosen]
        total += np.trace(asked @ np.linalg.inv(information) @ asked.T)
        before += np.trace(asked @ asked.T)
    return total / before


@st.composite
def problems(draw):
    seed, count = draw(st.integers(0, 10_000)), draw(st.integers(2, 7))
    rng = np.random.default_rng(seed)
    part = Sensitivity(rng.normal(size=(2, count, 3)), rng.normal(size=(2, 4, 3)))
    ladders = rng.integers(0, 3, count)
    costs = Costs(rng.uniform(1, 5, count), rng.uniform(0.5, 2, count), ladders)
    return part, costs, float(rng.uniform(4, 16))


def spent(costs, chosen):
    """By hand: the longest beginning of each ladder, and the end of each run."""
    found = 0.0
    for ladder in set(costs.ladders[chosen].tolist()):
        found += max(costs.shared[index] for index in chosen if costs.ladders[index] == ladder)
    return found + sum(costs.own[index] for index in chosen)


@given(problems())
@settings(max_examples=40, deadline=None)
def test_a_choice_is_affordable_close_to_the_best_and_the_bound_is_below_every_choice(problem):
    part, costs, samples = problem
    found = choose([part], costs, samples)
    sets = [
        list(chosen)
        for size in range(len(costs.own) + 1)
        for chosen in itertools.combinations(range(len(costs.own)), size)
    ]
    allowed = [chosen for chosen in sets if not chosen or spent(costs, chosen) <= samples * (1 + 1e-12)]
    best = min(variance(part, chosen) for chosen in allowed)
    assert found.runs == [] or spent(costs, found.runs) <= samples * (1 + 1e-9)
    assert found.variance == pytest.approx(variance(part, found.runs), rel=1e-6)
    assert found.bound <= best * (1 + 1e-9)
    assert best * (1 - 1e-9) <= found.variance
    assert np.isclose(costs.total(found.runs), spent(costs, found.runs)) or not found.runs


def test_choices_are_close_to_the_best_of_all():
    ratios = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        part = Sensitivity(rng.normal(size=(2, 9, 3)), rng.normal(size=(2, 4, 3)))
        found = choose([part], Costs.alone(np.ones(9)), 4)
        best = min(variance(part, list(chosen)) for chosen in itertools.combinations(range(9), 4))
        ratios.append(found.variance / best)
    assert np.median(ratios) == pytest.approx(1.0, abs=1e-6)
    assert max(ratios) < 1.1


def test_what_is_given_counts_and_is_not_chosen_again():
    rng = np.random.default_rng(0)
    part = Sensitivity(rng.normal(size=(1, 8, 3)), rng.normal(size=(1, 4, 3)))
    costs = Costs.alone(np.ones(8))
    found = choose([part], costs, 3, given=[5, 6])
    assert len(found.runs) == 3
    assert not {5, 6} & set(found.runs)
    assert found.variance == pytest.approx(variance(part, [5, 6, *found.runs]), rel=1e-6)
    assert found.variance < variance(part, [5, 6])


def test_sensitivities_are_derivatives_of_log_losses():
    """A run that is repeated tells its own prediction: the variance falls to the noise over the number of repeats."""
    rng = np.random.default_rng(1)
    amounts = rng.dirichlet(np.ones(3), 6) * 1000
    runs = np.repeat(amounts[:1], 400, axis=0)
    part = sensitivities(np.vstack([runs, amounts]), amounts[:1], [0], families=["log_additive"], noise=0.02)[0]
    x = part.runs[0, :400]
    information = np.eye(x.shape[1]) + x.T @ x
    told = float(part.asked[0, 0] @ np.linalg.inv(information) @ part.asked[0, 0])
    assert np.sqrt(told) == pytest.approx(0.02 / np.sqrt(400), rel=0.01)


OPTIMAL = SMALL_SPEC.replace("design: {mixtures: {count: 2, budgets: [480]}}", "design: {kind: optimal, samples: 9000}")


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    assert OPTIMAL != SMALL_SPEC
    path = tmp_path_factory.mktemp("optimal") / "spec.yaml"
    path.write_text(OPTIMAL.replace("[320, 480, 640, 960]", "[512, 768, 1024, 1536]").replace("seeds: 1}", "seeds: 2}"))
    return load_spec(path).spec


def test_a_design_trains_what_it_may(spec):
    stable = [400, 600, 800, 1200]
    found = optimal_points(spec, stable)
    budgets = dict(zip([512, 768, 1024, 1536], stable, strict=True))
    trained = {}
    total = 0
    for _, amounts, seed in found.points:
        budget = sum(amounts.values())
        ladder = (seed, tuple(amount / budget for amount in amounts.values()))
        trained[ladder] = max(trained.get(ladder, 0), budgets[budget])
        total += budget - budgets[budget]
    assert total + sum(trained.values()) == found.found["samples"] <= 9000
    assert found.found["samples"] > 9000 - 512
    assert {seed for _, _, seed in found.points} == {0, 1}
    first = {tuple(amounts.values()) for _, amounts, seed in found.points if seed == 0}
    assert {tuple(amounts.values()) for _, amounts, seed in found.points if seed == 1} <= first
    assert len({(tuple(amounts.values()), seed) for _, amounts, seed in found.points}) == len(found.points)
    assert 1 <= found.found["deviation_over_least"] < 1.5
    assert optimal_points(spec, stable) == found
