"""What a mixture breaks of a problem's constraints, and the nearest mixture that breaks nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixlang.allocate.problem import Problem
from mixlang.documents import ConstraintSettings
from mixlang.errors import SolveError

Floats = NDArray[np.float64]

_ROOM = 1e-6
"""Largest part of a share by which a bound may be missed, as in `Problem.allows`."""

_LEAST = 1e-9
"""Share that a domain without any counts as, so that the distance to it is finite."""


def violations(problem: Problem, shares: Floats, constraints: ConstraintSettings) -> list[str]:
    """Which constraints a mixture breaks, in words; empty where it keeps all.

    Args:
        shares: of the budget, shape (domains,).
        constraints: the settings' `constraints`, for the number of times a crop may be shown.
    """
    found = []
    for index, name in enumerate(problem.domains):
        share = float(shares[index])
        if share > problem.upper[index] + _ROOM:
            most, why = float(problem.upper[index]), problem.reasons.get(("max", name), "largest share")
            says = f"{name} {share:.1%} is above its {why} of {most:.1%}"
            if why == "repetition cap":
                cap = float(constraints["repetition"])
                says += f" (it would show each distinct crop {share / most * cap:.3g} times, and {cap:g} are allowed)"
            found.append(says)
        if share < problem.lower[index] - _ROOM:
            least, why = float(problem.lower[index]), problem.reasons.get(("min", name), "smallest share")
            found.append(f"{name} {share:.1%} is below its {why} of {least:.1%}")
    for group in problem.groups:
        total = float(group.members @ shares)
        if not group.lower - _ROOM <= total <= group.upper + _ROOM:
            found.append(
                f"the group {group.name} has {total:.1%}, outside its bounds of {group.lower:.1%} to {group.upper:.1%}"
            )
    return found


def nearest(problem: Problem, shares: Floats) -> Floats:
    """The mixture nearest to another that keeps the constraints, by KL(nearest || other).

    Between its bounds it keeps the other mixture's proportions, which is what a person does who caps a domain and
    spreads what is left over the others.

    Raises:
        SolveError: the solver found none, although the bounds leave room.
    """
    import cvxpy as cp

    aim = np.maximum(shares, _LEAST)
    found = cp.Variable(len(aim))
    rules = [cp.sum(found) == 1, found >= problem.lower, found <= problem.upper]
    for group in problem.groups:
        rules += [group.members @ found >= group.lower, group.members @ found <= group.upper]
    program = cp.Problem(cp.Minimize(cp.sum(cp.kl_div(found, aim / aim.sum()))), rules)
    try:
        program.solve(solver=cp.CLARABEL)
    except cp.error.SolverError as error:
        raise SolveError(f"no nearest mixture was found: {error}") from error
    if found.value is None:
        raise SolveError(f"no nearest mixture was found: the solver reports {program.status}")
    inside = np.clip(found.value, problem.lower, problem.upper)
    return inside / inside.sum()
