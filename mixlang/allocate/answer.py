"""The whole answer to an allocation problem: the mixture, its proof, its rivals and how sure it all is."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mixlang.allocate.baselines import baseline_shares
from mixlang.allocate.binding import binding_in_words
from mixlang.allocate.dropped import dropped
from mixlang.allocate.feasible import nearest, violations
from mixlang.allocate.problem import Problem
from mixlang.allocate.regret_grid import grid
from mixlang.allocate.solve import Allocation, solve
from mixlang.allocate.structure import structure
from mixlang.allocate.uncertainty import intervals
from mixlang.documents import Compared, Measure, ProblemSettings, Solved
from mixlang.errors import SolveError
from mixlang.laws import Fit
from mixlang.laws.quality import doubts_of
from mixlang.rivals import nearest_to

Floats = NDArray[np.float64]


def answer(
    fit: Fit,
    settings: ProblemSettings,
    budget: float,
    baselines: Sequence[str] | None = None,
    uncertain: bool = True,
    named: Mapping[str, Mapping[str, float]] | None = None,
    points: Floats | None = None,
) -> Solved:
    """Solve an allocation and say everything about it.

    Args:
        settings: see `Problem.of`.
        baselines: which of proportional, uniform, unimax and best_single to compare with; those that can be, if left out.
        uncertain: whether to say how sure it is, which takes a solve for every bootstrap draw.
        named: more mixtures to compare with, shares by domain, by name.
        points: mixtures spread over the simplex, from which a grid to measure regret with is made.

    Returns:
        What `Allocation.as_dict` says, and `measure` (what an objective of measured losses takes: `minimize`, `weights`,
        `reference`), `baselines` (by name `shares`, `objective`, `predicted`, `feasible`, `breaks`: the constraints it
        breaks, in words, `within_noise`: losses whose difference to the allocation is no larger than their noise between
        seeds, and `noise_unknown`: those of which no run was repeated with another seed;
        one that breaks any has the nearest mixture that breaks none beside it, see `mixlang.rivals`), `intervals` (see
        `mixlang.allocate.uncertainty`), `structure` and `dropped` (see there) and, where points are given, `grid` (see
        there), `doubts`: what is wrong with the laws for a decision between mixtures, in sentences, and `binding`: a
        sentence for each constraint that holds the mixture back.

    Raises:
        InputError, SolveError: as `Problem.of` and `solve`.
    """
    problem = Problem.of(fit, settings, budget)
    best = solve(problem)
    rivals = _rivals(problem, settings, baselines, named or {})
    document = best.as_dict() | {"measure": _measure(problem)}
    document["binding"] = binding_in_words(document, settings)
    rivals = _with_nearest(problem, rivals)
    document["baselines"] = {name: _compared(problem, best, shares, settings) for name, shares in rivals.items()}
    document["doubts"] = doubts_of(fit)
    if uncertain:
        document["intervals"] = intervals(problem, best.shares, rivals)
        document["structure"] = structure(problem.as_fitted(), best.shares)
        document["dropped"] = dropped(problem, best)
    if points is not None:
        document["grid"] = grid(problem, best.shares, points)
    return document


def _with_nearest(problem: Problem, rivals: Mapping[str, Floats]) -> dict[str, Floats]:
    """The rivals, each that breaks a constraint followed by the nearest mixture that breaks none."""
    found: dict[str, Floats] = {}
    for name, shares in rivals.items():
        found[name] = shares
        if not problem.allows(shares):
            with contextlib.suppress(SolveError):  # without it the rival is shown as infeasible all the same
                found[nearest_to(name)] = nearest(problem, shares)
    return found


def _measure(problem: Problem) -> Measure:
    """What an objective of measured losses takes; of a robust objective the mean reference over its draws."""
    reference = (problem.as_fitted() if problem.expected else problem).reference.mean(axis=0)
    return {
        "minimize": problem.objective,
        "weights": dict(zip(problem.fit.names, problem.weights.tolist(), strict=True)),
        "reference": dict(zip(problem.fit.names, reference.tolist(), strict=True)),
    }


def _rivals(
    problem: Problem,
    settings: ProblemSettings,
    baselines: Sequence[str] | None,
    named: Mapping[str, Mapping[str, float]],
) -> dict[str, Floats]:
    """Mixtures to compare with: baselines, the user's own, the best mixture among the runs, and the optimum if nothing
    transferred."""
    available, names = settings["available"], problem.domains
    if baselines is None:
        baselines = ["proportional", "uniform", "unimax"] if available else ["uniform"]
    volumes = {name: available[name]["volumes"] if available else 1.0 for name in names}
    caps = dict(zip(names, problem.upper.tolist(), strict=True))
    rivals = {}
    for kind in baselines:
        if kind == "best_single":
            rivals[kind] = _best_single(problem)
            continue
        shares = baseline_shares(kind, volumes, caps)
        rivals[kind] = np.array([shares[name] for name in names])
    for kind, given in named.items():
        rivals[kind] = np.array([given.get(name, 0.0) for name in names])
    if len(problem.fit.mixtures):
        values = [problem.value(shares) for shares in problem.fit.mixtures]
        shares = problem.fit.mixtures[int(np.argmin(values))]
        rivals["best_observed"] = shares / shares.sum()
    alone = problem.fit.without_transfer()
    if alone is not None and problem.objective != "robust":
        with contextlib.suppress(SolveError):  # a rival that cannot be solved is left out
            rivals["no_transfer"] = solve(Problem.of(alone, settings, problem.budget)).shares
    return rivals


def _best_single(problem: Problem) -> Floats:
    """The one domain whose data alone have the best predicted objective, whatever its cap."""
    alone = np.eye(len(problem.domains))
    return alone[int(np.argmin([problem.value(shares) for shares in alone]))]


def _compared(problem: Problem, best: Allocation, shares: Floats, settings: ProblemSettings) -> Compared:
    fit = problem.fit
    predicted = fit.predict(problem.amounts(shares))[0]
    change = np.abs(best.losses / predicted - 1)
    noise = np.array([law.noise for law in fit.laws])
    return {
        "shares": dict(zip(fit.domains, shares.tolist(), strict=True)),
        "objective": problem.value(shares),
        "predicted": dict(zip(fit.names, predicted.tolist(), strict=True)),
        "feasible": problem.allows(shares),
        "breaks": violations(problem, shares, settings["constraints"]),
        "within_noise": [name for name, small in zip(fit.names, change <= noise, strict=True) if small],
        "noise_unknown": [name for name, value in zip(fit.names, noise, strict=True) if np.isnan(value)],
    }
