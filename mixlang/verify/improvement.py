"""What the allocated mixture gained over its rivals, measured, by domain and for the objective."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixlang.documents import Change, Equivalents, Improvement
from mixlang.laws import Fit
from mixlang.verify.interval import paired
from mixlang.verify.objective import Objective

Floats = NDArray[np.float64]

_FARTHEST = 1000.0
"""Data equivalents beyond this factor are not told: the laws were fitted nowhere near."""


@dataclass(frozen=True)
class Rival:
    """A mixture trained beside the allocated one.

    Attributes:
        losses: measured, shape (seeds, losses), seeds in the order of the allocated mixture's.
        amounts: samples of each domain at the budget, shape (domains,).
    """

    losses: Floats
    amounts: Floats


def improvement(ours: Floats, rival: Rival, laws: Fit, objective: Objective) -> Improvement:
    """Relative change of the measured losses from a rival to the allocated mixture, paired by seed; negative is better.

    Args:
        ours: losses of the allocated mixture, shape (seeds, losses).
        objective: what the allocation minimised at this budget.

    Returns:
        `domains`: by loss, mean change with its interval; `overall`: of the objective;
        `reducible`: by loss, the same of what lies above the fitted irreducible loss (None where the rival is within
        the noise of it, or the law has no floor: then it is the same as the relative change);
        `data`: for the `objective` and, by loss, `domains`: how many times its budget the rival would need, in its own
        proportions, for what the allocated mixture reached, by the laws (None where no amount within 1,000 times
        would do, and where the laws say nothing of the rival).
    """
    changes = ours / rival.losses - 1
    values = np.array([[objective.value(row) for row in table] for table in (ours, rival.losses)])
    overall = values[0] / values[1] - 1
    return {
        "domains": {name: paired(changes[:, index]) for index, name in enumerate(laws.names)},
        "overall": paired(overall),
        "reducible": {name: _reducible(ours, rival, laws, index) for index, name in enumerate(laws.names)},
        "data": _equivalents(rival, laws, objective, changes.mean(axis=0), float(overall.mean())),
    }


def _reducible(ours: Floats, rival: Rival, laws: Fit, index: int) -> Change | None:
    law = laws.laws[index]
    left = rival.losses[:, index] - law.floor
    noise = 0.0 if np.isnan(law.noise) else law.noise
    if law.floor == 0 or (left <= 2 * noise * rival.losses[:, index]).any():
        return None
    return paired((ours[:, index] - law.floor) / left - 1)


def _equivalents(rival: Rival, laws: Fit, objective: Objective, changes: Floats, overall: float) -> Equivalents:
    """The factor on the rival's amounts at which the laws' prediction has changed as much as was measured."""

    def losses(times: float) -> Floats:
        return laws.predict(times * rival.amounts)[0]

    known = laws.supports(rival.amounts)[0]
    domains = {
        name: _factor(lambda times, at=index: float(losses(times)[at]), float(changes[index])) if known[index] else None
        for index, name in enumerate(laws.names)
    }
    told = known[objective.weights > 0].all()
    whole = _factor(lambda times: objective.value(losses(times)), overall) if told else None
    return {"objective": whole, "domains": domains}


def _factor(loss: Callable[[float], float], change: float) -> float | None:
    """Where a falling function of a factor on all amounts has changed by a part of its value at 1."""
    from scipy.optimize import brentq

    goal = loss(1.0) * (1 + change)
    ends = (-np.log(_FARTHEST), np.log(_FARTHEST))
    gaps = [loss(float(np.exp(end))) - goal for end in ends]
    if gaps[0] <= 0 or gaps[1] >= 0:
        return None
    return float(np.exp(brentq(lambda log: loss(float(np.exp(log))) - goal, *ends, xtol=1e-6)))
