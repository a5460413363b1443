"""How well the laws predicted runs that the fit never saw, and whether their intervals are as wide as they should be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixlang.documents import Agreement, DomainScores, HeldOutRow, Scores
from mixlang.laws import Fit

Floats = NDArray[np.float64]

LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Levels at which intervals are held against what was measured."""


def agreement(runs: Sequence[HeldOutRow], laws: Fit) -> Agreement:
    """Predicted against measured losses over every held-out (run, domain).

    Args:
        runs: rows with `amounts` and `losses` by domain, `mixture`, `seed`; none was used in the fit.

    Returns:
        `pooled` and, by domain, `domains`: Pearson r and Spearman rank correlation (null with fewer than 3 values or no
        spread), `mean_relative_error`, mean signed `bias` (predicted less measured, relative), `count` and `coverage`,
        the part of the measured losses inside prediction intervals of each level; by domain also `spread` (the standard
        deviation of the measured log loss between mixtures and budgets), `noise` (between seeds, likewise) and `ceiling`
        (the r of exact predictions, given that noise). Pooled r flatters when domains differ in the scale of their
        loss, hence both.
        `supported`, beside the pooled numbers and in each domain's: the same over the pairs whose run had at least the
        smallest share of the domain that its law was fitted on (null where there are none); elsewhere a law says
        nothing.
        `points`: each pair with `predicted`, its 90 % interval `low` to `high`, `measured`, `supported`.
    """
    names = list(laws.names)
    amounts = np.array([[run["amounts"][name] for name in laws.domains] for run in runs], float)
    measured = np.array([[run["losses"][name] for name in names] for run in runs], float)
    predicted, deviation = laws.predict(amounts), laws.deviation(amounts)
    supported = laws.supports(amounts)
    groups = np.unique(amounts, axis=0, return_inverse=True)[1].reshape(-1)
    low, high = laws.prediction_interval(amounts)
    errors = np.log(measured / predicted) / deviation

    def summary(rows: Any, columns: Any) -> Scores | None:
        chosen = measured[rows, columns]
        return _agreement(predicted[rows, columns], chosen, errors[rows, columns]) if chosen.size else None

    def of_domain(rows: Any, index: int) -> Scores | None:
        found = summary(rows, index)
        if found is not None:
            found |= _components(np.log(measured[rows, index]), groups[rows])
        return found

    domains: dict[str, DomainScores] = {}
    for index, name in enumerate(names):
        domains[name] = of_domain(slice(None), index)
        domains[name]["supported"] = of_domain(supported[:, index], index)
    return {
        "pooled": summary(slice(None), slice(None)),
        "supported": summary(*np.nonzero(supported)),
        "domains": domains,
        "points": [
            {
                "mixture": run["mixture"],
                "budget": run["budget_asked"],
                "seed": run["seed"],
                "domain": name,
                "predicted": float(predicted[row, column]),
                "low": float(low[row, column]),
                "high": float(high[row, column]),
                "measured": float(measured[row, column]),
                "supported": bool(supported[row, column]),
            }
            for row, run in enumerate(runs)
            for column, name in enumerate(names)
        ],
    }


def headline(found: Agreement) -> Scores:
    """The pooled numbers that stand for an agreement: of the supported pairs, of all where there are none."""
    return found["supported"] or found["pooled"]


def _components(logs: Floats, groups: NDArray[np.int64]) -> dict[str, float | None]:
    """`noise` of log losses within groups (None without replicates), `spread` of the groups' means, and `ceiling`: the r
    that exact predictions would have with losses that carry this noise."""
    groups = np.unique(groups, return_inverse=True)[1].reshape(-1)
    count = np.bincount(groups)
    means = np.bincount(groups, logs) / count
    spread = float(means.std(ddof=1)) if len(means) > 1 else 0.0
    freedom, whole = int((count - 1).sum()), float(logs.var())
    if not freedom:
        return {"noise": None, "spread": spread, "ceiling": None}
    noise = float(np.sqrt(np.sum((logs - means[groups]) ** 2) / freedom))
    return {
        "noise": noise,
        "spread": spread,
        "ceiling": float(np.sqrt(max(0.0, 1 - noise**2 / whole))) if whole else 0.0,
    }


def _agreement(predicted: Floats, measured: Floats, errors: Floats) -> Scores:
    """`errors`: log errors in units of their predicted deviation."""
    from scipy.stats import norm, spearmanr

    predicted, measured, errors = predicted.ravel(), measured.ravel(), errors.ravel()
    relative = (predicted - measured) / measured
    told = len(measured) > 2 and np.ptp(predicted) > 0 and np.ptp(measured) > 0
    return {
        "pearson_r": float(np.corrcoef(predicted, measured)[0, 1]) if told else None,
        "spearman": float(spearmanr(predicted, measured).statistic) if told else None,
        "mean_relative_error": float(np.abs(relative).mean()),
        "bias": float(relative.mean()),
        "count": len(measured),
        "coverage": {f"{level:g}": float(np.mean(np.abs(errors) <= norm.ppf((1 + level) / 2))) for level in LEVELS},
    }
