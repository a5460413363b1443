"""How sure an allocation is: the same problem solved for every bootstrap draw of the laws."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mixlang.allocate.descent import descend
from mixlang.allocate.problem import Problem
from mixlang.documents import Gain, Intervals

Floats = NDArray[np.float64]

LEVEL = 0.9

_LASTS = (0.5, 0.5)
"""Mean and standard deviation of the part of an advantage, seen at one budget, that lasts to larger ones: nothing is known
about it, and it may turn round."""

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
        `shares`: for each domain the interval of its optimal share under the laws of each draw;
        `predicted`: for each loss the interval of its prediction at the allocation;
        `gains`: for each rival the relative reduction of the objective: `apparent`, its `interval` at the allocation, over
        the draws and the laws' own error (see `Problem.own_error`), `probability` that the allocation is better, and
        `corrected`: apparent less its optimism. An expected objective, decided within its standard error, has none that
        simulations would show (benchmarks/synthetic_worlds.py); for an optimum of the fit alone see `_optimism`. Where mixtures
        were seen at one budget only, and this one is beyond it, an advantage lasts in the part `_LASTS`.
    """
    fit = problem.fit
    if not fit.draws:
        return {}
    worlds = [problem.under(draw) for draw in range(fit.draws)]
    optima = np.array([descend(world, shares) for world in worlds])
    low, high = fit.interval(problem.amounts(shares), LEVEL)
    ours = problem.objectives(shares)
    gains = {name: _gain(problem, shares, ours, optima, rival) for name, rival in rivals.items()}
    return {
        "level": LEVEL,
        "draws": fit.draws,
        "shares": {name: central_interval(optima[:, index]) for index, name in enumerate(fit.domains)},
        "predicted": {name: [float(low[0, i]), float(high[0, i])] for i, name in enumerate(fit.names)},
        "gains": gains,
    }


def _gain(problem: Problem, shares: Floats, ours: Floats, optima: Floats, rival: Floats) -> Gain:
    """The gain over one rival, with what the draws and the laws' own error leave open."""
    base = problem.as_fitted() if problem.objective == "robust" else problem
    theirs = problem.objectives(rival)
    apparent = 1 - _plain(base, shares) / _plain(base, rival)
    optimism = 0.0 if problem.expected else _optimism(base, problem.objectives, theirs, optima, rival)
    drawn = 1 - ours / theirs
    random = np.random.default_rng(0).standard_normal((2, len(drawn)))
    drawn = drawn + problem.own_error(shares, rival) * random[0]
    if problem.transient:
        lasting = _LASTS[0] + _LASTS[1] * random[1]
        drawn, apparent, optimism = drawn * lasting, apparent * _LASTS[0], optimism * _LASTS[0]
    even = np.abs(ours - theirs) <= _TIE
    return {
        "apparent": float(apparent),
        "interval": central_interval(drawn),
        "probability": float(np.mean((drawn > 0) & ~even) + 0.5 * np.mean(even)),
        "corrected": float(apparent - optimism),
    }


def _optimism(
    base: Problem, objectives: Callable[[Floats], Floats], theirs: Floats, optima: Floats, rival: Floats
) -> float:
    """What an optimum of noisy laws seems to gain by being their optimum: the mean over draws of what each draw's own seems to
    gain under its laws less what it gains under the fit (Efron 1983, 10.1080/01621459.1983.10477973)."""
    against = _plain(base, rival)
    seeming = [
        (1 - objectives(optimum)[draw] / theirs[draw]) - (1 - _plain(base, optimum) / against)
        for draw, optimum in enumerate(optima)
    ]
    # Where the fit knows nothing of a draw's optimum its law may give any number; it counts as losing everything.
    return float(np.mean(np.clip(seeming, -1.0, 1.0)))


def _plain(problem: Problem, shares: Floats) -> float:
    """The objective without the pull to the prior."""
    return problem.value(shares) - problem.penalty(shares)[0]
