"""The solver's answer made exact: feasible to the last bit, and stationary."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixlang.allocate.bounds import cheapest
from mixlang.allocate.certificate import optimality
from mixlang.allocate.problem import Problem

Floats = NDArray[np.float64]

_ON_BOUND = 1e-9
_ENOUGH = 1e-12


def polished(shares: Floats, problem: Problem) -> Floats:
    """A few Newton steps on the optimality conditions, from a nearly optimal mixture.

    An interior-point solver stops at a gap of about 1e-10, which for a flat optimum leaves shares off by 1e-5. A step is
    taken only if it lowers the residual of the conditions.
    """
    if problem.limited:  # the steps know bounds on shares alone
        return shares
    residual, weights, _ = optimality(problem, shares)
    for _ in range(8):
        if residual < _ENOUGH:
            break
        step = _newton(shares, problem, weights)
        length = min(1.0, 0.99 * _room(shares, step, problem))
        for _ in range(4):
            trial = shares + length * step
            found, multipliers, _ = optimality(problem, trial)
            if found < residual:
                break
            length /= 4
        else:
            break
        shares, residual, weights = trial, found, multipliers
    return shares


def _newton(shares: Floats, problem: Problem, weights: Floats) -> Floats:
    """The Newton step of the shares off their bounds, keeping binding groups and levelling the pieces that are tied."""
    values, slopes, most = problem.pieces(shares)
    gradient = weights @ slopes + problem.penalty(shares)[1]
    hessian = np.einsum("k,kde->de", weights, problem.bends(shares))
    if problem.pull:
        hessian += np.diag(problem.pull / np.maximum(shares, 1e-300))
    inside = (shares > problem.lower + _ON_BOUND) & (shares < problem.upper - _ON_BOUND)
    level = np.average(gradient, weights=np.maximum(shares * inside, 1e-300))
    leaving = np.where(shares <= problem.lower + _ON_BOUND, gradient < level, gradient > level)
    free = (inside | leaving) & (problem.upper > problem.lower)
    rows = [np.ones(len(shares))]
    for group in problem.groups:
        total = group.members @ shares
        if min(total - group.lower, group.upper - total) < _ON_BOUND:
            rows.append(group.members)
    tied = (weights > 1e-7) & (weights < most - 1e-7)
    held = np.vstack([np.array(rows)[:, free], slopes[tied][:, free]])
    size, fixed, ties = int(free.sum()), len(rows), int(tied.sum())
    # Unknown: the step, multipliers of the rows held, and the level all tied pieces move to.
    system = np.zeros((size + fixed + ties + 1,) * 2)
    system[:size, :size] = hessian[np.ix_(free, free)]
    system[size:-1, :size], system[:size, size:-1] = held, held.T
    system[size + fixed : -1, -1] = system[-1, size + fixed : -1] = -1.0
    target = np.concatenate([-gradient[free], np.zeros(fixed), -values[tied], [0.0]])
    step = np.zeros(len(shares))
    step[free] = np.linalg.lstsq(system, target, rcond=1e-14)[0][:size]
    return step


def _room(shares: Floats, step: Floats, problem: Problem) -> float:
    """How many times the step fits before a constraint."""
    with np.errstate(divide="ignore", invalid="ignore"):
        limits = [np.where(step < 0, (problem.lower - shares) / step, np.inf)]
        limits.append(np.where(step > 0, (problem.upper - shares) / step, np.inf))
        for group in problem.groups:
            total, change = group.members @ shares, group.members @ step
            side = group.upper if change > 0 else group.lower
            limits.append(np.array([(side - total) / change if abs(change) > 1e-14 else np.inf]))
    return float(max(0.0, np.concatenate(limits).min()))


def repaired(shares: Floats, problem: Problem) -> Floats:
    """Shares that satisfy the constraints to solver tolerance, made to satisfy them exactly: the nearest that do."""
    clipped = np.clip(shares, problem.lower, problem.upper)
    clipped = _filled(clipped, problem)
    if all(group.lower - 1e-12 <= group.members @ clipped <= group.upper + 1e-12 for group in problem.groups):
        return clipped
    # A mixture strictly inside all groups, mixed in just enough.
    inner = _interior(problem)
    for weight in np.geomspace(1e-12, 1.0, 80):
        mixed = (1 - weight) * clipped + weight * inner
        if all(group.lower - 1e-12 <= group.members @ mixed <= group.upper + 1e-12 for group in problem.groups):
            return mixed
    return inner


def _filled(shares: Floats, problem: Problem) -> Floats:
    """Shares inside their bounds that sum to 1."""
    missing = 1.0 - shares.sum()
    room = (problem.upper - shares) if missing > 0 else (shares - problem.lower)
    return shares + missing * room / room.sum() if room.sum() > 0 else shares


def _interior(problem: Problem) -> Floats:
    """A feasible mixture as far inside the groups as there is one: the mean of extreme ones."""
    corners = [
        cheapest(sign * direction, problem.lower, problem.upper, problem.groups)
        for direction in [*(group.members for group in problem.groups), *np.eye(len(problem.costs))]
        for sign in (1.0, -1.0)
    ]
    return np.mean([corner for corner in corners if corner is not None], axis=0)
