"""How sure an allocation is: the same problem solved for every bootstrap draw of the laws."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixlang.allocate.descent import descend
from mixlang.allocate.problem import Problem
from mixlang.documents import Intervals

Floats = NDArray[np.float64]

LEVEL = 0.9

_TIE = 1e-7
"""Objectives this close are a draw, which counts as half a win."""


def central_interval(values: Floats, level: float = LEVEL) -> list[float]:
    """The central interval of draws, as [low, high]."""
    tail = (1 - level) / 2
    return [float(value) for value in np.quantile(values, [tail, 1 - tail])]


def intervals(problem: Problem, shares: Floats, rivals: dict[str, Floats]) -> Intervals:
    """What bootstrap draws say about an allocation.

    Args:
        shares: the allocation; rivals: mixtures it is compared with, by name.

    Returns:
        None of it without draws, else `level`, `draws`, and
        `shares`: for each domain the interval of its optimal share;
        `predicted`: for each loss the interval of its prediction at the allocation;
        `gains`: for each rival the relative reduction of the objective: `apparent`, its `interval` at the allocation,
        `probability` that the allocation is better, and `corrected`: apparent less its optimism. An optimum of noisy
        laws flatters itself; by how much is the mean over draws of what each draw's own optimum seems to gain under its
        laws less what it gains under the fit (Efron 1983, 10.1080/01621459.1983.10477973).
    """
    fit = problem.fit
    if not fit.draws:
        return {}
    worlds = [problem.under(draw) for draw in range(fit.draws)]
    optima = np.array([descend(world, shares) for world in worlds])
    low, high = fit.interval(problem.amounts(shares), LEVEL)
    base = problem if problem.objective != "robust" else _plain(problem)
    ours = np.array([world.value(shares) for world in worlds])
    theirs = np.array([world.value(optimum) for world, optimum in zip(worlds, optima, strict=True)])
    gains = {}
    for name, rival in rivals.items():
        values = np.array([world.value(rival) for world in worlds])
        apparent = 1 - base.value(shares) / base.value(rival)
        seeming = [
            (1 - own / value) - (1 - base.value(optimum) / base.value(rival))
            for own, value, optimum in zip(theirs, values, optima, strict=True)
        ]
        # Where the fit knows nothing of a draw's optimum its law may give any number; it counts as losing everything.
        optimism = float(np.mean(np.clip(seeming, -1.0, 1.0)))
        gains[name] = {
            "apparent": float(apparent),
            "interval": central_interval(1 - ours / values),
            "probability": float(np.mean(ours < values - _TIE) + 0.5 * np.mean(np.abs(ours - values) <= _TIE)),
            "corrected": float(apparent - optimism),
        }
    return {
        "level": LEVEL,
        "draws": fit.draws,
        "shares": {name: central_interval(optima[:, index]) for index, name in enumerate(fit.domains)},
        "predicted": {name: [float(low[0, i]), float(high[0, i])] for i, name in enumerate(fit.names)},
        "gains": gains,
    }


def _plain(problem: Problem) -> Problem:
    """A robust problem's weighted loss under the fit itself."""
    from dataclasses import replace

    thetas = (tuple(law.theta for law in problem.fit.laws),)
    plain = replace(problem, objective="weighted_loss", thetas=thetas)
    return replace(plain, reference=plain.losses(problem.prior)[None])
