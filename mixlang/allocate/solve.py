"""Solving an allocation with cvxpy, and certifying the answer without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixlang.allocate.problem import Problem
from mixlang.errors import SolveError

Floats = NDArray[np.float64]

_GAP = 1e-4
"""Largest certified gap, relative to the objective, of an answer that is given out."""


@dataclass(frozen=True)
class Allocation:
    """An optimal mixture with its certificate.

    Attributes:
        shares: of the budget; amounts: samples; losses: predicted.
        objective: 1 is the reference (proportional sampling by default).
        certificate: see `certify`.
    """

    domains: list[str]
    budget: float
    shares: Floats
    amounts: Floats
    losses: Floats
    objective: float
    certificate: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The allocation as JSON, arrays keyed by domain."""
        return {
            "budget": self.budget,
            "shares": dict(zip(self.domains, self.shares.tolist(), strict=True)),
            "amounts": dict(zip(self.domains, self.amounts.tolist(), strict=True)),
            "predicted": dict(zip(self.domains, self.losses.tolist(), strict=True)),
            "objective": self.objective,
            "certificate": self.certificate,
        }


def solve(problem: Problem) -> Allocation:
    """The mixture that minimises the problem's objective.

    Raises:
        SolveError: the solver did not report an optimum, or the recomputed gap is not small.
    """
    import cvxpy as cp

    count = len(problem.laws)
    shares = cp.Variable(count, name="shares")
    fill, least, most = cp.sum(shares) == 1, shares >= problem.lower, shares <= problem.upper
    main, relative_bounds = _objective(problem, shares)
    penalty = problem.pull * cp.sum(cp.rel_entr(shares, problem.prior)) if problem.pull else 0.0
    program = cp.Problem(cp.Minimize(main + penalty), [fill, least, most, *relative_bounds])
    if not program.is_dcp():
        raise SolveError("the problem is not convex by construction; this is a defect of mixlang, please report it")
    try:
        program.solve(solver=cp.CLARABEL)
    except cp.error.SolverError as error:
        raise SolveError(f"the solver gave up: {error}") from error
    if program.status != cp.OPTIMAL:
        raise SolveError(f"the solver ended with status '{program.status}', which proves nothing")
    found = np.clip(np.asarray(shares.value, float), problem.lower, problem.upper)
    found = _refill(found, problem)
    if problem.objective == "worst_case":
        multipliers = np.zeros(count)
        multipliers[problem.weights > 0] = [float(np.ravel(item.dual_value)[0]) for item in relative_bounds]
    else:
        multipliers = _sensitivity(problem, found)
    duals = np.ravel(least.dual_value), np.ravel(most.dual_value), float(np.ravel(fill.dual_value)[0])
    certificate = certify(problem, found, multipliers, duals, program)
    if certificate["gap"] > _GAP * abs(problem.value(found)):
        raise SolveError(f"the solver's answer may be {certificate['gap']:.2g} above the optimum; it is not given out")
    return Allocation(
        problem.domains,
        problem.budget,
        found,
        problem.amounts(found),
        problem.losses(found),
        problem.value(found),
        certificate,
    )


def _objective(problem: Problem, shares: Any) -> tuple[Any, list[Any]]:
    """The convex objective, and the epigraph constraints of the worst case.

    The geometric mean is minimised as its logarithm, a weighted sum of convex log-losses.
    """
    import cvxpy as cp

    scaled = cp.multiply(shares, problem.budget / problem.costs)
    if problem.objective == "geometric_mean":
        logs = [law.law.log_expression(law.theta, scaled / law.scale) for law in problem.laws]
        if problem.pull == 0:
            return sum(w * log for w, log in zip(problem.weights, logs, strict=True) if w > 0), []
        offset = float(problem.weights @ np.log(problem.reference))
        return cp.exp(sum(w * log for w, log in zip(problem.weights, logs, strict=True) if w > 0) - offset), []
    relative = [
        law.law.expression(law.theta, scaled / law.scale) / reference
        for law, reference in zip(problem.laws, problem.reference, strict=True)
    ]
    if problem.objective == "worst_case":
        top = cp.Variable(name="worst")
        return top, [item <= top for item, weight in zip(relative, problem.weights, strict=True) if weight > 0]
    return sum(weight * item for weight, item in zip(problem.weights, relative, strict=True) if weight > 0), []


def _refill(shares: Floats, problem: Problem) -> Floats:
    """Make shares that sum to 1 up to solver tolerance sum to 1 exactly, inside the bounds."""
    missing = 1.0 - shares.sum()
    room = (problem.upper - shares) if missing > 0 else (shares - problem.lower)
    return shares + missing * room / room.sum() if room.sum() > 0 else shares


def _sensitivity(problem: Problem, shares: Floats) -> Floats:
    """Derivatives of a smooth objective by the relative losses."""
    if problem.objective == "geometric_mean":
        relative = problem.losses(shares) / problem.reference
        return float(np.exp(problem.weights @ np.log(relative))) * problem.weights / relative
    return problem.weights


def certify(
    problem: Problem, shares: Floats, multipliers: Floats, duals: tuple[Floats, Floats, float], program: Any
) -> dict[str, Any]:
    """A proof of optimality from our own losses and gradients.

    For convex f and any multipliers w of the relative losses, f* is at least the minimum over the feasible shares of
    the linearisation of sum_i w_i L_i at our point (Frank and Wolfe 1956), a linear program solved exactly here by
    sorting. `gap` is our objective less that bound: no mixture that keeps the bounds can be better by more.

    Returns:
        `status`, `solver`, `gap`, `kkt_residual` (see `_kkt_residual`), `convex` (conditions that make the bound
        valid), `active` (binding bounds and why), `shadow_prices` (change of the objective per unit of share by
        which a binding bound is moved).
    """
    slope = (multipliers / problem.reference) @ problem.jacobian(shares) + problem.penalty(shares)[1]
    best = _cheapest(slope, problem.lower, problem.upper)
    relative = problem.losses(shares) / problem.reference
    lagrangian = float(multipliers @ relative) + problem.penalty(shares)[0]
    shortfall = max(0.0, problem.value(shares) - lagrangian) if problem.objective == "worst_case" else 0.0
    gap = max(0.0, float(slope @ (shares - best))) + shortfall
    active, prices = [], {}
    for side, dual, bound in (("min", duals[0], problem.lower), ("max", duals[1], problem.upper)):
        for index, name in enumerate(problem.domains):
            if abs(shares[index] - bound[index]) < 1e-5 and 0 < bound[index] < 1:
                reason = problem.reasons[side, name]
                active.append({"domain": name, "side": side, "share": float(bound[index]), "why": reason})
                prices[f"{side} {name}"] = float(-dual[index] if side == "max" else dual[index])
    return {
        "status": str(program.status),
        "solver": str(program.solver_stats.solver_name),
        "gap": gap,
        "kkt_residual": _kkt_residual(slope, shares, problem.lower, problem.upper),
        "convex": _convexity(problem),
        "active": active,
        "shadow_prices": prices,
    }


def _cheapest(slope: Floats, lower: Floats, upper: Floats) -> Floats:
    """The shares within the bounds that minimise a linear function: fill the cheapest domains first."""
    shares = lower.copy()
    left = 1.0 - shares.sum()
    for index in np.argsort(slope):
        step = min(left, upper[index] - shares[index])
        shares[index] += step
        left -= step
    return shares


def _kkt_residual(slope: Floats, shares: Floats, lower: Floats, upper: Floats) -> float:
    """How far the point is from stationarity: the largest gain in slope from moving share between two domains.

    Share can leave a domain above its lower bound and enter one below its upper bound; at an optimum no such move
    has a negative slope.
    """
    can_leave, can_enter = shares > lower + 1e-6, shares < upper - 1e-6
    if not can_leave.any() or not can_enter.any():
        return 0.0
    return max(0.0, float(slope[can_leave].max() - slope[can_enter].min()))


def _convexity(problem: Problem) -> dict[str, bool]:
    """The conditions under which each loss is convex, checked on the fitted numbers."""
    values = [dict(zip(law.law.names, law.theta.tolist(), strict=True)) for law in problem.laws]
    return {
        "transfer is nonnegative": all(v >= 0 for item in values for k, v in item.items() if k.startswith("k_")),
        "transfer exponents are in (0, 1]": all(
            0 < v <= 1 for item in values for k, v in item.items() if k.startswith("g_")
        ),
        "floors are nonnegative": all(item.get("E", 0.0) >= 0 for item in values),
    }
