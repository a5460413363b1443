"""What held-out runs say: how well the laws predicted them, and what the allocated mixture gained over baselines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixlang.laws import FittedLaw

Floats = NDArray[np.float64]


def agreement(runs: Sequence[Mapping[str, Any]], laws: Mapping[str, FittedLaw]) -> dict[str, Any]:
    """Predicted against measured losses over every held-out (run, domain).

    Args:
        runs: rows with `amounts` and `losses` by domain; none was used in the fit.

    Returns:
        `pooled` and, by domain, `domains`: Pearson r (null with fewer than 3 values or no spread), mean relative
        error, mean signed relative error (predicted less measured), count; and the `points` themselves. Pooled r
        flatters when domains differ in the scale of their loss, hence both.
    """
    names = list(laws)
    amounts = np.array([[run["amounts"][name] for name in names] for run in runs], float)
    measured = np.array([[run["losses"][name] for name in names] for run in runs], float)
    predicted = np.stack([laws[name].predict(amounts) for name in names], axis=1)
    return {
        "pooled": _agreement(predicted.ravel(), measured.ravel()),
        "domains": {name: _agreement(predicted[:, i], measured[:, i]) for i, name in enumerate(names)},
        "points": [
            {"mixture": run["mixture"], "seed": run["seed"], "domain": name, "predicted": p, "measured": m}
            for run, row, truth in zip(runs, predicted.tolist(), measured.tolist(), strict=True)
            for name, p, m in zip(names, row, truth, strict=True)
        ],
    }


def _agreement(predicted: Floats, measured: Floats) -> dict[str, Any]:
    relative = (predicted - measured) / measured
    spread = predicted.std() > 0 and measured.std() > 0
    return {
        "pearson_r": float(np.corrcoef(predicted, measured)[0, 1]) if len(measured) > 2 and spread else None,
        "mean_relative_error": float(np.abs(relative).mean()),
        "bias": float(relative.mean()),
        "count": len(measured),
    }


def improvements(
    runs: Sequence[Mapping[str, Any]], baselines: Sequence[str], weights: Mapping[str, float]
) -> dict[str, Any]:
    """Relative change of the measured losses from each baseline to the allocated mixture, paired by seed.

    Negative is better. For each budget and baseline: by domain and for the weighted mean of the relative losses,
    the mean over seeds and a 95 % t-interval (null with one seed).
    """
    table = {(run["budget_asked"], run["mixture"], run["seed"]): run["losses"] for run in runs}
    budgets = sorted({key[0] for key in table})
    total = sum(weights.values())
    result: dict[str, Any] = {}
    for budget in budgets:
        seeds = sorted({seed for asked, mixture, seed in table if asked == budget and mixture == "allocated"})
        for baseline in baselines:
            ours = [table[budget, "allocated", seed] for seed in seeds]
            theirs = [table[budget, baseline, seed] for seed in seeds]
            changes = {
                name: np.array([a[name] / b[name] - 1 for a, b in zip(ours, theirs, strict=True)]) for name in weights
            }
            overall = sum(weights[name] / total * change for name, change in changes.items())
            result.setdefault(str(budget), {})[baseline] = {
                "domains": {name: _interval(change) for name, change in changes.items()},
                "overall": _interval(np.asarray(overall)),
            }
    return result


def _interval(values: Floats) -> dict[str, Any]:
    """Mean and 95 % t-interval of paired differences."""
    from scipy.stats import t

    mean, count = float(values.mean()), len(values)
    if count < 2:
        return {"mean": mean, "low": None, "high": None, "seeds": count}
    half = float(t.ppf(0.975, count - 1)) * float(values.std(ddof=1)) / math.sqrt(count)
    return {"mean": mean, "low": mean - half, "high": mean + half, "seeds": count}
