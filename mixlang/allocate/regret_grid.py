"""Mixtures to train beside the allocated one, so that its regret can be measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixlang.allocate.problem import Problem

Floats = NDArray[np.float64]


def grid(problem: Problem, shares: Floats, points: Floats) -> dict[str, dict[str, float]]:
    """Mixtures all over the simplex and near the allocated one, by name.

    Args:
        shares: the allocation; points: mixtures spread over the simplex, shape (count, domains).

    Returns:
        The first, third, ... point as it is (`far`), the others half way between the allocation and the point (`near`);
        each drawn towards the allocation no further than the constraints ask.
    """
    found = {}
    for number, point in enumerate(points):
        near = number % 2 == 1
        aim = (shares + point) / 2 if near else point
        found[f"{'near' if near else 'far'} {number // 2 + 1}"] = dict(
            zip(problem.domains, _allowed(problem, shares, aim).tolist(), strict=True)
        )
    return found


def _allowed(problem: Problem, shares: Floats, aim: Floats) -> Floats:
    """The farthest mixture on the way from the allocation to `aim` that the constraints allow."""
    if problem.allows(aim):
        return aim
    inside, outside = 0.0, 1.0
    for _ in range(30):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if problem.allows(shares + middle * (aim - shares)) else (inside, middle)
    return shares + inside * (aim - shares)
