"""A proof of optimality from our own losses and gradients, apart from the solver."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixlang.allocate.bounds import cheapest
from mixlang.allocate.problem import Problem
from mixlang.documents import Proof

Floats = NDArray[np.float64]

_ACTIVE = 1e-6
_FIRMLY = 1e3
"""Weight of the equation that the weights of the pieces sum to 1, beside those that may be missed a little."""


def certify(problem: Problem, shares: Floats) -> Proof:
    """Prove how far a mixture is from the optimum.

    The objective is the largest weighted mean of convex pieces f_k. For any weights it allows, f* is at least the
    minimum over the feasible shares of the linearisation of sum_k w_k f_k at our point (Frank and Wolfe 1956), a linear
    program solved here. `gap` is our objective less that bound: no mixture that keeps the constraints can be better by
    more.

    Returns:
        `gap`; `kkt_residual` (see `optimality`); `convex`: the conditions that make the bound valid; `active`: binding
        constraints and why they are there; `shadow_prices`: change of the objective per unit of share by which a
        binding constraint is loosened.
    """
    values, slopes, _ = problem.pieces(shares)
    penalty, pull = problem.penalty(shares)
    residual, weights, prices = optimality(problem, shares)
    slope = weights @ slopes + pull
    slack = 0.0
    if problem.limited:
        # Lagrange: below the objective wherever the limits are kept, for any prices that are not negative.
        over, steep = problem.excess(shares)
        firm = np.array([prices.get(("worse", problem.fit.names[index]), 0.0) for index in problem.limited])
        slope, slack = slope + firm @ steep, max(0.0, float(-firm @ over))
    best = cheapest(slope, problem.lower, problem.upper, problem.groups)
    shortfall = max(0.0, problem.value(shares) - penalty - float(weights @ values))
    gap = float("inf") if best is None else max(0.0, float(slope @ (shares - best))) + shortfall + slack
    active = []
    for (side, name), price in prices.items():
        bound, reason = _bound(problem, side, name)
        active.append({"side": side, "domain": name, "share": bound, "why": reason, "price": price})
    return {
        "gap": gap,
        "kkt_residual": residual,
        "convex": _convexity(problem),
        "active": active,
        "shadow_prices": {f"{side} {name}": price for (side, name), price in prices.items()},
    }


def optimality(problem: Problem, shares: Floats) -> tuple[float, Floats, dict[tuple[str, str], float]]:
    """How far the point is from the Karush-Kuhn-Tucker conditions, with the multipliers that come closest.

    Unknown are weights 0 <= w <= most of the pieces, summing to 1, multipliers mu >= 0 of the inequalities a.y <= b and
    nu of sum y = 1, in

        sum_k w_k grad f_k + pull + sum mu a + nu = 0,   mu (b - a.y) = 0,
        w_k (level - f_k)+ = 0,   (most - w_k) (f_k - level)+ = 0,

    solved by bounded least squares. The residual is the largest violation; feasibility is exact by construction.

    Returns:
        The residual, the weights, and the multipliers of binding constraints by (side, domain or group).
    """
    from scipy.optimize import lsq_linear

    values, slopes, most = problem.pieces(shares)
    pull = problem.penalty(shares)[1]
    names, matrix, slack = _inequalities(problem, shares)
    count, pieces, walls = len(shares), len(values), len(slack)
    level = np.sort(values)[::-1][min(pieces - 1, int(np.ceil(1.0 / most - 1e-9)) - 1)]
    below, above = np.maximum(0.0, level - values), np.maximum(0.0, values - level)
    zeros = np.zeros
    system = np.block(
        [
            [slopes.T, matrix.T, np.ones((count, 1))],
            [zeros((walls, pieces)), np.diag(slack), zeros((walls, 1))],
            [np.diag(below + above), zeros((pieces, walls)), zeros((pieces, 1))],
            [_FIRMLY * np.ones((1, pieces)), zeros((1, walls)), zeros((1, 1))],
        ]
    )
    target = np.concatenate([-pull, zeros(walls), most * above, [_FIRMLY]])
    low = np.concatenate([zeros(pieces + walls), [-np.inf]])
    high = np.concatenate([np.full(pieces, most + 1e-12), np.full(walls + 1, np.inf)])
    found = lsq_linear(system, target, (low, high), method="bvls", tol=1e-15).x
    weights = found[:pieces] / found[:pieces].sum()
    found[:pieces] = weights
    residual = float(np.abs(system @ found - target).max())
    prices = {
        key: float(price)
        for key, price, room in zip(names, found[pieces:-1], slack, strict=True)
        if room < _ACTIVE and price > _ACTIVE
    }
    return residual, weights, prices


def _inequalities(problem: Problem, shares: Floats) -> tuple[list[tuple[str, str]], Floats, Floats]:
    """Names, outward normals and slacks of all bounds on shares and groups."""
    identity, members = np.eye(len(shares)), [group.members for group in problem.groups]
    names = [(side, name) for side in ("min", "max") for name in problem.domains]
    names += [(side, f"group {group.name}") for side in ("min", "max") for group in problem.groups]
    names += [("worse", problem.fit.names[index]) for index in problem.limited]
    normals = [*(-identity), *identity, *(-row for row in members), *members]
    slacks = [*(shares - problem.lower), *(problem.upper - shares)]
    slacks += [group.members @ shares - group.lower for group in problem.groups]
    slacks += [group.upper - group.members @ shares for group in problem.groups]
    if problem.limited:
        over, steep = problem.excess(shares)
        normals, slacks = [*normals, *steep], [*slacks, *(-over)]
    return names, np.array(normals), np.maximum(0.0, np.array(slacks))


def _bound(problem: Problem, side: str, name: str) -> tuple[float, str]:
    if side == "worse":
        return float(problem.worse or 0.0), "limit on how much worse its loss may be"
    if name.startswith("group "):
        group = next(item for item in problem.groups if f"group {item.name}" == name)
        return (group.lower if side == "min" else group.upper), f"group {side}imum"
    index = problem.domains.index(name)
    bound = problem.lower if side == "min" else problem.upper
    return float(bound[index]), problem.reasons.get((side, name), "a share cannot be negative" if side == "min" else "")


def _convexity(problem: Problem) -> dict[str, bool]:
    """The conditions under which each loss is convex, checked on the fitted numbers of every scenario."""
    found: dict[str, bool] = {}
    for thetas in problem.thetas:
        for law, theta in zip(problem.fit.laws, thetas, strict=True):
            for condition, held in law.law.conditions(theta).items():
                found[condition] = found.get(condition, True) and held
            if law.law.fixed_total:
                found["the total amount is fixed"] = problem.total is not None
    return found
