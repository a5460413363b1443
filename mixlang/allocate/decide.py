"""Deciding under uncertainty: the expected objective over draws, and the mixture nearest the prior that is as good.

The optimum of fitted laws is chosen because it looks good under them, errors included (the optimiser's curse; Smith and
Winkler 2006, 10.1287/mnsc.1050.0451). So the expected objective over draws of the laws is minimised, and of the
mixtures that cannot be told from its minimum the one nearest to the prior mixture is taken: the largest pull to it, by
KL(shares || prior), whose optimum loses no more than one standard error of the difference (the one-standard-error rule of
Breiman and others 1984, with the prior mixture in place of the smallest tree). Every step is convex.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixlang.allocate.descent import descend
from mixlang.allocate.problem import Problem
from mixlang.documents import Decision

Floats = NDArray[np.float64]

_PULLS = np.geomspace(1e-4, 1.0, 9)
"""Pulls tried; relative losses are about 1, and so is the divergence of very different mixtures."""

_PRIOR = 1e3
"""A pull that leaves nothing but the prior, within the constraints."""

_STEPS = 4


@dataclass(frozen=True)
class Decided:
    """A mixture, the problem it is the exact optimum of, and why it was taken."""

    problem: Problem
    shares: Floats
    decision: Decision


def decide(problem: Problem, best: Floats) -> Decided:
    """The mixture nearest to the prior of those that cannot be told from the best.

    Args:
        problem: of an expected objective; best: its optimum, shape (domains,).
    """
    prior = problem.pulled(_PRIOR)
    whole = descend(prior, best)
    verdict = _judged(problem, best, whole)
    if verdict[0] <= verdict[1]:
        return Decided(prior, whole, _said(problem, best, whole, _PRIOR, verdict, True))
    pull, shares, taken = problem.pull, best, _judged(problem, best, best)
    high = None
    for step in _PULLS[problem.pull < _PULLS].tolist():
        tried = descend(problem.pulled(step), shares)
        verdict = _judged(problem, best, tried)
        if verdict[0] > verdict[1]:
            high = step
            break
        pull, shares, taken = step, tried, verdict
    for _ in range(_STEPS if high is not None else 0):
        middle = float(np.sqrt(max(pull, 0.1 * high) * high))
        tried = descend(problem.pulled(middle), shares)
        verdict = _judged(problem, best, tried)
        if verdict[0] <= verdict[1]:
            pull, shares, taken = middle, tried, verdict
        else:
            high = middle
    return Decided(problem.pulled(pull), shares, _said(problem, best, shares, pull, taken, False))


def _judged(problem: Problem, best: Floats, other: Floats) -> tuple[float, float]:
    """By how much a mixture is worse than the best in expectation, and the standard error of that."""
    worse = problem.objectives(other) - problem.objectives(best)
    error = np.hypot(float(np.std(worse)), problem.own_error(other, best))
    return float(np.mean(worse)), float(error)


def _said(
    problem: Problem, best: Floats, shares: Floats, pull: float, verdict: tuple[float, float], prior: bool
) -> Decision:
    return {
        "pull": pull,
        "worse": verdict[0],
        "error": verdict[1],
        "is_prior": prior,
        "best": dict(zip(problem.domains, best.tolist(), strict=True)),
        "moved": float(0.5 * np.abs(shares - best).sum()),
    }
