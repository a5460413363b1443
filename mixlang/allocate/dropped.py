"""Domains that a mixture leaves with next to nothing, and what keeping them would cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mixlang.allocate.binding import percent
from mixlang.allocate.problem import Problem
from mixlang.allocate.solve import Allocation, solve
from mixlang.documents import Dropped
from mixlang.errors import SolveError

Floats = NDArray[np.float64]

DROPPED = 0.005
"""A share below this is next to nothing."""

KEPT = 0.01
"""The share whose cost is told."""


def dropped(problem: Problem, best: Allocation) -> Dropped:
    """The domains below DROPPED and the price of keeping them at KEPT, by solving again.

    Args:
        best: the allocation; where it was decided on, the same pull to the prior is kept.

    Returns:
        `domains`: by name its `share`, and `cost`, the relative rise of the objective if it alone is kept at KEPT (None
        where its own cap allows no more than it has, or nothing can be solved); `together`: the same for all of them,
        None unless there are several; `says`: it all in sentences. Empty where no domain is dropped.
    """
    low = [index for index, share in enumerate(best.shares) if share < DROPPED]
    if not low:
        return {}
    each = {
        problem.domains[index]: {"share": float(best.shares[index]), "cost": _cost(problem, best, [index])}
        for index in low
    }
    together = _cost(problem, best, low) if len(low) > 1 else None
    return {"domains": each, "together": together, "says": _sentences(each, together)}


def _cost(problem: Problem, best: Allocation, which: list[int]) -> float | None:
    lower = problem.lower.copy()
    lower[which] = np.maximum(lower[which], KEPT)
    if (lower > problem.upper).any() or lower.sum() > 1:
        return None
    try:
        kept = solve(replace(problem, lower=lower), best.decision["pull"] if best.decision else None)
    except SolveError:
        return None
    return max(0.0, kept.objective / best.objective - 1)


def _sentences(each: Mapping[str, Mapping[str, float | None]], together: float | None) -> list[str]:
    said = []
    for name, entry in each.items():
        says = f"{name} gets {entry['share']:.1%} of the budget, next to nothing."
        if entry["cost"] is None:
            said.append(f"{says} Its constraints do not let it have {KEPT:.0%}.")
        else:
            key = f"constraints: {{share: {{{name}: {{min: {KEPT:g}}}}}}}"
            said.append(
                f"{says} By the laws, keeping it at {KEPT:.0%} would raise the objective by {percent(entry['cost'])}: {key}."
            )
    if together is not None:
        said.append(
            f"Keeping every domain at {KEPT:.0%} or more would raise the objective by {percent(together)}: "
            f"constraints: {{floor: {KEPT:g}}}."
        )
    return said
