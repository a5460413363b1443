"""A quick optimum without a certificate, for the many re-solves that intervals need: SLSQP from a good start."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixlang.allocate.problem import Problem

Floats = NDArray[np.float64]

_LEAST = 1e-9
"""Shares stay above this, since a source's slope at zero is infinite."""


def descend(problem: Problem, start: Floats) -> Floats:
    """The mixture that minimises the objective, to about 1e-6 in its value.

    A largest mean of pieces is minimised as its epigraph: the level, and what exceeds it.
    """
    from scipy.optimize import minimize

    count = len(start)
    pieces = len(problem.pieces(start)[0])
    most = problem.pieces(start)[2]
    smooth = pieces == 1
    extra = 0 if smooth else 1 + (pieces if most < 1 else 0)
    ones = np.concatenate([np.ones(count), np.zeros(extra)])
    constraints = [{"type": "eq", "fun": lambda point: ones @ point - 1, "jac": lambda point: ones}]
    for group in problem.groups:
        row = np.concatenate([group.members, np.zeros(extra)])
        constraints += [
            {"type": "ineq", "fun": lambda x, a=row, b=group.lower: a @ x - b, "jac": lambda x, a=row: a},
            {"type": "ineq", "fun": lambda x, a=row, b=group.upper: b - a @ x, "jac": lambda x, a=row: -a},
        ]

    if problem.limited:
        wide = ((0, 0), (0, extra))
        constraints.append(
            {
                "type": "ineq",
                "fun": lambda point: -problem.excess(point[:count])[0],
                "jac": lambda point: -np.pad(problem.excess(point[:count])[1], wide),
            }
        )

    def objective(point: Floats) -> tuple[float, Floats]:
        shares = point[:count]
        penalty, pull = problem.penalty(shares)
        if smooth:
            values, slopes, _ = problem.pieces(shares)
            return values[0] + penalty, slopes[0] + pull
        slope = np.concatenate([pull, [1.0], np.full(extra - 1, most)])
        return point[count] + most * point[count + 1 :].sum() + penalty, slope

    if not smooth:
        bend = np.eye(pieces) if most < 1 else np.zeros((pieces, 0))
        constraints.append(
            {
                "type": "ineq",
                "fun": lambda point: point[count] + bend @ point[count + 1 :] - problem.pieces(point[:count])[0],
                "jac": lambda point: np.hstack([-problem.pieces(point[:count])[1], np.ones((pieces, 1)), bend]),
            }
        )
    low = np.maximum(problem.lower, np.minimum(_LEAST, problem.upper))
    bounds = [*zip(low, np.maximum(low, problem.upper), strict=True), *[(None, None)] * min(extra, 1)]
    bounds += [(0, None)] * max(0, extra - 1)
    level = [] if smooth else [problem.pieces(start)[0].max(), *np.zeros(extra - 1)]
    begin = np.concatenate([np.clip(start, low, np.maximum(low, problem.upper)), level])
    found = minimize(
        objective,
        begin,
        jac=True,
        method="SLSQP",
        bounds=bounds,
        constraints=constraints,
        options={"ftol": 1e-10, "maxiter": 300},
    )
    shares = np.clip(found.x[:count], problem.lower, problem.upper)
    if problem.limited:
        return kept(shares, problem)
    return shares if problem.value(shares) < problem.value(start) else start


def kept(shares: Floats, problem: Problem) -> Floats:
    """Shares that exceed a limit on losses by a rounding error, mixed with the prior mixture until none is exceeded.

    Losses are convex in the shares and at the prior mixture every limit has room, so a little of it is enough.
    """
    over = problem.excess(shares)[0]
    worst = max(0.0, float(over.max(initial=0.0)))
    part = worst / (worst + float(problem.worse or 0.0)) if worst else 0.0
    return (1 - part) * shares + part * problem.prior
