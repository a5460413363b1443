"""The whole answer to an allocation problem: the mixture, its proof, its rivals and how sure it all is."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixlang.allocate.baselines import baseline_shares
from mixlang.allocate.bounds import cheapest
from mixlang.allocate.problem import Problem
from mixlang.allocate.solve import Allocation, solve
from mixlang.allocate.structure import structure
from mixlang.allocate.uncertainty import intervals
from mixlang.errors import SolveError
from mixlang.laws import Fit

Floats = NDArray[np.float64]


def answer(
    fit: Fit, settings: Mapping[str, Any], budget: float, baselines: Sequence[str] | None = None, uncertain: bool = True
) -> dict[str, Any]:
    """Solve an allocation and say everything about it.

    Args:
        settings: see `Problem.of`.
        baselines: which of proportional, uniform and unimax to compare with; those that can be, if left out.
        uncertain: whether to say how sure it is, which takes a solve for every bootstrap draw.

    Returns:
        What `Allocation.as_dict` says, and `baselines` (by name `shares`, `objective`, `predicted`, `feasible`, and
        `within_noise`: losses whose difference to the allocation is smaller than their seed noise), `intervals` (see
        `mixlang.allocate.uncertainty`) and `structure` (see there).

    Raises:
        InputError, SolveError: as `Problem.of` and `solve`.
    """
    problem = Problem.of(fit, settings, budget)
    best = solve(problem)
    rivals = _rivals(problem, settings, baselines)
    document = best.as_dict()
    document["baselines"] = {name: _compared(problem, best, shares) for name, shares in rivals.items()}
    if uncertain:
        document["intervals"] = intervals(problem, best.shares, rivals)
        document["structure"] = structure(problem, best.shares)
    return document


def _rivals(problem: Problem, settings: Mapping[str, Any], baselines: Sequence[str] | None) -> dict[str, Floats]:
    """Mixtures to compare with: the named baselines, the best mixture among the runs, and the optimum if nothing
    transferred."""
    available, names = settings["available"], problem.domains
    if baselines is None:
        baselines = ["proportional", "uniform", "unimax"] if available else ["uniform"]
    volumes = {name: available[name]["volumes"] if available else 1.0 for name in names}
    caps = dict(zip(names, problem.upper.tolist(), strict=True))
    rivals = {}
    for kind in baselines:
        shares = baseline_shares(kind, volumes, caps)
        rivals[kind] = np.array([shares[name] for name in names])
    if len(problem.fit.mixtures):
        values = [problem.value(shares) for shares in problem.fit.mixtures]
        shares = problem.fit.mixtures[int(np.argmin(values))]
        rivals["best_observed"] = shares / shares.sum()
    alone = problem.fit.without_transfer()
    if alone is not None and problem.objective != "robust":
        with contextlib.suppress(SolveError):  # a rival that cannot be solved is left out
            rivals["no_transfer"] = solve(Problem.of(alone, settings, problem.budget)).shares
    return rivals


def _compared(problem: Problem, best: Allocation, shares: Floats) -> dict[str, Any]:
    fit = problem.fit
    predicted = fit.predict(problem.amounts(shares))[0]
    change = np.abs(best.losses / predicted - 1)
    noise = np.array([law.noise for law in fit.laws])
    return {
        "shares": dict(zip(fit.domains, shares.tolist(), strict=True)),
        "objective": problem.value(shares),
        "predicted": dict(zip(fit.names, predicted.tolist(), strict=True)),
        "feasible": _feasible(problem, shares),
        "within_noise": [name for name, small in zip(fit.names, change < np.nan_to_num(noise), strict=True) if small],
    }


def _feasible(problem: Problem, shares: Floats) -> bool:
    room = 1e-6
    narrow = np.clip(shares - room, problem.lower, problem.upper), np.clip(shares + room, problem.lower, problem.upper)
    inside = bool((shares >= problem.lower - room).all() and (shares <= problem.upper + room).all())
    return inside and cheapest(np.zeros(len(shares)), *narrow, problem.groups) is not None
