"""The probe runs that a design of kind `optimal` chooses among, and its choice.

Nothing here depends on constraints, weights or the target: changing one of those trains nothing again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixlang.documents import ChosenDesign
from mixlang.laws.sensitivity import sensitivities
from mixlang.plan.design import Point, sobol_simplex, whole_mixtures
from mixlang.plan.optimal import Costs, choose
from mixlang.spec.schema import Spec

Floats = NDArray[np.float64]

_SPREAD = 96
"""Mixtures spread evenly over the simplex; as many again are sharpened, towards few domains."""

_SHARP = 3.0
"""The power of shares that sharpens them."""

_ASKED = 64
"""Mixtures at which losses are to be predicted, between the uniform one and all; and at which budget, in largest ones."""
_BEYOND = 2.0

_REPEATED = 0.1
"""The part of the samples that repeats runs with other seeds, so that the noise is known."""


@dataclass(frozen=True)
class Optimal:
    """A design: its runs, each of (kind, samples of each domain, seed), and how good it is."""

    points: list[tuple[str, dict[str, int], int]]
    found: ChosenDesign


def optimal_points(spec: Spec, stable: Sequence[int], kept: Sequence[dict[str, int]] = ()) -> Optimal:
    """Choose probe runs for `design.samples`.

    Args:
        stable: for each probe budget in rising order, the samples that a run shares with longer ones of its mixture.
        kept: amounts of runs that are trained already.
    """
    names, budgets = sorted(spec.domains), sorted(set(spec.budgets.probe))
    points: list[Point] = []
    if spec.design.single_domain:
        for budget in budgets:
            points += [("single", {name: budget * (name == alone) for name in names}) for alone in names]
    shares = _mixtures(len(names))
    for budget in budgets:
        points += [("mixture", amounts) for amounts in whole_mixtures(names, shares, budget)]
    points = list({tuple(amounts.values()): (kind, amounts) for kind, amounts in points}.values())
    amounts = np.array([[point[name] for name in names] for _, point in points], float)
    totals = amounts.sum(axis=1)
    shared = dict(zip(budgets, stable, strict=True))
    trunk = np.array([shared[int(total)] for total in totals], float)
    ladders = _ladders([tuple(point.values()) for _, point in points])
    costs = Costs(trunk, totals - trunk, ladders)
    old = np.array([[row.get(name, 0) for name in names] for row in kept], float).reshape(-1, len(names))
    asked = _BEYOND * max(budgets) * _asked(len(names))
    parts = sensitivities(np.concatenate([amounts, old]), asked, list(range(len(names))))
    if len(old):
        last = int(ladders.max())
        nothing = np.zeros(len(old))
        costs = Costs(
            np.concatenate([trunk, nothing]),
            np.concatenate([totals - trunk, nothing]),
            np.concatenate([ladders, last + 1 + np.arange(len(old))]),
        )
    assert spec.design.samples is not None
    repeats = _REPEATED * spec.design.samples if spec.budgets.seeds > 1 else 0.0
    given = list(range(len(points), len(points) + len(old)))
    chosen = choose(parts, costs, spec.design.samples - repeats, given)
    runs = [(*points[index], 0) for index in chosen.runs]
    left = spec.design.samples - costs.total(chosen.runs)
    runs += [(*points[index], seed) for index, seed in _repeated(chosen.runs, costs, left, spec.budgets.seeds)]
    spent = spec.design.samples - left + _spent(runs, points, costs)
    found: ChosenDesign = {
        "samples": round(spent),
        "candidates": len(points),
        "deviation_over_least": math.sqrt(chosen.variance / chosen.bound) if chosen.bound > 0 else None,
    }
    return Optimal(runs, found)


def _mixtures(domains: int) -> list[list[float]]:
    """Candidate mixtures: spread evenly over the simplex, the first uniform, and towards few domains."""
    even = sobol_simplex(domains, _SPREAD)
    sharp = np.array(even[1:]) ** _SHARP
    return [*even, *(sharp / sharp.sum(axis=1, keepdims=True)).tolist()]


def _asked(domains: int) -> Floats:
    """Shares of mixtures that may come out as good: half-way between the uniform one and all."""
    return 0.5 * np.array(sobol_simplex(domains, _ASKED)) + 0.5 / domains


def _ladders(rows: Sequence[tuple[int, ...]]) -> NDArray[np.int64]:
    """The ladder of each run: runs of exactly the same proportions share their beginning."""
    numbers: dict[tuple[int, ...], int] = {}
    found = []
    for row in rows:
        part = math.gcd(*row)
        found.append(numbers.setdefault(tuple(amount // part for amount in row), len(numbers)))
    return np.array(found)


def _repeated(chosen: Sequence[int], costs: Costs, samples: float, seeds: int) -> list[tuple[int, int]]:
    """Runs to repeat with other seeds, as (index, seed), from those that tell most on, while there are samples."""
    found: list[tuple[int, int]] = []
    for seed in range(1, seeds):
        mine: list[int] = []
        for index in chosen:
            further = float(costs.further(mine)[index]) if mine else float(costs.own[index] + costs.shared[index])
            if further <= samples:
                samples -= further
                mine.append(index)
                found.append((index, seed))
    return found


def _spent(runs: Sequence[tuple[str, dict[str, int], int]], points: Sequence[Point], costs: Costs) -> float:
    """Samples trained for the repeats."""
    where = {tuple(amounts.values()): index for index, (_, amounts) in enumerate(points)}
    total = 0.0
    for seed in {seed for _, _, seed in runs if seed}:
        total += costs.total([where[tuple(amounts.values())] for _, amounts, other in runs if other == seed])
    return total
